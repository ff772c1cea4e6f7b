"""deployment-show: how many looks at a deployment a second, beside the barest handler with the same SQL.

Peer: `bare_gateway.py`, with the same token check, server and pool size, and the same question asked of the tables.
"""

from __future__ import annotations

from statistics import median

import asyncpg

from bench.report import Figure, Report, middle
from bench.serving import CONNECTIONS, authorization, database, in_turns, server
from dev.stack import Stack, free_port
from shared.config import Settings

DEPLOYMENTS = 2_000
TENANTS = 20
_EVENTS = 6


async def run(stack: Stack) -> Report:
    """Measure on this stack."""
    settings = await database(stack)
    ids = await _fill(settings)
    tokens = {f"tenant-{n}": authorization(f"tenant-{n}") for n in range(TENANTS)}
    requests = [[f"/api/v1/deployments/{id}", tokens[tenant]] for tenant, id in ids]
    ours, bare = free_port(), free_port()
    with (
        server(["-m", "cli.main", "run", "gateway"], settings, ours, "/api/health"),
        server(["-m", "bench.bare_gateway", str(bare)], settings, bare, "/api/v1/inventory"),
    ):
        rounds = in_turns(ours, bare, requests)
    figure = Figure(
        "GET /deployments/:id",
        *middle([(mine["requests_per_s"], peer["requests_per_s"]) for mine, peer in rounds]),
        "requests/s",
        0.7,
        "higher",
        "bare Litestar + asyncpg on the tables",
    )
    p99 = [round(median(one["p99_ms"] for one in each), 1) for each in zip(*rounds, strict=True)]
    what = f"Deployments with subscription, addons and history, at {CONNECTIONS} connections, of {DEPLOYMENTS:,}"
    return Report("deployment-show", what, [figure], {"p99 ms, ours and bare": p99})


async def _fill(settings: Settings) -> list[tuple[str, str]]:
    """Subscribed deployments of some tenants, each with an addon and some history. Gives (tenant, id) of all."""
    # As the owner: nobody else may ANALYZE, and without that the plans of both are what chance makes them.
    conn = await asyncpg.connect(settings.role_url("deployments_owner"), server_settings={"search_path": "deployments"})
    rows = await conn.fetch(
        """
        with plan as (
          insert into plans (code, name, created_at, version) values ('studio', 'Studio', now(), 1) returning id),
        version as (
          insert into plan_versions (plan_id, number, status, base_price_cents, currency, created_at, published_at)
          select id, 1, 'active', 5000, 'AUD', now(), now() from plan returning id),
        addon as (
          insert into addons (code, name, resource_kind, qty, price_cents, currency, created_at, version)
          values ('storage_50gb', '50 GB', 'spaces_gb_month', 50, 750, 'AUD', now(), 1) returning id),
        deployment as (
          insert into cloud_deployments
            (tenant_id, slug, display_name, region, state, state_since, created_at, version)
          select 'tenant-' || n % $2, 'app-' || n, 'App ' || n, 'syd1', 'active', now(), now(), 1
          from generate_series(1, $1::int) n returning id, tenant_id),
        history as (
          insert into cloud_deployment_events
            (deployment_id, tenant_id, from_state, to_state, reason, actor, occurred_at, version)
          select id, tenant_id, 'active', 'paused', 'measured', 'ann@acme.example', now(), n
          from deployment, generate_series(1, $3::int) n),
        subscription as (
          insert into subscriptions (deployment_id, tenant_id, plan_version_id, status, current_period_start,
            current_period_end, started_at, version)
          select d.id, d.tenant_id, v.id, 'active', '2026-11-01', '2100-01-01', now(), 1 from deployment d, version v
          returning id, tenant_id),
        attached as (
          insert into subscription_addons
            (subscription_id, tenant_id, addon_id, resource_kind, qty, price_cents, currency, attached_at)
          select s.id, s.tenant_id, a.id, 'spaces_gb_month', 50, 750, 'AUD', now() from subscription s, addon a)
        select id, tenant_id from deployment
        """,
        DEPLOYMENTS,
        TENANTS,
        _EVENTS,
    )
    for table in ("cloud_deployments", "cloud_deployment_events", "subscriptions", "subscription_addons"):
        await conn.execute(f"analyze {table}")
    await conn.close()
    return [(row["tenant_id"], str(row["id"])) for row in rows]
