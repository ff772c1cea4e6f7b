"""The rate budget, in a time of the test's own: never more than allowed, and no wait longer than needed."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.digitalocean.budget import MARGIN, PER_HOUR, PER_MINUTE, PROBE_EVERY, RateBudget


class Time:
    """A clock that jumps to the next sleeper when everybody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._count = itertools.count()

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._count), woken))
        await woken.wait()

    async def run_until(self, *tasks: asyncio.Task[float]) -> None:
        """Lets time pass until the tasks are done."""
        while not all(task.done() for task in tasks):
            for _ in range(5):
                await asyncio.sleep(0)
            if self._sleepers:
                self.now, _, woken = heapq.heappop(self._sleepers)
                woken.set()


def budget(time: Time, share: float = 1.0) -> RateBudget:
    return RateBudget(share, clock=time.clock, sleep=time.sleep)


async def take(time: Time, of: RateBudget, patience: float = math.inf) -> float:
    task = asyncio.create_task(of.take(patience))
    await time.run_until(task)
    return task.result()


async def sent(time: Time, of: RateBudget, count: int) -> list[float]:
    """When each of `count` requests, one after another, could be sent."""
    times = []
    for _ in range(count):
        assert await take(time, of) == 0
        times.append(time.now)
    return times


async def test_a_minute_s_worth_goes_at_once_and_the_next_waits_for_the_first_to_leave() -> None:
    time = Time()
    times = await sent(time, budget(time), PER_MINUTE + 1)
    assert times[PER_MINUTE - 1] == 1000
    assert times[PER_MINUTE] == 1000 + 60 + MARGIN


async def test_no_minute_and_no_hour_sees_more_than_the_provider_allows() -> None:
    time = Time()
    times = await sent(time, budget(time), PER_HOUR + 500)
    minutes = zip(times, times[PER_MINUTE:], strict=False)
    hours = zip(times, times[PER_HOUR:], strict=False)
    assert min(later - earlier for earlier, later in minutes) >= 60
    assert min(later - earlier for earlier, later in hours) >= 3600


async def test_waiters_get_a_slot_each() -> None:
    time = Time()
    shared = budget(time)
    tasks = [asyncio.create_task(shared.take(math.inf)) for _ in range(2 * PER_MINUTE + 1)]
    await time.run_until(*tasks)
    assert time.now == 1000 + 2 * (60 + MARGIN)


async def test_a_share_lowers_both_limits() -> None:
    time = Time()
    times = await sent(time, budget(time, 0.1), 26)
    assert (times[24], times[25]) == (1000, 1061)


async def test_a_wait_longer_than_patience_is_told_and_takes_no_slot() -> None:
    time = Time()
    shared = budget(time)
    await sent(time, shared, PER_MINUTE)
    for _ in range(10):
        assert await take(time, shared, patience=30) == 60 + MARGIN
    assert shared.remaining == PER_HOUR - PER_MINUTE


async def test_waiting_is_counted() -> None:
    time = Time()
    shared = budget(time)
    await sent(time, shared, PER_MINUTE)
    task = asyncio.create_task(shared.take(math.inf))
    await asyncio.sleep(0)
    assert shared.waiting == 1
    await time.run_until(task)
    assert shared.waiting == 0


async def test_the_budget_is_off_at_a_share_of_zero() -> None:
    time = Time()
    shared = budget(time, 0)
    assert (await sent(time, shared, 10_000))[-1] == 1000
    assert shared.remaining == math.inf


async def test_a_hold_delays_those_who_wait_already_even_with_the_budget_off() -> None:
    time = Time()
    shared = budget(time, 0)
    shared.hold(10)
    task = asyncio.create_task(shared.take(60))
    await asyncio.sleep(0)
    shared.hold(30)
    await time.run_until(task)
    assert (task.result(), time.now) == (0, 1030)


async def test_holds_that_keep_coming_do_not_keep_a_caller_beyond_its_patience() -> None:
    time = Time()
    shared = budget(time)
    shared.hold(50)
    task = asyncio.create_task(shared.take(60))
    await asyncio.sleep(0)
    shared.hold(70)
    await time.run_until(task)
    assert (task.result(), time.now) == (20, 1050)


async def test_what_others_use_lowers_what_remains() -> None:
    time = Time()
    shared = budget(time)
    await sent(time, shared, 10)
    shared.observe(5000, 4900)
    assert shared.remaining == 4900
    await sent(time, shared, 100)
    assert shared.remaining == 4800


async def test_a_provider_that_counts_as_we_do_lowers_nothing() -> None:
    time = Time()
    shared = budget(time)
    await sent(time, shared, 10)
    shared.observe(5000, 4990)
    assert shared.remaining == 4990


async def test_a_token_that_others_have_used_up_is_probed_now_and_then() -> None:
    time = Time()
    shared = budget(time)
    await sent(time, shared, 1)
    shared.observe(5000, 0)
    assert await sent(time, shared, 3) == [1000 + PROBE_EVERY * n for n in (1, 2, 3)]
    shared.observe(5000, 100)
    assert await sent(time, shared, 1) == [1000 + PROBE_EVERY * 3]


async def test_the_wait_after_a_429_grows_with_each_in_a_row_and_starts_anew_after_an_answer() -> None:
    time = Time()
    shared = budget(time)
    waits = []
    for _ in range(8):
        waits.append(shared.refused(time.now, None))
        shared.hold(waits[-1])
        time.now += waits[-1]
    assert [int(wait - 1e-9) for wait in waits] == [1, 2, 4, 8, 16, 32, 60, 60]
    shared.answered()
    assert 1 <= shared.refused(time.now, None) <= 2


async def test_requests_under_way_together_meet_one_429() -> None:
    time = Time()
    shared = budget(time)
    sent_at = time.now
    time.now += 0.1
    for _ in range(20):
        wait = shared.refused(sent_at, None)
        shared.hold(wait)
        assert 1 <= wait <= 2


async def test_the_wait_is_as_long_as_told_but_never_shorter_than_the_back_off() -> None:
    time = Time()
    shared = budget(time)
    assert 30 <= shared.refused(time.now, 30) <= 31
    assert 2 <= shared.refused(time.now, 0.1) <= 3


@pytest.mark.parametrize("share", [0.02, 0.1])
@given(gaps=st.lists(st.floats(0, 20), min_size=1, max_size=100))
async def test_however_requests_come_no_window_overflows(share: float, gaps: list[float]) -> None:
    time = Time()
    shared = budget(time, share)
    times = []
    for gap in gaps:
        time.now += gap
        times += await sent(time, shared, 1)
    limit = int(PER_MINUTE * share)
    assert all(later - earlier >= 60 for earlier, later in zip(times, times[limit:], strict=False))
