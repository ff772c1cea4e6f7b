"""Waiting for something that may not come."""

from __future__ import annotations

import asyncio
from contextlib import suppress


async def pause(due: asyncio.Event, seconds: float) -> None:
    """Wait until an event is set, some seconds at most.

    Not `asyncio.wait_for`: in Python 3.11 that swallows a cancellation which comes in the same turn of the loop as the
    event, and whoever waits for the end of the cancelled task waits for ever.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await due.wait()
