"""A gateway on real servers with a small fleet of two tenants, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
from pydantic import SecretStr

from dev.tokens import DEVELOPMENT_SECRET, OPERATOR_ROLES, mint
from services.gateway.gateway import Gateway
from shared.config import Settings
from shared.ids import uuid7
from shared.migrate import migrate
from tests.gateway.answering import EFFECTS

_SERVICES = Path(__file__).parents[2] / "services"
_SCHEMAS = ("inventory", "deployments", "sagas", "billing", "metering", "provider", "drift", "gateway")
MIGRATIONS = {name: _SERVICES / name / "migrations" for name in _SCHEMAS}

OPERATOR = mint("platform-admin", "ops@arcadia.test", OPERATOR_ROLES)
ACME = mint("acme", "ann@acme.test")
GLOBEX = mint("globex", "gus@globex.test", ["admin"])


@dataclass
class Fleet:
    """What is in the inventory: ids by name, and the tenant of each."""

    resources: dict[str, UUID] = field(default_factory=dict)
    tenants: dict[UUID, str | None] = field(default_factory=dict)
    projects: dict[str, UUID] = field(default_factory=dict)
    held_sync: UUID | None = None
    deployments: dict[str, UUID] = field(default_factory=dict)
    addon: UUID | None = None
    draft: UUID | None = None
    sagas: dict[str, UUID] = field(default_factory=dict)

    def of(self, tenant: str | None) -> set[str]:
        """The ids of a tenant's resources."""
        resources = {str(id) for id, owner in self.tenants.items() if owner == tenant}
        return resources | {str(those[tenant]) for those in (self.deployments, self.sagas) if tenant in those}


@dataclass
class World:
    """A database with a fleet; gateways are started on it. `admin` sees and may do everything in the database."""

    settings: Settings
    admin: asyncpg.Connection[Any]
    fleet: Fleet

    async def effects(self) -> list[UUID]:
        """The ids of the commands that took effect, each as often as it did."""
        return [row["command_id"] for row in await self.admin.fetch("select command_id from inventory.effects")]


@asynccontextmanager
async def world(settings: Settings) -> AsyncIterator[World]:
    """A migrated database with a fleet of acme, globex and nobody."""
    update = {"jwt_secrets": [SecretStr(DEVELOPMENT_SECRET)], "gateway_port": 0, "rate_limit_per_minute": 0}
    settings = settings.model_copy(update=update)
    await migrate(settings, MIGRATIONS)
    admin = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        await admin.execute(EFFECTS)
        yield World(settings, admin, await _populate(admin))
    finally:
        await admin.close()


