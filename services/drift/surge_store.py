"""Surges: every SQL statement about very many drifts alike."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

import asyncpg

from services.drift.domain import Finding
from shared.db import Connection

Row: TypeAlias = asyncpg.Record

LATELY = timedelta(hours=1)

COLUMNS = "id, kind, field, drifts, specs, example, began_at, ended_at, version"


async def find_open(conn: Connection, kind: str, field: str) -> UUID | None:
    """The surge of a kind and field that is not over, nor will be before the transaction ends."""
    found: UUID | None = await conn.fetchval(
        "select id from surges where kind = $1 and field = $2 and ended_at is null for share", kind, field
    )
    return found


async def count_lately(conn: Connection, kind: str, field: str, now: datetime) -> int:
    """How many drifts of a kind and field were detected lately that are open, and part of no surge."""
    count: int = await conn.fetchval(
        """
        select count(*) from cloud_drift
        where kind = $1 and field = $2 and detected_at > $3 and status = 'open' and surge_id is null
        """,
        kind,
        field,
        now - LATELY,
    )
    return count


async def insert_surge(conn: Connection, example: Finding, drifts: int, now: datetime) -> Row | None:
    """A new surge of so many drifts, with one of them for an example; None where there is one by now."""
    return await conn.fetchrow(
        f"""
        insert into surges (kind, field, drifts, specs, example, began_at)
        select $1, $2, $7,
          (select count(*) from cloud_provisioned p join resources o on o.id = p.resource_id
            where o.kind = $1 and p.retired_at is null),
          jsonb_build_object('resource_id', r.id, 'name', r.name, 'desired', $4::jsonb, 'live', $5::jsonb), $6
        from resources r where r.id = $3
        on conflict (kind, field) where ended_at is null do nothing
        returning {COLUMNS}
        """,
        example.kind,
        example.field,
        example.resource_id,
        example.desired,
        example.live,
        now,
        drifts,
    )


async def gather(conn: Connection, surge_id: UUID, kind: str, field: str, now: datetime) -> list[UUID]:
    """Have the drifts detected lately be part of a surge, each told of as it is. Gives them."""
    rows = await conn.fetch(
        """
        update cloud_drift set surge_id = $1, version = version + 1
        where kind = $2 and field = $3 and detected_at > $4 and status = 'open' and surge_id is null
        returning id
        """,
        surge_id,
        kind,
        field,
        now - LATELY,
    )
    return [row["id"] for row in rows]


async def recount(conn: Connection, now: datetime) -> list[Row]:
    """Count the drifts of surges that are not over, and end those of which none is open, or none is new lately.

    Gives those that changed.
    """
    # A drift may become part of one just now.
    await conn.execute("select from surges where ended_at is null order by kind, field for update")
    return await conn.fetch(
        f"""
        with counted as (
          select s.id, count(d.id)::int as drifts,
            count(*) filter (where d.status = 'open') = 0 or max(d.detected_at) <= $2 as is_over
          from surges s left join cloud_drift d on d.surge_id = s.id where s.ended_at is null group by s.id)
        update surges s set drifts = c.drifts, ended_at = case when c.is_over then $1::timestamptz end,
          version = s.version + 1
        from counted c
        where c.id = s.id and s.ended_at is null and (c.is_over or c.drifts <> s.drifts)
        returning {", ".join(f"s.{name}" for name in COLUMNS.split(", "))}
        """,
        now,
        now - LATELY,
    )


async def lock_open_of(conn: Connection, surge_id: UUID, limit: int) -> tuple[list[Row], bool]:
    """Open drifts of a surge that are not being reverted, their specs locked before them; and whether there were any
    before that: others may have closed them since."""
    specs = await conn.fetch(
        """
        select p.resource_id from cloud_provisioned p where p.resource_id in (
          select resource_id from cloud_drift where surge_id = $1 and status = 'open' and not is_reverting
          order by resource_id limit $2)
        order by p.resource_id for update
        """,
        surge_id,
        limit,
    )
    rows = await conn.fetch(
        """
        select * from cloud_drift
        where surge_id = $1 and status = 'open' and not is_reverting and resource_id = any($2::uuid[]) for update
        """,
        surge_id,
        [row["resource_id"] for row in specs],
    )
    return rows, bool(specs)


async def is_there(conn: Connection, surge_id: UUID) -> bool:
    """Whether there is such a surge."""
    return bool(await conn.fetchval("select exists (select from surges where id = $1)", surge_id))


async def list_after(conn: Connection, after: UUID, limit: int) -> list[Row]:
    """Surges in the order of their ids; nobody changes them until the transaction ends."""
    return await conn.fetch(f"select {COLUMNS} from surges where id > $1 order by id limit $2 for share", after, limit)


async def delete_old(conn: Connection, before: datetime, limit: int) -> Sequence[UUID]:
    """Forget surges that ended before a time and have no drifts left. Gives those that went."""
    rows = await conn.fetch(
        """
        delete from surges where id in (
          select id from surges s where ended_at < $1 and not exists (select from cloud_drift where surge_id = s.id)
          limit $2 for update skip locked)
        returning id
        """,
        before,
        limit,
    )
    return [row["id"] for row in rows]
