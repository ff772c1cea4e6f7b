"""The provider service: its table of handlers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from contracts.provider import AwaitDroplet, CreateDroplet, DestroyDroplet, ProviderCommand, UndoOperation
from services.provider import droplets, undo, upkeep
from services.provider.access import Provider, access
from shared.service import Service

MIGRATIONS = Path(__file__).parent / "migrations"

# Longer than the longest call (`DigitalOcean.call_timeout`): whoever takes a job over finds its last write decided, or
# not to be waited for any more.
LEASE = timedelta(seconds=75)

service: Service[Provider] = Service("provider", resources=access)


def of_operation(cmd: ProviderCommand) -> str:
    """One attempt at an operation at a time."""
    return str(cmd.operation_id)


def of_undone(cmd: UndoOperation) -> str:
    """One undoing of an operation at a time."""
    return str(cmd.undoes)


service.job(CreateDroplet, lease=LEASE, key=of_operation, concurrency=4)(droplets.create_droplet)
service.job(AwaitDroplet, lease=LEASE, key=of_operation, concurrency=4)(droplets.await_droplet)
service.job(DestroyDroplet, lease=LEASE, key=of_operation, concurrency=4)(droplets.destroy_droplet)
service.job(UndoOperation, lease=LEASE, key=of_undone, concurrency=4)(undo.undo_operation)

service.every(timedelta(minutes=10))(upkeep.forget_what_is_long_over)
service.republisher(upkeep.republish_operations)
