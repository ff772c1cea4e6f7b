"""Reads of what the provider charges: every SQL statement. Pages are JSON text, the answer's body; exports are rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeAlias
from uuid import UUID

import asyncpg

from services.gateway.store import Views, read_json

Row: TypeAlias = asyncpg.Record

LinePosition = tuple[UUID, int]
"""Where a line is: its invoice and its number there."""

BEFORE_ALL: LinePosition = (UUID(int=0), 0)


@dataclass(frozen=True)
class Lines:
    """Which lines are wanted. None: of all periods, invoices and kinds; `matched` None: whether or not."""

    period: date | None = None
    invoice_id: UUID | None = None
    kind: str | None = None
    matched: bool | None = None


async def balances(views: Views, limit: int) -> str:
    """The newest balance at the provider with those before it, `{"balance": ..., "history": [...]}`."""
    query = """
        with newest as (
          select b, b.version from billing.v1_all_balances b order by b.version desc limit $1)
        select json_build_object(
          'balance', (select b from newest order by version desc limit 1),
          'history', coalesce(json_agg(b order by version desc), '[]'))
        from newest
        """
    return await read_json(views.operator, query, limit)


async def list_invoices(
    views: Views, *, period: date | None, ingest: str | None, push: str | None, before: UUID | None, limit: int
) -> str:
    """A page of invoices, the newest first, `{"invoices": [...], "count": n, "next": ...}`."""
    query = """
        with page as (
          select item, row_number() over (order by (item).id desc) as n
          from (
            select i as item from billing.v1_all_invoices i
            where ($1::date is null or i.period = $1) and ($2::text is null or i.ingest_status = $2)
              and ($3::text is null or i.push_status = $3) and ($4::uuid is null or i.id < $4)
            order by i.id desc limit $5::int + 1) found)
        select json_build_object(
          'invoices', coalesce(json_agg(item order by n) filter (where n <= $5), '[]'),
          'count', count(*) filter (where n <= $5),
          'next', case when count(*) > $5 then cursor_of((array_agg((item).id order by n))[$5]) end)
        from page
        """
    return await read_json(views.operator, query, period, ingest, push, before, limit)


async def find_invoice(views: Views, id: UUID, *, attempts: int) -> str | None:
    """An invoice with its reconciliation and the newest attempts at its file; None where there is none."""
    query = """
        select json_build_object(
          'invoice', i,
          'reconciliation', (select r.reconciliation from billing.v1_all_reconciliations r where r.id = i.id),
          'attempts', (
            select coalesce(json_agg(to_jsonb(a) - 'invoice_id' order by a.ended_at desc), '[]') from (
              select * from billing.v1_all_ingest_attempts where invoice_id = i.id
              order by ended_at desc limit $2) a))
        from billing.v1_all_invoices i where i.id = $1
        """
    async with views.operator.connection() as conn:
        found: str | None = await conn.fetchval(query, id, attempts)
    return found


# The invoices are found first: by their ids the index of the lines serves, whatever else is asked.
_OF_INVOICES = """
    l.invoice_id = any ($1::uuid[]) and (l.invoice_id, l.line) > ($2, $3)
    and ($4::text is null or l.kind = $4) and ($5::boolean is null or (l.unmatched is null) = $5)
    """


async def list_lines(views: Views, wanted: Lines, after: LinePosition, limit: int) -> str:
    """A page of lines in the order of invoices and lines, `{"cost_lines": [...], "count": n, "next": ...}`."""
    query = f"""
        with page as (
          select item, row_number() over (order by (item).invoice_id, (item).line) as n
          from (
            select l as item from billing.v1_all_cost_lines l where {_OF_INVOICES}
            order by l.invoice_id, l.line limit $6::int + 1) found),
        last as (select (item).invoice_id, (item).line from page where n = $6)
        select json_build_object(
          'cost_lines', coalesce(json_agg(item order by n) filter (where n <= $6), '[]'),
          'count', count(*) filter (where n <= $6),
          'next', case when count(*) > $6 then (
            select translate(encode(uuid_send(invoice_id) || int4send(line), 'base64'), '+/=', '-_') from last) end)
        from page
        """
    ids = [row["id"] for row in await list_sets(views, wanted)]
    return await read_json(views.operator, query, ids, *after, wanted.kind, wanted.matched, limit)


async def fetch_lines(views: Views, wanted: Lines, ids: Sequence[UUID], after: LinePosition, limit: int) -> list[Row]:
    """The next lines of these invoices, as rows."""
    query = f"select * from billing.v1_all_cost_lines l where {_OF_INVOICES} order by l.invoice_id, l.line limit $6"
    async with views.operator.connection() as conn:
        return await conn.fetch(query, ids, *after, wanted.kind, wanted.matched, limit)


async def list_sets(views: Views, wanted: Lines) -> list[Row]:
    """The invoices whose lines are wanted, and which set of each counts: the same twice, and none was replaced."""
    query = """
        select id, ingests from billing.v1_all_invoices
        where ($1::date is null or period = $1) and ($2::uuid is null or id = $2) order by id
        """
    async with views.operator.connection() as conn:
        return await conn.fetch(query, wanted.period, wanted.invoice_id)


async def fetch_superseded(views: Views, invoice_id: UUID, ingest: int, after: int, limit: int) -> list[Row]:
    """The next lines of a set that was replaced."""
    query = """
        select * from billing.v1_all_superseded_cost_lines
        where invoice_id = $1 and ingest = $2 and line > $3 order by line limit $4
        """
    async with views.operator.connection() as conn:
        return await conn.fetch(query, invoice_id, ingest, after, limit)


async def list_outside_credits(views: Views, period: date) -> list[Row]:
    """Of a month's invoices, the credits that are in the summary and no lines, as lines have them."""
    query = """
        select i.provider, i.invoice_uuid, i.period, i.currency, (d.difference ->> 'cents')::bigint as amount_cents
        from billing.v1_all_invoices i
        join billing.v1_all_reconciliations r using (id)
        cross join lateral jsonb_array_elements(r.reconciliation -> 'differences') d(difference)
        where i.period = $1 and d.difference ->> 'what' = 'lines'
          and d.difference -> 'cents' = r.reconciliation -> 'summary' -> 'credits_cents'
        order by i.id
        """
    async with views.operator.connection() as conn:
        return await conn.fetch(query, period)
