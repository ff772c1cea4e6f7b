"""What the service does by itself: keeping to its retention, and telling its state again when asked.

cloud_balance_snapshots             three years; the newest stays
superseded_cost_lines               three years after they were superseded
quotes, limits_reached              seven years after their month
usage_days                          800 days, in whole months: quotes of older ones stay as they are

Invoices, their lines, the attempts at their files, what operators said of lines, who held resources, and the terms of
subscriptions and catalog are kept for good.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from contracts.billing import BalanceRepublished, InvoiceRepublished
from contracts.message import Event
from contracts.quotes import LIMITS, QUOTES, FxRateRepublished, QuoteRepublished, limit_key, quote_key
from services.billing import invoice_store, line_store, margin_store, quote_store, store
from services.billing.handlers import state_of
from services.billing.quote_store import Key
from services.billing.quotes import quote_of
from services.billing.rates import state_of as state_of_rate
from services.billing.terms import first_kept
from shared.db import Connection
from shared.outcome import Outcome, Tombstone

SNAPSHOTS_KEPT = timedelta(days=3 * 365)
SUPERSEDED_KEPT = timedelta(days=3 * 365)
QUOTES_KEPT = timedelta(days=7 * 366)

_PAGE = 500
_LINES_AT_ONCE = 10_000


async def drop_old_snapshots(conn: Connection, now: datetime) -> Outcome | None:
    """Drop balances past their retention."""
    return Outcome() if await store.delete_old_snapshots(conn, now - SNAPSHOTS_KEPT, _PAGE) else None


async def drop_old_lines(conn: Connection, now: datetime) -> Outcome | None:
    """Drop superseded lines past their retention."""
    gone = await line_store.delete_old_superseded(conn, now - SUPERSEDED_KEPT, _LINES_AT_ONCE)
    return Outcome() if gone else None


async def drop_old_quotes(conn: Connection, now: datetime) -> Outcome | None:
    """Drop what is past its retention of quotes, and of what they were made of."""
    before = (now - QUOTES_KEPT).astimezone(UTC).date()
    quotes = await quote_store.delete_old_quotes(conn, before, _PAGE)
    limits = await quote_store.delete_old_limits(conn, before, _PAGE)
    days = await quote_store.delete_old_usage(conn, first_kept(now), _LINES_AT_ONCE)
    if not (quotes or limits or days):
        return None
    gone = [Tombstone(QUOTES, quote_key(*key)) for key in quotes]
    return Outcome(events=[*gone, *(Tombstone(LIMITS, limit_key(*row)) for row in limits)])


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


async def republish_quotes(conn: Connection) -> AsyncIterator[Sequence[Event]]:
    """Every quote, in pages."""
    after = Key(UUID(int=0), date.min)
    while rows := await quote_store.lock_quotes_after(conn, after, _PAGE):
        yield [QuoteRepublished(quote=quote_of(row)) for row in rows]
        after = Key(rows[-1]["deployment_id"], rows[-1]["period"])


async def republish_fx_rates(conn: Connection) -> AsyncIterator[Sequence[Event]]:
    """Every exchange rate."""
    if rows := await margin_store.lock_fx_rates(conn):
        yield [FxRateRepublished(fx_rate=state_of_rate(row)) for row in rows]
