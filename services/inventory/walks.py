"""One walk of one kind: what is seen is taken in page by page, what is missing is struck at the end.

Only a complete walk strikes, only what was known before it began, and only while no later walk of the kind has begun.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import structlog

from services.inventory import attribution, history, store, sync_store
from services.inventory.domain import Happening, is_implausible
from services.inventory.history import Happened
from services.inventory.intake import Taken, take_in
from services.inventory.kinds import Kind, Listed, Pages, Row
from services.inventory.provider import Provider
from services.inventory.steps import Walking
from services.inventory.sync_store import Sync
from services.inventory.told import Telling
from shared.db import Connection
from shared.digitalocean import DigitalOcean, Forbidden, NotFound, ProviderError
from shared.jobs import JobRun
from shared.outcome import Meta
from shared.steps import Said, transact

log = structlog.get_logger(__name__)

T = TypeVar("T")

TAKEN_AT_ONCE = 800
DELETED_AT_ONCE = 500
STRUCK_AT_ONCE = 5000
DOUBTS_KEPT = 20


@asynccontextmanager
async def walking(run: JobRun[Provider], kind: str, done: dict[str, Any]) -> AsyncIterator[Walking]:
    """A walk, from its row's first writing on. The walk writes its end itself, unless the provider's error ends it.

    `done` is the job's progress, which is saved in either case; other walks of the job add to it meanwhile.
    """

    async def begin(conn: Connection, meta: Meta) -> tuple[Sync, Said]:
        await store.take_turn(conn)
        return await sync_store.insert_sync(conn, kind, meta.message_id, meta.now), ()

    walk = Walking(run, await transact(run, begin), done)
    try:
        yield walk
    except ProviderError as error:
        await finish(walk, "failed", doubts=[str(error)])
        raise


async def finish(
    walk: Walking, status: str, *, numbers: Mapping[str, Any] | None = None, doubts: Sequence[str] = ()
) -> None:
    """Write down how a walk ended, with its numbers if it did. (Where a later one has begun, that was done.)"""

    async def work(conn: Connection, meta: Meta) -> tuple[None, Said]:
        await _end(walk, status, conn, meta, numbers=numbers, doubts=doubts)
        return None, ()

    await transact(walk.run, work, progress=lambda: walk.done)
    if doubts:
        log.warning("a walk is not complete: nothing was struck", kind=walk.sync.kind, status=status, doubts=doubts[:3])


async def _end(
    walk: Walking,
    status: str,
    conn: Connection,
    meta: Meta,
    *,
    numbers: Mapping[str, Any] | None,
    doubts: Sequence[str] = (),
) -> None:
    kept = doubts[:DOUBTS_KEPT]
    await sync_store.finish_sync(conn, walk.sync, status, counts=numbers or {}, doubts=kept, now=meta.now)
    if numbers:  # here, where no other walk is in its turn: what is saved has all that have ended
        walk.done[walk.sync.kind] = numbers


async def walk_kind(kind: Kind, run: JobRun[Provider], done: dict[str, Any]) -> dict[str, Any]:
    """Mirror all there is of a kind; gives the numbers. `done` is the job's progress, and is carried on."""
    counts: Counter[str] = Counter(seen=0, discovered=0, updated=0, tagged=0, restored=0, struck=0, deleted=0, held=0)
    doubts: list[str] = []
    async with walking(run, kind.name, done) as walk:
        pages = _pages(kind, walk)
        async with aclosing(_batches(pages)) as batches, aclosing(ahead(batches)) as read_ahead:
            async for batch in read_ahead:
                taken = await walk.step(partial(_take_in, kind, batch, walk.sync))
                counts.update(taken.counts, seen=len(batch.rows))
                doubts += taken.doubts
        counts["seen"] += pages.noted if isinstance(pages, Telling) else 0
        doubts += await _doubts(kind, walk, pages, seen=counts["seen"])
        if doubts:
            numbers = {**counts, "complete": False}
            await finish(walk, "incomplete", numbers=numbers, doubts=doubts)
            return numbers
        return await _conclude(walk, counts)


def _pages(kind: Kind, walk: Walking) -> Pages:
    return kind.source.pages(walk.do) if isinstance(kind.source, Listed) else kind.source.pages(walk)


@dataclass(frozen=True)
class Batch:
    """Rows of a walk, and when their reading began: they may show what was so then."""

    rows: list[Row]
    read_at: datetime


async def _batches(pages: Pages) -> AsyncGenerator[Batch, None]:
    """The pages' rows, several pages at a go: a transaction costs as much as the reading of a page."""
    batch = Batch([], datetime.now(UTC))
    try:
        async with aclosing(aiter(pages)) as read:
            async for page in read:
                batch.rows.extend(page)
                if len(batch.rows) >= TAKEN_AT_ONCE:
                    yield batch
                    batch = Batch([], datetime.now(UTC))
    except ProviderError:
        if batch.rows:  # what was seen is seen
            yield batch
        raise
    if batch.rows:
        yield batch


