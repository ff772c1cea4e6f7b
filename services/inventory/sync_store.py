"""Walks of the provider, strikes, and syncs that are held: every SQL statement about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from services.inventory.domain import STRIKES
from shared.db import Connection

Row: TypeAlias = asyncpg.Record


@dataclass(frozen=True)
class Sync:
    """A walk under way. What it has not seen since `began_at`, it has not seen."""

    id: UUID
    kind: str
    began_at: datetime


async def insert_sync(conn: Connection, kind: str, command_id: UUID, now: datetime) -> Sync:
    """Begin a walk, in turn. One of the same kind that is still under way (or was cut off) counts no more."""
    await conn.execute(
        "update syncs set status = 'superseded', finished_at = $2 where kind = $1 and status = 'running'", kind, now
    )
    id = await conn.fetchval(
        "insert into syncs (kind, command_id, started_at) values ($1, $2, $3) returning id", kind, command_id, now
    )
    return Sync(id, kind, now)


async def lock_running(conn: Connection, sync: Sync) -> bool:
    """Keep a walk from being superseded until the transaction ends. False where it has been."""
    query = "select true from syncs where id = $1 and status = 'running' for update"
    return bool(await conn.fetchval(query, sync.id))


async def finish_sync(
    conn: Connection, sync: Sync, status: str, *, counts: Mapping[str, Any], doubts: Sequence[str], now: datetime
) -> None:
    """End a walk, unless a later one has superseded it."""
    await conn.execute(
        """
        update syncs set status = $2, counts = $3, doubts = $4, finished_at = $5
        where id = $1 and status = 'running'
        """,
        sync.id,
        status,
        counts,
        doubts,
        now,
    )


async def find_complete_walk(conn: Connection, kind: str, command_id: UUID) -> datetime | None:
    """When the walk of a kind began that a command has completed; None where it has not, or it is held."""
    began_at: datetime | None = await conn.fetchval(
        """
        select max(started_at) from syncs
        where kind = $1 and command_id = $2 and status = 'complete'
        """,
        kind,
        command_id,
    )
    return began_at


async def touch_backups(
    conn: Connection, droplets_seen_since: datetime, seen_at: datetime, *, after: UUID, limit: int
) -> list[Row]:
    """Note that the backups were seen which droplets name, of droplets seen since a time: some droplets at a go.

    In the order of their ids, from `after` on. Gives the droplets, and how many each names that are known and unknown.
    """
    return await conn.fetch(
        """
        with droplets as (
          select id, provider_id, attrs -> 'backup_ids' as backup_ids
          from cloud_resources
          where kind = 'droplet' and provider = 'digitalocean' and deleted_at is null and last_seen_at >= $1 and id > $3
          order by id limit $4),
        named as (
          select d.id, known.id as backup_id
          from droplets d
          cross join lateral jsonb_array_elements_text(nullif(d.backup_ids, 'null')) as b(provider_id)
          left join lateral (
            select k.id from cloud_resources k
            where k.provider_id = b.provider_id and k.kind = 'droplet_backup' and k.provider = 'digitalocean'
              and k.deleted_at is null
            offset 0) as known on true),
        touched as (
          update cloud_resources r
          set last_seen_at = greatest(r.last_seen_at, $2),
            stale_strike_count = 0, last_strike_at = null, vanish_approved = false
          from named where r.id = named.backup_id)
        select d.id, d.provider_id, count(n.backup_id) as known,
          count(*) filter (where n.id is not null and n.backup_id is null) as unknown
        from droplets d left join named n on n.id = d.id
        group by d.id, d.provider_id order by d.id
        """,
        droplets_seen_since,
        seen_at,
        after,
        limit,
    )


async def list_coverage(conn: Connection) -> list[Row]:
    """How fresh each kind is that was ever walked."""
    return await conn.fetch("select * from v1_all_coverage order by kind")


async def count_missing(conn: Connection, sync: Sync) -> tuple[int, int, int]:
    """How many of its kind a walk should have seen, how many of those it did not see; and all that it did not see.

    In the first two, those are left out whose absence an operator has approved: they say nothing about what is
    plausible.
    """
    rows = await conn.fetch(
        """
        select count(*) filter (where not vanish_approved) as known,
          count(*) filter (where last_seen_at < $2 and not vanish_approved) as missing,
          count(*) filter (where last_seen_at < $2) as unseen
        from cloud_resources
        where provider = 'digitalocean' and kind = $1 and deleted_at is null and first_seen_at < $2
        """,
        sync.kind,
        sync.began_at,
    )
    return rows[0]["known"], rows[0]["missing"], rows[0]["unseen"]


async def list_known(conn: Connection, sync: Sync, *, limit: int) -> list[str]:
    """The provider's ids of some of those that a walk should have seen."""
    rows = await conn.fetch(
        """
        select provider_id from cloud_resources
        where provider = 'digitalocean' and kind = $1 and deleted_at is null and first_seen_at < $2 limit $3
        """,
        sync.kind,
        sync.began_at,
        limit,
    )
    return [row["provider_id"] for row in rows]


