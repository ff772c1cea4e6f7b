"""Reads of what the provider charges: every SQL statement. Pages are JSON text, the answer's body; exports are rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from services.gateway.store import Views

Row: TypeAlias = asyncpg.Record

LinePosition = tuple[UUID, int]
"""Where a line is: its invoice and its number there."""

BEFORE_ALL: LinePosition = (UUID(int=0), 0)


@dataclass(frozen=True)
class Lines:
    """Which lines are wanted. None: of all periods, kinds and invoices; `matched` None: whether or not."""

    period: date | None = None
    kind: str | None = None
    invoice_id: UUID | None = None
    matched: bool | None = None

    @property
    def arguments(self) -> tuple[date | None, str | None, UUID | None, bool | None]:
        """As the statements take them, from $1."""
        return self.period, self.kind, self.invoice_id, self.matched


async def balances(views: Views, limit: int) -> str:
    """The newest balance at the provider with those before it, `{"balance": ..., "history": [...]}`."""
    query = """
        with newest as (
          select to_jsonb(b) - 'version' as shown, b.version
          from billing.v1_all_balances b order by b.version desc limit $1)
        select json_build_object(
          'balance', (select shown from newest order by version desc limit 1),
          'history', coalesce(json_agg(shown order by version desc), '[]'))
        from newest
        """
    return await _json(views, query, limit)


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
    return await _json(views, query, period, ingest, push, before, limit)


async def find_invoice(views: Views, id: UUID, *, ingests: int) -> str | None:
    """An invoice with its reconciliation and the newest attempts at its file; None where there is none."""
    query = """
        select json_build_object(
          'invoice', i,
          'reconciliation', (select r.reconciliation from billing.v1_all_reconciliations r where r.id = i.id),
          'ingests', (
            select coalesce(json_agg(to_jsonb(a) - 'invoice_id' order by a.ended_at desc), '[]') from (
              select * from billing.v1_all_invoice_ingests where invoice_id = i.id
              order by ended_at desc limit $2) a))
        from billing.v1_all_invoices i where i.id = $1
        """
    async with views.operator.connection() as conn:
        found: str | None = await conn.fetchval(query, id, ingests)
    return found


_WANTED = """
    ($1::date is null or l.invoice_id in (select id from billing.v1_all_invoices where period = $1))
    and ($2::text is null or l.kind = $2) and ($3::uuid is null or l.invoice_id = $3)
    and ($4::boolean is null or (l.matched_by is not null and l.unmatched is null) = $4)
    and (l.invoice_id, l.line) > ($5, $6)
"""


async def list_lines(views: Views, wanted: Lines, after: LinePosition, limit: int) -> str:
    """A page of lines in the order of invoices and lines, `{"cost_lines": [...], "count": n, "next": ...}`."""
    query = f"""
        with page as (
          select item, row_number() over (order by (item).invoice_id, (item).line) as n
          from (
            select l as item from billing.v1_all_cost_lines l where {_WANTED}
            order by l.invoice_id, l.line limit $7::int + 1) found),
        last as (select (item).invoice_id, (item).line from page where n = $7)
        select json_build_object(
          'cost_lines', coalesce(json_agg(item order by n) filter (where n <= $7), '[]'),
          'count', count(*) filter (where n <= $7),
          'next', case when count(*) > $7 then (
            select translate(encode(uuid_send(invoice_id) || int4send(line), 'base64'), '+/=', '-_') from last) end)
        from page
        """
    return await _json(views, query, *wanted.arguments, *after, limit)


async def fetch_lines(views: Views, wanted: Lines, after: LinePosition, limit: int) -> list[Row]:
    """The next lines, as rows."""
    query = f"select * from billing.v1_all_cost_lines l where {_WANTED} order by l.invoice_id, l.line limit $7"
    async with views.operator.connection() as conn:
        return await conn.fetch(query, *wanted.arguments, *after, limit)


async def fetch_ingests(views: Views, wanted: Lines) -> Sequence[Row]:
    """Which set of lines of each invoice counts: the same twice, and nothing was replaced in between."""
    query = """
        select id, ingests from billing.v1_all_invoices
        where ($1::date is null or period = $1) and ($2::uuid is null or id = $2) order by id
        """
    async with views.operator.connection() as conn:
        return await conn.fetch(query, wanted.period, wanted.invoice_id)


async def _json(views: Views, query: str, *arguments: Any) -> str:
    async with views.operator.connection() as conn:
        answer: str = await conn.fetchval(query, *arguments)
    return answer
