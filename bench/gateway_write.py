"""gateway-write: how long a deployment's transition takes over HTTP, and how many a second there can be.

A write goes the whole way: operation and command in one transaction, outbox, Kafka, the deployments service, its reply,
the answer. One process of each service.
"""

from __future__ import annotations

import json
import time
from typing import Any

import asyncpg
import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.report import Figure, Report, percentile
from bench.serving import CONNECTIONS, authorization, database, load, server
from dev.stack import Stack, free_port
from shared.config import Settings
from shared.ids import uuid7

_PORTION_S = 3.0
_PORTIONS = 10  # at least
_MOST = 40
_CALM = 5  # of these, so many count: those in which a shared machine was least busy with others
_DISTURBED = 0.01  # a portion is where others took more than this share of the processors' time
_TENANT = "acme"


async def run(stack: Stack) -> Report:
    """Measure on this stack."""
    settings = await database(stack)
    deployments = await _fill(settings)
    port, health = free_port(), free_port()
    with (
        server(["-m", "cli.main", "run", "deployments"], settings, health, "/readyz"),
        server(["-m", "cli.main", "run", "gateway"], settings, port, "/api/health"),
    ):
        turns = [_turns(id) for id in deployments]
        await _loaded(settings, port, turns)  # so that all is warm
        many = await _portions(settings, port, turns)
        alone = await _portions(settings, port, turns[:1])
    return _report(alone, many, await _bare_hop_ms(settings))


async def _portions(settings: Settings, port: int, turns: list[list[list[str]]]) -> list[dict[str, float]]:
    """Portions of load, until enough of them were calm: a shared machine may be busy with others for minutes."""
    portions: list[dict[str, float]] = []
    while len(portions) < _PORTIONS or (len(portions) < _MOST and _stolen_most(portions) > _DISTURBED):
        portions.append(await _loaded(settings, port, turns))
    return portions


def _stolen_most(portions: list[dict[str, float]]) -> float:
    return max(portion["stolen"] for portion in _calm(portions))


async def _loaded(settings: Settings, port: int, turns: list[list[list[str]]]) -> dict[str, float]:
    """One portion of load. Raises where an answer was given that the history does not know, or the other way round."""
    await _activate(settings)
    before = await _events(settings)
    before_it = psutil.cpu_times()
    measured = load(port, turns, connections=len(turns), seconds=_PORTION_S)
    measured["stolen"] = _stolen(before_it, psutil.cpu_times())
    written = await _events(settings) - before
    if written != measured["requests"]:
        raise RuntimeError(f"{measured['requests']} commands were answered, {written} took effect")
    return measured


def _report(alone: list[dict[str, float]], many: list[dict[str, float]], hop_ms: float) -> Report:
    """The portion in the middle of the calm ones, of each kind."""
    one = sorted(_calm(alone), key=lambda portion: portion["p50_ms"])[_CALM // 2]
    all_ = sorted(_calm(many), key=lambda portion: portion["requests_per_s"])[_CALM // 2]
    return Report(
        "gateway-write",
        f"POST /deployments/:id/transition, answered when it is done: one client, then {CONNECTIONS}",
        [
            Figure("one at a time, p50", one["p50_ms"], 15, "ms", 1, "lower", "limit"),
            Figure("one at a time, p99", one["p99_ms"], 60, "ms", 1, "lower", "limit"),
            Figure(f"{CONNECTIONS} clients", all_["requests_per_s"], 500, "commands/s", 1, "higher", "limit"),
        ],
        {
            "commands, none of them lost": sum(int(portion["requests"]) for portion in (*alone, *many)),
            f"{CONNECTIONS} clients, p99 ms": round(all_["p99_ms"], 1),
            "one at a time, p50 ms in all portions": _range([portion["p50_ms"] for portion in alone]),
            f"{CONNECTIONS} clients, commands/s in all portions": _range(
                [portion["requests_per_s"] for portion in many]
            ),
            "processor time taken by others, per cent, in those that count": _range(
                [portion["stolen"] * 100 for portion in (*_calm(alone), *_calm(many))]
            ),
            "a record's way through Kafka alone, p50 ms (a command takes it twice)": round(hop_ms, 1),
        },
    )


def _stolen(before: Any, after: Any) -> float:
    """The share of the processors' time, between the two, that the machine's host gave to others."""
    stolen: float = getattr(after, "steal", 0) - getattr(before, "steal", 0)
    took: float = sum(after) - sum(before)
    return stolen / took


def _calm(portions: list[dict[str, float]]) -> list[dict[str, float]]:
    """Those during which the hypervisor gave least of the processors' time to others (nothing, where it has none)."""
    return sorted(portions, key=lambda portion: portion["stolen"])[:_CALM]


def _range(values: list[float]) -> str:
    return f"{min(values):.1f} to {max(values):.1f}"


async def _bare_hop_ms(settings: Settings) -> float:
    """How long one record takes from a bare producer to a bare consumer: what no code of ours can be quicker than."""
    topic, servers = f"bench.hop.{uuid7().hex}", settings.kafka_bootstrap_servers
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    async with (
        AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True) as producer,
        AIOKafkaConsumer(topic, bootstrap_servers=servers) as consumer,
    ):
        await producer.send_and_wait(topic, b"0")
        await consumer.getone()
        taken = []
        for _ in range(300):
            began = time.perf_counter()
            await producer.send(topic, b"x" * 800)
            await consumer.getone()
            taken.append((time.perf_counter() - began) * 1000)
    await admin.delete_topics([topic])
    await admin.close()
    return percentile(taken, 0.5)


def _turns(deployment_id: str) -> list[list[str]]:
    """Requests that can follow one another for ever."""
    path, who = f"/api/v1/deployments/{deployment_id}/transition", authorization(_TENANT)
    return [[path, who, json.dumps({"to_state": state, "reason": "measured"})] for state in ("paused", "active")]


async def _fill(settings: Settings) -> list[str]:
    """An active deployment for each client."""
    conn = await asyncpg.connect(settings.role_url("deployments"), server_settings={"search_path": "deployments"})
    rows = await conn.fetch(
        """
        insert into cloud_deployments (tenant_id, slug, display_name, state, state_since, created_at, version)
        select $1, 'app-' || n, 'App ' || n, 'active', now(), now(), 1 from generate_series(1, $2::int) n
        returning id
        """,
        _TENANT,
        CONNECTIONS,
    )
    await conn.close()
    return [str(row["id"]) for row in rows]


async def _activate(settings: Settings) -> None:
    """Let the turns begin anew."""
    conn = await asyncpg.connect(settings.role_url("deployments"), server_settings={"search_path": "deployments"})
    await conn.execute("update cloud_deployments set state = 'active'")
    await conn.close()


async def _events(settings: Settings) -> int:
    conn = await asyncpg.connect(settings.role_url("deployments"), server_settings={"search_path": "deployments"})
    count: int = await conn.fetchval("select count(*) from cloud_deployment_events")
    await conn.close()
    return count
