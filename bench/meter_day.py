"""meter-day: a day of so many resources, each of some deployment's, beside a bare INSERT ... SELECT of as many rows.

Metered is by the job's own step: observed, compared with what is known of the day, summed up by deployment, committed.
The peer writes as many finished rows into a table of the same columns and the same key. In the notes: the same without
a key.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import asyncpg

from bench.report import Figure, Report, middle
from bench.serving import fresh_database
from dev.stack import Stack
from services.metering import metering
from services.metering.app import MIGRATIONS
from shared.db import Database
from shared.ids import uuid7
from shared.migrate import migrate
from shared.outcome import Meta
from tests.conftest import settings_for

SIZES = (1_000, 10_000, 100_000, 1_000_000)
RESOURCES = 100_000
_PER_DEPLOYMENT = 10
_ROUNDS = 5
_DAY = date(2026, 5, 10)


async def run(stack: Stack) -> Report:
    """Measure on this stack."""
    each: dict[int, float] = {}
    async with _world(stack) as world:
        for size in SIZES:
            await world.populate(size)
            rounds = 1 if size > RESOURCES else _ROUNDS
            pairs = [(await world.meter(), await world.bare("keyed")) for _ in range(rounds)]
            each[size] = middle(pairs)[0] / size * 1e6
            if size == RESOURCES:
                ours, keyed = middle(pairs)
                _, plain = middle([(await world.meter(), await world.bare("plain")) for _ in range(_ROUNDS)])
                again = await world.meter(anew=False)
    return Report(
        "meter-day",
        f"a day of {RESOURCES:,} resources, {_PER_DEPLOYMENT} to a deployment, observed, summed up and committed",
        [
            Figure("time", ours, keyed, "s", 3, "lower", "a bare INSERT ... SELECT of as many rows, with the same key"),
            Figure(
                "us per resource, of a million",
                each[SIZES[-1]],
                each[SIZES[0]],
                "us",
                1.5,
                "lower",
                f"of {SIZES[0]:,}",
            ),
        ],
        {
            "the ratio to an INSERT ... SELECT into a table without a key": round(ours / plain, 2),
            "us per resource": ", ".join(f"{value:.1f} of {size:,}" for size, value in each.items()),
            "seconds of metering it again, which changes nothing": round(again, 2),
            "rounds, of which the middle one counts": _ROUNDS,
        },
    )


@dataclass
class World:
    """Metering's database."""

    db: Database
    owner: asyncpg.Connection[Any]

    async def populate(self, count: int) -> None:
        """Know so many resources: droplets, snapshots and zones."""
        await self.owner.execute("truncate segments")
        await self.owner.execute(
            """
            insert into segments (resource_id, since, until, deployment_id, resource_kind, amount)
            select gen_random_uuid(), '2026-04-01', null, md5((n % ($1 / $2))::text)::uuid,
              (array['droplet_hours', 'snapshot_gb_month', 'dns_zones'])[1 + n % 3], 1 + n % 2
            from generate_series(1, $1) n
            """,
            count,
            _PER_DEPLOYMENT,
        )
        await self.owner.execute("vacuum analyze segments")

    async def meter(self, *, anew: bool = True) -> float:
        """Seconds of observing the day, of which nothing is known yet, or all."""
        if anew:
            await self.owner.execute("truncate usage_records, usage_days, metered_days")
        await self.owner.execute("checkpoint")
        started = time.perf_counter()
        async with self.db.transaction() as conn:
            await metering.observe(_DAY, conn, Meta(uuid7(), datetime(2026, 5, 11, 1, 10, tzinfo=UTC)))
        return time.perf_counter() - started

    async def bare(self, table: str) -> float:
        """Seconds of writing as many rows as there are of the day, into an empty table."""
        like = "including all" if table == "keyed" else ""
        await self.owner.execute(f"drop table if exists {table}; create table {table} (like usage_records {like})")
        await self.owner.execute("checkpoint")
        started = time.perf_counter()
        await self.owner.execute(f"insert into {table} select * from usage_records")
        return time.perf_counter() - started


@asynccontextmanager
async def _world(stack: Stack) -> AsyncIterator[World]:
    async with fresh_database(stack) as url:
        settings = settings_for(stack, url)
        await migrate(settings, {"metering": MIGRATIONS})
        db = await Database.of_service(settings, "metering")
        owner = await asyncpg.connect(url, server_settings={"search_path": "metering"})
        yield World(db, owner)
        await owner.close()
        await db.close()
