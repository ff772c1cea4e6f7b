"""The catalog: every SQL statement about plans, their versions, addons and prices."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import asyncpg

from contracts.catalog import Addon, CreateAddon, DraftPlanVersion, Plan, PlanItem, ResourcePrices, SetResourcePrice
from contracts.money import Currency
from services.deployments.domain import Terms
from shared.db import Connection

Row: TypeAlias = asyncpg.Record


async def insert_plan(conn: Connection, code: str, name: str, now: datetime) -> UUID | None:
    """Insert a plan; None where the code is taken."""
    id: UUID | None = await conn.fetchval(
        """
        insert into plans (code, name, created_at, version) values ($1, $2, $3, 1)
        on conflict (code) do nothing returning id
        """,
        code,
        name,
        now,
    )
    return id


async def lock_plan(conn: Connection, *, code: str | None = None, version_id: UUID | None = None) -> Row | None:
    """A plan, by its code or by one of its versions, for whoever is to change it."""
    return await conn.fetchrow(
        """
        select * from plans p
        where p.code = $1 or exists (select from plan_versions v where v.id = $2 and v.plan_id = p.id)
        for update
        """,
        code,
        version_id,
    )


async def insert_version(conn: Connection, plan_id: UUID, draft: DraftPlanVersion, now: datetime) -> UUID:
    """Insert a draft, with its items, as the last of a plan that is locked."""
    id: UUID = await conn.fetchval(
        """
        insert into plan_versions (plan_id, number, base_price_cents, currency, created_at)
        select $1, 1 + coalesce(max(number), 0), $2, $3, $4 from plan_versions where plan_id = $1
        returning id
        """,
        plan_id,
        draft.base_price_cents,
        draft.currency,
        now,
    )
    await conn.execute(
        """
        insert into plan_items
          (plan_version_id, resource_kind, included_qty, overage_unit, overage_price_cents, hard_cap_qty)
        select $1, * from unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
        """,
        id,
        [item.resource_kind for item in draft.items],
        [item.included_qty for item in draft.items],
        [item.overage_unit for item in draft.items],
        [item.overage_price_cents for item in draft.items],
        [item.hard_cap_qty for item in draft.items],
    )
    await mark_plan_changed(conn, plan_id)
    return id


async def mark_plan_changed(conn: Connection, plan_id: UUID) -> None:
    """Let a plan's version move, because something of it did."""
    await conn.execute("update plans set version = version + 1 where id = $1", plan_id)


async def find_version(conn: Connection, version_id: UUID) -> Row | None:
    """A plan's version by its id."""
    return await conn.fetchrow("select * from plan_versions where id = $1", version_id)


async def mark_published(conn: Connection, plan_id: UUID, version_id: UUID, now: datetime) -> UUID | None:
    """Retire the active version of a plan that is locked, and activate another. Gives the one that was retired."""
    retired: UUID | None = await conn.fetchval(
        """
        update plan_versions set status = 'retired', retired_at = $2 where plan_id = $1 and status = 'active'
        returning id
        """,
        plan_id,
        now,
    )
    await conn.execute("update plan_versions set status = 'active', published_at = $2 where id = $1", version_id, now)
    await mark_plan_changed(conn, plan_id)
    return retired


_PLANS = """
    select p.*, coalesce((
      select jsonb_agg(jsonb_build_object('id', v.id, 'number', v.number, 'status', v.status,
        'base_price_cents', v.base_price_cents, 'currency', v.currency, 'created_at', v.created_at,
        'published_at', v.published_at, 'retired_at', v.retired_at,
        'items', coalesce((
          select jsonb_agg(to_jsonb(i) - 'plan_version_id' order by i.resource_kind)
          from plan_items i where i.plan_version_id = v.id), '[]')) order by v.number)
      from plan_versions v where v.plan_id = p.id), '[]') as versions
    from plans p
"""


async def list_plans(conn: Connection, ids: Sequence[UUID]) -> list[Plan]:
    """Plans as others get them, in the order of their ids."""
    rows = await conn.fetch(f"{_PLANS} where p.id = any($1::uuid[]) order by p.id", ids)
    return [Plan.model_validate(dict(row)) for row in rows]


async def lock_plans_after(conn: Connection, after: UUID, limit: int) -> list[UUID]:
    """Plans in the order of their ids. Nobody changes one before this transaction ends."""
    rows = await conn.fetch("select id from plans where id > $1 order by id limit $2 for share", after, limit)
    return [row["id"] for row in rows]


_TERMS = """
    select v.id, v.status, v.base_price_cents, v.currency, p.code as plan_code, coalesce((
      select jsonb_agg(to_jsonb(i) - 'plan_version_id' order by i.resource_kind)
      from plan_items i where i.plan_version_id = v.id), '[]') as items
    from plan_versions v join plans p on p.id = v.plan_id
"""


async def find_active_terms(conn: Connection, plan_code: str) -> Terms | None:
    """What a new subscriber of a plan gets: the terms of its active version."""
    return _terms(await conn.fetchrow(f"{_TERMS} where p.code = $1 and v.status = 'active'", plan_code))


async def find_terms(conn: Connection, version_id: UUID) -> tuple[Terms, str] | None:
    """The terms of a version, and its status."""
    row = await conn.fetchrow(f"{_TERMS} where v.id = $1", version_id)
    terms = _terms(row)
    return (terms, row["status"]) if row and terms else None


