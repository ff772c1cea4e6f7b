"""drift-sweep: all specs are compared with what is, by the service in a process of its own; and how soon one is found.

A sweep counts from the command on the bus until its outcome is there: of so many specs, one in a hundred drifts, and
nothing was compared before. A single drift counts from the moment at which a sync sees the change, with the inventory
in a process of its own and a stand-in of the provider, until the drift is open and committed.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import quantiles
from typing import Any

import asyncpg
import orjson
from aiokafka import AIOKafkaProducer

from bench.report import Figure, Report
from bench.serving import database, service_process
from contracts.drift import EXISTS, FINDINGS, SURGES, DetectDrift, DriftDetected, DriftGathered, SurgeBegan
from contracts.inventory import SyncInventory
from contracts.kinds import ResourceKind
from contracts.message import Command
from dev.digitalocean.running import RunningStandIn, running_stand_in
from dev.stack import Stack
from services.drift.domain import canonical_fields
from services.drift.store import MARK
from shared.bus import tail
from shared.config import Settings
from shared.ids import uuid7
from shared.outbox import Sender
from shared.outcome import Meta, Outcome, Send

SPECS = 100_000
DRIFTED = SPECS // 100
_ROUNDS = 5
_BAR_S = 3
_DROPLETS, _CHANGED_AT_ONCE, _SYNCS = 50, 5, 24
_BAR_MS = 1000
_LONGEST_S = 120


async def run(stack: Stack) -> Report:
    """Measure on this stack."""
    with running_stand_in(droplets=_DROPLETS, projects=2, seed=1) as provider:
        settings = (await database(stack)).model_copy(update={"do_api_url": provider.url, "do_rate_limit": 0})
        owner = await asyncpg.connect(settings.database_url.get_secret_value())
        with service_process("drift", settings, provider.token), service_process("inventory", settings, provider.token):
            await _until(owner, "exists (select from drift.processes) and exists (select from inventory.processes)")
            latencies = await _latencies(settings, owner, provider)
            await _fill(owner)
            rounds = [await _sweep(settings, owner) for _ in range(_ROUNDS)]
            again = await _timed(settings, owner, DRIFTED, opened=0)
            surge, alarms = await _surge(settings, owner)
        await owner.close()
    half, most = quantiles(latencies, n=20)[9], quantiles(latencies, n=20)[18]
    return Report(
        "drift-sweep",
        f"{SPECS:,} specs compared with what is, of which {DRIFTED:,} drift; and single changes found at once",
        [
            Figure("time of a sweep", sorted(rounds)[_ROUNDS // 2], _BAR_S, "s", 1, "lower", "limit"),
            Figure("from the sync that sees a change to the open drift, p50", half, _BAR_MS, "ms", 1, "lower", "limit"),
        ],
        {
            "the same, p95, in ms": round(most),
            "changes": len(latencies),
            "seconds of a sweep that finds nothing new": round(again, 2),
            f"seconds until {SPECS // 2:,} that are renamed at once are drifts": round(surge, 1),
            "alarms for these": alarms,
            "us a spec": round(sorted(rounds)[_ROUNDS // 2] / SPECS * 1e6, 1),
            "seconds of each round": ", ".join(f"{seconds:.2f}" for seconds in rounds),
        },
    )


async def _latencies(settings: Settings, owner: asyncpg.Connection[Any], provider: RunningStandIn) -> list[float]:
    """Milliseconds from when changes by hand are seen until their drifts are open."""
    await _done(settings, owner, "inventory", SyncInventory(kind=ResourceKind.DROPLET))
    await _until(owner, f"count(*) = {_DROPLETS} from drift.resources")
    rows = await owner.fetch("select id, provider_id, live, size_slug from drift.resources order by id")
    await _ask(owner, [(row["id"], {"name": orjson.loads(row["live"])["name"]}) for row in rows])
    found: list[float] = []
    async with provider.control() as control:
        for number in range(_SYNCS):
            changed = [rows[(number * _CHANGED_AT_ONCE + n) % _DROPLETS] for n in range(_CHANGED_AT_ONCE)]
            for row in changed:
                await control.change_droplet(int(row["provider_id"]), name=f"by-hand-{number}-{row['provider_id']}")
            ids = [row["id"] for row in changed]
            watching = asyncio.create_task(_open_at(owner, number, ids))
            async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers, acks="all") as producer:
                await _send(settings, producer, SyncInventory(kind=ResourceKind.DROPLET))
                open_at = await watching
            seen = await owner.fetch(
                """
                select distinct on (resource_id) resource_id, occurred_at from inventory.cloud_resource_events
                where resource_id = any($1::uuid[]) and event_type = 'updated' order by resource_id, occurred_at desc
                """,
                ids,
            )
            found += [(open_at[row["resource_id"]] - row["occurred_at"]).total_seconds() * 1000 for row in seen]
    return found


async def _open_at(owner: asyncpg.Connection[Any], number: int, ids: Sequence[Any]) -> dict[Any, datetime]:
    """When each of these was seen to drift with the newest value."""
    found: dict[Any, datetime] = {}
    async with asyncio.timeout(_LONGEST_S):
        while len(found) < len(ids):
            rows = await owner.fetch(
                """
                select resource_id from drift.cloud_drift
                where status = 'open' and resource_id = any($1::uuid[]) and live #>> '{}' like $2
                """,
                ids,
                f"by-hand-{number}-%",
            )
            for row in rows:
                found.setdefault(row["resource_id"], datetime.now(UTC))
            await asyncio.sleep(0.005)
    return found


_ATTRS = {
    "vcpus": 1, "memory_mb": 1024, "disk_gb": 25, "gpu": None, "image_id": 129211873, "image": "ubuntu-24-04-x64",
    "vpc_uuid": "5a4981aa-9653-4bd1-bef5-d6bff52042e4", "public_ipv4": ["203.0.113.7"], "private_ipv4": ["10.0.0.2"],
    "public_ipv6": [], "features": ["monitoring", "private_networking"], "volume_ids": [],
    "created_at": "2026-05-01T00:00:00Z", "monthly_usd_cents": 600,
}  # fmt: skip


async def _fill(owner: asyncpg.Connection[Any]) -> None:
    """A fleet that is as it was asked for, but for one in a hundred, whose size is another."""
    await owner.execute("truncate drift.cloud_drift, drift.cloud_provisioned, drift.resources, drift.surges cascade")
    records, specs = [], []
    for n in range(SPECS):
        id = uuid7()
        spec = {"name": f"web-{n}", "region": "syd1", "size_slug": "s-1vcpu-1gb", "state": "active",
                "tags": [f"deployment:{id}", "tenant:acme"]}  # fmt: skip
        live = _ATTRS | spec | {"kind": "droplet", "provider_id": str(n), EXISTS: True}
        if n % 100 == 0:
            live["size_slug"] = "s-2vcpu-2gb"
        records.append((id, str(n), spec["name"], _text(live), _text(canonical_fields(live)), live["size_slug"]))
        specs.append((id, spec))
    await owner.executemany(
        """
        insert into drift.resources (id, kind, provider_id, name, tenant_id, deployment_id, live, canonical, size_slug,
          monthly_cents, is_made, first_seen_at, version)
        values ($1, 'droplet', $2, $3, 'acme', $1, $4::text::jsonb, $5::text::jsonb, $6, 600, true, now(), 1)
        """,
        records,
    )
    await _ask(owner, specs)
    await owner.execute("vacuum analyze drift.resources, drift.cloud_provisioned")


async def _ask(owner: asyncpg.Connection[Any], specs: Sequence[tuple[Any, dict[str, Any]]]) -> None:
    await owner.executemany(
        """
        insert into drift.cloud_provisioned (resource_id, spec, canonical, absent, spec_version, recorded_at, said)
        values ($1, $2::text::jsonb, $3::text::jsonb, '{}', 1, now(), '{}')
        """,
        [(id, _text(spec), _text(canonical_fields({**spec, EXISTS: True}))) for id, spec in specs],
    )


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()


async def _sweep(settings: Settings, owner: asyncpg.Connection[Any]) -> float:
    """Seconds of a sweep of which nothing was found before."""
    await owner.execute("truncate drift.cloud_drift, drift.surges cascade; checkpoint")
    return await _timed(settings, owner, DRIFTED, opened=DRIFTED)


async def _timed(settings: Settings, owner: asyncpg.Connection[Any], drifted: int, *, opened: int) -> float:
    seconds, result = await _done(settings, owner, "drift", DetectDrift())
    right = {"specs": SPECS, "open": drifted, "detected": opened, "changed": 0, "closed": 0}
    wrong = await owner.fetchval(
        """
        select count(*) from drift.cloud_drift d join drift.resources r on r.id = d.resource_id
        where d.field <> 'size_slug' or r.provider_id::int % 100 <> 0
        """
    )
    if result != right or wrong:
        raise RuntimeError(f"{result}, with {wrong} that are no drifts; expected {right}")
    return seconds


async def _surge(settings: Settings, owner: asyncpg.Connection[Any]) -> tuple[float, int]:
    """Seconds until half of the fleet, renamed at once, is drifts; and how many of these alarm anybody on the bus."""
    since = int(time.time() * 1000)
    started = time.perf_counter()
    await owner.execute(
        f"""
        with renamed as (
          update drift.resources set name = 'x-' || name, live = live || jsonb_build_object('name', 'x-' || name),
            canonical = canonical || jsonb_build_object('name', to_json('x-' || name)::text), version = 2
          where provider_id::int % 2 = 1 returning id)
        update drift.cloud_provisioned set {MARK} where resource_id in (select id from renamed)
        """
    )
    await _until(owner, f"count(*) = {SPECS // 2} from drift.cloud_drift where field = 'name' and status = 'open'")
    seconds = time.perf_counter() - started
    await _until(
        owner, f"not exists (select from drift.outbox) and drifts = {SPECS // 2} from drift.surges where field = 'name'"
    )
    types: Counter[str] = Counter()
    async with tail(settings, [FINDINGS, SURGES], since_ms=since) as consumer:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                types.update(orjson.loads(record.value)["type"] for record in batch if record.timestamp >= since)
    if types[DriftGathered.TYPE] != SPECS // 2:
        raise RuntimeError(f"told: {types}")
    return seconds, types[DriftDetected.TYPE] + types[SurgeBegan.TYPE]


async def _done(
    settings: Settings, owner: asyncpg.Connection[Any], service: str, command: Command
) -> tuple[float, dict[str, Any]]:
    """Seconds from a command to its outcome, and that."""
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers, acks="all") as producer:
        started = time.perf_counter()
        id = await _send(settings, producer, command)
        await _until(
            owner, f"exists (select from {service}.v1_all_outcomes where id = '{id}' and decided_at is not null)"
        )
        seconds = time.perf_counter() - started
    found = await owner.fetchval(f"select result from {service}.v1_all_outcomes where id = $1", id)
    return seconds, orjson.loads(found)


async def _send(settings: Settings, producer: AIOKafkaProducer, command: Command) -> Any:
    outcome = Outcome(commands=[Send(command, id=uuid7())])
    (row,) = Sender("bench").rows(outcome, Meta(uuid7(), datetime.now(UTC)))
    await producer.send_and_wait(settings.kafka_prefix + row.topic, row.payload, key=row.key.encode())
    return row.id


async def _until(owner: asyncpg.Connection[Any], condition: str) -> None:
    async with asyncio.timeout(_LONGEST_S):
        while not await owner.fetchval(f"select {condition}"):
            await asyncio.sleep(0.01)
