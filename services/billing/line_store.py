"""Every SQL statement about the lines of invoices, and what operators said of them."""

from __future__ import annotations

from collections.abc import AsyncIterable
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import asyncpg

from contracts.billing import AssignCostLine
from shared.db import Connection, Unbegun
from shared.outcome import Meta

Row: TypeAlias = asyncpg.Record

COLUMNS = (
    "invoice_id",
    "product",
    "group_description",
    "category",
    "ends_at",
    "project_name",
    "hours",
    "starts_at",
    "amount",
    "description",
    "line",
    "kind",
    "provider_resource_id",
    "matched_by",
    "unmatched",
    "resource_id",
)


async def copy_lines(conn: Connection, rows: AsyncIterable[bytes]) -> None:
    """Take in lines: rows of `COLUMNS` in the format of a binary COPY."""
    plain = await conn.begin() if isinstance(conn, Unbegun) else conn
    await plain.copy_to_table("cloud_cost_lines", source=rows, columns=COLUMNS, format="binary")


async def supersede_lines(conn: Connection, invoice_id: UUID, ingest: int, now: datetime) -> None:
    """Put an invoice's lines aside, to make room for others."""
    await conn.execute(
        """
        with gone as (delete from cloud_cost_lines where invoice_id = $1 returning old.*)
        insert into superseded_cost_lines
          (ingest, superseded_at, invoice_id, line, product, group_description, description, hours, starts_at, ends_at,
           amount, project_name, category, kind, provider_resource_id, resource_id, matched_by, unmatched)
        select $2, $3, invoice_id, line, product, group_description, description, hours, starts_at, ends_at,
          amount, project_name, category, kind, provider_resource_id, resource_id, matched_by, unmatched
        from gone
        """,
        invoice_id,
        ingest,
        now,
    )


async def get_changes(conn: Connection, invoice_id: UUID, ingest: int, examples: int) -> Row:
    """How lines differ from a set that they superseded. Those of one key are told apart by their order."""
    rows: list[Row] = await conn.fetch(
        """
        with before as (select * from keyed_superseded_lines where invoice_id = $1 and ingest = $2),
        after as (select * from keyed_cost_lines where invoice_id = $1),
        changed as (
          select left(coalesce(a.product, b.product, ''), 200) as product,
            left(coalesce(a.description, b.description, ''), 200) as description,
            b.amount_cents as before_cents, a.amount_cents as after_cents
          from before b full join after a on a.key = b.key and a.nth = b.nth
          where (a.key, a.amount_cents, a.hours, a.project_name, a.category)
            is distinct from (b.key, b.amount_cents, b.hours, b.project_name, b.category))
        select
          count(*) filter (where before_cents is null) as added,
          count(*) filter (where after_cents is null) as removed,
          count(*) filter (where before_cents <> after_cents) as repriced,
          count(*) filter (where before_cents = after_cents) as altered,
          (select coalesce(sum(amount_cents), 0) from before)::bigint as before_cents,
          (select coalesce(sum(amount_cents), 0) from after)::bigint as after_cents,
          (select coalesce(jsonb_agg(e), '[]') from (
            select * from changed order by abs(coalesce(after_cents, 0) - coalesce(before_cents, 0)) desc, description
            limit $3) e) as examples
        from changed
        """,
        invoice_id,
        ingest,
        examples,
    )
    return rows[0]


async def delete_superseded(conn: Connection, invoice_id: UUID, ingest: int) -> None:
    """Forget a set that differs in nothing from the one that took its place."""
    await conn.execute("delete from superseded_cost_lines where invoice_id = $1 and ingest = $2", invoice_id, ingest)


async def delete_old_superseded(conn: Connection, before: datetime, limit: int) -> int:
    """Drop lines that were superseded long ago, some at a go. Gives how many went."""
    rows = await conn.fetch(
        """
        delete from superseded_cost_lines where (invoice_id, ingest, line) in (
          select invoice_id, ingest, line from superseded_cost_lines where superseded_at < $1
          order by superseded_at limit $2 for update skip locked)
        returning 1
        """,
        before,
        limit,
    )
    return len(rows)


async def follow_assignments(conn: Connection, invoice_id: UUID) -> int:
    """Find each assigned line in a new set. Gives how many there are; of the others, the assignments wait for them."""
    if not await conn.fetchval(
        "select exists (select from cost_line_assignments where invoice_id = $1 and ended_at is null)", invoice_id
    ):
        return 0
    await conn.execute(
        "update cost_line_assignments set line = null where invoice_id = $1 and ended_at is null", invoice_id
    )
    rows = await conn.fetch(
        """
        update cost_line_assignments a set line = l.line
        from keyed_cost_lines l
        where a.invoice_id = $1 and l.invoice_id = $1 and a.ended_at is null and a.key = l.key and a.nth = l.nth
        returning 1
        """,
        invoice_id,
    )
    return len(rows)


async def list_lines(conn: Connection, invoice_id: UUID) -> list[Row]:
    """An invoice's lines, as they are passed on."""
    return await conn.fetch(
        """
        select coalesce(product, '') as product, coalesce(description, '') as description, hours::text as quantity,
          starts_at, ends_at, amount_cents as amount_minor
        from cloud_cost_lines where invoice_id = $1 order by line
        """,
        invoice_id,
    )


async def find_line(conn: Connection, invoice_id: UUID, line: int) -> Row | None:
    """A line with its key, and which of those with the same key it is."""
    return await conn.fetchrow("select * from keyed_cost_lines where invoice_id = $1 and line = $2", invoice_id, line)


async def end_assignment(conn: Connection, invoice_id: UUID, line: int, now: datetime) -> None:
    """What was said of a line, if anything, counts no more."""
    await conn.execute(
        "update cost_line_assignments set ended_at = $3 where invoice_id = $1 and line = $2 and ended_at is null",
        invoice_id,
        line,
        now,
    )


async def insert_assignment(conn: Connection, said: AssignCostLine, found: Row, meta: Meta) -> None:
    """Say what a line means."""
    await conn.execute(
        """
        insert into cost_line_assignments
          (id, invoice_id, line, key, nth, product, description, resource_id, deployment_id, note, actor,
           assigned_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        """,
        meta.message_id,
        said.invoice_id,
        said.line,
        *(found[name] for name in ("key", "nth", "product", "description")),
        said.resource_id,
        said.deployment_id,
        said.note,
        meta.actor,
        meta.now,
    )


async def count_assigned(conn: Connection, invoice_id: UUID) -> int:
    """How many of an invoice's lines are assigned."""
    count: int = await conn.fetchval(
        """
        select count(*) from cost_line_assignments
        where invoice_id = $1 and ended_at is null and line is not null
        """,
        invoice_id,
    )
    return count
