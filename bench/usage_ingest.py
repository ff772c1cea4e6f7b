"""usage-ingest: events of usage over HTTP, in batches, to committed rows of metering through Kafka.

One gateway and one metering process, and on the same machine PostgreSQL, Kafka and whoever sends. The clock runs from
the first request until every report is a committed row and metering has told Kafka that it handled all. Peer: the same
batches inserted by bare asyncpg, each in a transaction of its own, into a table of the same columns and key.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from uuid import UUID

import asyncpg
import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from bench.http_load import Connection, encoded
from bench.report import Figure, Report, percentile
from bench.serving import authorization, fresh_database, server
from cli.services import migrations
from contracts.kinds import REPORTED_KINDS
from contracts.metering import COMMANDS, MOST_REPORTS
from dev.stack import Stack, free_port
from shared.bus import group_of
from shared.config import Settings
from shared.migrate import migrate
from tests.conftest import settings_for

EVENTS = 400_000
CONNECTIONS = 16
BAR = 10_000
_ROUNDS = 3
_WARM_UP = 16_000
_AGAIN = 10  # of so many batches one is sent once more
_TENANTS = ("acme", "globex", "initech", "umbrella")
_DEPLOYMENTS = 100  # of each tenant
_DRAIN_S = 60.0


async def run(stack: Stack) -> Report:
    """Measure on this stack."""
    async with _world(stack) as world:
        await world.ingest(world.batches("warm", _WARM_UP))
        rounds = []
        for turn in range(_ROUNDS):
            batches = world.batches(f"round-{turn}", EVENTS)
            rounds.append((await world.ingest(batches), await world.bare(batches)))
            await world.send_again(batches[::_AGAIN])
    return _report(rounds)


def _report(rounds: Sequence[tuple[Ingested, float]]) -> Report:
    ours, bare = sorted(rounds, key=lambda each: each[0].events_per_s)[_ROUNDS // 2]
    return Report(
        "usage-ingest",
        f"{EVENTS:,} events by POST /usage, {MOST_REPORTS} at a time over {CONNECTIONS} connections, to committed rows "
        "through Kafka, all of it consumed",
        [
            Figure(
                f"throughput, the middle one of {_ROUNDS} rounds",
                ours.events_per_s,
                BAR,
                "events/s",
                1,
                "higher",
                "limit",
            )
        ],
        {
            "bare asyncpg inserts of the same batches, events/s": round(bare),
            "ratio to these": round(ours.events_per_s / bare, 3),
            "a request of so many events, p50 and p99 ms": [
                round(percentile(ours.latencies, share) * 1000) for share in (0.5, 0.99)
            ],
            "processors in per cent of one": {name: round(share * 100) for name, share in ours.processors.items()},
            "events, none of them lost and none double": sum(len(one.latencies) for one, _ in rounds) * MOST_REPORTS,
            "events/s in all rounds": [round(one.events_per_s) for one, _ in rounds],
            "seconds of the middle one": round(EVENTS / ours.events_per_s, 1),
        },
    )


@dataclass(frozen=True)
class Event:
    """One event, as it is sent."""

    id: str
    deployment_id: UUID
    resource_kind: str
    quantity: Decimal
    occurred_at: datetime

    def as_dict(self) -> dict[str, str]:
        """Its JSON."""
        return {name: str(value) for name, value in vars(self).items()} | {"occurred_at": self.occurred_at.isoformat()}


@dataclass(frozen=True)
class Batch:
    """Events of one tenant, and the request that sends them."""

    tenant: str
    events: list[Event]
    request: bytes


@dataclass(frozen=True)
class Ingested:
    """How it went. `processors`: the share of one processor that each took."""

    events_per_s: float
    latencies: list[float]
    processors: Mapping[str, float]


@dataclass
class World:
    """The processes at work, and what they must have counted by now."""

    port: int
    settings: Settings
    deployments: Mapping[str, Sequence[UUID]]
    processes: Mapping[str, int]
    owner: asyncpg.Pool[asyncpg.Record]
    backlog: Backlog
    sent: int = 0
    used: Decimal = Decimal(0)

    def batches(self, name: str, count: int) -> list[Batch]:
        """So many new events, of the last day, from each tenant as many."""
        chance, now = random.Random(name), datetime.now(UTC)
        made = []
        for number in range(count // MOST_REPORTS):
            tenant = _TENANTS[number % len(_TENANTS)]
            events = [
                Event(
                    f"{name}-{number}-{n}",
                    chance.choice(self.deployments[tenant]),
                    chance.choice(sorted(REPORTED_KINDS)),
                    Decimal(chance.randrange(1, 1_000_000)) / 1000,
                    now - timedelta(milliseconds=chance.randrange(86_400_000)),
                )
                for n in range(MOST_REPORTS)
            ]
            body = json.dumps({"events": [event.as_dict() for event in events]})
            made.append(Batch(tenant, events, encoded(self.port, "/api/v1/usage", authorization(tenant), body)))
        return made

    async def ingest(self, batches: Sequence[Batch]) -> Ingested:
        """Send new events and wait until all of them are in. Raises where one is lost, double or miscounted."""
        self.sent += sum(len(batch.events) for batch in batches)
        self.used += sum(event.quantity for batch in batches for event in batch.events)
        before, began = self._processor_seconds(), time.perf_counter()
        latencies = await self._send(batches)
        await self._drained()
        took = time.perf_counter() - began
        spent = {name: (now - before[name]) / took for name, now in self._processor_seconds().items()}
        await self._check()
        return Ingested(sum(len(batch.events) for batch in batches) / took, latencies, spent)

    async def send_again(self, batches: Sequence[Batch]) -> None:
        """Send events that were sent before: nothing may come of that."""
        await self._send(batches)
        await self._drained()
        await self._check()

    async def bare(self, batches: Sequence[Batch]) -> float:
        """The peer: events a second."""
        await self.owner.execute("drop table if exists bare; create table bare (like usage_reports including all)")
        rows = iter([_columns(batch) for batch in batches])
        began = time.perf_counter()
        await asyncio.gather(*(self._bare_connection(rows) for _ in range(CONNECTIONS)))
        took = time.perf_counter() - began
        if await self.owner.fetchval("select count(*) from bare") != len(batches) * MOST_REPORTS:
            raise RuntimeError("the peer inserted another number of rows than it was given")
        return len(batches) * MOST_REPORTS / took

    async def _send(self, batches: Sequence[Batch]) -> list[float]:
        """Send each batch once, one at a time on each connection; seconds of each request."""
        latencies: list[float] = []
        loop = asyncio.get_running_loop()
        requests = [[batch.request for batch in batches[n::CONNECTIONS]] for n in range(CONNECTIONS)]
        opened = [
            await loop.create_connection(partial(Connection, each, latencies), "127.0.0.1", self.port)
            for each in requests
        ]
        while not all(transport.is_closing() for transport, _ in opened):
            await asyncio.sleep(0.01)
        failed = [protocol.failed for _, protocol in opened if protocol.failed]
        if failed or len(latencies) != len(batches):
            raise RuntimeError(f"{len(latencies)} of {len(batches)} requests were answered with 200: {failed[:1]}")
        return latencies

    async def _drained(self) -> None:
        """Wait for the end of the backlog. Rows are committed before the offsets of what brought them: see `_check`."""
        async with asyncio.timeout(_DRAIN_S):
            while await self.backlog.size():
                await asyncio.sleep(0.02)

    async def _check(self) -> None:
        """Raise where metering does not hold exactly what was sent, each once."""
        (found,) = await self.owner.fetch(
            """
            select (select count(*) from usage_reports), (select sum(counted) from usage_reports),
              (select sum(qty) from usage_records), (select sum(used) from usage_days),
              (select count(*) from usage_conflicts),
              (select count(*) from usage_days d full join usage_records r
                 on r.period_start = d.day at time zone 'UTC' and r.deployment_id = d.deployment_id
                 and r.resource_kind = d.resource_kind
               where r.qty is distinct from d.used)
            """
        )
        if tuple(found) != (expected := (self.sent, self.used, self.used, self.used, 0, 0)):
            raise RuntimeError(f"reports, sums, conflicts and days that differ are {tuple(found)}, not {expected}")

    async def _bare_connection(self, rows: Iterator[Sequence[object]]) -> None:
        async with self.owner.acquire() as conn:
            for columns in rows:
                await conn.execute(
                    """
                    insert into bare
                    select *, null, quantity, now()
                    from unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::numeric[], $6::timestamptz[])
                      r(tenant_id, id, deployment_id, resource_kind, quantity, occurred_at)
                    on conflict do nothing
                    """,
                    *columns,
                )

    def _processor_seconds(self) -> dict[str, float]:
        ours = {name: _processor_seconds(pid) for name, pid in self.processes.items()}
        ours["whoever sends"] = time.process_time()
        machine = psutil.cpu_times()
        return ours | {"all else on the machine": machine.user + machine.system - sum(ours.values())}


@dataclass(frozen=True)
class Backlog:
    """How many commands there are of which metering has not told Kafka that it handled them."""

    group: str
    admin: AIOKafkaAdminClient
    consumer: AIOKafkaConsumer
    partitions: list[TopicPartition]

    async def size(self) -> int:
        """So many now."""
        ends = await self.consumer.end_offsets(self.partitions)
        done = await self.admin.list_consumer_group_offsets(self.group, partitions=self.partitions)
        return sum(end - max(0, done[tp].offset) for tp, end in ends.items())


def _columns(batch: Batch) -> list[Sequence[object]]:
    events = batch.events
    named = [[getattr(event, name) for event in events] for name in Event.__dataclass_fields__]
    return [[batch.tenant] * len(events), *named]


def _processor_seconds(pid: int) -> float:
    """What a process and all of its children took, also of those that have ended."""
    process = psutil.Process(pid)
    seconds = 0.0
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # PostgreSQL's helpers come and go
            seconds += sum(each.cpu_times()[:4])
    return seconds


@asynccontextmanager
async def _world(stack: Stack) -> AsyncIterator[World]:
    port, health = free_port(), free_port()
    async with AsyncExitStack() as exits:
        url = await exits.enter_async_context(fresh_database(stack))
        settings = settings_for(stack, url)
        await migrate(settings, migrations())
        owner = await exits.enter_async_context(
            asyncpg.create_pool(
                url, min_size=CONNECTIONS, max_size=CONNECTIONS, server_settings={"search_path": "metering"}
            )
        )
        deployments = await _fill(owner)
        metering = exits.enter_context(server(["-m", "cli.main", "run", "metering"], settings, health, "/readyz"))
        gateway = exits.enter_context(server(["-m", "cli.main", "run", "gateway"], settings, port, "/api/health"))
        backlog = await exits.enter_async_context(_backlog(settings))
        processes = _processes(stack, gateway, metering)
        yield World(port, settings, deployments, processes, owner, backlog)


def _processes(stack: Stack, gateway: subprocess.Popen[bytes], metering: subprocess.Popen[bytes]) -> Mapping[str, int]:
    postgres, kafka = stack.postgres.process, stack.kafka.process
    assert postgres
    assert kafka
    return {"gateway": gateway.pid, "metering": metering.pid, "PostgreSQL": postgres.pid, "Kafka": kafka.pid}


@asynccontextmanager
async def _backlog(settings: Settings) -> AsyncIterator[Backlog]:
    topic, servers = settings.kafka_prefix + COMMANDS, settings.kafka_bootstrap_servers
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    async with AIOKafkaConsumer(topic, bootstrap_servers=servers) as consumer:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        yield Backlog(settings.kafka_prefix + group_of("metering", "commands"), admin, consumer, partitions)
    await admin.close()


async def _fill(owner: asyncpg.Pool[asyncpg.Record]) -> Mapping[str, Sequence[UUID]]:
    """Deployments of each tenant, as the deployments service has them and metering was told of them."""
    await owner.execute(
        """
        insert into deployments.cloud_deployments
          (tenant_id, slug, display_name, state, state_since, created_at, version)
        select tenant, 'app-' || n, 'App ' || n, 'active', now(), now(), 1
        from unnest($1::text[]) tenant, generate_series(1, $2::int) n
        """,
        _TENANTS,
        _DEPLOYMENTS,
    )
    await owner.execute("insert into deployments select id, tenant_id, slug, 1 from deployments.cloud_deployments")
    rows = await owner.fetch("select tenant_id, array_agg(id) as ids from deployments group by 1")
    return {row["tenant_id"]: row["ids"] for row in rows}
