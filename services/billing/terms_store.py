"""Every SQL statement about what others tell of terms and usage: the copies that quotes are made of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from contracts.catalog import Addon, Plan, ResourcePrices
from contracts.metering import DayOfUsage
from contracts.subscriptions import SubscribedAddon, Subscription
from services.billing.quote_store import Key
from shared.db import Connection

Row: TypeAlias = asyncpg.Record


async def project_plans(conn: Connection, plans: Sequence[Plan]) -> set[UUID]:
    """Keep the versions of plans; gives those that are new, or otherwise than before."""
    told = [(plan, each) for plan in plans for each in plan.versions]
    rows = await conn.fetch(
        """
        insert into plan_versions as v (id, plan_code, number, status, base_price_cents, currency, version, items)
        select distinct on (id) id, plan_code, number, status, base_price_cents, currency, version, items -> 'items'
        from unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::bigint[], $6::text[], $7::bigint[], $8::jsonb[])
          told(id, plan_code, number, status, base_price_cents, currency, version, items)
        order by id, version desc
        on conflict (id) do update set
          status = excluded.status, base_price_cents = excluded.base_price_cents, currency = excluded.currency,
          items = excluded.items, version = excluded.version
        where v.version < excluded.version
        returning id, new.base_price_cents is distinct from old.base_price_cents or new.items is distinct from old.items
          or new.currency is distinct from old.currency as changed
        """,
        [each.id for _, each in told],
        [plan.code for plan, _ in told],
        [each.number for _, each in told],
        [each.status for _, each in told],
        [each.base_price_cents for _, each in told],
        [each.currency for _, each in told],
        [plan.version for plan, _ in told],
        [each.model_dump(mode="json", include={"items"}) for _, each in told],
    )
    return {row["id"] for row in rows if row["changed"]}


async def list_bound(conn: Connection, version_ids: Collection[UUID], since: date) -> list[Key]:
    """Months from one on that are bound to these versions of plans; none comes to be until the transaction ends."""
    await conn.execute("lock table subscription_periods in share mode")
    rows = await conn.fetch(
        """
        select deployment_id, period from subscription_periods
        where plan_version_id = any($1::uuid[]) and period >= $2
        """,
        list(version_ids),
        since,
    )
    return [Key(*row) for row in rows]


async def project_addons(conn: Connection, addons: Sequence[Addon]) -> None:
    """Keep what addons are in the catalog."""
    await conn.execute(
        """
        insert into addons as a (id, code, resource_kind, qty, price_cents, currency, version)
        select distinct on (id) *
        from unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[])
          told(id, code, resource_kind, qty, price_cents, currency, version)
        order by id, version desc
        on conflict (id) do update set
          code = excluded.code, resource_kind = excluded.resource_kind, qty = excluded.qty,
          price_cents = excluded.price_cents, currency = excluded.currency, version = excluded.version
        where a.version < excluded.version
        """,
        *_columns_of(addons, "id", "code", "resource_kind", "qty", "price_cents", "currency", "version"),
    )


def _columns_of(rows: Sequence[Any], *names: str) -> list[list[Any]]:
    return [[getattr(row, name) for row in rows] for name in names]


async def project_prices(conn: Connection, told: ResourcePrices) -> list[Any] | None:
    """Keep a kind's prices; gives those that were known before, or None where these are no news."""
    row = await conn.fetchrow(
        """
        insert into resource_prices as p (resource_kind, prices, version) values ($1, $2, $3)
        on conflict (resource_kind) do update set prices = excluded.prices, version = excluded.version
        where p.version < excluded.version
        returning coalesce(old.prices, '[]'::jsonb) as before
        """,
        told.resource_kind,
        [price.model_dump(mode="json") for price in told.prices],
        told.version,
    )
    return row["before"] if row else None


async def list_used_since(conn: Connection, resource_kind: str, day: date) -> list[Key]:
    """The months in which something of a kind was used on that day or later; none comes to be meanwhile."""
    await conn.execute("lock table usage_days in share mode")
    rows = await conn.fetch(
        """
        select distinct deployment_id, date_trunc('month', day)::date
        from usage_days where resource_kind = $1 and day >= $2
        """,
        resource_kind,
        day,
    )
    return [Key(*row) for row in rows]


async def project_subscriptions(conn: Connection, subscriptions: Sequence[Subscription]) -> dict[UUID, int]:
    """Keep subscriptions, of each the newest state; gives the versions that were known before, 0 where none was."""
    rows = await conn.fetch(
        """
        insert into subscriptions as s (id, deployment_id, tenant_id, status, plan_version_id, trial_ends_at, version)
        select distinct on (id) *
        from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::timestamptz[], $7::bigint[])
          told(id, deployment_id, tenant_id, status, plan_version_id, trial_ends_at, version)
        order by id, version desc
        on conflict (id) do update set
          tenant_id = excluded.tenant_id, status = excluded.status, plan_version_id = excluded.plan_version_id,
          trial_ends_at = excluded.trial_ends_at, version = excluded.version
        where s.version < excluded.version
        returning id, coalesce(old.version, 0) as before
        """,
        *_columns_of(
            subscriptions, "id", "deployment_id", "tenant_id", "status", "plan_version_id", "trial_ends_at", "version"
        ),
    )
    return {row["id"]: row["before"] for row in rows}


