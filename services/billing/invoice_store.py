"""Every SQL statement about invoices as a whole: what is known of them, ingested and pushed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from contracts.billing import Unmatched
from services.billing.domain import Told
from shared.db import Connection

Row: TypeAlias = asyncpg.Record
BEFORE_ALL = UUID(int=0)


async def upsert_told(conn: Connection, told: Sequence[Told], ids: Sequence[UUID], now: datetime) -> list[Row]:
    """Take in what the provider tells of invoices. Gives those that are new, and those of another amount than before.

    `before_cents`: the amount before; None of a new one. `ids`: for those that are new, one for each that is told.
    """
    return await conn.fetch(
        """
        insert into cloud_invoices
          (id, provider, invoice_uuid, number, period, currency, amount_cents, issued_at, discovered_at)
        select *, $9::timestamptz
        from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::date[], $6::text[], $7::bigint[],
          $8::timestamptz[])
        on conflict (provider, invoice_uuid) do update
          set amount_cents = excluded.amount_cents, version = cloud_invoices.version + 1
          where cloud_invoices.amount_cents <> excluded.amount_cents
        returning new.*, old.amount_cents as before_cents
        """,
        ids,
        *([each[column] for each in told] for column in range(len(Told._fields))),
        now,
    )


async def list_to_ingest(conn: Connection) -> list[UUID]:
    """Invoices whose newest attempt at their file did not end well, or that were never tried."""
    rows = await conn.fetch("select id from cloud_invoices where ingest_status <> 'ingested'")
    return [row["id"] for row in rows]


async def list_to_push(conn: Connection) -> list[UUID]:
    """Invoices with lines which finance has refused, or which it was not there to take."""
    rows = await conn.fetch("select id from cloud_invoices where push_status in ('skipped', 'failed') and ingests > 0")
    return [row["id"] for row in rows]


async def count_invoices(conn: Connection) -> int:
    """So many are known."""
    count: int = await conn.fetchval("select count(*) from cloud_invoices")
    return count


async def get_counts(conn: Connection) -> Row:
    """How many invoices are in which state."""
    rows: list[Row] = await conn.fetch(
        """
        select
          count(*) filter (where ingest_status = 'pending') as ingest_pending,
          count(*) filter (where ingest_status = 'ingested') as ingest_ingested,
          count(*) filter (where ingest_status = 'failed') as ingest_failed,
          count(*) filter (where push_status = 'pending' and ingests > 0) as push_pending,
          count(*) filter (where push_status = 'pushed') as push_pushed,
          count(*) filter (where push_status = 'skipped') as push_skipped,
          count(*) filter (where push_status = 'failed') as push_failed,
          count(*) filter (where reconciliation ->> 'status' = 'differs') as differing
        from cloud_invoices
        """
    )
    return rows[0]


async def find_invoice(conn: Connection, id: UUID) -> Row | None:
    """An invoice as it is."""
    return await conn.fetchrow("select * from cloud_invoices where id = $1", id)


async def lock_invoice(conn: Connection, id: UUID) -> Row | None:
    """An invoice, which nobody else changes until this transaction ends, nor its lines."""
    return await conn.fetchrow("select * from cloud_invoices where id = $1 for update", id)


async def lock_invoices_after(conn: Connection, after: UUID, limit: int) -> list[Row]:
    """Some invoices in the order of their ids."""
    return await conn.fetch("select * from cloud_invoices where id > $1 order by id limit $2 for update", after, limit)


async def mark_ingested(
    conn: Connection,
    id: UUID,
    now: datetime,
    *,
    lines: int,
    net_cents: int,
    tax_cents: int,
    matched: int,
    unmatched: Mapping[Unmatched, int],
    assigned: int,
    reconciliation: Mapping[str, Any],
) -> Row:
    """Say what an invoice's new set of lines is, and that finance does not have it yet."""
    rows: list[Row] = await conn.fetch(
        """
        update cloud_invoices set
          ingest_status = 'ingested', ingest_error = null, ingests = ingests + 1, ingested_at = $2,
          lines = $3, net_cents = $4, tax_cents = $5, matched = $6, unmatched = $7, assigned = $8, reconciliation = $9,
          push_status = 'pending', push_error = null, version = version + 1
        where id = $1
        returning *
        """,
        id,
        now,
        lines,
        net_cents,
        tax_cents,
        matched,
        unmatched,
        assigned,
        reconciliation,
    )
    return rows[0]


async def mark_ingest_failed(conn: Connection, id: UUID, error: Mapping[str, Any]) -> Row:
    """Say why an invoice's file was not taken. Its lines stay as they are."""
    rows: list[Row] = await conn.fetch(
        """
        update cloud_invoices set ingest_status = 'failed', ingest_error = $2, version = version + 1
        where id = $1 returning *
        """,
        id,
        error,
    )
    return rows[0]


async def insert_ingest(
    conn: Connection,
    id: UUID,
    invoice_id: UUID,
    now: datetime,
    *,
    ingest: int | None = None,
    actor: str | None = None,
    sha256: str | None = None,
    lines: int | None = None,
    cents: int | None = None,
    changes: Mapping[str, Any] | None = None,
    error: Mapping[str, Any] | None = None,
) -> None:
    """Keep an attempt at a file, once per command."""
    await conn.execute(
        """
        insert into invoice_ingests
          (id, invoice_id, ingest, actor, file_sha256, lines, cents, changes, error, ended_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        on conflict (id) do nothing
        """,
        id,
        invoice_id,
        ingest,
        actor,
        sha256,
        lines,
        cents,
        changes,
        error,
        now,
    )


async def mark_pushed(conn: Connection, id: UUID, ingests: int, finance_id: str | None, now: datetime) -> Row:
    """Say that finance has an invoice's set of lines; another set that is there meanwhile is still to be pushed."""
    rows: list[Row] = await conn.fetch(
        """
        update cloud_invoices set
          push_status = case when ingests = $2 then 'pushed' else push_status end,
          push_error = null, pushed_to_finance_at = $4, finance_invoice_id = coalesce($3, finance_invoice_id),
          version = version + 1
        where id = $1
        returning *
        """,
        id,
        ingests,
        finance_id,
        now,
    )
    return rows[0]


async def mark_not_pushed(conn: Connection, id: UUID, ingests: int, status: str, error: str) -> Row | None:
    """Say why finance does not have an invoice's set of lines; None where that is known, or there is another set."""
    return await conn.fetchrow(
        """
        update cloud_invoices set push_status = $3, push_error = $4, version = version + 1
        where id = $1 and ingests = $2 and (push_status, push_error) is distinct from ($3, $4)
        returning *
        """,
        id,
        ingests,
        status,
        error,
    )


async def mark_assigned(conn: Connection, id: UUID, assigned: int) -> Row:
    """Say how many of an invoice's lines are assigned."""
    rows: list[Row] = await conn.fetch(
        "update cloud_invoices set assigned = $2, version = version + 1 where id = $1 returning *", id, assigned
    )
    return rows[0]


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