async def list_terms(conn: Connection, version_ids: Sequence[UUID]) -> list[Terms]:
    """The terms of versions, the oldest first."""
    rows = await conn.fetch(f"{_TERMS} where v.id = any($1::uuid[]) order by v.number", version_ids)
    return [terms for row in rows if (terms := _terms(row))]


def _terms(row: Row | None) -> Terms | None:
    if row is None:
        return None
    items = [PlanItem.model_validate(item) for item in row["items"]]
    return Terms(row["plan_code"], row["id"], row["base_price_cents"], Currency(row["currency"]), items)


async def list_retired_in_use(conn: Connection, plan_id: UUID, version_id: UUID | None) -> dict[UUID, int]:
    """The retired versions of a plan (or that one alone) that still have subscribers, and how many each."""
    rows = await conn.fetch(
        """
        select v.id, count(*) as subscribers
        from plan_versions v join subscriptions s on s.plan_version_id = v.id and s.status <> 'cancelled'
        where v.plan_id = $1 and v.status = 'retired' and ($2::uuid is null or v.id = $2)
        group by v.id, v.number order by v.number
        """,
        plan_id,
        version_id,
    )
    return {row["id"]: row["subscribers"] for row in rows}


async def count_subscribers(conn: Connection, version_id: UUID) -> int:
    """How many subscriptions are bound to a version."""
    count: int = await conn.fetchval(
        "select count(*) from subscriptions where plan_version_id = $1 and status <> 'cancelled'", version_id
    )
    return count


async def lock_subscribers(conn: Connection, version_id: UUID, now: datetime, limit: int) -> dict[UUID, datetime]:
    """Some subscriptions that are bound to a version, each with the beginning of its period.

    Without those whose deployment somebody else holds, and those whose period is over.
    """
    rows = await conn.fetch(
        """
        select s.id, s.current_period_start from subscriptions s join cloud_deployments d on d.id = s.deployment_id
        where s.plan_version_id = $1 and s.status <> 'cancelled' and s.next_step_at > $2
        order by s.id limit $3
        for update skip locked
        """,
        version_id,
        now,
        limit,
    )
    return {row["id"]: row["current_period_start"] for row in rows}


async def insert_addon(conn: Connection, addon: CreateAddon, now: datetime) -> Addon | None:
    """Insert an addon; None where the code is taken."""
    row = await conn.fetchrow(
        """
        insert into addons (code, name, resource_kind, qty, price_cents, currency, created_at, version)
        values ($1, $2, $3, $4, $5, $6, $7, 1)
        on conflict (code) do nothing returning *
        """,
        addon.code,
        addon.name,
        addon.resource_kind,
        addon.qty,
        addon.price_cents,
        addon.currency,
        now,
    )
    return Addon.model_validate(dict(row)) if row else None


async def list_addons(conn: Connection, codes: Sequence[str]) -> dict[str, Addon]:
    """Addons by their codes, as far as there are such."""
    rows = await conn.fetch("select * from addons where code = any($1::text[])", codes)
    return {row["code"]: Addon.model_validate(dict(row)) for row in rows}


async def lock_addons_after(conn: Connection, after: UUID, limit: int) -> list[Addon]:
    """Addons in the order of their ids. Nobody changes one before this transaction ends."""
    rows = await conn.fetch("select * from addons where id > $1 order by id limit $2 for share", after, limit)
    return [Addon.model_validate(dict(row)) for row in rows]


async def insert_resource_price(
    conn: Connection, price: SetResourcePrice, effective_from: datetime, actor: str | None, now: datetime
) -> bool:
    """Insert a price; False where one of the kind begins at that time already."""
    inserted = await conn.fetchval(
        """
        insert into resource_prices (resource_kind, effective_from, unit_price_cents, currency, actor, recorded_at)
        values ($1, $2, trim_scale($3), $4, $5, $6)
        on conflict (resource_kind, effective_from) do nothing returning true
        """,
        price.resource_kind,
        effective_from,
        price.unit_price_cents,
        price.currency,
        actor,
        now,
    )
    return bool(inserted)


async def list_resource_prices(conn: Connection, kinds: Sequence[str]) -> list[ResourcePrices]:
    """All prices of kinds, as others get them. A kind's version is the number of its prices: they are only added."""
    rows = await conn.fetch(
        """
        select resource_kind, count(*) as version, jsonb_agg(jsonb_build_object('effective_from', effective_from,
          'unit_price_cents', unit_price_cents::text, 'currency', currency) order by effective_from) as prices
        from resource_prices where resource_kind = any($1::text[])
        group by resource_kind order by resource_kind
        """,
        kinds,
    )
    return [ResourcePrices.model_validate(dict(row)) for row in rows]


async def lock_prices(conn: Connection, kind: str) -> None:
    """Let nobody else add prices of a kind before this transaction ends."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended('deployments.resource_prices.' || $1, 0))", kind)


async def list_plan_codes(conn: Connection) -> set[str]:
    """The codes of all plans."""
    return {row["code"] for row in await conn.fetch("select code from plans")}


async def lock_seeding(conn: Connection) -> None:
    """Let nobody else seed the catalog before this transaction ends."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended('deployments.seed', 0))")
