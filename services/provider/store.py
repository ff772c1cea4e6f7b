"""The ledger: every SQL statement about operations.

Those that give a row to go on with give it with `unsure`: whether the time has not passed yet in which the effect of
what was noted down last as sent may come to light. That it was sent is not said by that. The database's clock decides,
for all workers alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from shared.db import Connection

Row: TypeAlias = asyncpg.Record
Json: TypeAlias = dict[str, Any]

BEFORE_ALL = UUID(int=0)


async def insert_operation(
    conn: Connection,
    id: UUID,
    *,
    kind: str,
    status: str,
    deployment_id: UUID | None,
    tenant_id: str | None,
    target: str | None,
    request: Json,
    now: datetime,
) -> Row | None:
    """Note an operation down; None where it is there already. One that is `cancelled` from the start has no effect."""
    return await conn.fetchrow(
        """
        insert into operations (id, kind, status, deployment_id, tenant_id, target, request, undone, created_at,
          updated_at, version)
        values ($1, $2, $3, $4, $5, $6, $7, $3 = 'cancelled', $8, $8, 1)
        on conflict (id) do nothing
        returning *, false as unsure
        """,
        id,
        kind,
        status,
        deployment_id,
        tenant_id,
        target,
        request,
        now,
    )


async def lock_operation(conn: Connection, id: UUID) -> Row | None:
    """An operation, for whoever is to change it."""
    return await conn.fetchrow(
        """
        select *, coalesce(clock_timestamp() < unsure_until, false) as unsure from operations where id = $1 for update
        """,
        id,
    )


async def find_creation(conn: Connection, target: str) -> Row | None:
    """The operation that made a target; None where none of this ledger did."""
    return await conn.fetchrow(
        """
        select *, coalesce(clock_timestamp() < unsure_until, false) as unsure from operations
        where target = $1 and kind = 'create-droplet'
        """,
        target,
    )


async def lock_target(conn: Connection, target: str) -> None:
    """Be the only one who looks whether a target is held, until the transaction ends."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended($1, 0))", target)


async def mark_held(conn: Connection, id: UUID, hold: timedelta) -> bool:
    """Hold an operation's target for so long from now; False where another operation does."""
    held = await conn.fetchval(
        """
        update operations o set held_until = clock_timestamp() + $2::interval
        where id = $1 and not exists (
          select from operations other
          where other.target = o.target and other.status in ('pending', 'sent')
            and other.held_until > clock_timestamp() and other.id <> o.id)
        returning true
        """,
        id,
        hold,
    )
    return bool(held)


async def mark_sent(
    conn: Connection, id: UUID, step: Json, before: Json | None, now: datetime, *, unsure: timedelta, hold: timedelta
) -> Row | None:
    """A write is about to be sent; None where the hold on its target, if it has one, has lapsed.

    `before` is kept where nothing is yet.
    """
    return await conn.fetchrow(
        """
        update operations set status = 'sent', step = $2, before = coalesce(before, $3), sent_at = clock_timestamp(),
          unsure_until = clock_timestamp() + $4::interval, held_until = clock_timestamp() + $5::interval,
          updated_at = case when status = 'sent' then updated_at else $6 end,
          version = version + (status <> 'sent')::int
        where id = $1 and (target is null or held_until > clock_timestamp())
        returning *, true as unsure
        """,
        id,
        step,
        before,
        unsure,
        hold,
        now,
    )


async def mark_step(conn: Connection, id: UUID, step: Json | None, known: Json) -> Row:
    """How far the write under way is, and what is known by now. Nobody else is told of that."""
    return await _the_row(
        conn,
        """
        update operations set step = $2, known = $3
        where id = $1 returning *, coalesce(clock_timestamp() < unsure_until, false) as unsure
        """,
        id,
        step,
        known,
    )


async def mark_failing(conn: Connection, id: UUID, error: str, detail: Json, now: datetime) -> Row:
    """It will be refused once all is as it was before."""
    return await _the_row(
        conn,
        """
        update operations set error = $2, detail = $3, step = null, updated_at = $4, version = version + 1
        where id = $1 returning *, coalesce(clock_timestamp() < unsure_until, false) as unsure
        """,
        id,
        error,
        detail,
        now,
    )


