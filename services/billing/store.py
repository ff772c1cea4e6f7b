"""Every SQL statement about balances, and about what others own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import asyncpg

from contracts.deployments import Deployment
from contracts.inventory import Resource, created_at
from services.billing.domain import Polled, monthly_cents
from shared.db import Connection

Row: TypeAlias = asyncpg.Record


async def insert_snapshot(conn: Connection, id: UUID, polled: Polled, now: datetime) -> Row | None:
    """Keep a balance, under the id of the command that asked for it; None where that is kept already."""
    return await conn.fetchrow(
        """
        insert into cloud_balance_snapshots (id, provider, currency, month_to_date_usage_cents, account_balance_cents,
          month_to_date_balance_cents, generated_at, polled_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (id) do nothing
        returning *
        """,
        id,
        *polled,
        now,
    )


async def find_snapshot(conn: Connection, id: UUID) -> Row | None:
    """The balance that a command's answer tells."""
    return await conn.fetchrow("select * from cloud_balance_snapshots where id = $1", id)


async def lock_newest(conn: Connection) -> list[Row]:
    """The newest balance of each provider; no newer one comes until this transaction ends."""
    await conn.execute("lock table cloud_balance_snapshots in share row exclusive mode")
    return await conn.fetch(
        "select distinct on (provider) * from cloud_balance_snapshots order by provider, version desc"
    )


async def delete_old_snapshots(conn: Connection, before: datetime, limit: int) -> int:
    """Drop balances of long ago, some at a go, but never the newest. Gives how many went."""
    rows = await conn.fetch(
        """
        delete from cloud_balance_snapshots where version in (
          select version from cloud_balance_snapshots s
          where polled_at < $1
            and version < (select max(version) from cloud_balance_snapshots n where n.provider = s.provider)
          order by version limit $2 for update skip locked)
        returning 1
        """,
        before,
        limit,
    )
    return len(rows)


async def project_resources(conn: Connection, resources: Sequence[Resource]) -> dict[UUID, int]:
    """Keep what events tell of resources, where it is newer; gives the versions known before, 0 where none was."""
    rows = await conn.fetch(
        """
        insert into resources
          (id, provider, kind, provider_id, name, tenant_id, deployment_id, created_at, deleted_at, monthly_cents,
           version)
        select distinct on (id) *
        from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::uuid[],
          $8::timestamptz[], $9::timestamptz[], $10::bigint[], $11::bigint[])
          as told(id, provider, kind, provider_id, name, tenant_id, deployment_id, created_at, deleted_at,
            monthly_cents, version)
        order by id, version desc
        on conflict (id) do update set
          name = excluded.name, tenant_id = excluded.tenant_id, deployment_id = excluded.deployment_id,
          created_at = excluded.created_at, deleted_at = excluded.deleted_at, monthly_cents = excluded.monthly_cents,
          version = excluded.version
        where resources.version < excluded.version
        returning id, coalesce(old.version, 0) as before
        """,
        [each.id for each in resources],
        [each.provider for each in resources],
        [each.kind for each in resources],
        [each.provider_id for each in resources],
        [each.name for each in resources],
        [each.tenant_id for each in resources],
        [each.deployment_id for each in resources],
        [created_at(each.attrs) for each in resources],
        [each.deleted_at for each in resources],
        [monthly_cents(each.attrs) for each in resources],
        [each.version for each in resources],
    )
    return {row["id"]: row["before"] for row in rows}


async def project_deployments(conn: Connection, deployments: Sequence[Deployment]) -> None:
    """Keep what events tell of deployments, where it is newer than what is known."""
    await conn.execute(
        """
        insert into deployments (id, tenant_id, slug, version)
        select distinct on (id) *
        from unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[]) as told(id, tenant_id, slug, version)
        order by id, version desc
        on conflict (id) do update set
          tenant_id = excluded.tenant_id, slug = excluded.slug, version = excluded.version
        where deployments.version < excluded.version
        """,
        [each.id for each in deployments],
        [each.tenant_id for each in deployments],
        [each.slug for each in deployments],
        [each.version for each in deployments],
    )


async def resource_exists(conn: Connection, id: UUID) -> bool:
    """Whether such a resource is, or was."""
    return bool(await conn.fetchval("select exists (select from resources where id = $1)", id))


async def deployment_exists(conn: Connection, id: UUID) -> bool:
    """Whether such a deployment is, or was."""
    return bool(await conn.fetchval("select exists (select from deployments where id = $1)", id))


async def find_deployment(conn: Connection, id: UUID) -> Row | None:
    """A deployment, as far as billing knows it."""
    return await conn.fetchrow("select * from deployments where id = $1", id)


async def list_candidates(conn: Connection, kinds: Collection[str], before: datetime) -> list[Row]:
    """Resources of these kinds, gone ones too; but not those that were created after a time."""
    return await conn.fetch(
        """
        select kind, provider_id, name, id, deleted_at is not null as deleted
        from resources where kind = any($1::text[]) and (created_at is null or created_at < $2)
        """,
        list(kinds),
        before,
    )
