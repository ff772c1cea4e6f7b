"""Whose resources are: every SQL statement about it. The rule itself is the view `attributions`, in the migrations."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import asyncpg

from shared.db import Connection

Row: TypeAlias = asyncpg.Record


async def settle(conn: Connection, resource_ids: Sequence[UUID], *, step: int) -> list[Row]:
    """Attribute resources as the rule says. Gives those that it changed, with `old_project_id` and the like.

    `step`: by how much their versions move. Those that the bus was told to forget stay at theirs: they may come back.
    """
    return await conn.fetch(
        """
        update cloud_resources r
        set project_id = a.project_id, deployment_id = a.deployment_id, tenant_id = a.tenant_id,
          version = r.version + case when r.forgotten_at is null then $2 else 0 end
        from attributions a
        where r.id = any($1::uuid[]) and a.id = r.id
          and (a.project_id, a.deployment_id, a.tenant_id)
            is distinct from (r.project_id, r.deployment_id, r.tenant_id)
        returning old.project_id as old_project_id, old.deployment_id as old_deployment_id,
          old.tenant_id as old_tenant_id, new.*
        """,
        resource_ids,
        step,
    )


async def list_unsettled_of_project(conn: Connection, project_id: UUID, after: UUID, limit: int) -> list[UUID]:
    """Resources of a project that are not attributed as the rule says, after an id; tombstoned ones too."""
    rows = await conn.fetch(
        """
        select r.id from cloud_resources r join attributions a on a.id = r.id
        where r.project_id = $1 and r.id > $2
          and (a.project_id, a.deployment_id, a.tenant_id)
            is distinct from (r.project_id, r.deployment_id, r.tenant_id)
        order by r.id limit $3
        """,
        project_id,
        after,
        limit,
    )
    return [row["id"] for row in rows]


async def list_unsettled_children(conn: Connection, parents: Sequence[UUID]) -> list[UUID]:
    """Resources whose parent is one of these, and that are not attributed as the rule says."""
    rows = await conn.fetch(
        """
        select r.id
        from cloud_resources p
        join cloud_resources r
          on r.parent_provider_id = p.provider_id and r.parent_kind = p.kind and r.provider = p.provider
        join attributions a on a.id = r.id
        where p.id = any($1::uuid[]) and r.deleted_at is null
          and (a.project_id, a.deployment_id, a.tenant_id)
            is distinct from (r.project_id, r.deployment_id, r.tenant_id)
        """,
        parents,
    )
    return [row["id"] for row in rows]


async def adopt(conn: Connection, kinds: Sequence[str], droplet_ids: Sequence[str]) -> list[Row]:
    """Give resources of these kinds that serve these droplets, and a cluster's alone, to the cluster. Gives them."""
    return await conn.fetch(
        """
        update cloud_resources r
        set parent_kind = maker.kind, parent_provider_id = maker.provider_id, part = true, version = r.version + 1
        from cloud_resources s
        cross join lateral maker_of(s.attrs -> 'droplet_ids') as maker
        where s.kind = any($1::text[]) and s.parent_kind is null and s.deleted_at is null
          and s.attrs -> 'droplet_ids' ?| $2::text[]
          and r.id = s.id
        returning r.*
        """,
        kinds,
        droplet_ids,
    )


async def keep_part_times(conn: Connection, resource_ids: Sequence[UUID], now: datetime) -> None:
    """Write down since when these resources, and what has one of them for its parent, are part of what, or no more."""
    await conn.execute(
        """
        with ids as (
          select unnest($1::uuid[]) as id
          union
          select r.id
          from cloud_resources p
          join cloud_resources r
            on r.parent_provider_id = p.provider_id and r.parent_kind = p.kind and r.provider = p.provider and r.part
          where p.id = any($1::uuid[])),
        concerned as (
          select r.id, r.parent_kind, r.parent_provider_id, r.part and p.deleted_at is null as part
          from ids
          join cloud_resources r on r.id = ids.id
          left join cloud_resources p
            on p.provider_id = r.parent_provider_id and p.kind = r.parent_kind and p.provider = r.provider),
        ended as (
          update part_times t set until = $2
          from concerned c
          where t.resource_id = c.id and t.until is null
            and not (c.part and (t.whole_kind, t.whole_provider_id) = (c.parent_kind, c.parent_provider_id))
          returning t.resource_id)
        insert into part_times (resource_id, whole_kind, whole_provider_id, since)
        select c.id, c.parent_kind, c.parent_provider_id, $2
        from concerned c
        left join ended on ended.resource_id = c.id  -- which makes that come first
        where c.part and (ended.resource_id is not null
          or not exists (select from part_times t where t.resource_id = c.id and t.until is null))
        """,
        resource_ids,
        now,
    )


async def is_part(conn: Connection, resource_id: UUID) -> bool:
    """Whether a resource is part of something that is there."""
    query = "select exists (select from part_times where resource_id = $1 and until is null)"
    return bool(await conn.fetchval(query, resource_id))


async def list_parts(conn: Connection, resource_id: UUID, since: datetime) -> dict[UUID, bool]:
    """What was part of a resource at a time or later, and whether it is attributed with it now.

    Those left out that have had a link of their own since then, and those that the bus was told to forget.
    """
    rows = await conn.fetch(
        """
        select distinct on (r.id) r.id, t.until is null and own.deployment_id is null as now
        from cloud_resources w
        join part_times t on t.whole_provider_id = w.provider_id and t.whole_kind = w.kind
        join cloud_resources r on r.id = t.resource_id
        left join lateral (
          select l.deployment_id, l.effective_from from resource_links l
          where l.resource_id = r.id order by l.effective_from desc limit 1) as own on true
        where w.id = $1 and (t.until is null or t.until > $2) and (r.deleted_at is null or r.deleted_at > $2)
          and r.forgotten_at is null and not (own.deployment_id is not null and own.effective_from <= $2)
        order by r.id, t.since desc
        """,
        resource_id,
        since,
    )
    return {row["id"]: row["now"] for row in rows}


async def step_up(conn: Connection, resource_ids: Sequence[UUID]) -> list[Row]:
    """Move the versions of resources, which the bus is to know again. Gives them."""
    return await conn.fetch(
        """
        update cloud_resources set version = version + 1, forgotten_at = null
        where id = any($1::uuid[]) returning *
        """,
        resource_ids,
    )