@asynccontextmanager
async def client(gateway: Gateway, token: str | None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway with a token."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(base_url=gateway.url or "", headers=headers, timeout=20, trust_env=False) as http:
        yield http


async def cut(world: World, application: str) -> None:
    """End the sessions of an application, as a restart of the database does."""
    await world.admin.fetch(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = $1 and datname = $2",
        application,
        world.settings.database_url.get_secret_value().rpartition("/")[2],
    )


async def _populate(admin: asyncpg.Connection[Any]) -> Fleet:
    fleet = Fleet()
    for tenant, count in (("acme", 5), ("globex", 4), (None, 2)):
        name = tenant or "nobody"
        project = await _insert_project(admin, name, tenant)
        fleet.projects[name] = project
        for n in range(count):
            await _insert_resource(admin, fleet, f"{name}-web-{n}", tenant, project, region=("syd1", "nyc3")[n % 2])
    gone = fleet.resources["acme-web-4"]
    await admin.execute("update inventory.cloud_resources set deleted_at = now(), version = 2 where id = $1", gone)
    fleet.held_sync = await _insert_held_sync(admin, [gone])
    await _sell(admin, fleet)
    await _insert_sagas(admin, fleet)
    return fleet


async def _sell(admin: asyncpg.Connection[Any], fleet: Fleet) -> None:
    """A catalog with a plan, a draft and an addon, and a subscribed deployment of each tenant."""
    version, fleet.draft = [
        row["id"]
        for row in await admin.fetch(
            """
            with plan as (
              insert into deployments.plans (code, name, created_at, version)
              values ('studio', 'Studio', now(), 1) returning id)
            insert into deployments.plan_versions
              (plan_id, number, status, base_price_cents, currency, created_at, published_at)
            select id, n, case n when 1 then 'active' else 'draft' end, 5000, 'AUD', now(), case n when 1 then now() end
            from plan, generate_series(1, 2) n
            returning id
            """
        )
    ]
    fleet.addon = await admin.fetchval(
        """
        insert into deployments.addons (code, name, resource_kind, qty, price_cents, currency, created_at, version)
        values ('storage_50gb', '50 GB', 'spaces_gb_month', 50, 750, 'AUD', now(), 1) returning id
        """
    )
    for tenant in ("acme", "globex"):
        fleet.deployments[tenant] = await _subscribe(admin, tenant, version)


async def _subscribe(admin: asyncpg.Connection[Any], tenant: str, version: UUID) -> UUID:
    """A tenant's deployment that is subscribed to a version of a plan, with all that is kept of that."""
    id: UUID = await admin.fetchval(
        """
        with deployment as (
          insert into deployments.cloud_deployments
            (tenant_id, slug, display_name, state, state_since, created_at, version)
          values ($1, 'shop', $1, 'active', now(), now(), 1) returning id, tenant_id),
        told as (
          insert into deployments.cloud_deployment_events
            (deployment_id, tenant_id, to_state, actor, occurred_at, version)
          select id, tenant_id, 'active', $1, now(), 1 from deployment),
        subscription as (
          insert into deployments.subscriptions (deployment_id, tenant_id, plan_version_id, status,
            current_period_start, current_period_end, started_at, version)
          select id, tenant_id, $2, 'active', '2026-01-01', '2100-01-01', now(), 1 from deployment
          returning id, tenant_id),
        period as (
          insert into deployments.subscription_periods (subscription_id, period_start, plan_version_id)
          select id, '2026-01-01', $2 from subscription),
        history as (
          insert into deployments.subscription_events
            (subscription_id, tenant_id, event_type, detail, occurred_at, version)
          select id, tenant_id, 'started', '{}', now(), 1 from subscription)
        select id from deployment
        """,
        tenant,
        version,
    )
    return id


async def _insert_project(admin: asyncpg.Connection[Any], name: str, tenant: str | None) -> UUID:
    id: UUID = await admin.fetchval(
        """
        insert into inventory.cloud_projects
          (provider_id, name, description, is_default, tenant_id, first_seen_at, last_seen_at, version)
        values ($1, $1, '', false, $2, now(), now(), 1) returning id
        """,
        name,
        tenant,
    )
    return id


async def _insert_resource(
    admin: asyncpg.Connection[Any], fleet: Fleet, name: str, tenant: str | None, project: UUID, *, region: str
) -> None:
    id: UUID = await admin.fetchval(
        """
        insert into inventory.cloud_resources
          (kind, provider_id, name, region, state, size_slug, tags, attrs, fingerprint, project_id, tenant_id,
           first_seen_at, last_seen_at, version)
        values ('droplet', 'do-' || $1, $1, $2, 'active', 's-1vcpu-1gb', array['web', $1], '{"vcpus": 1}', '', $3, $4,
                now(), now(), 1)
        returning id
        """,
        name,
        region,
        project,
        tenant,
    )
    await admin.execute(
        """
        insert into inventory.cloud_resource_events (resource_id, event_type, changes, tenant_id, version, occurred_at)
        values ($1, 'discovered', '{}', $2, 1, now())
        """,
        id,
        tenant,
    )
    fleet.resources[name] = id
    fleet.tenants[id] = tenant


async def _insert_held_sync(admin: asyncpg.Connection[Any], missing: list[UUID]) -> UUID:
    id: UUID = await admin.fetchval(
        """
        with walk as (
          insert into inventory.syncs (kind, command_id, status, started_at, finished_at)
          values ('droplet', gen_random_uuid(), 'held', now(), now()) returning id)
        insert into inventory.held_syncs (id, kind, known, missing, resource_ids, held_at)
        select id, 'droplet', 11, 1, $1::uuid[], now() from walk returning id
        """,
        missing,
    )
    return id


async def _insert_sagas(admin: asyncpg.Connection[Any], fleet: Fleet) -> None:
    """A run about each deployment, that has ended."""
    for tenant, deployment in fleet.deployments.items():
        fleet.sagas[tenant] = await insert_run(admin, tenant, deployment, status="completed")


async def insert_run(
    admin: asyncpg.Connection[Any], tenant: str, deployment: UUID | None = None, *, status: str = "running"
) -> UUID:
    """A run that is in a state, whatever way leads there; nothing goes on with it."""
    id: UUID = await admin.fetchval(
        """
        with run as (
          insert into sagas.saga_runs (id, kind, flow_version, status, deployment_id, tenant_id, actor, steps,
            current_step, inputs, context, engine, cancel_requested, created_at, finished_at, version)
          values ($1, 'exercise', 1, $2, $3, $4, $4, '{echo}', 0, '{"steps": ["echo"], "say": "hello"}', '{}',
            '{"marks": ["running"], "attempts": 1, "open": [1], "resting": false, "round": 0, "timer": 1}',
            false, now(), case when $2 in ('completed', 'failed', 'rolled_back') then now() end, 1)
          returning id)
        insert into sagas.saga_step_results (saga_id, step_idx, name, status, attempts, undo_attempts, started_at)
        select id, 0, 'echo', 'running', 1, 0, now() from run returning saga_id
        """,
        uuid7(),
        status,
        deployment,
        tenant,
    )
    return id
