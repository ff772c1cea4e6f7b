"""Which invoices there are: the provider's billing history, walked once a day."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import structlog

from contracts.billing import DiscoverInvoices, IngestInvoice, InvoiceChanged, InvoiceDiscovered, PushInvoice
from contracts.message import Event
from services.billing import invoice_store as store
from services.billing.domain import Issued, invoices_of
from services.billing.invoice_store import state_of
from services.billing.provider import ACCOUNT, PURPOSE, Outside, pages
from shared.db import Connection
from shared.ids import derived_id, uuid7
from shared.jobs import JobRun, PutOff
from shared.outcome import Meta, Outcome, Send
from shared.patience import patience
from shared.steps import Said, transact

log = structlog.get_logger(__name__)


class _Found(NamedTuple):
    """What came of a walk."""

    invoices: int
    discovered: int
    changed: int
    unreadable: int
    ingesting: int
    pushing: int


async def discover_invoices(cmd: DiscoverInvoices, run: JobRun[Outside]) -> Outcome:
    """Walk the billing history; take in what is new, and have done what is still to be done."""
    do = run.resources.do
    history: list[dict[str, Any]] = []
    async for rows in pages(do, "billing_history", "billing_history"):
        history += rows
    walk, listed = do.walk(f"{ACCOUNT}/invoices", "invoices", identity="invoice_uuid"), []
    with patience(PURPOSE):
        async for rows in walk:
            listed += rows
    if not walk.complete:
        raise PutOff(f"the provider does not show all invoices: {'; '.join(walk.doubts)}")
    issued, unreadable = invoices_of(history, listed)
    for what in unreadable:
        log.error("an invoice of the billing history cannot be read", reason=what)
    pushable = run.resources.finance is not None
    found = await transact(run, partial(_take_in, issued, len(unreadable), pushable))
    return Outcome(result=found._asdict())


async def _take_in(
    issued: list[Issued], unreadable: int, pushable: bool, conn: Connection, meta: Meta
) -> tuple[_Found, Said]:
    # Ids in the order of the months: lists are in the order of ids.
    rows = await store.upsert_issued(conn, issued, sorted(uuid7() for _ in issued), meta.now)
    events: list[Event] = [
        InvoiceDiscovered(invoice=state_of(row))
        if row["before_cents"] is None
        else InvoiceChanged(invoice=state_of(row), before_cents=row["before_cents"])
        for row in sorted(rows, key=lambda row: row["id"])
    ]
    # What changed is ingested again even if an ingest that is under way comes to its end with the file of before.
    changed = {row["id"] for row in rows if row["before_cents"] is not None}
    # The newest first: they are waited for. (Derived ids: a walk that is done twice sends the same.)
    ingests = [
        Send(IngestInvoice(invoice_id=id, again=id in changed), id=derived_id("ingest", id, meta.message_id))
        for id in sorted(await store.list_to_ingest(conn), reverse=True)
    ]
    pushes = [
        Send(PushInvoice(invoice_id=id), id=derived_id("push", id, meta.message_id))
        for id in (sorted(await store.list_to_push(conn), reverse=True) if pushable else [])
    ]
    count = await store.count_invoices(conn)
    found = _Found(count, len(rows) - len(changed), len(changed), unreadable, len(ingests), len(pushes))
    return found, [*events, *ingests, *pushes]
