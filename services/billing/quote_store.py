"""Every SQL statement about quotes, and about what they are made of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import NamedTuple, TypeAlias
from uuid import UUID

import asyncpg

from contracts.quotes import Quote
from services.billing.quoting import Reached
from shared.db import Connection

Row: TypeAlias = asyncpg.Record


class Key(NamedTuple):
    """A deployment's month."""

    deployment_id: UUID
    period: date


class Run(NamedTuple):
    """Days, from `since` until and without `until`, on which the same price of a kind holds."""

    resource_kind: str
    since: date
    until: date


async def mark_stale(conn: Connection, keys: Collection[Key], since: datetime) -> None:
    """Have these months quoted again, from a time on. Whoever quotes one meanwhile, has not seen what is new here."""
    # The update is for its lock: nobody takes the row away before this transaction's news can be seen. The order is
    # everybody's who writes here once.
    await conn.execute(
        """
        insert into stale_quotes as s (deployment_id, period, since)
        select *, $3 from unnest($1::uuid[], $2::date[]) k(deployment_id, period) order by 1, 2
        on conflict (deployment_id, period) do update set since = least(s.since, excluded.since)
        """,
        *_columns(keys),
        since,
    )


def _columns(keys: Collection[Key]) -> list[list[object]]:
    return [[key.deployment_id for key in keys], [key.period for key in keys]]


async def take_stale(conn: Connection, now: datetime, limit: int) -> list[Key]:
    """Months to be quoted again, those that wait longest; they are this transaction's alone."""
    rows = await conn.fetch(
        """
        delete from stale_quotes where (deployment_id, period) in (
          select deployment_id, period from stale_quotes where since <= $2
          order by since limit $1 for update skip locked)
        returning deployment_id, period
        """,
        limit,
        now,
    )
    return [Key(*row) for row in rows]


async def list_subscribed(conn: Connection, keys: Collection[Key]) -> list[Row]:
    """Of these months, those in which there is a subscription, and what it is bound to."""
    return await conn.fetch(
        """
        select p.deployment_id, p.period, p.plan_version_id, s.tenant_id, s.trial_ends_at
        from unnest($1::uuid[], $2::date[]) k(deployment_id, period)
        join subscription_periods p using (deployment_id, period)
        join subscriptions s on s.id = p.subscription_id
        order by p.deployment_id, p.period
        """,
        *_columns(keys),
    )


async def list_versions(conn: Connection, ids: Collection[UUID]) -> list[Row]:
    """Versions of plans, as far as they are known."""
    return await conn.fetch("select * from plan_versions where id = any($1::uuid[])", list(ids))


async def list_addons(conn: Connection, keys: Collection[Key]) -> list[Row]:
    """The addons that were attached in any part of these months; one that was attached twice, as it was last."""
    return await conn.fetch(
        """
        select distinct on (k.deployment_id, k.period, a.addon_id)
          k.deployment_id, k.period, a.addon_id, a.code, a.resource_kind, a.qty, a.price_cents, a.detached_at
        from unnest($1::uuid[], $2::date[]) k(deployment_id, period)
        join subscriptions s using (deployment_id)
        join subscription_addons a on a.subscription_id = s.id
        where a.attached_at < (k.period + interval '1 month') at time zone 'UTC'
          and (a.detached_at is null or a.detached_at > k.period at time zone 'UTC')
        order by k.deployment_id, k.period, a.addon_id, a.attached_at desc
        """,
        *_columns(keys),
    )


async def sum_usage(conn: Connection, keys: Collection[Key], runs: Sequence[Run]) -> list[Row]:
    """What was used in these months: of kinds that have runs, under the first day of each; of the others, at once."""
    return await conn.fetch(
        """
        with keys as (select * from unnest($1::uuid[], $2::date[]) k(deployment_id, period))
        select k.deployment_id, k.period, m.resource_kind, k.period as since, m.used
        from keys k join usage_months m using (deployment_id, period)
        where m.resource_kind <> all($3::text[])
        union all
        select k.deployment_id, k.period, u.*
        from keys k
        cross join lateral (
          select d.resource_kind, greatest(r.since, k.period) as since, sum(d.used) as used
          from usage_days d join unnest($3::text[], $4::date[], $5::date[]) r(resource_kind, since, until)
            on r.resource_kind = d.resource_kind and d.day >= r.since and d.day < r.until
          where d.deployment_id = k.deployment_id
            and d.day >= k.period and d.day < (k.period + interval '1 month')::date
          group by 1, 2) u
        """,
        *_columns(keys),
        [run.resource_kind for run in runs],
        [run.since for run in runs],
        [run.until for run in runs],
    )


async def list_prices(conn: Connection) -> list[Row]:
    """All prices of what no plan covers, by kind."""
    return await conn.fetch("select resource_kind, prices from resource_prices")


