"""What the service does by itself: keeping to its retention, and telling everything again when asked.

An operation that is over, or never began, stays for 400 days, then its row goes and its key gets a tombstone. A create
whose droplet may be there stays for good: without it, its droplet would be nobody's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

from contracts.message import Event
from contracts.provider import OPERATIONS, OperationRepublished
from services.provider import store
from services.provider.ledger import state_of
from shared.db import Connection
from shared.outcome import Outcome, Tombstone

KEPT = timedelta(days=400)
PAGE = 500


async def forget_what_is_long_over(conn: Connection, now: datetime) -> Outcome | None:
    """Drop operations that ended long ago."""
    ids = await store.delete_old(conn, now - KEPT, PAGE)
    return Outcome(events=[Tombstone(OPERATIONS, str(id)) for id in ids]) if ids else None


async def republish_operations(conn: Connection) -> AsyncIterator[Sequence[Event]]:
    """Every operation's state, in pages. Nobody changes one between its being read and its being in the outbox."""
    after = store.BEFORE_ALL
    while rows := await store.lock_operations_after(conn, after, PAGE):
        yield [OperationRepublished(operation=state_of(row)) for row in rows]
        after = rows[-1]["id"]
