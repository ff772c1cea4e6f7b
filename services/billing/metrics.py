"""What billing measures of itself, from its tables: every process of it shows the same."""

from __future__ import annotations

from datetime import datetime
from typing import get_args

from prometheus_client import Gauge

from contracts.billing import IngestStatus, PushStatus
from services.billing import invoice_store
from shared.db import Connection

INGEST = Gauge("arcadia_billing_invoices", "Invoices by how the newest attempt at their file ended.", ["ingest"])
PUSH = Gauge("arcadia_billing_pushes", "Invoices with lines, by whether finance has them as they are.", ["push"])
DIFFERING = Gauge("arcadia_billing_invoices_differing", "Invoices that do not add up, and nobody knows why.")


async def tell_invoices(conn: Connection, _: datetime) -> None:
    """Bring the figures up to date."""
    counts = await invoice_store.get_counts(conn)
    for status in get_args(IngestStatus):
        INGEST.labels(status).set(counts[f"ingest_{status}"])
    for status in get_args(PushStatus):
        PUSH.labels(status).set(counts[f"push_{status}"])
    DIFFERING.set(counts["differing"])
