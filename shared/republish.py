"""Telling the current state of everything again, through the outbox: what `arcadia republish` does.

Each page is read and put into the outbox in one transaction. A republisher must lock what it reads (`for share`, or
whatever its service's writers wait for): then no newer state can reach the outbox before the one that was read, and a
compacted topic cannot end on an old one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from shared import outbox
from shared.db import Database
from shared.ids import uuid7
from shared.outbox import Sender
from shared.outcome import Meta, Outcome
from shared.service import Service

MAX_DEPTH = 10_000
"""No page is added while so many messages wait in the outbox: what happens meanwhile must not queue behind millions."""

_STUCK_AFTER_S = 30.0
_PAUSE_S = 0.05


class OutboxStuck(Exception):
    """Nobody publishes the service's outbox."""


async def republish(
    service: Service[Any], database: Database, by: str, progress: Callable[[int], None] = lambda _: None
) -> int:
    """Send the current state of all that the service owns; gives the number of events. `progress` hears the sum so far.

    A running process of the service publishes them. Raises `OutboxStuck` where none does.
    """
    sender, sent = Sender(service.name), 0
    cause = Meta(uuid7(), datetime.now(UTC), actor=by)
    async with database.connection() as conn:
        for emit in service.republishers:
            pages = emit(conn)
            while True:
                await _until_shallow(database, service.name)
                async with conn.transaction():
                    page = await anext(pages, None)
                    if page is None:
                        break
                    await outbox.insert(conn, sender.rows(Outcome(events=page), cause))
                sent += len(page)
                progress(sent)
    return sent


async def _until_shallow(database: Database, service: str) -> None:
    """Wait until the outbox has room."""
    lowest, since = None, time.monotonic()
    while (depth := await database.pool.fetchval("select outbox_depth from v1_all_health")) >= MAX_DEPTH:
        if lowest is None or depth < lowest:
            lowest, since = depth, time.monotonic()
        if time.monotonic() - since > _STUCK_AFTER_S:
            raise OutboxStuck(f"{depth} messages wait in the outbox of {service}, and nobody publishes them")
        await asyncio.sleep(_PAUSE_S)
