"""Secrets that the provider's answers carry are in no table, log, message or answer of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaConsumer

from dev.demo.stage import Stage
from dev.digitalocean.running import TOKEN
from dev.digitalocean.things import SECRET
from services.inventory.kinds import KINDS

EVERYTHING_LOGGED = pytest.mark.parametrize("system", [{"LOG_LEVEL": "DEBUG"}], indirect=True)
SMALL = {"size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64", "region": "fra1"}


@EVERYTHING_LOGGED
async def test_planted_secrets_are_found_nowhere(system: Stage) -> None:
    await _plant(system)
    async with system.caller("platform", "ops@arcadia.example", operator=True) as operator:
        await operator.do("POST", "/api/v1/inventory/sync")
        await _spoil(system)
        numbers = await operator.do("POST", "/api/v1/inventory/sync")
        assert {kind for kind, walk in numbers.items() if not walk["complete"]} == {"app", "database"}
        resources = (await operator.get("/api/v1/inventory"))["resources"]
        assert {"database", "kubernetes_cluster", "app", "droplet"} <= {resource["kind"] for resource in resources}
        answers = [await _answer(system, operator.client, path) for path in _paths(resources)]

    places = {f"the answer to {path}": body for path, body in answers}
    places |= {f"the log {log.name}": log.read_bytes() for log in system.logs.iterdir() if log.is_file()}
    places |= {f"the table {name}": rows async for name, rows in _tables(system)}
    places |= {f"the topic {name}": records async for name, records in _topics(system)}

    assert len(places) > 30
    assert sum(map(len, places.values())) > 100_000
    found = [place for place, content in places.items() if SECRET.encode() in content or _hex() in content]
    assert found == []


def _hex() -> bytes:
    """As PostgreSQL shows bytes."""
    return SECRET.encode().hex().encode()


async def _plant(system: Stage) -> None:
    """Whatever carries a secret at the provider; a droplet's user data goes there and never comes back."""
    provider = system.provider
    for family in ("databases", "kubernetes_clusters", "apps"):
        for _ in range(3):
            await provider.add_thing(family)
    async with _provider(system) as http:
        order = {"name": "with-user-data", "user_data": f"#!/bin/sh\necho {SECRET}", **SMALL}
        assert (await http.post("/v2/droplets", json=order)).status_code == 202
        listed = (await http.get("/v2/databases")).text + (await http.get("/v2/apps")).text
        cluster = (await provider.things("kubernetes_clusters"))[0]
        kubeconfig = (await http.get(f"/v2/kubernetes/clusters/{cluster.id}/kubeconfig")).text
    assert listed.count(SECRET) > 10, "the provider shows secrets"
    assert SECRET in kubeconfig


async def _spoil(system: Stage) -> None:
    """Rows that cannot be read, for what is said about those."""
    (database, *_), (app, *_) = await system.provider.things("databases"), await system.provider.things("apps")
    await system.provider.change_thing("databases", database.id, rules=[SECRET], region=SECRET)
    await system.provider.change_thing("apps", app.id, spec=SECRET)


def _provider(system: Stage) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {TOKEN}"}
    return httpx.AsyncClient(base_url=system.environment["DO_API_URL"], headers=headers, trust_env=False)


def _paths(resources: list[dict[str, str]]) -> list[str]:
    shown = [f"/api/v1/inventory/{resource['id']}" for resource in resources]
    lists = [f"/api/v1/inventory?kind={kind}" for kind in KINDS]
    return [*shown, *lists, "/api/v1/inventory", "/api/v1/inventory/health", "/api/v1/inventory/orphans"]


async def _answer(system: Stage, http: httpx.AsyncClient, path: str) -> tuple[str, bytes]:
    answer = await http.get(path)
    assert answer.status_code == 200, answer.text
    return path, answer.content


async def _tables(system: Stage) -> AsyncIterator[tuple[str, bytes]]:
    """Every table of every service, all of its rows as text."""
    admin = await asyncpg.connect(system.settings.database_url.get_secret_value())
    try:
        tables = await admin.fetch(
            "select format('%I.%I', schemaname, tablename) as name from pg_tables where tableowner <> 'postgres'"
        )
        assert len(tables) > 20
        for table in tables:
            rows = await admin.fetch(f"select t::text as row from {table['name']} t")
            yield table["name"], "\n".join(row["row"] for row in rows).encode()
    finally:
        await admin.close()


async def _topics(system: Stage) -> AsyncIterator[tuple[str, bytes]]:
    """Every topic of this system, all of its records."""
    servers = system.environment["KAFKA_BOOTSTRAP_SERVERS"]
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        topics = [name for name in await consumer.topics() if name.startswith(system.environment["KAFKA_PREFIX"])]
        consumer.subscribe([name for name in topics if not name.startswith("__")])
        content = dict.fromkeys(topics, b"")
        while batches := await consumer.getmany(timeout_ms=3000):
            for partition, records in batches.items():
                content[partition.topic] += b"\n".join(record.value or b"" for record in records)
        for name, records in content.items():
            yield name, records
    finally:
        await consumer.stop()
