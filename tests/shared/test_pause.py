"""Pauses that an event ends early."""

from __future__ import annotations

import asyncio
import time

import pytest

from shared.pause import pause


async def test_a_pause_ends_with_the_event_or_with_its_time() -> None:
    due, began = asyncio.Event(), time.monotonic()
    await pause(due, 0.05)
    assert 0.05 <= time.monotonic() - began < 1
    due.set()
    await pause(due, 60)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("turns", range(4))
async def test_a_cancellation_that_comes_with_the_event_is_not_lost(turns: int) -> None:
    due = asyncio.Event()
    paused = asyncio.create_task(pause(due, 60))
    await asyncio.sleep(0.01)
    due.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    if paused.cancel():  # it had not ended yet
        with pytest.raises(asyncio.CancelledError):
            await paused
