"""A day that is metered by processes which are killed, or by several at once, is metered once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from contracts.kinds import ResourceKind
from contracts.metering import MeterDay, RecordUsage
from services.metering.app import MIGRATIONS
from shared.config import Settings
from shared.db import Database
from shared.migrate import migrate
from tests.ledger.world import replicas_of
from tests.metering.test_reports import report
from tests.metering.world import BLOG, SHOP, Metering, Usage, at, day, resource

FLEET = (
    resource("web", links=[(SHOP, at(1), at(10)), (BLOG, at(10), None)]),
    resource("off", power=[("off", at(1), None)]),
    resource("data", ResourceKind.SPACES_BUCKET, size=31),
)
OBSERVED = [
    Usage(10, 0, id, name, Decimal(qty))
    for id, name, qty in sorted([(BLOG, "web", 24), (SHOP, "data", 1), (SHOP, "off", 0)])
]


@pytest.fixture
async def metering(settings: Settings) -> AsyncIterator[Metering]:
    """The service's database; its processes are the tests'."""
    settings = settings.model_copy(update={"log_level": "INFO"})
    await migrate(settings, {"metering": MIGRATIONS})
    db = await Database.of_service(settings, "metering")
    yield Metering(settings, db)
    await db.close()


@asynccontextmanager
async def locked(metering: Metering, statement: str) -> AsyncIterator[None]:
    """Whoever is in the way of a statement waits until the block ends."""
    owner = await asyncpg.connect(metering.settings.database_url.get_secret_value())
    try:
        await owner.execute(f"begin; set local search_path = metering; {statement}")
        yield
    finally:
        await owner.close()


@dataclass(frozen=True)
class Point:
    """Where metering is held up: by a table that is locked, from when a condition holds that is to be waited for."""

    table: str
    reached: str
    mode: str = "share"


WAITS = "exists (select from pg_locks where not granted and relation = 'metering.{}'::regclass)"
POINTS = {
    "before all is known": Point("resources", "exists (select from jobs where progress ? 'ends')"),
    "while it is observed": Point("usage_records", WAITS.format("usage_records")),
    "while it is summed up": Point("usage_days", WAITS.format("usage_days")),
    "while it is told": Point(
        "deployments", f"exists (select from usage_days) and {WAITS.format('deployments')}", "access exclusive"
    ),
}


async def tell_fleet(metering: Metering) -> None:
    """What is known before any day is metered. (Through a kill, a command may else be on the bus before it.)"""
    await metering.tell(*FLEET)
    await metering.until("not exists (select from outbox)")


async def is_metered_once(metering: Metering, command: UUID) -> None:
    """The day has its records, none of which was ever another. (Days since are metered too, when a process begins.)"""
    outcome = await metering.outcome(command, 60)
    assert (outcome.status, (outcome.result or {})["observations"]) == ("ok", 3)
    assert [each for each in await metering.usage() if each.day == 10] == OBSERVED
    assert not await metering.fetch("select from superseded_usage_records")
    days = await metering.fetch(
        "select resource_kind, used, told = version from usage_days where day = $1 order by 1, 2", day(10)
    )
    assert [tuple(each) for each in days] == [
        ("droplet_hours", 0, True), ("droplet_hours", 24, True), ("spaces_gb_month", 1, True),
    ]  # fmt: skip


@pytest.mark.parametrize("where", POINTS)
async def test_a_day_whose_metering_is_killed_anywhere_is_metered_once(
    metering: Metering, tmp_path: Path, where: str
) -> None:
    point = POINTS[where]
    with replicas_of("metering", metering.settings, tmp_path, 1) as (replica,):
        await metering.until("exists (select from processes)")
        async with locked(metering, f"lock table {point.table} in {point.mode} mode"):
            await tell_fleet(metering)
            (command,) = await metering.send(MeterDay(day=day(10)))
            await metering.until(point.reached)
            replica.kill()
        replica.start()
        await is_metered_once(metering, command)


async def test_days_metered_by_three_at_once_through_kills_are_as_by_one(metering: Metering, tmp_path: Path) -> None:
    dice = random.Random(1)
    with replicas_of("metering", metering.settings, tmp_path, 3) as processes:
        await tell_fleet(metering)
        commands = await metering.send(*(MeterDay(day=day(n)) for n in [*range(1, 32)] * 2))
        for _ in range(6):
            await asyncio.sleep(dice.uniform(0.3, 1.5))
            victim = dice.choice(processes)
            victim.kill()
            victim.start()
        for command in commands:
            assert (await metering.outcome(command, 90)).status == "ok"
    found = await metering.usage()
    assert len(found) == 93
    assert sum(each.qty for each in found if each.name == "data") == 31
    assert {each.day for each in found if each.deployment_id == BLOG} == {*range(10, 32)}
    assert not await metering.fetch("select from superseded_usage_records")


async def test_reports_taken_in_by_two_that_are_killed_count_once(metering: Metering, tmp_path: Path) -> None:
    dice = random.Random(2)
    with replicas_of("metering", metering.settings, tmp_path, 2) as processes:
        batches = [[report(f"{n}", "1") for n in range(first, first + 50)] for first in range(0, 2000, 25)]
        commands = await metering.send(*(RecordUsage(tenant_id="acme", reports=batch) for batch in batches))
        for _ in range(4):
            await asyncio.sleep(dice.uniform(0.3, 1.5))
            victim = dice.choice(processes)
            victim.kill()
            victim.start()
        outcomes = [await metering.outcome(command, 90) for command in commands]
    assert sum((each.result or {})["accepted"] for each in outcomes) == 2025
    (total,) = await metering.fetch("select sum(qty) as records, count(*) as rows from usage_records")
    assert (total["records"], total["rows"]) == (2025, 1)
    assert await metering.fetch("select sum(used) from usage_days") == [(2025,)]
