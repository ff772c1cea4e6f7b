"""What the service does by itself: looking at what has changed, prices, surges, retention, telling all again.

cloud_drift (with its history), surges   400 days after they are over
cloud_provisioned                        for good: it says what was asked for, and when that ended
runs                                     63 days after their end
resources                                63 days after they are gone, where nothing is asked of them
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from contracts.drift import (
    FINDINGS,
    SURGES,
    DriftRepublished,
    LookAtChanges,
    RefreshSizes,
    SurgeEnded,
    SurgeGrew,
    SurgeRepublished,
)
from contracts.message import Event
from services.drift import detection, finding_store, store, surge_store
from shared.db import Connection
from shared.outcome import Outcome, Send, Tombstone

_AGAIN = timedelta(seconds=10)  # a look that nobody took in hand is asked for again
_SIZES_FOR, _SIZES_AGAIN = timedelta(hours=24), timedelta(minutes=10)
_KEPT = timedelta(days=400)
_PROJECTED = timedelta(days=63)
_PAGE = 500
_ROWS_AT_ONCE = 10_000


async def look(conn: Connection, now: datetime) -> Outcome | None:
    """Have what has changed compared."""
    if not await store.ask_for_look(conn, now, asked_before=now - _AGAIN):
        return None
    return Outcome(commands=[Send(LookAtChanges(), expires=now + _AGAIN)])


async def want_sizes(conn: Connection, now: datetime) -> Outcome | None:
    """Have the provider's sizes read, once a day."""
    if not await store.ask_for_sizes(conn, now, seen_before=now - _SIZES_FOR, asked_before=now - _SIZES_AGAIN):
        return None
    return Outcome(commands=[Send(RefreshSizes(), expires=now + _SIZES_AGAIN)])


async def wake(conn: Connection, now: datetime) -> Outcome | None:
    """Put drifts back into the inbox whose time out of it is over."""
    ids = await finding_store.take_woken(conn, now, _PAGE)
    if not ids:
        return None
    await finding_store.note(conn, ids, "woken", None, None)
    return Outcome(events=await detection.changed(conn, ids, "woken"))


async def recount_surges(conn: Connection, now: datetime) -> Outcome | None:
    """Tell how surges grow, and that they are over."""
    rows = await surge_store.recount(conn, now)
    if not rows:
        return None
    return Outcome(
        events=[(SurgeEnded if row["ended_at"] else SurgeGrew)(surge=detection.surge_of(row)) for row in rows]
    )


async def forget_what_is_long_over(conn: Connection, now: datetime) -> Outcome | None:
    """Forget what is past its retention, a part of it at a time."""
    drifts = await finding_store.delete_old_drifts(conn, now - _KEPT, _PAGE)
    surges = await surge_store.delete_old(conn, now - _KEPT, _PAGE)
    await store.delete_old_runs(conn, now - _PROJECTED, _ROWS_AT_ONCE)
    await store.delete_old_resources(conn, now - _PROJECTED, _ROWS_AT_ONCE)
    gone = [*(Tombstone(FINDINGS, str(id)) for id in drifts), *(Tombstone(SURGES, str(id)) for id in surges)]
    return Outcome(events=gone) if gone else None


async def republish_drifts(conn: Connection) -> AsyncIterator[Sequence[Event]]:
    """Every drift, in pages."""
    after = UUID(int=0)
    while page := await finding_store.lock_drifts_after(conn, after, _PAGE):
        yield [DriftRepublished(drift=detection.drift_of(row)) for row in page]
        after = page[-1]["id"]


async def republish_surges(conn: Connection) -> AsyncIterator[Sequence[Event]]:
    """Every surge, in pages."""
    after = UUID(int=0)
    while page := await surge_store.list_after(conn, after, _PAGE):
        yield [SurgeRepublished(surge=detection.surge_of(row)) for row in page]
        after = page[-1]["id"]
