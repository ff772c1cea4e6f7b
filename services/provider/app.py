"""The provider service: its table of handlers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from contracts.provider import (
    AwaitDroplet,
    CreateDroplet,
    DestroyDroplet,
    PowerOffDroplet,
    PowerOnDroplet,
    ProviderCommand,
    RemoveDnsRecord,
    RenameDroplet,
    ResizeDroplet,
    RetagDroplet,
    SweepOrphans,
    UndoOperation,
    UpsertDnsRecord,
)
from services.provider import actions, droplets, orphans, records, tags, undo, upkeep
from services.provider.access import Provider, access, leased
from shared.service import Service

MIGRATIONS = Path(__file__).parent / "migrations"

# Longer than the longest call (`DigitalOcean.call_timeout`) by more than the quarter after which it is renewed: whoever
# cannot renew it, since the database is away, still hears the answer to a call under way. What whoever takes the job
# over may send is not the lease's to say: the ledger knows until when a write may come to light.
LEASE = timedelta(seconds=75)

service: Service[Provider] = Service("provider", resources=access, leased=leased)


def of_operation(cmd: ProviderCommand) -> str:
    """One attempt at an operation at a time. That one operation at a time changes a target is the ledger's to see to:
    the commands that do are of several names, and so is what undoes them."""
    return str(cmd.operation_id)


def of_undone(cmd: UndoOperation) -> str:
    """One undoing of an operation at a time."""
    return str(cmd.undoes)


service.job(CreateDroplet, lease=LEASE, key=of_operation, concurrency=4)(droplets.create_droplet)
service.job(AwaitDroplet, lease=LEASE, key=of_operation, concurrency=4)(droplets.await_droplet)
service.job(DestroyDroplet, lease=LEASE, key=of_operation, concurrency=4)(droplets.destroy_droplet)
service.job(PowerOffDroplet, lease=LEASE, key=of_operation, concurrency=2)(actions.power_off_droplet)
service.job(PowerOnDroplet, lease=LEASE, key=of_operation, concurrency=2)(actions.power_on_droplet)
service.job(ResizeDroplet, lease=LEASE, key=of_operation, concurrency=2)(actions.resize_droplet)
service.job(RenameDroplet, lease=LEASE, key=of_operation, concurrency=2)(actions.rename_droplet)
service.job(RetagDroplet, lease=LEASE, key=of_operation, concurrency=2)(tags.retag_droplet)
service.job(UpsertDnsRecord, lease=LEASE, key=of_operation, concurrency=2)(records.upsert_dns_record)
service.job(RemoveDnsRecord, lease=LEASE, key=of_operation, concurrency=2)(records.remove_dns_record)
service.job(SweepOrphans, lease=LEASE)(orphans.sweep_orphans)
service.job(UndoOperation, lease=LEASE, key=of_undone, concurrency=4)(undo.undo_operation)

service.every(timedelta(minutes=10))(upkeep.forget_what_is_long_over)
service.republisher(upkeep.republish_operations)
