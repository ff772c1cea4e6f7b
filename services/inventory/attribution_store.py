"""Whose resources are: every SQL statement about it. The rule itself is the view `attributions`, in the migrations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias
from uuid import UUID

import asyncpg

from services.inventory.domain import Link
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


async def list_unsettled_of_project(conn: Connection, project_id: UUID, limit: int) -> list[UUID]:
    """Resources of a project that are not attributed as the rule says; tombstoned ones too."""
    rows = await conn.fetch(
        """
        select r.id from cloud_resources r join attributions a on a.id = r.id
        where r.project_id = $1
          and (a.project_id, a.deployment_id, a.tenant_id)
            is distinct from (r.project_id, r.deployment_id, r.tenant_id)
        order by r.id limit $2
        """,
        project_id,
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
        from (
          select s.id, min(w.parent_kind) as kind, min(w.parent_provider_id) as provider_id
          from cloud_resources s
          cross join lateral jsonb_array_elements_text(s.attrs -> 'droplet_ids') as served(droplet_id)
          left join cloud_resources w
            on w.provider_id = served.droplet_id and w.kind = 'droplet' and w.provider = s.provider and w.part
          where s.kind = any($1::text[]) and s.parent_kind is null and s.deleted_at is null
            and s.attrs -> 'droplet_ids' ?| $2::text[]
          group by s.id
          having count(*) = count(w.id) and count(distinct w.parent_provider_id) = 1) as maker
        where r.id = maker.id
        returning r.*
        """,
        kinds,
        droplet_ids,
    )


async def attribute_to(conn: Connection, resource_id: UUID, link: Link) -> list[Row]:
    """Write on a resource and its parts whose they are now. Gives them, with `old_tenant_id`, the resource first.

    Linked: the deployment's tenant's alone, also while nobody knows who that is.
    """
    return await conn.fetch(
        """
        update cloud_resources r
        set deployment_id = $2, tenant_id = case when $2::uuid is not null then $3 else r.tenant_id end,
          version = r.version + 1, forgotten_at = null
        from cloud_resources asked
        where asked.id = $1 and (r.id = asked.id
          or (r.part and r.parent_provider_id = asked.provider_id and r.parent_kind = asked.kind))
        returning old.tenant_id as old_tenant_id, new.*
        """,
        resource_id,
        link.deployment_id,
        link.tenant_id,
    )
