"""What the service does by itself: keeping to its retention, and telling its state again when asked.

cloud_balance_snapshots             three years; the newest stays
superseded_cost_lines               three years after they were superseded

Invoices, their lines, the attempts at their files and what operators said of lines are kept for good.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

from contracts.billing import BalanceRepublished, InvoiceRepublished
from contracts.message import Event
from services.billing import invoice_store, line_store, store
from services.billing.handlers import state_of
from shared.db import Connection
from shared.outcome import Outcome

SNAPSHOTS_KEPT = timedelta(days=3 * 365)
SUPERSEDED_KEPT = timedelta(days=3 * 365)

_PAGE = 500
_LINES_AT_ONCE = 10_000


async def drop_old_snapshots(conn: Connection, now: datetime) -> Outcome | None:
    """Drop balances past their retention."""
    return Outcome() if await store.delete_old_snapshots(conn, now - SNAPSHOTS_KEPT, _PAGE) else None


async def drop_old_lines(conn: Connection, now: datetime) -> Outcome | None:
    """Drop superseded lines past their retention."""
    gone = await line_store.delete_old_superseded(conn, now - SUPERSEDED_KEPT, _LINES_AT_ONCE)
    return Outcome() if gone else None


async def republish_balances(conn: Connection) -> AsyncIterator[Sequence[Event]]:
    """The newest balance of each provider."""
    if rows := await store.lock_newest(conn):
        yield [BalanceRepublished(balance=state_of(row)) for row in rows]


async def republish_invoices(conn: Connection) -> AsyncIterator[Sequence[Event]]:
    """Every invoice's state, in pages. Nobody changes one between its being read and its being in the outbox."""
    after = invoice_store.BEFORE_ALL
    while rows := await invoice_store.lock_invoices_after(conn, after, _PAGE):
        yield [InvoiceRepublished(invoice=invoice_store.state_of(row)) for row in rows]
        after = rows[-1]["id"]
