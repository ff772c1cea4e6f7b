"""The inventory service: its table of handlers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from contracts.drift import DriftEvent
from contracts.inventory import (
    ClassifyProject,
    DecideHeldSync,
    LinkResource,
    MeasureBucket,
    RegisterResource,
    SyncInventory,
    UnlinkResource,
)
from services.inventory import handlers, metrics, upkeep
from services.inventory.provider import Provider, access
from shared.patience import leased
from shared.service import Service

MIGRATIONS = Path(__file__).parent / "migrations"

# A job that lost its lease can do nothing more to our tables, and the only thing that a sync writes at the provider is
# looked up first: so the lease need not outlast the provider's slowest answer, and a killed process is soon replaced.
LEASE = timedelta(seconds=60)

service: Service[Provider] = Service("inventory", resources=access, leased=leased)

service.job(SyncInventory, lease=LEASE, concurrency=2)(handlers.sync_inventory)
service.job(RegisterResource, lease=LEASE, concurrency=4)(handlers.register_resource)
service.job(MeasureBucket, lease=LEASE, concurrency=2)(handlers.measure_bucket)
service.job(ClassifyProject, lease=LEASE)(handlers.classify_project)
service.job(DecideHeldSync, lease=LEASE)(handlers.decide_held_sync)

service.on(LinkResource)(handlers.link_resource)
service.on(UnlinkResource)(handlers.unlink_resource)
service.on_batch(DriftEvent)(handlers.on_drift)

service.every(timedelta(minutes=1))(metrics.tell_coverage)
service.every(timedelta(minutes=10))(upkeep.forget_what_is_long_gone)
service.every(timedelta(minutes=10))(upkeep.drop_old_history)
service.republisher(upkeep.republish_projects)
service.republisher(upkeep.republish_resources)
