"""Telling everything again: each state once, never an old one after a new one, and without flooding the outbox."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from contracts.message import Envelope, Event
from shared import outbox
from shared.bus import tail
from shared.config import Settings
from shared.db import Connection
from shared.ids import uuid7
from shared.outbox import Sender
from shared.outcome import Meta, Outcome
from shared.process import running
from shared.republish import OutboxStuck, republish
from shared.service import Service
from tests.ledger.messages import ACCOUNTS, Account, AccountChanged
from tests.ledger.services import ledger
from tests.ledger.world import World, world

NAMES = [f"account-{number:03}" for number in range(40)]
PAGE = 7


async def pages(conn: Connection) -> AsyncIterator[Sequence[Event]]:
    """All accounts, in pages, locked until each page is in the outbox."""
    after = ""
    while rows := await conn.fetch(
        "select name, balance, version from accounts where name > $1 order by name limit $2 for share", after, PAGE
    ):
        yield [AccountChanged(account=Account(**dict(row))) for row in rows]
        after = rows[-1]["name"]


bank: Service[None] = Service("ledger", republishers=[pages])


@pytest.fixture
async def there(settings: Settings, tmp_path: Path) -> AsyncIterator[World]:
    async with world(settings, tmp_path) as built:
        await built.ledger.pool.execute("insert into accounts select unnest($1::text[]), 5, 1", NAMES)
        yield built


async def told(settings: Settings, wanted: int) -> list[Envelope]:
    """So many events of the accounts' topic, from its beginning, each key's in order."""
    found: list[Envelope] = []
    async with asyncio.timeout(30), tail(settings, [ACCOUNTS], since_ms=0) as consumer:
        async for record in consumer:
            found.append(Envelope.model_validate_json(record.value))
            if len(found) == wanted:
                break
    return found


async def test_everything_is_told_once_and_by_whom(there: World, settings: Settings) -> None:
    heard: list[int] = []
    async with running(ledger, settings):
        assert await republish(bank, there.ledger, "jo@ops", heard.append) == len(NAMES)
        envelopes = await told(settings, len(NAMES))

    assert Counter(envelope.subject for envelope in envelopes) == Counter(NAMES)
    assert {(envelope.sequence, envelope.actor) for envelope in envelopes} == {(1, "jo@ops")}
    assert len({envelope.correlationid for envelope in envelopes}) == 1
    assert heard == [*range(PAGE, len(NAMES), PAGE), len(NAMES)]


async def test_an_old_state_never_comes_after_a_new_one(there: World) -> None:
    async with there.ledger.transaction() as writing:
        await writing.execute("update accounts set balance = 6, version = 2 where name = $1", NAMES[0])
        changed = AccountChanged(account=Account(name=NAMES[0], balance=6, version=2))
        cause = Meta(uuid7(), datetime.now(UTC))
        await outbox.insert(writing, Sender("ledger").rows(Outcome(events=[changed]), cause))
        republishing = asyncio.create_task(republish(bank, there.ledger, "jo@ops"))
        await asyncio.sleep(0.3)
    await republishing

    assert await versions_of(there, NAMES[0]) == [2, 2]


async def versions_of(there: World, account: str) -> list[int]:
    """The versions of an account in the outbox, in the order in which they will be published."""
    rows = await there.ledger.pool.fetch("select payload from outbox where aggregateid = $1 order by position", account)
    return [Envelope.model_validate_json(row["payload"]).sequence or 0 for row in rows]


async def test_it_begins_anew_where_it_was_in_a_writers_way(there: World) -> None:
    ways: list[str] = []

    async def contended(conn: Connection) -> AsyncIterator[Sequence[Event]]:
        async for page in pages(conn):
            yield page
            if len(ways) < 2:
                ways.append("deadlock")
                raise asyncpg.DeadlockDetectedError("another transaction was in the way")

    assert await republish(Service("ledger", republishers=[contended]), there.ledger, "jo@ops") == 2 * PAGE + len(NAMES)
    assert await there.ledger.pool.fetchval("select count(distinct aggregateid) from outbox") == len(NAMES)


async def test_it_gives_up_where_it_is_always_in_the_way(there: World) -> None:
    async def hopeless(conn: Connection) -> AsyncIterator[Sequence[Event]]:
        async for page in pages(conn):
            yield page
            raise asyncpg.DeadlockDetectedError("another transaction was in the way")

    with pytest.raises(asyncpg.DeadlockDetectedError):
        await republish(Service("ledger", republishers=[hopeless]), there.ledger, "jo@ops")


async def test_the_outbox_is_not_flooded_while_nobody_publishes(there: World) -> None:
    with pytest.raises(OutboxStuck, match="14 messages wait in the outbox of ledger, and nobody publishes them"):
        await republish(bank, there.ledger, "jo@ops", max_depth=10, stuck_after_s=0.3)

    assert await there.ledger.pool.fetchval("select count(*) from outbox") == 2 * PAGE
