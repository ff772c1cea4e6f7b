"""gateway-read: how many reads a second the gateway answers beside the barest handler that could answer them.

Peer: `bare_gateway.py`, with the same token check, server and pool size, and the same question asked of the tables.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from bench.report import Figure, Report, middle
from cli.services import migrations
from dev.stack import Stack, free_port
from dev.tokens import DEVELOPMENT_SECRET, mint
from shared.config import Settings
from shared.ids import uuid7
from shared.migrate import migrate

RESOURCES = 10_000
TENANTS = 20
CONNECTIONS = 64
_SECONDS = 2.0
_ROUNDS = 7
_CHECKOUT = Path(__file__).parents[1]


async def run(stack: Stack) -> Report:
    """Measure on this stack."""
    url = await _database(stack)
    settings = Settings(database_url=url, kafka_bootstrap_servers=[stack.kafka_bootstrap_servers])
    await migrate(settings, migrations())
    ids = await _fill(settings)
    requests = {"GET /inventory?limit=20": _lists(), "GET /inventory/:id": _shows(ids)}
    figures, notes = [], {}
    ours, bare = free_port(), free_port()
    with (
        _server(["-m", "cli.main", "run", "gateway"], url, stack, ours, "/api/health"),
        _server(["-m", "bench.bare_gateway", str(bare)], url, stack, bare, "/api/v1/inventory"),
    ):
        for name, wanted in requests.items():
            rounds = _in_turns(ours, bare, wanted)
            figures.append(
                Figure(
                    name,
                    *middle([(mine["requests_per_s"], peer["requests_per_s"]) for mine, peer in rounds]),
                    "requests/s",
                    0.7,
                    "higher",
                    "bare Litestar + asyncpg on the tables",
                )
            )
            notes[f"{name} p99 ms, ours and bare"] = [
                round(median(one["p99_ms"] for one in each), 1) for each in zip(*rounds, strict=True)
            ]
    return Report("gateway-read", f"Reads at {CONNECTIONS} connections over {RESOURCES:,} resources", figures, notes)


def _in_turns(ours: int, bare: int, requests: list[list[str]]) -> list[tuple[dict[str, float], dict[str, float]]]:
    """Both in turns, so that a slow moment of the machine hits both."""
    return [(_load(ours, requests), _load(bare, requests)) for _ in range(_ROUNDS)]


def _load(port: int, requests: list[list[str]]) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.http_load", str(port), str(CONNECTIONS), str(_SECONDS)]
    done = subprocess.run(
        command, input=json.dumps(requests).encode(), stdout=subprocess.PIPE, check=True, cwd=_CHECKOUT, timeout=120
    )
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


async def _database(stack: Stack) -> str:
    admin = await asyncpg.connect(stack.database_url)
    name = f"bench_{uuid7().hex}"
    await admin.execute(f"create database {name}")
    await admin.close()
    return urlunsplit(urlsplit(stack.database_url)._replace(path=f"/{name}"))


async def _fill(settings: Settings) -> list[tuple[str, str]]:
    """Resources of some tenants, each with its `discovered` event. Gives (tenant, id) of all."""
    # As the owner: nobody else may ANALYZE, and without that the plans of both are what chance makes them.
    conn = await asyncpg.connect(settings.role_url("inventory_owner"), server_settings={"search_path": "inventory"})
    rows = await conn.fetch(
        """
        insert into cloud_resources (kind, provider_id, name, region, state, size_slug, tags, attrs, fingerprint,
          tenant_id, first_seen_at, last_seen_at, version)
        select 'droplet', n::text, 'web-' || n, 'syd1', 'active', 's-1vcpu-2gb', '{web,production}',
          '{"memory_mb": 2048, "vcpus": 1, "disk_gb": 50}', '', 'tenant-' || n % $2, now(), now(), 1
        from generate_series(1, $1::int) n
        returning id, tenant_id
        """,
        RESOURCES,
        TENANTS,
    )
    await conn.execute(
        """
        insert into cloud_resource_events (resource_id, event_type, changes, actor, tenant_id, version, occurred_at)
        select id, 'discovered', '{}', 'scheduler', tenant_id, 1, now() from cloud_resources
        """
    )
    await conn.execute("analyze cloud_resources")
    await conn.execute("analyze cloud_resource_events")
    await conn.close()
    return [(row["tenant_id"], str(row["id"])) for row in rows]


def _authorization(tenant: str) -> str:
    return f"Bearer {mint(tenant, f'dev@{tenant}.example')}"


def _lists() -> list[list[str]]:
    return [["/api/v1/inventory?limit=20", _authorization(f"tenant-{n}")] for n in range(TENANTS)]


def _shows(ids: list[tuple[str, str]]) -> list[list[str]]:
    tokens = {f"tenant-{n}": _authorization(f"tenant-{n}") for n in range(TENANTS)}
    return [[f"/api/v1/inventory/{id}", tokens[tenant]] for tenant, id in ids[:2000]]


@contextmanager
def _server(command: list[str], database_url: str, stack: Stack, port: int, path: str) -> Iterator[None]:
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database_url,
        "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        "JWT_SECRETS": json.dumps([DEVELOPMENT_SECRET]),
        "GATEWAY_PORT": str(port),
        "RATE_LIMIT_PER_MINUTE": "0",
        "LOG_LEVEL": "WARNING",
    }
    process = subprocess.Popen([sys.executable, *command], env=environment, cwd=_CHECKOUT)
    try:
        _wait(f"http://127.0.0.1:{port}{path}")
        yield
    finally:
        process.terminate()
        process.wait(30)


def _wait(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=1)  # noqa: S310 - loopback
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"{url} does not answer")
