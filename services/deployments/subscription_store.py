"""Subscriptions, their addons, periods and history: every SQL statement about them.

Whoever changes a subscription holds the lock of its deployment's row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from contracts.deployments import Authority
from contracts.subscriptions import Subscription, SubscriptionStatus
from services.deployments.domain import Span
from shared.db import Connection

Row: TypeAlias = asyncpg.Record


async def insert_subscription(
    conn: Connection,
    deployment: Row,
    plan_version_id: UUID,
    period: Span,
    *,
    trial_ends_at: datetime | None,
    now: datetime,
) -> UUID:
    """Insert a subscription with its first period."""
    id: UUID = await conn.fetchval(
        """
        with made as (
          insert into subscriptions (deployment_id, tenant_id, plan_version_id, status, current_period_start,
            current_period_end, trial_ends_at, started_at, version)
          values ($1, $2, $3, $4, $5, $6, $7, $8, 1)
          returning id),
        opened as (
          insert into subscription_periods (subscription_id, period_start, plan_version_id) select id, $5, $3 from made)
        select id from made
        """,
        deployment["id"],
        deployment["tenant_id"],
        plan_version_id,
        "paused" if deployment["state"] == "paused" else "active",
        period.start,
        period.end,
        trial_ends_at,
        now,
    )
    return id


async def insert_addons(conn: Connection, subscription_id: UUID, addon_ids: Sequence[UUID], now: datetime) -> None:
    """Attach addons as they stand in the catalog now. Raises `UniqueViolationError` where one is attached."""
    await conn.execute(
        """
        insert into subscription_addons
          (subscription_id, tenant_id, addon_id, resource_kind, qty, price_cents, currency, attached_at)
        select $1, s.tenant_id, a.id, a.resource_kind, a.qty, a.price_cents, a.currency, $3
        from subscriptions s, addons a where s.id = $1 and a.id = any($2::uuid[]) order by a.code
        """,
        subscription_id,
        addon_ids,
        now,
    )


async def is_attached(conn: Connection, subscription_id: UUID, addon_id: UUID) -> bool:
    """Whether an addon of the catalog is attached."""
    attached: bool = await conn.fetchval(
        """
        select exists (
          select from subscription_addons where subscription_id = $1 and addon_id = $2 and detached_at is null)
        """,
        subscription_id,
        addon_id,
    )
    return attached


async def mark_detached(conn: Connection, subscription_id: UUID, addon_id: UUID, now: datetime) -> bool:
    """Detach an addon. False where it is not attached."""
    detached = await conn.fetchval(
        """
        update subscription_addons set detached_at = greatest($3, attached_at)
        where subscription_id = $1 and addon_id = $2 and detached_at is null returning true
        """,
        subscription_id,
        addon_id,
        now,
    )
    return bool(detached)


async def mark_changed(conn: Connection, subscription_ids: Sequence[UUID]) -> None:
    """Let the version of subscriptions move whose addons changed."""
    await conn.execute("update subscriptions set version = version + 1 where id = any($1::uuid[])", subscription_ids)


async def mark_bound(conn: Connection, subscription_ids: Sequence[UUID], plan_version_id: UUID) -> None:
    """Bind subscriptions to another version, which counts for the whole of their current period."""
    await conn.execute(
        """
        with bound as (
          update subscriptions set plan_version_id = $2, version = version + 1 where id = any($1::uuid[])
          returning id, current_period_start)
        update subscription_periods p set plan_version_id = $2
        from bound where p.subscription_id = bound.id and p.period_start = bound.current_period_start
        """,
        subscription_ids,
        plan_version_id,
    )


async def mark_status(
    conn: Connection, subscription_ids: Sequence[UUID], status: SubscriptionStatus, ended_at: Sequence[datetime | None]
) -> dict[UUID, Row]:
    """Change the status of subscriptions; `ended_at`: when each ended, where they are cancelled. Gives the new rows."""
    rows = await conn.fetch(
        """
        update subscriptions s set status = $2, ended_at = m.ended_at, version = s.version + 1,
          cancel_at = case when $2 = 'cancelled' then null else s.cancel_at end
        from unnest($1::uuid[], $3::timestamptz[]) as m(id, ended_at) where s.id = m.id
        returning s.*
        """,
        subscription_ids,
        status,
        ended_at,
    )
    return {row["id"]: row for row in rows}


async def mark_cancel_at(
    conn: Connection, subscription_id: UUID, cancel_at: datetime | None, by: str | None, authority: Authority | None
) -> None:
    """Note that a subscription is to be cancelled with its period, or (all None) not any more."""
    await conn.execute(
        """
        update subscriptions
        set cancel_at = $2, cancel_asked_by = $3, cancel_authority = $4, version = version + 1 where id = $1
        """,
        subscription_id,
        cancel_at,
        by,
        authority,
    )


async def lock_due(conn: Connection, until: datetime, limit: int, *, but: Collection[UUID] = ()) -> list[Row]:
    """Subscriptions that time changes by then, with their deployments' states; `but`: without these.

    And without those whose deployment somebody else holds just now.
    """
    return await conn.fetch(
        """
        select s.*, d.state as deployment_state
        from subscriptions s join cloud_deployments d on d.id = s.deployment_id
        where s.status <> 'cancelled' and s.next_step_at <= $1 and s.id <> all($3::uuid[])
        order by s.next_step_at, s.id limit $2
        for update skip locked
        """,
        until,
        limit,
        but,
    )


async def lock_due_of(conn: Connection, deployment_ids: Sequence[UUID], until: datetime) -> list[Row]:
    """The subscriptions of deployments that the caller holds, as far as time changes them by then; as `lock_due`.

    Whoever only reads one of them (a republisher) is waited for.
    """
    return await conn.fetch(
        """
        select s.*, d.state as deployment_state
        from subscriptions s join cloud_deployments d on d.id = s.deployment_id
        where s.status <> 'cancelled' and s.next_step_at <= $1 and s.deployment_id = any($2::uuid[])
        order by s.id
        for update of s
        """,
        until,
        deployment_ids,
    )


async def count_due(conn: Connection, until: datetime, *, but: Collection[UUID] = ()) -> int:
    """How many subscriptions time changes by then; `but`: without these."""
    count: int = await conn.fetchval(
        """
        select count(*) from subscriptions
        where status <> 'cancelled' and next_step_at <= $1 and id <> all($2::uuid[])
        """,
        until,
        but,
    )
    return count


async def mark_periods(conn: Connection, opened: Sequence[tuple[UUID, Span]]) -> None:
    """Open the next period of subscriptions, with the version that they are bound to."""
    await conn.execute(
        """
        with rolled as (
          update subscriptions s set current_period_start = m.starts_at, current_period_end = m.ends_at,
            version = s.version + 1
          from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) as m(id, starts_at, ends_at) where s.id = m.id
          returning s.id, s.current_period_start, s.plan_version_id)
        insert into subscription_periods (subscription_id, period_start, plan_version_id)
        select id, current_period_start, plan_version_id from rolled
        """,
        [id for id, _ in opened],
        [span.start for _, span in opened],
        [span.end for _, span in opened],
    )


async def mark_trials_ended(conn: Connection, subscription_ids: Sequence[UUID]) -> None:
    """Note that the end of trials was told."""
    await conn.execute(
        "update subscriptions set trial_ended = true, version = version + 1 where id = any($1::uuid[])",
        subscription_ids,
    )


async def insert_events(
    conn: Connection,
    event_type: str,
    subscriptions: Sequence[Subscription],
    details: Sequence[Mapping[str, Any]],
    *,
    reasons: Sequence[str | None],
    actors: Sequence[str | None],
    now: datetime,
) -> None:
    """Append to the history of subscriptions what has happened to them."""
    await conn.execute(
        """
        insert into subscription_events
          (subscription_id, tenant_id, event_type, detail, reason, actor, occurred_at, version)
        select id, tenant_id, $2, detail, reason, actor, $8, version
        from unnest($1::uuid[], $3::text[], $4::jsonb[], $5::text[], $6::text[], $7::bigint[])
          as e(id, tenant_id, detail, actor, reason, version)
        """,
        [each.id for each in subscriptions],
        event_type,
        [each.tenant_id for each in subscriptions],
        details,
        actors,
        reasons,
        [each.version for each in subscriptions],
        now,
    )


_STATES = """
    select s.*, p.code as plan_code, periods.list as periods, coalesce(attached.list, '[]') as addons
    from subscriptions s
    join plan_versions v on v.id = s.plan_version_id
    join plans p on p.id = v.plan_id
    cross join lateral (
      select jsonb_agg(jsonb_build_object('start', period_start, 'end', period_end, 'plan_version_id', plan_version_id)
               order by period_start desc) as list,
             min(period_start) as since
      from (
        select period_start, plan_version_id,
               lead(period_start, 1, s.current_period_end) over (order by period_start) as period_end
        from subscription_periods where subscription_id = s.id
        order by period_start desc limit 2) last_two) periods
    left join lateral (
      select jsonb_agg(jsonb_build_object('id', a.id, 'addon_id', a.addon_id, 'code', c.code,
               'resource_kind', a.resource_kind, 'qty', a.qty, 'price_cents', a.price_cents, 'currency', a.currency,
               'attached_at', a.attached_at, 'detached_at', a.detached_at) order by a.id) as list
      from subscription_addons a join addons c on c.id = a.addon_id
      where a.subscription_id = s.id and (a.detached_at is null or a.detached_at > periods.since)) attached on true
"""


async def list_states(conn: Connection, ids: Sequence[UUID]) -> list[Subscription]:
    """Subscriptions as others get them, in the order of these ids."""
    rows = await conn.fetch(f"{_STATES} where s.id = any($1::uuid[])", ids)
    states = {row["id"]: Subscription.model_validate(dict(row)) for row in rows}
    return [states[id] for id in ids]


async def lock_subscriptions_after(conn: Connection, after: UUID, limit: int) -> list[UUID]:
    """Subscriptions in the order of their ids. Nobody changes one before this transaction ends."""
    rows = await conn.fetch("select id from subscriptions where id > $1 order by id limit $2 for share", after, limit)
    return [row["id"] for row in rows]
