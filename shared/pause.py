"""Pauses."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress


async def pause(due: asyncio.Event, seconds: float) -> None:
    """Wait until an event is set, some seconds at most.

    Not `asyncio.wait_for`: in Python 3.11 that swallows a cancellation which comes in the same turn of the loop as the
    event, and whoever waits for the end of the cancelled task waits for ever.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await due.wait()


def jittered(seconds: float, by: float = 0.5) -> float:
    """So many seconds, give or take a share of them, so that what failed together does not come back together."""
    return seconds * random.uniform(1 - by, 1 + by)  # noqa: S311 - spreads load, guards nothing