async def ahead(batches: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The same batches, each read while the caller stores the one before."""
    following = asyncio.ensure_future(anext(batches, None))
    try:
        while (rows := await following) is not None:
            following = asyncio.ensure_future(anext(batches, None))
            yield rows
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def in_order(reads: Iterable[Coroutine[Any, Any, T]], at_once: int) -> AsyncGenerator[T, None]:
    """What coroutines give, in their order, while so many of them run."""
    running: deque[asyncio.Task[T]] = deque()
    try:
        for read in reads:
            running.append(asyncio.create_task(read))
            if len(running) == at_once:
                yield await running.popleft()
        while running:
            yield await running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _doubts(kind: Kind, walk: Walking, pages: Pages, *, seen: int) -> list[str]:
    """Why a walk that ended may not have seen all there is.

    None in an answer without anything, not even a total, while nothing of the kind is known: an account that never had
    an app is answered so, and there is nothing that could be struck for it.
    """
    doubts = [*pages.doubts, *([] if pages.complete or pages.doubts else ["the walk did not end"])]
    if seen:
        return doubts

    async def known(conn: Connection, _: Meta) -> tuple[list[str], Said]:
        return await sync_store.list_known(conn, walk.sync, limit=2), ()

    match await walk.step(known):
        case [] if pages.blank:
            return []
        case [only] if not doubts and kind.read:
            return await _only_one(kind.read, only, walk)
    return doubts


async def _only_one(read: Callable[[DigitalOcean, str], Awaitable[Row]], id: str, walk: Walking) -> list[str]:
    """The doubts in an empty list, where one resource is known: several that vanish at once would be held back.

    A token that lost the kind's scope is answered with empty lists.
    """
    try:
        await read(walk.do, id)
    except NotFound:
        return []
    except Forbidden as error:
        return [f"nothing is listed, and the only one known may not be asked for: {error}"]
    return [f"nothing is listed, but the provider knows the only one by its id: {id}"]


async def _take_in(kind: Kind, batch: Batch, sync: Sync, conn: Connection, meta: Meta) -> tuple[Taken, Said]:
    # A clock that was set back must not make what was seen look as if it had been seen before the walk.
    taken = await take_in(conn, kind, batch.rows, max(batch.read_at, sync.began_at), meta)
    return taken, taken.events


async def _conclude(walk: Walking, counts: Counter[str]) -> dict[str, Any]:
    """End a complete walk: strike what it did not see, or hold the strikes back where too much is missing to be true.

    Mostly nothing is missing: then the walk ends in the step that finds so.
    """
    sync, interval = walk.sync, walk.run.resources.strike_interval
    numbers: dict[str, Any] = {}

    async def look(conn: Connection, meta: Meta) -> tuple[Absence, Said]:
        absence = await _hold_back(sync, conn, meta)
        if absence.held or not absence.unseen:
            numbers.update(counts, held=absence.held, complete=True)
            status = "held" if absence.held else "complete"
            await _end(walk, status, conn, meta, numbers=numbers)
        return absence, ()

    absence = await walk.step(look, progress=lambda: walk.done if numbers else None)
    if numbers:
        return numbers
    last = store.BEFORE_ALL
    while page := await walk.step(partial(_strike_page, sync, interval, absence.at, last)):
        counts["struck"] += len(page)
        last = page[-1]
    counts["deleted"] = await delete_struck_out(walk.run, sync.kind)
    numbers.update(counts, complete=True)
    await finish(walk, "complete", numbers=numbers)
    return numbers


@dataclass(frozen=True)
class Absence:
    """How many a walk did not see, how many strikes are held back for it (0: it is plausible), and when that was so."""

    unseen: int
    held: int
    at: datetime


async def _hold_back(sync: Sync, conn: Connection, meta: Meta) -> Absence:
    await sync_store.supersede_held_sync(conn, sync.kind, meta.now)
    known, missing, unseen = await sync_store.count_missing(conn, sync)
    if not is_implausible(missing, known):
        return Absence(unseen, 0, meta.now)
    held = await sync_store.insert_held_sync(conn, sync, meta.now)
    log.error(
        "a sync is held: too much of a kind has vanished at once",
        kind=sync.kind,
        missing=missing,
        known=known,
        remedy=f"look at the provider, then approve or reject the held sync {sync.id}",
    )
    return Absence(unseen, held, meta.now)


async def _strike_page(
    sync: Sync, interval: timedelta, at: datetime, after: UUID, conn: Connection, _: Meta
) -> tuple[list[UUID], Said]:
    return await sync_store.strike_missing(conn, sync, interval, at, after=after, limit=STRUCK_AT_ONCE), ()


async def strike_approved(run: JobRun[Provider], held_sync_id: UUID) -> int:
    """Give the strikes that an operator has approved; gives how many."""
    interval, struck, last = run.resources.strike_interval, 0, store.BEFORE_ALL
    while page := await transact(run, partial(_approved_page, held_sync_id, interval, last)):
        struck, last = struck + sum(row["struck"] for row in page), page[-1]["id"]
    return struck


async def _approved_page(
    held_sync_id: UUID, interval: timedelta, after: UUID, conn: Connection, _: Meta
) -> tuple[list[store.Row], Said]:
    await store.take_turn(conn)
    return await sync_store.strike_approved(conn, held_sync_id, interval, after=after, limit=STRUCK_AT_ONCE), ()


async def delete_struck_out(run: JobRun[Provider], kind: str) -> int:
    """Tombstone all of a kind that have three strikes, with their events; gives how many."""
    deleted = 0
    while page := await transact(run, partial(_delete_page, kind)):
        deleted += page
    return deleted


async def _delete_page(kind: str, conn: Connection, meta: Meta) -> tuple[int, Said]:
    await store.take_turn(conn)
    rows = await sync_store.delete_struck_out(conn, kind, DELETED_AT_ONCE, meta.now)
    reason = "missing from three complete walks"
    happened = [Happened(row, Happening.DELETED, reason=reason) for row in rows]
    events = await history.record(conn, happened, meta)
    return len(rows), [*events, *await attribution.forsake(conn, rows, meta)]
