"""Projects and what is in them: every SQL statement about them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from shared.db import Connection

Row: TypeAlias = asyncpg.Record


async def list_by_provider_id(conn: Connection, provider_ids: Sequence[str]) -> dict[str, Row]:
    """Projects by the provider's ids, deleted ones too."""
    rows = await conn.fetch(
        "select * from cloud_projects where provider = 'digitalocean' and provider_id = any($1::text[])", provider_ids
    )
    return {row["provider_id"]: row for row in rows}


async def upsert_seen(conn: Connection, seen: Sequence[dict[str, Any]], seen_at: datetime) -> dict[str, Row]:
    """Store projects as they were seen; `step` is by how much the version moves. Gives the rows by provider's ids."""
    rows = await conn.fetch(
        """
        insert into cloud_projects as p
          (provider_id, name, description, environment, is_default, first_seen_at, last_seen_at, version)
        select s.provider_id, s.name, s.description, s.environment, s.is_default, $2, $2, s.step
        from jsonb_to_recordset($1) as s(provider_id text, name text, description text, environment text,
          is_default boolean, step bigint)
        on conflict (provider, provider_id) do update
        set name = excluded.name, description = excluded.description, environment = excluded.environment,
          is_default = excluded.is_default, last_seen_at = greatest(p.last_seen_at, excluded.last_seen_at),
          deleted_at = null, forgotten_at = null, version = p.version + excluded.version
        returning *
        """,
        seen,
        seen_at,
    )
    return {row["provider_id"]: row for row in rows}


async def list_unseen(conn: Connection, walk_began: datetime, asked_after: datetime) -> list[Row]:
    """Projects that a walk should have seen and did not; those left out whose creation was asked for after a time."""
    return await conn.fetch(
        """
        select * from cloud_projects p
        where provider = 'digitalocean' and deleted_at is null and last_seen_at < $1 and first_seen_at < $1
          and not exists (select from project_creations c where c.name = p.name and c.asked_at > $2)
        order by id
        """,
        walk_began,
        asked_after,
    )


async def mark_deleted(conn: Connection, project_id: UUID, walk_began: datetime, now: datetime) -> Row | None:
    """Tombstone a project, unless it was seen since a walk began."""
    return await conn.fetchrow(
        """
        update cloud_projects set deleted_at = $3, version = version + 1
        where id = $1 and deleted_at is null and last_seen_at < $2 returning *
        """,
        project_id,
        walk_began,
        now,
    )


async def claim_creation(conn: Connection, name: str, not_since: datetime, now: datetime) -> bool:
    """Note that a project is about to be created at the provider. False where that was noted lately, since a time."""
    claimed = await conn.fetchval(
        """
        insert into project_creations as c (name, asked_at) values ($1, $3)
        on conflict (name) do update set asked_at = excluded.asked_at where c.asked_at < $2
        returning true
        """,
        name,
        not_since,
        now,
    )
    return bool(claimed)


async def find_live_by_name(conn: Connection, name: str) -> Row | None:
    """A project that exists at the provider under this name."""
    return await conn.fetchrow(
        """
        select * from cloud_projects where provider = 'digitalocean' and name = $1 and deleted_at is null
        order by id limit 1
        """,
        name,
    )


async def find_project(conn: Connection, project_id: UUID) -> Row | None:
    """A project by its id."""
    return await conn.fetchrow("select * from cloud_projects where id = $1", project_id)


async def classify(conn: Connection, project_id: UUID, tenant_id: str | None, purpose: str | None) -> Row:
    """Say whose a project is and what it is for."""
    rows: list[Row] = await conn.fetch(
        """
        update cloud_projects set tenant_id = $2, purpose = $3, version = version + 1, forgotten_at = null
        where id = $1 returning *
        """,
        project_id,
        tenant_id,
        purpose,
    )
    return rows[0]


async def list_projects_after(conn: Connection, after: UUID, limit: int) -> list[Row]:
    """Projects in the order of their ids, those left out that the bus was told to forget."""
    return await conn.fetch(
        "select * from cloud_projects where id > $1 and forgotten_at is null order by id limit $2", after, limit
    )


async def forget_deleted(conn: Connection, deleted_before: datetime, limit: int, now: datetime) -> list[UUID]:
    """Note that the bus is told to forget projects that are long gone, some at a go. Their rows stay, as history."""
    rows = await conn.fetch(
        """
        update cloud_projects set forgotten_at = $3
        where id in (
          select id from cloud_projects where deleted_at < $1 and forgotten_at is null order by deleted_at limit $2)
        returning id
        """,
        deleted_before,
        limit,
        now,
    )
    return [row["id"] for row in rows]


async def upsert_members(conn: Connection, members: Sequence[tuple[str, str, UUID]]) -> list[tuple[str, str]]:
    """Note which project lists resources (kind, provider's id, project), each once.

    Gives those (kind, provider's id) that it did not list before.
    """
    kinds, provider_ids, projects = zip(*members, strict=True)
    rows = await conn.fetch(
        """
        insert into project_members as m (kind, provider_id, project_id)
        select s.kind, s.provider_id, s.project_id
        from unnest($1::text[], $2::text[], $3::uuid[]) as s(kind, provider_id, project_id)
        where not exists (
          select from project_members o
          where o.kind = s.kind and o.provider_id = s.provider_id and o.project_id = s.project_id)
        on conflict (kind, provider_id) do update set project_id = excluded.project_id
        returning kind, provider_id
        """,
        kinds,
        provider_ids,
        projects,
    )
    return [(row["kind"], row["provider_id"]) for row in rows]


async def list_members(conn: Connection, members: Sequence[tuple[str, str]]) -> list[UUID]:
    """The resources that these members of projects are, as far as they are known."""
    rows = await conn.fetch(
        """
        select known.id from unnest($1::text[], $2::text[]) as s(kind, provider_id)
        cross join lateral (
          select k.id from cloud_resources k
          where k.provider_id = s.provider_id and k.kind = s.kind and k.provider = 'digitalocean'
          offset 0) as known -- see `touch_unchanged`
        """,
        [kind for kind, _ in members],
        [provider_id for _, provider_id in members],
    )
    return [row["id"] for row in rows]