async def upsert_quotes(conn: Connection, quotes: Sequence[Quote]) -> dict[Key, Row]:
    """Keep quotes; gives, of those that are otherwise than before, `version`, and `before_cents` (None: no quote)."""
    rows = await conn.fetch(
        """
        insert into quotes as q (deployment_id, period, tenant_id, currency, plan_code, plan_version_id, plan_version,
          total_cents, quoted_at, lines)
        select deployment_id, period, tenant_id, currency, plan_code, plan_version_id, plan_version, total_cents,
               quoted_at, lines::jsonb -> 'lines'
        from unnest($1::uuid[], $2::date[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::int[], $8::bigint[],
          $9::timestamptz[], $10::text[])
          made(deployment_id, period, tenant_id, currency, plan_code, plan_version_id, plan_version, total_cents,
            quoted_at, lines)
        on conflict (deployment_id, period) do update set
          tenant_id = excluded.tenant_id, currency = excluded.currency, plan_code = excluded.plan_code,
          plan_version_id = excluded.plan_version_id, plan_version = excluded.plan_version, lines = excluded.lines,
          total_cents = excluded.total_cents, quoted_at = excluded.quoted_at, version = q.version + 1
        where (q.tenant_id, q.plan_version_id, q.total_cents, q.lines)
          is distinct from (excluded.tenant_id, excluded.plan_version_id, excluded.total_cents, excluded.lines)
        returning deployment_id, period, new.version, old.total_cents as before_cents
        """,
        [quote.deployment_id for quote in quotes],
        [quote.period for quote in quotes],
        [quote.tenant_id for quote in quotes],
        [quote.currency for quote in quotes],
        [quote.plan_code for quote in quotes],
        [quote.plan_version_id for quote in quotes],
        [quote.plan_version for quote in quotes],
        [quote.total_cents for quote in quotes],
        [quote.quoted_at for quote in quotes],
        [quote.model_dump_json(include={"lines"}, exclude_none=True) for quote in quotes],
    )
    return {Key(row["deployment_id"], row["period"]): row for row in rows}


async def insert_limits(
    conn: Connection, reached: Sequence[tuple[Key, str, Reached]], now: datetime
) -> set[tuple[UUID, date, str, str]]:
    """Note limits that were reached, with the tenants; gives those that were not known to be."""
    rows = await conn.fetch(
        """
        insert into limits_reached
          (deployment_id, period, resource_kind, limit_reached, tenant_id, at, used, reached_at)
        select *, $8 from unnest(
          $1::uuid[], $2::date[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::numeric[])
        on conflict (deployment_id, period, resource_kind, limit_reached) do nothing
        returning deployment_id, period, resource_kind, limit_reached
        """,
        [key.deployment_id for key, _, _ in reached],
        [key.period for key, _, _ in reached],
        [each.resource_kind for _, _, each in reached],
        [each.limit for _, _, each in reached],
        [tenant for _, tenant, _ in reached],
        [each.at for _, _, each in reached],
        [each.used for _, _, each in reached],
        now,
    )
    return {(row[0], row[1], row[2], row[3]) for row in rows}


async def lock_quotes_after(conn: Connection, after: Key, limit: int) -> list[Row]:
    """Quotes in the order of their keys. Nobody changes one before this transaction ends."""
    return await conn.fetch(
        """
        select * from quotes where (deployment_id, period) > ($1, $2)
        order by deployment_id, period limit $3 for share
        """,
        *after,
        limit,
    )


async def delete_old_quotes(conn: Connection, before: date, limit: int) -> list[Key]:
    """Forget quotes of long ago, some at a go. Gives those that went."""
    rows = await conn.fetch(
        """
        delete from quotes where (deployment_id, period) in (
          select deployment_id, period from quotes where period < $1 limit $2 for update skip locked)
        returning deployment_id, period
        """,
        before,
        limit,
    )
    return [Key(*row) for row in rows]


async def delete_old_limits(conn: Connection, before: date, limit: int) -> list[Row]:
    """Forget limits that were reached long ago, some at a go. Gives those that went."""
    return await conn.fetch(
        """
        delete from limits_reached where ctid = any(array(
          select ctid from limits_reached where period < $1 limit $2 for update skip locked))
        returning deployment_id, period, resource_kind, limit_reached
        """,
        before,
        limit,
    )


async def delete_old_usage(conn: Connection, before: date, limit: int) -> int:
    """Forget days of long ago, and their months, some at a go. Gives how many went."""
    gone: int = await conn.fetchval(
        """
        with days as (
          delete from usage_days where ctid = any(array(
            select ctid from usage_days where day < $1 limit $2 for update skip locked)) returning 1),
        months as (
          delete from usage_months where ctid = any(array(
            select ctid from usage_months where period < $1 limit $2 for update skip locked)) returning 1)
        select (select count(*) from days) + (select count(*) from months)
        """,
        before,
        limit,
    )
    return gone
