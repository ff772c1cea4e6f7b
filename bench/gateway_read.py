"""gateway-read: how many reads a second the gateway answers beside the barest handler that could answer them.

Peer: `bare_gateway.py`, with the same token check, server and pool size, and the same question asked of the tables.
"""

from __future__ import annotations

from statistics import median

import asyncpg

from bench.report import Figure, Report, middle
from bench.serving import CONNECTIONS, authorization, database, in_turns, server
from dev.stack import Stack, free_port
from shared.config import Settings

RESOURCES = 10_000
TENANTS = 20


async def run(stack: Stack) -> Report:
    """Measure on this stack."""
    settings = await database(stack)
    ids = await _fill(settings)
    requests = {"GET /inventory?limit=20": _lists(), "GET /inventory/:id": _shows(ids)}
    figures, notes = [], {}
    ours, bare = free_port(), free_port()
    with (
        server(["-m", "cli.main", "run", "gateway"], settings, ours, "/api/health"),
        server(["-m", "bench.bare_gateway", str(bare)], settings, bare, "/api/v1/inventory"),
    ):
        for name, wanted in requests.items():
            rounds = in_turns(ours, bare, wanted)
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


def _lists() -> list[list[str]]:
    return [["/api/v1/inventory?limit=20", authorization(f"tenant-{n}")] for n in range(TENANTS)]


def _shows(ids: list[tuple[str, str]]) -> list[list[str]]:
    tokens = {f"tenant-{n}": authorization(f"tenant-{n}") for n in range(TENANTS)}
    return [[f"/api/v1/inventory/{id}", tokens[tenant]] for tenant, id in ids[:2000]]
