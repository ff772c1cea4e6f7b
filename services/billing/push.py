"""Passing invoices on to finance: with patience of its own, so that finance's outage never keeps an ingest waiting."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

import structlog

from contracts.billing import InvoicePushed, InvoicePushFailed, InvoicePushSkipped, PushInvoice
from services.billing import invoice_store, line_store
from services.billing.finance import FinanceAway, FinanceRefused, Taken
from services.billing.invoice_store import Row, state_of
from services.billing.provider import Outside
from shared.db import Connection
from shared.jobs import JobRun, PutOff
from shared.outcome import Meta, Outcome, Refused
from shared.service import Work
from shared.steps import Said, transact

log = structlog.get_logger(__name__)

# A process that was frozen for long may have lost its lease, and somebody else have sent what came after this.
_FRESH_S = 10.0

NO_FINANCE = "no finance service is configured: FINANCE_URL is not set"


class _Read(NamedTuple):
    """An invoice with its lines, of one moment."""

    invoice: Row
    lines: list[Row]


async def push_invoice(cmd: PushInvoice, run: JobRun[Outside]) -> Outcome | Work:
    """Send an invoice to finance, unless it has it as it is."""
    read_at = time.monotonic()
    invoice, lines = await transact(run, partial(_read, cmd))
    if invoice["push_status"] == "pushed" and not cmd.again:
        return Outcome(result={"invoice": state_of(invoice).model_dump(mode="json"), "action": "none"})
    if run.resources.finance is None:
        log.info("invoice not pushed", invoice=str(cmd.invoice_id), reason=NO_FINANCE)
        return partial(_skip, invoice)
    payload = payload_of(invoice, lines)
    if time.monotonic() - read_at > _FRESH_S:
        raise PutOff("what was to be sent may not be the newest any more", timedelta(0))
    try:
        taken = await run.resources.finance.import_invoice(payload)
    except FinanceAway as error:
        await transact(run, partial(_wait, invoice, str(error)))
        raise PutOff(str(error)) from error
    except FinanceRefused as error:
        log.error("finance refuses an invoice", invoice=str(cmd.invoice_id), reason=error.reason)
        await transact(run, partial(_fail, invoice, error.reason))
        raise Refused(error.code, reason=error.reason) from error
    return partial(_pushed, invoice, taken)


def payload_of(invoice: Row, lines: list[Row]) -> dict[str, Any]:
    """What finance gets of an invoice: amounts in minor units, tax apart."""
    return {
        "source": invoice["provider"],
        "external_id": invoice["invoice_uuid"],
        "number": invoice["number"],
        "period": invoice["period"],
        "currency": invoice["currency"],
        "amount_gross_minor": invoice["net_cents"] + invoice["tax_cents"],
        "amount_net_minor": invoice["net_cents"],
        "amount_tax_minor": invoice["tax_cents"],
        "lines": [dict(line) for line in lines],
    }


async def _read(cmd: PushInvoice, conn: Connection, meta: Meta) -> tuple[_Read, Said]:
    invoice = await invoice_store.lock_invoice(conn, cmd.invoice_id)  # so that header and lines are of one ingest
    if invoice is None:
        raise Refused("not_found", invoice_id=str(cmd.invoice_id))
    if not invoice["ingests"]:
        raise Refused("not_ingested", invoice_id=str(cmd.invoice_id))
    return _Read(invoice, await line_store.list_lines(conn, cmd.invoice_id)), []


async def _skip(invoice: Row, conn: Connection, meta: Meta) -> Outcome:
    row = await invoice_store.mark_not_pushed(conn, invoice["id"], invoice["ingests"], "skipped", NO_FINANCE)
    events = [] if row is None else [InvoicePushSkipped(invoice=state_of(row))]
    state = state_of(invoice if row is None else row).model_dump(mode="json")
    return Outcome(result={"invoice": state, "action": "skipped"}, events=events)


async def _wait(invoice: Row, reason: str, conn: Connection, meta: Meta) -> tuple[None, Said]:
    """Keep why finance does not have it yet."""
    await invoice_store.mark_waiting(conn, invoice["id"], invoice["ingests"], reason)
    return None, []


async def _fail(invoice: Row, reason: str, conn: Connection, meta: Meta) -> tuple[None, Said]:
    """Keep why finance refuses it."""
    row = await invoice_store.mark_not_pushed(conn, invoice["id"], invoice["ingests"], "failed", reason)
    return None, [] if row is None else [InvoicePushFailed(invoice=state_of(row))]


async def _pushed(invoice: Row, taken: Taken, conn: Connection, meta: Meta) -> Outcome:
    row = await invoice_store.mark_pushed(conn, invoice["id"], invoice["ingests"], taken.invoice_id, meta.now)
    state = state_of(row)
    result = {"invoice": state.model_dump(mode="json"), "action": taken.action}
    return Outcome(result=result, events=[InvoicePushed(invoice=state, action=taken.action)])