async def mark_done(
    conn: Connection, id: UUID, now: datetime, *, result: Json, before: Json | None, target: str | None, known: Json
) -> Row:
    """It took effect."""
    return await _the_row(
        conn,
        """
        update operations set status = 'done', result = $2, before = coalesce(before, $3),
          target = coalesce($4, target), known = $5, step = null, error = null, detail = null,
          updated_at = $6, version = version + 1
        where id = $1 returning *, coalesce(clock_timestamp() < unsure_until, false) as unsure
        """,
        id,
        result,
        before,
        target,
        known,
        now,
    )


async def mark_refused(conn: Connection, id: UUID, error: str, detail: Json, now: datetime, *, by: UUID) -> Row:
    """It has no effect. `by`: the message to which that is the answer."""
    return await _the_row(
        conn,
        """
        update operations set status = 'refused', error = $2, detail = $3, step = null, updated_at = $4,
          refused_by = $5, version = version + 1
        where id = $1 returning *, coalesce(clock_timestamp() < unsure_until, false) as unsure
        """,
        id,
        error,
        detail,
        now,
        by,
    )


async def mark_pending(conn: Connection, id: UUID, now: datetime) -> Row:
    """All is as if never begun: it may be asked again."""
    return await _the_row(
        conn,
        """
        update operations set status = 'pending', error = null, detail = null, step = null, before = null, known = '{}',
          sent_at = null, unsure_until = null, updated_at = $2, version = version + 1
        where id = $1 returning *, coalesce(clock_timestamp() < unsure_until, false) as unsure
        """,
        id,
        now,
    )


async def mark_cancelled(conn: Connection, id: UUID, undone: bool, now: datetime) -> Row:
    """It is not to take effect any more; `undone` where it has none."""
    return await _the_row(
        conn,
        """
        update operations set status = 'cancelled', undone = $2, updated_at = $3, version = version + 1
        where id = $1 returning *, coalesce(clock_timestamp() < unsure_until, false) as unsure
        """,
        id,
        undone,
        now,
    )


async def mark_made(conn: Connection, id: UUID, target: str, result: Json, now: datetime) -> Row:
    """It was cancelled, and its write came through all the same."""
    return await _the_row(
        conn,
        """
        update operations set target = $2, result = $3, undone = false, step = null, updated_at = $4,
          version = version + 1
        where id = $1 returning *, coalesce(clock_timestamp() < unsure_until, false) as unsure
        """,
        id,
        target,
        result,
        now,
    )


async def mark_undone(conn: Connection, id: UUID, now: datetime) -> Row:
    """Nothing of it is left at the provider."""
    return await _the_row(
        conn,
        """
        update operations set undone = true, step = null, updated_at = $2, version = version + 1
        where id = $1 returning *, coalesce(clock_timestamp() < unsure_until, false) as unsure
        """,
        id,
        now,
    )


async def list_told(conn: Connection, target: str, part: str) -> list[Json]:
    """What answers to recent writes have told of a part of a target, oldest first: reads may not show it yet."""
    rows = await conn.fetch(
        """
        select known -> $2::text as told from operations
        where target = $1 and unsure_until > clock_timestamp() and known ? $2::text order by sent_at
        """,
        target,
        part,
    )
    return [row["told"] for row in rows]


async def list_operations(conn: Connection, ids: Sequence[UUID]) -> dict[UUID, Row]:
    """The operations of these that are known, by id."""
    rows = await conn.fetch("select * from operations where id = any($1::uuid[])", ids)
    return {row["id"]: row for row in rows}


async def lock_operations_after(conn: Connection, after: UUID, limit: int) -> list[Row]:
    """Operations in the order of their ids. Nobody changes one before this transaction ends."""
    return await conn.fetch("select * from operations where id > $1 order by id limit $2 for share", after, limit)


async def delete_old(conn: Connection, before: datetime, limit: int) -> list[UUID]:
    """Drop what is over since long, or was never begun, but never what a droplet that may still be there is known by.

    Gives the ids.
    """
    rows = await conn.fetch(
        """
        delete from operations where id in (
          select id from operations
          where updated_at < $1
            and (status in ('pending', 'refused') or status = 'cancelled' and undone
              or status = 'done' and kind <> 'create-droplet')
          order by updated_at limit $2
          for update skip locked)
        returning id
        """,
        before,
        limit,
    )
    return [row["id"] for row in rows]


async def _the_row(conn: Connection, statement: str, *arguments: Any) -> Row:
    rows: list[Row] = await conn.fetch(statement, *arguments)
    return rows[0]
