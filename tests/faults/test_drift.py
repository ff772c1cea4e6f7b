"""What is compared by processes that are killed, or by several at once, is found once, and nothing is missed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.drift import (
    AcceptDrift,
    DriftChanged,
    DriftClosed,
    DriftDetected,
    DriftGathered,
    RecordSpec,
    SurgeBegan,
)
from services.drift.app import MIGRATIONS
from shared.config import Settings
from shared.db import Database
from shared.migrate import migrate
from tests.drift.world import Drifting, droplet
from tests.ledger.world import replicas_of

SIZES = ("s-1vcpu-1gb", "s-2vcpu-2gb", "s-4vcpu-8gb")


@pytest.fixture
async def drift(settings: Settings) -> AsyncIterator[Drifting]:
    """The service's database; its processes are the tests'."""
    settings = settings.model_copy(update={"log_level": "INFO"})
    await migrate(settings, {"drift": MIGRATIONS})
    db = await Database.of_service(settings, "drift")
    yield Drifting(settings, db)
    await db.close()


WAITS = "exists (select from pg_locks where not granted and relation = 'drift.{}'::regclass)"


@pytest.mark.parametrize("table", ["resources", "asked", "cloud_drift", "jobs"])
async def test_a_change_is_one_drift_wherever_the_process_is_killed(
    drift: Drifting, tmp_path: Path, table: str
) -> None:
    web = droplet()
    with replicas_of("drift", drift.settings, tmp_path, 1) as (replica,):
        await drift.tell(web)
        await drift.record(web, size_slug=SIZES[0])
        async with drift.held_up(table):
            await drift.put_on_the_bus(droplet(version=2, size_slug=SIZES[1]))
            await drift.until(WAITS.format(table))
            replica.kill()
        replica.start()
        await drift.until("exists (select from cloud_drift)", seconds=60)
        await drift.settled()
        assert await drift.drifts() == [("size_slug", SIZES[0], SIZES[1])]
        assert len({each.subject for each in await drift.told(DriftDetected)}) == 1
        assert not await drift.told(DriftClosed)


async def test_changes_and_decisions_through_kills_of_three_add_up(drift: Drifting, tmp_path: Path) -> None:
    dice = random.Random(7)
    fleet = [droplet(f"web-{n}") for n in range(20)]
    with replicas_of("drift", drift.settings, tmp_path, 3) as processes:
        await drift.tell(*fleet)
        specs = [RecordSpec(resource_id=each.id, spec={"size_slug": SIZES[0], "region": "syd1"}) for each in fleet]
        commands = await drift.send(*specs)
        for version in range(2, 14):
            news = [droplet(f"web-{n}", version, size_slug=dice.choice(SIZES)) for n in range(20)]
            await drift.put_on_the_bus(*news)
            await asyncio.sleep(dice.uniform(0.1, 0.6))
            found = await drift.fetch("select id from cloud_drift where status = 'open' order by random() limit 2")
            commands += await drift.send(*(AcceptDrift(drift_id=row["id"]) for row in found))
            if version % 2:
                victim = dice.choice(processes)
                victim.kill()
                victim.start()
        for command in commands:
            assert (await drift.outcome(command, 90)).status in {"ok", "refused"}
        await drift.until("(select count(*) from resources where version = 13) = 20", seconds=60)
        await drift.settled()
        last = {each.id: each.size_slug for each in news}
        asked = await drift.fetch("select resource_id as id, spec ->> 'size_slug' as size from cloud_provisioned")
        wrong = {row["id"]: (row["size"], last[row["id"]]) for row in asked if row["size"] != last[row["id"]]}
        found = await drift.fetch(
            "select resource_id, desired #>> '{}' as d, live #>> '{}' as l, status from cloud_drift"
        )
        assert {row["resource_id"]: (row["d"], row["l"]) for row in found if row["status"] == "open"} == wrong
        assert await drift.value(
            "select bool_and(spec_version = 1 + (select count(*) from cloud_drift d where d.resource_id = "
            "p.resource_id and d.status = 'accepted')) from cloud_provisioned p"
        ), "each acceptance has changed its spec once"
        told = await drift.told(DriftDetected, DriftGathered, DriftChanged, DriftClosed)
        opened, closed = [
            Counter(each.subject for each in told if each.type in types)
            for types in ({DriftDetected.TYPE, DriftGathered.TYPE}, {DriftClosed.TYPE})
        ]
        statuses = Counter(row["status"] for row in found)
        assert (set(opened.values()), len(opened), len(closed)) == (
            {1}, len(found), len(found) - statuses["open"],
        )  # fmt: skip
        assert len(await drift.told(SurgeBegan)) <= 1
