"""Every SQL statement about invoices as a whole: what is known of them, ingested and pushed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from contracts.billing import Invoice, Unmatched
from services.billing.domain import Issued
from shared.db import Connection
from shared.outcome import Meta

Row: TypeAlias = asyncpg.Record
BEFORE_ALL = UUID(int=0)


def state_of(row: Row) -> Invoice:
    """An invoice as its events tell it."""
    fields = {name: row[name] for name in Invoice.model_fields}
    reconciliation = fields["reconciliation"]
    return Invoice.model_validate(fields | {"reconciliation": reconciliation and reconciliation["status"]})


async def upsert_issued(conn: Connection, issued: Sequence[Issued], ids: Sequence[UUID], now: datetime) -> list[Row]:
    """Take in what the provider tells of invoices. Gives those that are new, and those that are not as before.

    The latter are to be ingested again, and what is known of whether they add up is no longer so. `before_cents`: the
    amount before; None of a new one. `ids`: for those that are new, one for each that is told.
    """
    return await conn.fetch(
        """
        insert into cloud_invoices
          (id, provider, invoice_uuid, number, period, currency, amount_cents, issued_at, discovered_at)
        select *, $9::timestamptz
        from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::date[], $6::text[], $7::bigint[],
          $8::timestamptz[])
        on conflict (provider, invoice_uuid) do update set
          amount_cents = excluded.amount_cents, period = excluded.period, number = excluded.number,
          ingest_status = 'pending', ingest_error = null, reconciliation = null, version = cloud_invoices.version + 1
          where (cloud_invoices.amount_cents, cloud_invoices.period, cloud_invoices.number)
            is distinct from (excluded.amount_cents, excluded.period, excluded.number)
        returning new.*, old.amount_cents as before_cents
        """,
        ids,
        *([each[column] for each in issued] for column in range(len(Issued._fields))),
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


async def lock_idle_invoice(conn: Connection, id: UUID) -> Row | None:
    """The same, where nobody else is changing it; else None."""
    return await conn.fetchrow("select * from cloud_invoices where id = $1 for update skip locked", id)


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


async def insert_attempt(
    conn: Connection,
    meta: Meta,
    invoice_id: UUID,
    *,
    ingest: int | None = None,
    sha256: str | None = None,
    lines: int | None = None,
    cents: int | None = None,
    changes: Mapping[str, Any] | None = None,
    error: Mapping[str, Any] | None = None,
) -> None:
    """Keep what came of an attempt at a file; of a command that was tried several times, what came last."""
    await conn.execute(
        """
        insert into ingest_attempts
          (id, invoice_id, ingest, actor, file_sha256, lines, cents, changes, error, ended_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        on conflict (id) do update set
          ingest = excluded.ingest, file_sha256 = excluded.file_sha256, lines = excluded.lines, cents = excluded.cents,
          changes = excluded.changes, error = excluded.error, ended_at = excluded.ended_at
        """,
        meta.message_id,
        invoice_id,
        ingest,
        meta.actor,
        sha256,
        lines,
        cents,
        changes,
        error,
        meta.now,
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


async def mark_waiting(conn: Connection, id: UUID, ingests: int, reason: str) -> None:
    """Say why finance does not have an invoice's set of lines yet."""
    await conn.execute(
        "update cloud_invoices set push_error = $3 where id = $1 and ingests = $2 and push_status <> 'pushed'",
        id,
        ingests,
        reason,
    )


async def mark_not_pushed(conn: Connection, id: UUID, ingests: int, status: str, error: str) -> Row | None:
    """Say why finance will not have an invoice's set of lines; None where that is known, or no longer so."""
    return await conn.fetchrow(
        """
        update cloud_invoices set push_status = $3, push_error = $4, version = version + 1
        where id = $1 and ingests = $2 and push_status <> 'pushed'
          and (push_status, push_error) is distinct from ($3, $4)
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
