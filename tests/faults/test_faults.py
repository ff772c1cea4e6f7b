"""Nothing is lost and nothing is applied twice, whatever is killed, frozen or restarted."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import UUID

import pytest

from contracts.message import Reply
from dev.stack import Stack
from shared.bus import tail
from shared.config import Settings
from shared.db import OUTAGES
from shared.ids import uuid7
from shared.wire import decode
from tests.conftest import settings_for
from tests.faults.storm import LedgerStorm
from tests.ledger.messages import ACCOUNTS, REPLIES, Account, AccountChanged, Deposit
from tests.ledger.world import World, world

_EVENTS_PER_COMMAND = 10
_ACCOUNTS = 200


@pytest.fixture
async def there(own_stack: Stack, tmp_path: Path) -> AsyncIterator[World]:
    settings = settings_for(own_stack, own_stack.database_url)
    async with world(settings, tmp_path) as there:
        yield there


@pytest.mark.timeout(300)
async def test_a_storm_of_faults_loses_nothing_and_doubles_nothing(there: World, own_stack: Stack) -> None:
    await _weather(there, own_stack, commands=1_000, faults=8, seed=20261121)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_long_storm_loses_nothing_and_doubles_nothing(there: World, own_stack: Stack, seed: int) -> None:
    await _weather(there, own_stack, commands=5_000, faults=40, seed=seed)


async def _weather(there: World, stack: Stack, *, commands: int, faults: int, seed: int) -> None:
    """Commands flow in throughout the storm; when it is over, everything must add up."""
    for service in ("ledger", "mirror"):
        there.start(service, 2)
    storm = LedgerStorm(there, stack, seed)
    deposits = _deposits(commands, seed)
    blowing = asyncio.create_task(storm.blow(faults))
    try:
        await _send_throughout(there, deposits, blowing)
        await blowing
        outcomes = await there.outcomes(list(deposits), seconds=120)
        await there.mirrored(seconds=60)
    except AssertionError as error:
        raise AssertionError(f"{error}; the faults: {storm.happened}; logs in {there.logs}") from error
    finally:
        blowing.cancel()
    await _check_books(there, deposits, outcomes)
    await _check_events(there.settings, deposits)
    await _check_replies(there.settings, outcomes)


def _deposits(count: int, seed: int) -> dict[UUID, Deposit]:
    chance = random.Random(seed)
    return {
        uuid7(): Deposit(
            account=f"account-{chance.randrange(_ACCOUNTS)}",
            amount=chance.choice([1, 2, 3, 5, 8, -1]),
            times=_EVENTS_PER_COMMAND,
        )
        for _ in range(count)
    }


async def _send_throughout(there: World, deposits: dict[UUID, Deposit], blowing: asyncio.Task[None]) -> None:
    """Send in portions over the storm. A portion whose commit is in doubt is sent again: the ids make that harmless."""
    ids = list(deposits)
    size = max(1, len(ids) // 120)
    for start in range(0, len(ids), size):
        portion = ids[start : start + size]
        while True:
            try:
                await there.send([deposits[id] for id in portion], ids=portion)
                break
            except OUTAGES:
                await asyncio.sleep(0.2)
                if blowing.done():
                    blowing.result()  # a storm that failed leaves the world broken: say why
        if not blowing.done():
            await asyncio.sleep(0.5)


async def _check_books(there: World, deposits: dict[UUID, Deposit], outcomes: dict[UUID, str]) -> None:
    """Each deposit that is not refused is booked once, and the balances are their sums."""
    expected = {id: "refused" if deposit.amount < 0 else "ok" for id, deposit in deposits.items()}
    assert outcomes == expected
    entries = await there.ledger.pool.fetch("select command_id, account, amount from entries")
    booked = Counter(row["command_id"] for row in entries)
    assert booked == Counter(id for id, status in expected.items() if status == "ok")
    sums: Counter[str] = Counter()
    for row in entries:
        sums[row["account"]] += row["amount"]
    accounts = await there.ledger.pool.fetch("select name, balance from accounts")
    assert {row["name"]: row["balance"] for row in accounts} == dict(sums)
    assert await there.ledger.pool.fetchval("select count(*) from dead_letters") == 0
    assert await there.mirror.pool.fetchval("select count(*) from dead_letters") == 0


async def _check_events(settings: Settings, deposits: dict[UUID, Deposit]) -> None:
    """Every version of every account was published, and what compaction would keep is the last one."""
    versions: dict[str, set[int]] = {}
    last: dict[str, Account] = {}
    for raw in await _everything(settings, ACCOUNTS):
        _, message = decode(raw)
        assert isinstance(message, AccountChanged)
        account = message.account
        versions.setdefault(account.name, set()).add(account.version)
        last[account.name] = account
    booked = Counter(deposit.account for deposit in deposits.values() if deposit.amount > 0)
    assert versions == {name: set(range(1, n * _EVENTS_PER_COMMAND + 1)) for name, n in booked.items()}
    assert {name: account.version for name, account in last.items()} == {n: max(v) for n, v in versions.items()}


async def _check_replies(settings: Settings, outcomes: dict[UUID, str]) -> None:
    """Every command was answered, always with its outcome."""
    told: dict[UUID, set[str]] = {}
    for raw in await _everything(settings, REPLIES):
        _, reply = decode(raw)
        assert isinstance(reply, Reply)
        told.setdefault(reply.command_id, set()).add(reply.status)
    assert told == {id: {status} for id, status in outcomes.items()}


async def _everything(settings: Settings, topic: str) -> Sequence[bytes]:
    """What a consumer that sees committed transactions only reads from a topic, from its beginning to its end."""
    async with tail(settings, [topic], since_ms=0) as consumer:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        values: list[bytes] = []
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            found = await consumer.getmany(timeout_ms=500)
            values += [record.value for records in found.values() for record in records if record.value is not None]
        return values
