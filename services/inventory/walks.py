"""One walk of one kind: what is seen is taken in page by page, what is missing is struck at the end.

Only a complete walk strikes, only what was known before it began, and only while no later walk of the kind has begun.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, TypeAlias, TypeVar

import structlog

from contracts.message import Event
from services.inventory import history, store, sync_store
from services.inventory.domain import Happening, is_implausible
from services.inventory.history import Happened
from services.inventory.intake import Taken, take_in
from services.inventory.kinds import Kind, Row
from services.inventory.provider import Provider
from services.inventory.sync_store import Sync
from shared.db import Connection
from shared.digitalocean import ProviderError
from shared.jobs import JobRun
from shared.outcome import Meta, Outcome

log = structlog.get_logger(__name__)

T = TypeVar("T")

Work: TypeAlias = Callable[[Connection, Meta], Awaitable[tuple[T, Sequence[Event]]]]
"""A part of a job, in one transaction: what came of it, and the events to be sent."""

DELETED_AT_ONCE = 500
DOUBTS_KEPT = 20


class Superseded(Exception):
    """Another walk of the same kind has begun: this one is of no consequence any more."""


async def transact(run: JobRun[Any], work: Work[T], *, progress: Mapping[str, Any] | None = None) -> T:
    """Do a part of a job, send its events, and give what came of it. Raises `LeaseLost`."""
    results: list[T] = []

    async def do(conn: Connection, meta: Meta) -> Outcome:
        result, events = await work(conn, meta)
        results.append(result)
        return Outcome(events=events)

    await run.apply(do, progress=None if progress is None else dict(progress))
    return results[0]


@asynccontextmanager
async def walking(run: JobRun[Provider], kind: str) -> AsyncIterator[Sync]:
    """A walk, from its row's first writing on. The walk writes its end itself, unless the provider's error ends it."""

    async def begin(conn: Connection, meta: Meta) -> tuple[Sync, Sequence[Event]]:
        return await sync_store.insert_sync(conn, kind, meta.message_id, meta.now), ()

    sync = await transact(run, begin)
    try:
        yield sync
    except ProviderError as error:
        await finish(run, sync, "failed", doubts=[str(error)])
        raise


async def finish(
    run: JobRun[Provider],
    sync: Sync,
    status: str,
    *,
    counts: Mapping[str, Any] | None = None,
    doubts: Sequence[str] = (),
    progress: Mapping[str, Any] | None = None,
) -> None:
    """Write down how a walk ended. (Where a later one has begun, that was done.)"""

    async def work(conn: Connection, meta: Meta) -> tuple[None, Sequence[Event]]:
        kept = doubts[:DOUBTS_KEPT]
        await sync_store.finish_sync(conn, sync, status, counts=counts or {}, doubts=kept, now=meta.now)
        return None, ()

    await transact(run, work, progress=progress)
    if doubts:
        log.warning("a walk is not complete: nothing was struck", kind=sync.kind, status=status, doubts=doubts[:3])


async def walk_kind(kind: Kind, run: JobRun[Provider], before: Mapping[str, Any]) -> dict[str, Any]:
    """Mirror all there is of a kind; gives the numbers. `before`: those of the job's walks that are done."""
    counts: Counter[str] = Counter(seen=0, discovered=0, updated=0, tagged=0, restored=0, struck=0, deleted=0, held=0)
    doubts: list[str] = []
    async with walking(run, kind.name) as sync:
        walk = kind.walk(run.resources.do)
        async with aclosing(aiter(walk)) as pages:
            async for rows in pages:
                taken = await transact(run, partial(_take_in, kind, rows, sync))
                counts.update(taken.counts, seen=len(rows))
                doubts += taken.doubts
        doubts += walk.doubts
        complete = walk.complete and not doubts
        if complete:
            counts.update(await transact(run, partial(_judge_absence, sync, run.resources)))
            counts["deleted"] = await delete_struck_out(run, kind.name)
        numbers = {**counts, "complete": complete}
        status = ("held" if counts["held"] else "complete") if complete else "incomplete"
        await finish(run, sync, status, counts=counts, doubts=doubts, progress={**before, str(kind.name): numbers})
    return numbers


async def _take_in(
    kind: Kind, rows: Sequence[Row], sync: Sync, conn: Connection, meta: Meta
) -> tuple[Taken, Sequence[Event]]:
    # A clock that was set back must not make what was seen look as if it had been seen before the walk.
    taken = await take_in(conn, kind, rows, max(meta.now, sync.began_at), meta)
    return taken, taken.events


async def _judge_absence(
    sync: Sync, provider: Provider, conn: Connection, meta: Meta
) -> tuple[Counter[str], Sequence[Event]]:
    """Strike what a complete walk has not seen, or hold the strikes back where too much is missing to be true."""
    await store.take_turn(conn)
    if not await sync_store.lock_running(conn, sync):
        raise Superseded(sync.kind)
    await sync_store.supersede_held_sync(conn, sync.kind, meta.now)
    known, missing = await sync_store.count_missing(conn, sync)
    if is_implausible(missing, known):
        held = await sync_store.insert_held_sync(conn, sync, known, meta.now)
        log.error(
            "a sync is held: too much of a kind has vanished at once",
            kind=sync.kind,
            missing=missing,
            known=known,
            remedy=f"look at the provider, then approve or reject the held sync {sync.id}",
        )
        return Counter(held=held), ()
    return Counter(struck=await sync_store.strike_missing(conn, sync, provider.strike_interval, meta.now)), ()


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
