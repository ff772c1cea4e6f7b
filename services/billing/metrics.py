"""What billing measures of itself, from its tables: every process of it shows the same."""

from __future__ import annotations

from datetime import datetime

from prometheus_client import Gauge

from services.billing import invoice_store
from shared.db import Connection

INGEST = Gauge("arcadia_billing_invoices", "Invoices by how the newest attempt at their file ended.", ["ingest"])
PUSH = Gauge("arcadia_billing_pushes", "Invoices with lines, by whether finance has them as they are.", ["push"])
DIFFERING = Gauge("arcadia_billing_invoices_differing", "Invoices that do not add up, and nobody knows why.")

INGESTS = ("pending", "ingested", "failed")
PUSHES = ("pending", "pushed", "skipped", "failed")


async def tell_invoices(conn: Connection, _: datetime) -> None:
    """Bring the figures up to date."""
    counts = await invoice_store.get_counts(conn)
    for status in INGESTS:
        INGEST.labels(status).set(counts[f"ingest_{status}"])
    for status in PUSHES:
        PUSH.labels(status).set(counts[f"push_{status}"])
    DIFFERING.set(counts["differing"])
