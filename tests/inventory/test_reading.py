"""Reading several lists at once: in their order, so many at a time, and nothing left running behind an error."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from services.inventory.walks import in_order

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
