"""What the drift service measures of itself, from its tables: every process of it shows the same."""

from __future__ import annotations

from datetime import datetime

from prometheus_client import Gauge

from contracts.drift import Severity
from services.drift import finding_store
from shared.db import Connection

OPEN = Gauge(
    "arcadia_drift_open",
    "Drifts that are open, by severity, without those that are snoozed or part of a surge.",
    ["severity"],
)
SURGES = Gauge("arcadia_drift_surges", "Surges of which drifts are open: alert where there is one.")


async def tell_open(conn: Connection, now: datetime) -> None:
    """Bring the figures up to date."""
    counts, surges = await finding_store.count_alarming(conn, now)
    for severity in Severity:
        OPEN.labels(severity).set(counts.get(severity, 0))
    SURGES.set(surges)
