"""One walk of one kind: what is seen is taken in page by page, what is missing is struck at the end.

Only a complete walk strikes, only what was known before it began, and only while no later walk of the kind has begun.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import structlog

from contracts.message import Event
from services.inventory import history, store, sync_store
from services.inventory.domain import Happening, is_implausible
from services.inventory.history import Happened
from services.inventory.intake import Taken, take_in
from services.inventory.kinds import Kind, Row
from services.inventory.provider import Provider
from services.inventory.steps import Work, transact
from services.inventory.sync_store import Sync
from shared.db import Connection
from shared.digitalocean import ProviderError
from shared.jobs import JobRun
from shared.outcome import Meta

log = structlog.get_logger(__name__)

T = TypeVar("T")

DELETED_AT_ONCE = 500
STRUCK_AT_ONCE = 5000
DOUBTS_KEPT = 20


class Superseded(Exception):
    """Another walk of the same kind has begun: this one is of no consequence any more."""


@asynccontextmanager
async def walking(run: JobRun[Provider], kind: str, done: Mapping[str, Any]) -> AsyncIterator[Sync]:
    """A walk, from its row's first writing on. The walk writes its end itself, unless the provider's error ends it.

    `done` is the job's progress, which is saved in either case.
    """

    async def begin(conn: Connection, meta: Meta) -> tuple[Sync, Sequence[Event]]:
        await store.take_turn(conn)
        return await sync_store.insert_sync(conn, kind, meta.message_id, meta.now), ()

    sync = await transact(run, begin)
    try:
        yield sync
    except ProviderError as error:
        await finish(run, sync, "failed", doubts=[str(error)], progress=done)
        raise


async def step(run: JobRun[Provider], sync: Sync, work: Work[T]) -> T:
    """Do a step of a walk, in turn, while no later walk of its kind has begun. Raises `Superseded`."""

    async def do(conn: Connection, meta: Meta) -> tuple[T, Sequence[Event]]:
        await store.take_turn(conn)
        if not await sync_store.lock_running(conn, sync):
            raise Superseded(sync.kind)
        return await work(conn, meta)

    return await transact(run, do)


async def finish(
    run: JobRun[Provider],
    sync: Sync,
    status: str,
    *,
    counts: Mapping[str, Any] | None = None,
    doubts: Sequence[str] = (),
    progress: Mapping[str, Any],
) -> None:
    """Write down how a walk ended. (Where a later one has begun, that was done.)"""

    async def work(conn: Connection, meta: Meta) -> tuple[None, Sequence[Event]]:
        kept = doubts[:DOUBTS_KEPT]
        await sync_store.finish_sync(conn, sync, status, counts=counts or {}, doubts=kept, now=meta.now)
        return None, ()

    await transact(run, work, progress=progress)
    if doubts:
        log.warning("a walk is not complete: nothing was struck", kind=sync.kind, status=status, doubts=doubts[:3])


async def walk_kind(kind: Kind, run: JobRun[Provider], done: dict[str, Any]) -> dict[str, Any]:
    """Mirror all there is of a kind; gives the numbers. `done` is the job's progress, and is carried on."""
    counts: Counter[str] = Counter(seen=0, discovered=0, updated=0, tagged=0, restored=0, struck=0, deleted=0, held=0)
    doubts: list[str] = []
    async with walking(run, kind.name, done) as sync:
        walk = kind.walk(run.resources.do)
        async with aclosing(aiter(walk)) as pages:
            async for rows in pages:
                taken = await step(run, sync, partial(_take_in, kind, rows, sync))
                counts.update(taken.counts, seen=len(rows))
                doubts += taken.doubts
        doubts += walk.doubts
        complete = walk.complete and not doubts
        if complete:
            counts.update(await _judge_absence(run, sync))
            counts["deleted"] = await delete_struck_out(run, kind.name)
        numbers = {**counts, "complete": complete}
        status = ("held" if counts["held"] else "complete") if complete else "incomplete"
        await finish(run, sync, status, counts=counts, doubts=doubts, progress={**done, str(kind.name): numbers})
    return numbers


async def _take_in(
    kind: Kind, rows: Sequence[Row], sync: Sync, conn: Connection, meta: Meta
) -> tuple[Taken, Sequence[Event]]:
    # A clock that was set back must not make what was seen look as if it had been seen before the walk.
    taken = await take_in(conn, kind, rows, max(meta.now, sync.began_at), meta)
    return taken, taken.events


async def _judge_absence(run: JobRun[Provider], sync: Sync) -> dict[str, int]:
    """Strike what a complete walk has not seen, or hold the strikes back where too much is missing to be true."""
    held, at = await step(run, sync, partial(_hold_back, sync))
    if held:
        return {"held": held}
    struck, last = 0, store.BEFORE_ALL
    while page := await step(run, sync, partial(_strike_page, sync, run.resources.strike_interval, at, last)):
        struck, last = struck + len(page), page[-1]
    return {"struck": struck}


async def _hold_back(sync: Sync, conn: Connection, meta: Meta) -> tuple[tuple[int, datetime], Sequence[Event]]:
    """How many strikes are held back, 0 for a plausible absence; and the time at which that was decided."""
    await sync_store.supersede_held_sync(conn, sync.kind, meta.now)
    known, missing = await sync_store.count_missing(conn, sync)
    if not is_implausible(missing, known):
        return (0, meta.now), ()
    held = await sync_store.insert_held_sync(conn, sync, meta.now)
    log.error(
        "a sync is held: too much of a kind has vanished at once",
        kind=sync.kind,
        missing=missing,
        known=known,
        remedy=f"look at the provider, then approve or reject the held sync {sync.id}",
    )
    return (held, meta.now), ()


async def _strike_page(
    sync: Sync, interval: timedelta, at: datetime, after: UUID, conn: Connection, _: Meta
) -> tuple[list[UUID], Sequence[Event]]:
    return await sync_store.strike_missing(conn, sync, interval, at, after=after, limit=STRUCK_AT_ONCE), ()


async def strike_approved(run: JobRun[Provider], held_sync_id: UUID) -> int:
    """Give the strikes that an operator has approved; gives how many."""
    interval, struck, last = run.resources.strike_interval, 0, store.BEFORE_ALL
    while page := await transact(run, partial(_approved_page, held_sync_id, interval, last)):
        struck, last = struck + sum(row["struck"] for row in page), page[-1]["id"]
    return struck


async def _approved_page(
    held_sync_id: UUID, interval: timedelta, after: UUID, conn: Connection, _: Meta
) -> tuple[list[store.Row], Sequence[Event]]:
    await store.take_turn(conn)
    return await sync_store.strike_approved(conn, held_sync_id, interval, after=after, limit=STRUCK_AT_ONCE), ()


async def delete_struck_out(run: JobRun[Provider], kind: str) -> int:
    """Tombstone all of a kind that have three strikes, with their events; gives how many."""
    deleted = 0
    while page := await transact(run, partial(_delete_page, kind)):
        deleted += page
    return deleted


async def _delete_page(kind: str, conn: Connection, meta: Meta) -> tuple[int, Sequence[Event]]:
    await store.take_turn(conn)
    rows = await sync_store.delete_struck_out(conn, kind, DELETED_AT_ONCE, meta.now)
    reason = "missing from three complete walks"
    happened = [Happened(row, Happening.DELETED, reason=reason) for row in rows]
    return len(rows), await history.record(conn, happened, meta)
