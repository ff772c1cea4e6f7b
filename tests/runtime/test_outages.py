"""Servers that are away: when a service starts, while it runs, and when it is asked to stop."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from dev.stack import Stack
from shared import outbox
from shared.bus import Records, Subscription
from shared.ids import uuid7
from shared.outbox import Row
from tests.conftest import settings_for
from tests.ledger.messages import COMMANDS, Deposit
from tests.ledger.world import Replica, World, world
from tests.runtime.test_process import Health, with_health


@dataclass(frozen=True)
class Scene:
    """Servers of one's own, and one ledger process on them."""

    stack: Stack
    world: World
    health: Health
    replica: Replica

    async def deposits(self, account: str, count: int = 5) -> None:
        """All of them are handled once."""
        ids = await self.world.send([Deposit(account=account, amount=1) for _ in range(count)])
        assert set((await self.world.outcomes(ids, seconds=60)).values()) == {"ok"}
        entries = "select count(*) from entries where account = $1"
        assert await self.world.ledger.pool.fetchval(entries, account) == count


@pytest.fixture(scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    with Stack(f"outages-{os.getpid()}", ephemeral=True) as stack:
        settings, health = with_health(settings_for(stack, stack.database_url))
        async with world(settings, tmp_path_factory.mktemp("logs")) as there:
            await _down(stack)
            (replica,) = there.start("ledger")
            yield Scene(stack, there, health, replica)


async def _down(stack: Stack) -> None:
    await asyncio.to_thread(stack.postgres.kill)
    await asyncio.to_thread(stack.kafka.kill)


async def _terminated_in(replica: Replica) -> float:
    asked = time.monotonic()
    assert await asyncio.to_thread(replica.terminate) == 0
    return time.monotonic() - asked


async def test_a_service_that_waits_for_its_servers_is_alive_and_not_ready(scene: Scene) -> None:
    assert (await scene.health.becomes("/healthz", 200))["ok"] is True
    assert "awaited" in str((await scene.health.becomes("/readyz", 503))["checks"])


async def test_it_can_be_stopped_while_it_waits(scene: Scene) -> None:
    await scene.health.becomes("/readyz", 503)
    assert await _terminated_in(scene.replica) < 5


async def test_it_works_as_soon_as_they_are_there(scene: Scene) -> None:
    scene.replica.start()
    await scene.health.becomes("/readyz", 503)
    await asyncio.to_thread(scene.stack.postgres.start)
    await asyncio.sleep(1.5)
    await asyncio.to_thread(scene.stack.kafka.start)
    await scene.health.becomes("/readyz", 200)
    await scene.deposits("started")


async def test_while_kafka_is_away_the_outbox_grows_and_nothing_is_lost(scene: Scene) -> None:
    await asyncio.to_thread(scene.stack.kafka.kill)
    ids = await scene.world.send([Deposit(account="kafka", amount=1) for _ in range(20)])
    assert "broker" in str(await scene.health.becomes("/readyz", 503))
    assert (await scene.health.becomes("/healthz", 200))["ok"] is True
    assert await scene.world.ledger.pool.fetchval("select count(*) from outbox") >= len(ids)
    await asyncio.to_thread(scene.stack.kafka.start)
    assert set((await scene.world.outcomes(ids, seconds=60)).values()) == {"ok"}
    await scene.health.becomes("/readyz", 200)
    assert await scene.world.ledger.pool.fetchval("select balance from accounts where name = 'kafka'") == len(ids)


async def test_a_commit_that_kafka_does_not_take_holds_nobody_up(scene: Scene) -> None:
    settings = scene.world.settings
    handled = asyncio.Event()

    async def and_kafka_dies(records: Records) -> None:
        await asyncio.to_thread(scene.stack.kafka.kill)
        handled.set()

    subscription = Subscription(settings, "bystander", [COMMANDS], and_kafka_dies)
    await subscription.start()
    await asyncio.wait_for(handled.wait(), 20)
    began = time.monotonic()
    await subscription.stop()
    assert time.monotonic() - began < 10
    await asyncio.to_thread(scene.stack.kafka.start)


async def test_while_the_database_is_away_it_is_not_ready_and_goes_on_when_it_is_back(scene: Scene) -> None:
    await asyncio.to_thread(scene.stack.postgres.kill)
    await scene.health.becomes("/readyz", 503)
    assert (await scene.health.becomes("/healthz", 200))["ok"] is True
    await asyncio.to_thread(scene.stack.postgres.start)
    await scene.health.becomes("/readyz", 200)
    await scene.deposits("database")


async def test_what_was_deleted_from_the_outbox_does_not_come_back_with_a_database_that_is_killed(scene: Scene) -> None:
    """It would be published again alone, after what is newer."""
    await _terminated_in(scene.replica)
    ledger = scene.world.ledger
    async with ledger.connection() as conn:
        written = await outbox.insert(conn, [Row(uuid7(), COMMANDS, "key", "x", b"")])
        await outbox.delete(conn, [position for position, *_ in written.rows])
    await asyncio.to_thread(scene.stack.postgres.kill)
    await asyncio.to_thread(scene.stack.postgres.start)
    assert await ledger.pool.fetchval("select count(*) from outbox") == 0
    scene.replica.start()
    await scene.health.becomes("/readyz", 200)


async def test_it_can_be_stopped_while_both_are_away(scene: Scene) -> None:
    await _down(scene.stack)
    await scene.health.becomes("/readyz", 503)
    assert await _terminated_in(scene.replica) < 15