async def project_periods(conn: Connection, periods: Mapping[Key, tuple[UUID, UUID, int]]) -> None:
    """Keep what months are bound to: of each the subscription, the plan's version, and the version that tells so."""
    await conn.execute(
        """
        insert into subscription_periods as p (deployment_id, period, subscription_id, plan_version_id, version)
        select * from unnest($1::uuid[], $2::date[], $3::uuid[], $4::uuid[], $5::bigint[])
        on conflict (deployment_id, period) do update set
          subscription_id = excluded.subscription_id, plan_version_id = excluded.plan_version_id,
          version = excluded.version
        where p.version < excluded.version
        """,
        *zip(*periods, strict=True),
        *zip(*periods.values(), strict=True),
    )


async def project_attached(conn: Connection, attached: Mapping[UUID, tuple[Subscription, SubscribedAddon]]) -> None:
    """Keep the addons of subscriptions, by the ids of the attachments, as these states tell of them."""
    addons = [addon for _, addon in attached.values()]
    names = ("id", "addon_id", "code", "resource_kind", "qty", "price_cents", "attached_at", "detached_at")
    await conn.execute(
        """
        insert into subscription_addons as a (id, addon_id, code, resource_kind, qty, price_cents, attached_at,
          detached_at, subscription_id, version)
        select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],
          $7::timestamptz[], $8::timestamptz[], $9::uuid[], $10::bigint[])
        on conflict (id) do update set detached_at = excluded.detached_at, version = excluded.version
        where a.version < excluded.version
        """,
        *_columns_of(addons, *names),
        [subscription.id for subscription, _ in attached.values()],
        [subscription.version for subscription, _ in attached.values()],
    )


async def mark_detached(conn: Connection, subscriptions: Sequence[Subscription]) -> None:
    """End the addons that these states do not tell of any more: they were detached before the first month told."""
    await conn.execute(
        """
        update subscription_addons a set detached_at = greatest(a.attached_at, t.since)
        from unnest($1::uuid[], $2::timestamptz[], $3::bigint[]) t(subscription_id, since, version)
        where a.subscription_id = t.subscription_id and a.detached_at is null and a.version < t.version
        """,
        [each.id for each in subscriptions],
        [min(period.start for period in each.periods) for each in subscriptions],
        [each.version for each in subscriptions],
    )


async def project_usage(conn: Connection, days: Sequence[DayOfUsage]) -> list[Key]:
    """Keep days of usage, where they are newer than what is known; gives the months of those that were."""
    rows = await conn.fetch(
        """
        with written as (
          insert into usage_days as u (deployment_id, day, resource_kind, used, observations, version)
          select distinct on (deployment_id, day, resource_kind) *
          from unnest($1::uuid[], $2::date[], $3::text[], $4::numeric[], $5::int[], $6::bigint[])
            told(deployment_id, day, resource_kind, used, observations, version)
          order by deployment_id, day, resource_kind, version desc
          on conflict (deployment_id, day, resource_kind) do update set
            used = excluded.used, observations = excluded.observations, version = excluded.version
          where u.version < excluded.version
          returning deployment_id, date_trunc('month', day)::date as period, resource_kind,
            new.used - coalesce(old.used, 0) as more)
        insert into usage_months as m (deployment_id, period, resource_kind, used)
        select deployment_id, period, resource_kind, sum(more) from written group by 1, 2, 3 order by 1, 2, 3
        on conflict (deployment_id, period, resource_kind) do update set used = m.used + excluded.used
        returning deployment_id, period
        """,
        *_columns_of(days, "deployment_id", "day", "resource_kind", "used", "observations", "version"),
    )
    return list({Key(*row) for row in rows})


async def find_subscription(conn: Connection, deployment_id: UUID) -> Row | None:
    """A deployment's subscription, with its newest month as `period`."""
    return await conn.fetchrow(
        """
        select s.*, (
          select max(period) from subscription_periods where deployment_id = s.deployment_id) as period
        from subscriptions s where s.deployment_id = $1
        """,
        deployment_id,
    )


async def find_version(conn: Connection, plan_code: str | None, version_id: UUID | None) -> Row | None:
    """The active version of a plan, or that version."""
    return await conn.fetchrow(
        "select * from plan_versions where id = $2 or ($2 is null and plan_code = $1 and status = 'active')",
        plan_code,
        version_id,
    )


async def list_addons_by_code(conn: Connection, codes: Collection[str]) -> list[Row]:
    """Addons of the catalog, as they would be attached."""
    return await conn.fetch(
        """
        select id as addon_id, code, resource_kind, qty, price_cents, currency from addons
        where code = any($1::text[]) order by code
        """,
        list(codes),
    )
