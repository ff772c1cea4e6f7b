"""What the service does by itself: keeping to its retention, and telling the newest balance again when asked.

cloud_balance_snapshots             three years; the newest stays
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

from contracts.billing import BalanceRepublished
from contracts.message import Event
from services.billing import store
from services.billing.handlers import state_of
from shared.db import Connection
from shared.outcome import Outcome

SNAPSHOTS_KEPT = timedelta(days=3 * 365)

_PAGE = 500


async def drop_old_snapshots(conn: Connection, now: datetime) -> Outcome | None:
    """Drop balances past their retention."""
    return Outcome() if await store.delete_old_snapshots(conn, now - SNAPSHOTS_KEPT, _PAGE) else None


async def republish_balances(conn: Connection) -> AsyncIterator[Sequence[Event]]:
    """The newest balance of each provider."""
    if rows := await store.list_newest(conn):
        yield [BalanceRepublished(balance=state_of(row)) for row in rows]
