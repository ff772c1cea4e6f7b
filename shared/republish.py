"""Telling the current state of everything again, through the outbox: what `arcadia republish` does.

Each page is read and put into the outbox in one transaction. A republisher must lock what it reads (`for share`, or
whatever its service's writers wait for): then no newer state can reach the outbox before the one that was read, and a
compacted topic cannot end on an old one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from contracts.message import Event
from shared import outbox
from shared.db import CONTENTION, Connection, Database
from shared.ids import uuid7
from shared.outbox import Sender
from shared.outcome import Meta, Outcome
from shared.service import Service

MAX_DEPTH = 10_000
"""No page is added while so many messages wait in the outbox: what happens meanwhile must not queue behind millions."""

STUCK_AFTER_S = 30.0
"""After so long without any message leaving the outbox nobody publishes it."""

_PAUSE_S = 0.05
_ATTEMPTS = 5

Republisher = Callable[[Connection], AsyncIterator[Sequence[Event]]]


class OutboxStuck(Exception):
    """Nobody publishes the service's outbox."""


async def republish(
    service: Service[Any],
    database: Database,
    by: str,
    progress: Callable[[int], None] = lambda _: None,
    *,
    max_depth: int = MAX_DEPTH,
    stuck_after_s: float = STUCK_AFTER_S,
) -> int:
    """Send the current state of all that the service owns; gives the number of events. `progress` hears the sum so far.

    A running process of the service publishes them. Raises `OutboxStuck` where none does.
    """
    sent = 0
    await _until_shallow(database, max_depth, stuck_after_s)
    for emit in service.republishers:
        async for count in _told(service.name, emit, database, by):
            sent += count
            progress(sent)
            await _until_shallow(database, max_depth, stuck_after_s)
    return sent


async def _told(service: str, emit: Republisher, database: Database, by: str) -> AsyncIterator[int]:
    """Send one republisher's pages; gives how many events each had.

    Where it was in the way of a writer it begins anew: a generator that has failed cannot go on, and twice is as good
    as once.
    """
    cause, left = Meta(uuid7(), datetime.now(UTC), actor=by), _ATTEMPTS
    while left:
        left -= 1
        try:
            async with database.connection() as conn:
                pages = emit(conn)
                while count := await _send_next(pages, conn, Sender(service), cause):
                    yield count
            return
        except CONTENTION:
            if not left:
                raise


async def _send_next(pages: AsyncIterator[Sequence[Event]], conn: Connection, sender: Sender, cause: Meta) -> int:
    """Read a page and put it into the outbox, in one transaction; gives its length, 0 after the last."""
    async with conn.transaction():
        page = await anext(pages, None) or ()
        await outbox.insert(conn, sender.rows(Outcome(events=page), cause))
        return len(page)


async def _until_shallow(database: Database, max_depth: int, stuck_after_s: float) -> None:
    """Wait until the outbox has room."""
    lowest, since = None, time.monotonic()
    while (depth := await database.pool.fetchval("select outbox_depth from v1_all_health")) >= max_depth:
        if lowest is None or depth < lowest:
            lowest, since = depth, time.monotonic()
        if time.monotonic() - since > stuck_after_s:
            raise OutboxStuck(f"{depth} messages wait in the outbox of {database.schema}, and nobody publishes them")
        await asyncio.sleep(_PAUSE_S)
