"""Reads of drift: every SQL statement. They give JSON text, the answer's body."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from services.gateway.store import Views, find_json, read_json


@dataclass(frozen=True)
class Wanted:
    """Which drifts are wanted; None: whichever. `snoozed`, `gathered`: those too that are out of the inbox so."""

    status: str
    kind: str | None
    field: str | None
    severity: str | None
    resource: UUID | None
    deployment: UUID | None
    surge: UUID | None
    snoozed: bool
    gathered: bool


async def list_drift(views: Views, wanted: Wanted, *, before: UUID | None, limit: int) -> str:
    """A page of drifts, the newest first, and the surges of which some are open."""
    query = """
        with page as (
          select item, row_number() over (order by (item).id desc) as n
          from (
            select d as item from drift.v1_all_drift d
            where d.status = $1 and ($2::text is null or d.kind = $2) and ($3::text is null or d.field = $3)
              and ($4::text is null or d.severity = $4) and ($5::uuid is null or d.resource_id = $5)
              and ($6::uuid is null or d.deployment_id = $6) and ($7::uuid is null or d.surge_id = $7)
              and ($8 or d.snoozed_until is null or d.snoozed_until <= now())
              and ($9 or $7 is not null or d.surge_id is null)
              and ($10::uuid is null or d.id < $10)
            order by d.id desc limit $11::int + 1) found)
        select json_build_object(
          'drift', coalesce(json_agg(item order by n) filter (where n <= $11), '[]'),
          'count', count(*) filter (where n <= $11),
          'next', case when count(*) > $11 then cursor_of((array_agg((item).id order by n))[$11]) end,
          'surges', (
            select coalesce(json_agg(s order by s.id), '[]') from drift.v1_all_drift_surges s where s.open > 0))
        from page
        """
    return await read_json(views.operator, query, *vars(wanted).values(), before, limit)


async def find_drift(views: Views, id: UUID) -> str | None:
    """A drift with its history, and what its resource is to be; None where there is none."""
    query = """
        select json_build_object(
          'drift', d,
          'events', (
            select coalesce(json_agg(json_build_object('what', e.what, 'detail', e.detail, 'actor', e.actor, 'at', e.at)
              order by e.position), '[]')
            from drift.v1_all_drift_events e where e.drift_id = $1),
          'spec', (select s from drift.v1_all_drift_specs s where s.resource_id = d.resource_id))
        from drift.v1_all_drift d where d.id = $1
        """
    return await find_json(views.operator, query, id)


async def list_surges(views: Views, *, ended: bool, before: UUID | None, limit: int) -> str:
    """A page of surges, the newest first; those too of which none is open, where they are wanted."""
    query = """
        with page as (
          select item, row_number() over (order by (item).id desc) as n
          from (
            select s as item from drift.v1_all_drift_surges s
            where ($1 or s.open > 0) and ($2::uuid is null or s.id < $2)
            order by s.id desc limit $3::int + 1) found)
        select json_build_object(
          'surges', coalesce(json_agg(item order by n) filter (where n <= $3), '[]'),
          'count', count(*) filter (where n <= $3),
          'next', case when count(*) > $3 then cursor_of((array_agg((item).id order by n))[$3]) end)
        from page
        """
    return await read_json(views.operator, query, ended, before, limit)


async def list_specs(views: Views, *, after: UUID | None, limit: int) -> str:
    """A page of what resources are to be."""
    query = """
        with page as (
          select item, row_number() over (order by (item).resource_id) as n
          from (
            select s as item from drift.v1_all_drift_specs s
            where s.retired_at is null and ($1::uuid is null or s.resource_id > $1)
            order by s.resource_id limit $2::int + 1) found)
        select json_build_object(
          'specs', coalesce(json_agg(item order by n) filter (where n <= $2), '[]'),
          'count', count(*) filter (where n <= $2),
          'next', case when count(*) > $2 then cursor_of((array_agg((item).resource_id order by n))[$2]) end)
        from page
        """
    return await read_json(views.operator, query, after, limit)


async def find_spec(views: Views, resource_id: UUID) -> str | None:
    """What a resource is to be; None where nothing was ever asked of it."""
    query = "select json_build_object('spec', s) from drift.v1_all_drift_specs s where s.resource_id = $1"
    return await find_json(views.operator, query, resource_id)


async def list_rules(views: Views) -> str:
    """How drift in each field is taken, where that is said."""
    query = """
        select json_build_object(
          'rules', coalesce(json_agg(r order by r.field, r.kind nulls first), '[]'), 'count', count(*))
        from drift.v1_all_drift_rules r
        """
    return await read_json(views.operator, query)


async def list_unmanaged(views: Views, *, kind: str | None, after: UUID | None, limit: int) -> str:
    """A page of what exists and is nobody's, with the costs of all of it."""
    query = """
        with found as materialized (select u from drift.v1_all_unmanaged u where $1::text is null or u.kind = $1),
        page as (
          select u, row_number() over (order by (u).id) as n
          from found where $2::uuid is null or (u).id > $2
          order by (u).id limit $3::int + 1)
        select json_build_object(
          'unmanaged', coalesce(json_agg(u order by n) filter (where n <= $3), '[]'),
          'count', count(*) filter (where n <= $3),
          'next', case when count(*) > $3 then cursor_of((array_agg((u).id order by n))[$3]) end,
          'monthly_usd_cents', (select coalesce(sum((u).monthly_usd_cents), 0) from found),
          'unpriced', (select count(*) from found where (u).monthly_usd_cents is null))
        from page
        """
    return await read_json(views.operator, query, kind, after, limit)
