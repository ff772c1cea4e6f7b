"""What many requests want at once is done for all of them at once, and each gets what is its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from services.gateway.acceptance import Together
from shared.db import DatabaseAway


class Squares:
    """Work that takes its time: gives the squares of numbers, not of odd ones. `batches`: what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        await asyncio.sleep(0.01)
        await self.may_end.wait()
        if odd := [number for number in numbers if number % 2]:
            raise ValueError(f"odd: {odd}")
        return [number**2 for number in numbers]


async def test_alone_nobody_waits_for_others() -> None:
    work = Squares()
    together = Together(work)
    assert await together(2) == 4
    assert await together(4) == 16
    assert work.batches == [[2], [4]]


async def test_what_comes_while_it_is_busy_is_done_at_once() -> None:
    work = Squares()
    together = Together(work)
    first = asyncio.create_task(together(2))
    await asyncio.sleep(0.001)
    rest = await asyncio.gather(*(together(number) for number in range(4, 40, 2)))
    assert await first == 4
    assert rest == [number**2 for number in range(4, 40, 2)]
    assert [len(batch) for batch in work.batches] == [1, 18]


async def test_one_that_fails_fails_alone() -> None:
    together = Together(Squares())
    results = await asyncio.gather(*(together(number) for number in range(10)), return_exceptions=True)
    assert results[::2] == [0, 4, 16, 36, 64]
    assert [str(result) for result in results[1::2]] == [f"odd: [{number}]" for number in (1, 3, 5, 7, 9)]


async def test_who_goes_away_takes_nothing_from_the_others() -> None:
    work = Squares()
    together = Together(work)
    gone, stays = asyncio.create_task(together(2)), asyncio.create_task(together(4))
    await asyncio.sleep(0.001)
    gone.cancel()
    assert await stays == 16
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert await together(6) == 36


async def test_in_an_outage_nobody_waits_for_it_in_turn() -> None:
    asked: list[int] = []

    async def away(numbers: Sequence[int]) -> list[int]:
        asked.append(len(numbers))
        await asyncio.sleep(0.01)
        raise DatabaseAway("gone")

    together = Together(away)
    results = await asyncio.gather(*(together(number) for number in range(20)), return_exceptions=True)
    assert [type(result) for result in results] == [DatabaseAway] * 20
    assert len(asked) <= 2


async def test_what_nobody_waits_for_any_more_is_not_done() -> None:
    """A caller who was told of an outage repeats the request."""
    work = Squares()
    work.may_end.clear()
    together = Together(work)
    first = asyncio.create_task(together(2))
    await asyncio.sleep(0.001)
    given_up = [asyncio.create_task(together(number)) for number in (4, 6)]
    await asyncio.sleep(0.001)
    for task in given_up:
        task.cancel()
    work.may_end.set()
    assert (await first, await together(8)) == (4, 64)
    assert work.batches == [[2], [8]]


async def test_nor_when_it_is_tried_alone() -> None:
    work = Squares()
    together = Together(work)
    first = asyncio.create_task(together(2))
    await asyncio.sleep(0.001)
    fails, given_up = asyncio.create_task(together(3)), asyncio.create_task(together(4))
    await first
    while len(work.batches) < 3:  # both at once, and the one that fails
        await asyncio.sleep(0.001)
    given_up.cancel()
    with pytest.raises(ValueError, match="odd"):
        await fails
    assert await together(6) == 36
    assert work.batches == [[2], [3, 4], [3], [6]]
