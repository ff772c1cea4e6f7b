"""Which invoices there are: the provider's billing history, walked once a day."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from contracts.billing import DiscoverInvoices, IngestInvoice, InvoiceChanged, InvoiceDiscovered, PushInvoice
from contracts.message import Event
from services.billing import invoice_store as store
from services.billing.domain import Told, invoices_of
from services.billing.invoices import state_of
from services.billing.provider import ACCOUNT, PURPOSE, Outside, pages
from shared.db import Connection
from shared.ids import derived_id, uuid7
from shared.jobs import JobRun, PutOff
from shared.outcome import Meta, Outcome, Send
from shared.patience import patience
from shared.steps import Said, transact


class _Found(NamedTuple):
    """What came of a walk."""

    invoices: int
    discovered: int
    changed: int
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
    try:
        told = invoices_of(history, listed)
    except ValueError as error:
        raise PutOff(f"the provider's billing history cannot be read: {error}") from error
    found = await transact(run, partial(_take_in, told, run.resources.finance is not None))
    return Outcome(result=found._asdict())


async def _take_in(told: list[Told], finance: bool, conn: Connection, meta: Meta) -> tuple[_Found, Said]:
    rows = await store.upsert_told(conn, told, sorted(uuid7() for _ in told), meta.now)
    events: list[Event] = [
        InvoiceDiscovered(invoice=state_of(row))
        if row["before_cents"] is None
        else InvoiceChanged(invoice=state_of(row), before_cents=row["before_cents"])
        for row in sorted(rows, key=lambda row: row["id"])
    ]
    changed = {row["id"] for row in rows if row["before_cents"] is not None and row["ingests"]}
    # The newest first: they are waited for. (Derived ids: a walk that is done twice sends the same.)
    to_ingest = sorted({*await store.list_to_ingest(conn), *changed}, reverse=True)
    ingests = [
        Send(IngestInvoice(invoice_id=id, again=id in changed), id=derived_id("ingest", id, meta.message_id))
        for id in to_ingest
    ]
    to_push = sorted({*await store.list_to_push(conn)} - {*to_ingest}, reverse=True) if finance else []
    pushes = [Send(PushInvoice(invoice_id=id), id=derived_id("push", id, meta.message_id)) for id in to_push]
    count = await store.count_invoices(conn)
    found = _Found(count, len(rows) - len(changed), len(changed), len(ingests), len(pushes))
    return found, [*events, *ingests, *pushes]
