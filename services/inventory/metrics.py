"""What the inventory measures of itself, from its tables: every process of it shows the same."""

from __future__ import annotations

from datetime import datetime

from prometheus_client import Gauge

from services.inventory import sync_store
from shared.db import Connection

RESOURCES = Gauge("arcadia_inventory_resources", "Resources that exist at the provider.", ["kind"])
COMPLETE_AT = Gauge(
    "arcadia_inventory_complete_walk_timestamp_seconds",
    "When the last walk of the kind began that saw everything; alert on its age.",
    ["kind"],
)
STATUS = Gauge(
    "arcadia_inventory_status", "1 for the kind's status: fresh, stale, failing, held or never.", ["kind", "status"]
)

STATUSES = ("fresh", "stale", "failing", "held", "never")


async def tell_coverage(conn: Connection, _: datetime) -> None:
    """Bring the figures up to date."""
    for row in await sync_store.list_coverage(conn):
        RESOURCES.labels(row["kind"]).set(row["resources"])
        if row["complete_at"]:
            COMPLETE_AT.labels(row["kind"]).set(row["complete_at"].timestamp())
        for status in STATUSES:
            STATUS.labels(row["kind"], status).set(status == row["status"])
