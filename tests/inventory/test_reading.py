"""Several lists at once: read in their order, so many at a time, with nothing left running; and each ended in turn."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import pytest

from services.inventory import walks
from services.inventory.provider import Provider
from services.inventory.steps import Walking
from services.inventory.sync_store import Sync
from services.inventory.walks import in_order
from shared.jobs import JobRun
from shared.outcome import Meta

AT_ONCE = 3


class Reads:
    """Lists, the later of which take less time, so that they end in the opposite order; or more, where one fails."""

    def __init__(self, *, failing: int | None = None) -> None:
        self.failing = failing
        self.begun: list[int] = []
        self.most = 0
        self.running: set[int] = set()

    async def read(self, n: int) -> int:
        self.begun.append(n)
        self.running.add(n)
        self.most = max(self.most, len(self.running))
        try:
            await asyncio.sleep(0.05 / (n + 1) if self.failing is None else 0.01 * (n + 1))
            if n == self.failing:
                raise ConnectionError(n)
            return n
        finally:
            self.running.discard(n)


async def test_what_ends_first_is_given_in_its_place() -> None:
    reads = Reads()
    assert [n async for n in in_order(map(reads.read, range(10)), AT_ONCE)] == list(range(10))
    assert reads.most == AT_ONCE


async def test_fewer_than_may_run_are_all_given() -> None:
    reads = Reads()
    assert [n async for n in in_order(map(reads.read, range(2)), AT_ONCE)] == [0, 1]


async def test_what_precedes_an_error_is_given_and_nothing_runs_on_after_it() -> None:
    reads, given = Reads(failing=4), list[int]()

    async def give() -> None:
        async for n in in_order(map(reads.read, range(10)), AT_ONCE):
            given.append(n)

    with pytest.raises(ConnectionError):
        await give()
    assert given == [0, 1, 2, 3]
    assert not reads.running
    assert len(reads.begun) > len(given) + 1, "others were running"
    assert max(reads.begun) < 4 + AT_ONCE, "no more than the failing one's company has begun"


async def test_whoever_stops_early_leaves_nothing_running() -> None:
    reads = Reads(failing=9)
    async with aclosing(in_order(map(reads.read, range(10)), AT_ONCE)) as read:
        assert await anext(read) == 0
    assert not reads.running


class OneAtATime:
    """A job's run whose parts are done when their turn of `asked` is set. `saved`: the newest progress."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Event] = []
        self.saved: dict[str, Any] = {}

    async def execute(self, query: str, *arguments: Any) -> None:
        """What a walk's end writes, which is not looked at."""

    async def apply(self, work: Any, *, progress: Any = None) -> None:
        turn = asyncio.Event()
        self.asked.append(turn)
        await turn.wait()
        await work(self, Meta(UUID(int=1), datetime.now(UTC)))
        self.saved = dict(progress() if callable(progress) else progress)


async def test_a_walk_that_ends_while_another_does_saves_also_what_that_found() -> None:
    """Or the next attempt would walk that kind again, and forget what was discovered."""
    run, done = OneAtATime(), dict[str, Any]()

    def end(name: str, seen: int) -> asyncio.Task[None]:
        walk = Walking(cast("JobRun[Provider]", run), Sync(UUID(int=1), name, datetime.now(UTC)), done)
        return asyncio.create_task(walks.finish(walk, "incomplete", numbers={"seen": seen}))

    ending = [end("volume", 0), end("snapshot", 1)]
    await asyncio.sleep(0)
    first, second = run.asked
    second.set()
    await ending[1]
    first.set()
    await ending[0]
    assert run.saved == {"volume": {"seen": 0}, "snapshot": {"seen": 1}}
