"""inventory-sync: a sync that finds nothing new, beside the client that only walks the same pages; and its memory.

The service is a process of its own, as `arcadia run inventory` runs it, with a rate limit neither there nor here. The
peer is the same client in this process. Both are measured alternately, the stand-in of the provider is the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psutil

from bench.report import Figure, Report, middle
from bench.serving import fresh_database, service_process
from contracts.inventory import SyncInventory
from contracts.kinds import ResourceKind
from dev.digitalocean.running import RunningStandIn, running_stand_in
from dev.stack import Stack
from services.inventory.app import MIGRATIONS
from services.inventory.kinds import KINDS, Listed
from shared import outbox
from shared.db import Database
from shared.digitalocean import DigitalOcean, TokenResolver, Walk
from shared.digitalocean.walk import PER_PAGE
from shared.ids import uuid7
from shared.migrate import migrate
from shared.outbox import Sender
from shared.outcome import Meta, Outcome, Send
from tests.conftest import settings_for

FLEET = 10_000
LARGE_FLEET = 100_000
_OTHERS = 100  # as many of the other kinds as there are droplets
_ROUNDS = 9
_LOOK_EVERY_S = 0.2
_PROJECTS = 12
_MEMORY_LIMIT_MB = 300
_CHECKOUT = Path(__file__).parents[1]


async def run(stack: Stack) -> Report:
    """Measure on this stack."""
    async with _fleet(stack, droplets=FLEET) as fleet:
        droplets, walked, droplet_requests = await _compare(fleet, ResourceKind.DROPLET)
        least_of_droplets = await fleet.least_requests(ResourceKind.DROPLET)
    async with _fleet(stack, droplets=FLEET // 2, others=_OTHERS) as fleet:
        everything, all_walked, all_requests = await _compare(fleet, None)
        least, kinds, count = await fleet.least_requests(None), len(KINDS), await fleet.count()
        small = fleet.peak_memory
    async with _fleet(stack, droplets=LARGE_FLEET // 2, others=_OTHERS) as fleet:
        large_seconds = await fleet.sync(None)
        large, large_count = fleet.peak_memory, await fleet.count()
    return Report(
        "inventory-sync",
        f"a sync that finds {FLEET:,} resources unchanged, from command to outcome; memory with {LARGE_FLEET:,}",
        [
            Figure("droplets alone", droplets, walked, "s", 1.5, "lower", "the client walking the same pages"),
            Figure("projects and all kinds", everything, all_walked, "s", 1.5, "lower", "the client, likewise"),
            Figure(f"memory with {LARGE_FLEET:,}", large, _MEMORY_LIMIT_MB, "MiB", 1, "lower", "limit"),
        ],
        {
            "requests per sync of droplets, and the least possible": f"{droplet_requests}, {least_of_droplets}",
            "requests per sync of everything, and the least possible": f"{all_requests}, {least}",
            f"resources of {kinds} kinds in the sync of everything": count,
            "resources in the large fleet": large_count,
            f"memory with {FLEET:,} in MiB": round(small),
            f"seconds for a sync of {LARGE_FLEET:,} unchanged": round(large_seconds, 1),
            "rounds, of which the middle one counts": _ROUNDS,
        },
    )


@dataclass
class Fleet:
    """The service at work on a fleet that it knows already."""

    db: Database
    stand_in: RunningStandIn
    process: psutil.Process
    peak_memory: float = 0.0

    async def sync(self, kind: ResourceKind | None) -> float:
        """Seconds from the command's commit until its outcome is there."""
        id = uuid7()
        rows = Sender("bench").rows(
            Outcome(commands=[Send(SyncInventory(kind=kind), id=id)]), Meta(uuid7(), datetime.now(UTC))
        )
        async with self.db.transaction() as conn:
            await outbox.insert(conn, rows)
        await self.db.pool.execute('notify "inventory_outbox"')
        started = datetime.now(UTC)
        decided_at = await self._outcome(id)
        return (decided_at - started).total_seconds()

    async def _outcome(self, id: UUID) -> datetime:
        """When the command was decided. Seldom asked: asking takes from what is measured."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self.peak_memory = max(self.peak_memory, self.process.memory_info().rss / 2**20)
            rows = await self.db.pool.fetch("select * from inbox where id = $1 and status <> 'pending'", id)
            if rows and rows[0]["status"] != "ok":
                raise RuntimeError(f"the sync did not end well: {rows[0]}")
            if rows:
                return datetime.fromisoformat(str(rows[0]["decided_at"]))

    async def walk(self, kind: ResourceKind | None) -> float:
        """Seconds that the client needs for the pages that such a sync reads."""
        tokens = TokenResolver({"DO_API_TOKEN": self.stand_in.token}, 0)
        started = time.perf_counter()
        async with DigitalOcean(tokens, "sync", base_url=self.stand_in.url) as do:
            if kind is None:
                projects = [row["id"] async for rows in do.projects() for row in rows]
                for project in projects:
                    await _read(do.project_resources(project))
            for declared in KINDS.values() if kind is None else [KINDS[kind]]:
                if isinstance(declared.source, Listed):
                    await _read(declared.source.pages(do))
        return time.perf_counter() - started

    async def count(self) -> int:
        """How many resources the inventory has."""
        return int(await self.db.pool.fetchval("select count(*) from cloud_resources where deleted_at is null"))

    async def least_requests(self, kind: ResourceKind | None) -> int:
        """In how few requests such a sync can see everything: full pages of 200, a list at least one."""
        rows = await self.db.pool.fetch("select kind, count(*) as n from cloud_resources group by kind")
        counts = {row["kind"]: row["n"] for row in rows}
        listed = [each for each in KINDS.values() if isinstance(each.source, Listed) and kind in (None, each.name)]
        whole = {"database", "container_registry"}  # these lists are not paginated
        pages = sum(1 if each.name in whole else _pages(counts.get(each.name, 0)) for each in listed)
        gpus = 1  # a list of their own
        if kind is not None:
            return pages + gpus
        members = await self.db.pool.fetch("select project_id, count(*) as n from project_members group by project_id")
        empty = _PROJECTS + 1 - len(members)  # the internal one too
        return pages + gpus + _pages(_PROJECTS + 1) + sum(_pages(row["n"]) for row in members) + empty

    async def requests(self) -> int:
        async with self.stand_in.control() as control:
            count = sum((await control.requests("/v2/")).counts.values())
            await control.forget_requests()
        return count


def _pages(rows: int) -> int:
    return max(1, -(-rows // PER_PAGE))


async def _read(walk: Walk) -> None:
    async for _ in walk:
        pass
    if not walk.complete:
        raise RuntimeError(f"the walk is not complete: {walk.doubts}")


async def _compare(fleet: Fleet, kind: ResourceKind | None) -> tuple[float, float, int]:
    """Seconds of the sync and of the bare walk, and the requests of one sync."""
    await fleet.requests()
    await fleet.sync(kind)
    requests = await fleet.requests()
    return *middle([(await fleet.sync(kind), await fleet.walk(kind)) for _ in range(_ROUNDS)]), requests


@asynccontextmanager
async def _fleet(stack: Stack, *, droplets: int, others: int = 0) -> AsyncIterator[Fleet]:
    """A database of its own, a stand-in with a fleet, and the service, which has synced it once."""
    unlimited = {"droplets": droplets, "others": others, "projects": _PROJECTS, "rate_hour": 0, "rate_minute": 0}
    async with fresh_database(stack) as url:
        with running_stand_in(**unlimited) as stand_in:
            changed = {"do_api_url": stand_in.url, "do_rate_limit": 0.0}
            settings = settings_for(stack, url).model_copy(update=changed)
            await migrate(settings, {"inventory": MIGRATIONS})
            db = await Database.of_service(settings, "inventory")
            with service_process("inventory", settings, stand_in.token) as process:
                fleet = Fleet(db, stand_in, psutil.Process(process.pid))
                await fleet.sync(None)
                yield fleet
            await db.close()