async def strike_missing(
    conn: Connection, sync: Sync, interval: timedelta, at: datetime, *, after: UUID, limit: int
) -> list[UUID]:
    """A strike for resources that a complete walk did not see, `interval` after their last at the earliest.

    Some at a go, in the order of their ids, from `after` on. Gives the ids.
    """
    rows = await conn.fetch(
        """
        with due as (
          select id from cloud_resources
          where provider = 'digitalocean' and kind = $1 and deleted_at is null and last_seen_at < $2
            and (last_strike_at is null or last_strike_at <= $4::timestamptz - $3::interval)
            and id > $5
          order by id limit $6),
        struck as (
          update cloud_resources r set stale_strike_count = stale_strike_count + 1, last_strike_at = $4
          from due where r.id = due.id)
        select id from due order by id
        """,
        sync.kind,
        sync.began_at,
        interval,
        at,
        after,
        limit,
    )
    return [row["id"] for row in rows]


async def delete_struck_out(conn: Connection, kind: str, limit: int, now: datetime) -> list[Row]:
    """Tombstone resources with three strikes, some at a go. They leave their project's list.

    A bucket's size is forgotten: the next one of its name is another.
    """
    return await conn.fetch(
        """
        with gone as (
          update cloud_resources set deleted_at = $4, version = version + 1
          where id in (
            select id from cloud_resources
            where kind = $1 and deleted_at is null and stale_strike_count > 0 and stale_strike_count >= $2
            order by id limit $3)
          returning *),
        left_project as (
          delete from project_members m using gone where m.kind = gone.kind and m.provider_id = gone.provider_id),
        unmeasured as (
          delete from bucket_measurements m using gone
          where gone.kind = 'spaces_bucket' and m.bucket = gone.provider_id)
        select * from gone
        """,
        kind,
        STRIKES,
        limit,
        now,
    )


async def supersede_held_sync(conn: Connection, kind: str, now: datetime) -> None:
    """A later complete walk of the kind asks the question anew, or answers it."""
    await conn.execute(
        "update held_syncs set status = 'superseded', decided_at = $2 where kind = $1 and status = 'open'", kind, now
    )


async def insert_held_sync(conn: Connection, sync: Sync, now: datetime) -> int:
    """Hold the strikes of a walk back. Gives how many are held back."""
    rows = await conn.fetch(
        """
        insert into held_syncs (id, kind, known, missing, resource_ids, held_at)
        select $1, $2, count(*), count(*) filter (where last_seen_at < $3),
          array_agg(id order by id) filter (where last_seen_at < $3), $4
        from cloud_resources
        where provider = 'digitalocean' and kind = $2 and deleted_at is null and first_seen_at < $3
        returning missing
        """,
        sync.id,
        sync.kind,
        sync.began_at,
        now,
    )
    return int(rows[0]["missing"])


async def lock_held_sync(conn: Connection, held_sync_id: UUID) -> Row | None:
    """A held sync, for a decision."""
    return await conn.fetchrow("select * from held_syncs where id = $1 for update", held_sync_id)


async def mark_decided(conn: Connection, held_sync_id: UUID, status: str, actor: str | None, now: datetime) -> None:
    """Write down how a held sync was decided, and by whom."""
    await conn.execute(
        "update held_syncs set status = $2, decided_by = $3, decided_at = $4 where id = $1",
        held_sync_id,
        status,
        actor,
        now,
    )


async def strike_approved(
    conn: Connection, held_sync_id: UUID, interval: timedelta, *, after: UUID, limit: int
) -> list[Row]:
    """Give the strikes of an approved sync to those still unseen, whose absence puzzles nobody any more.

    Some at a go, in the order of their ids, from `after` on. Gives the ids, and whether each was struck. The strikes
    are of the time of the decision: so nobody gets two of them, should the job be done again from its beginning.
    """
    return await conn.fetch(
        """
        with held as (
          select r.id, h.decided_at, (last_strike_at is null
            or last_strike_at < h.decided_at and last_strike_at <= h.decided_at - $2::interval) as struck
          from held_syncs h
          join syncs on syncs.id = h.id
          join cloud_resources r on r.id = any(h.resource_ids)
          where h.id = $1 and r.id > $3 and r.deleted_at is null and r.last_seen_at < syncs.started_at
          order by r.id limit $4),
        marked as (
          update cloud_resources r
          set vanish_approved = true,
            stale_strike_count = stale_strike_count + struck::integer,
            last_strike_at = case when struck then decided_at else last_strike_at end
          from held where r.id = held.id)
        select id, struck from held order by id
        """,
        held_sync_id,
        interval,
        after,
        limit,
    )


async def delete_old_syncs(conn: Connection, before: datetime, limit: int) -> int:
    """Drop walks that are past their time, some at a go, with the questions they raised. Gives how many."""
    rows = await conn.fetch(
        """
        with old as (select id from syncs where started_at < $1 order by started_at limit $2),
        asked as (delete from held_syncs where id in (select id from old))
        delete from syncs where id in (select id from old) returning 1
        """,
        before,
        limit,
    )
    return len(rows)
