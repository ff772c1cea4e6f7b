"""The metering service: its table of handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from contracts.deployments import DEPLOYMENTS, DeploymentEvent
from contracts.inventory import RESOURCES, ResourceEvent
from contracts.metering import CONFIGS, MeterDay, MeterDays, MeteringConfigSet, RecordUsage, SetMeteringConfig
from services.metering import handlers, upkeep
from services.metering.metering import meter_day
from services.metering.reports import record_usage
from shared.catchup import CatchUp
from shared.config import Settings
from shared.service import Service

MIGRATIONS = Path(__file__).parent / "migrations"

# Its jobs ask nobody but our own servers: a killed process is soon replaced.
LEASE = timedelta(seconds=10)


@asynccontextmanager
async def access(settings: Settings) -> AsyncIterator[CatchUp]:
    """How the jobs know that the copies of what others own are no older than they may be."""
    yield CatchUp(settings, "metering", [RESOURCES, DEPLOYMENTS, CONFIGS])


service: Service[CatchUp] = Service("metering", resources=access)

service.job(MeterDay, lease=LEASE, concurrency=2)(meter_day)
service.on(MeterDays)(handlers.meter_days)
service.on(SetMeteringConfig)(handlers.set_metering_config)
service.on_batch(RecordUsage)(record_usage)

service.on_batch(ResourceEvent)(handlers.on_resource)
service.on_batch(DeploymentEvent)(handlers.on_deployment)
service.on(MeteringConfigSet)(handlers.on_metering_config)

service.every(timedelta(seconds=1))(upkeep.tell_usage)
service.every(timedelta(seconds=5))(upkeep.meter_dirty_days)
service.every(timedelta(hours=1))(upkeep.meter_missed_days)
service.every(timedelta(minutes=10))(upkeep.forget_old_usage)
service.republisher(upkeep.republish_usage)
service.republisher(upkeep.republish_configs)
