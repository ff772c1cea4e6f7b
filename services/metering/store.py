"""Every SQL statement of metering. Times come in as arguments."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TypeAlias
from uuid import UUID

import asyncpg

from contracts.deployments import Deployment
from contracts.inventory import Resource
from contracts.metering import MeteringConfig, SetMeteringConfig
from contracts.times import midnight
from services.metering.domain import Segment, Slot, Span
from shared.db import Connection
from shared.outcome import Meta

Row: TypeAlias = asyncpg.Record


async def project_resources(conn: Connection, resources: Sequence[Resource]) -> dict[UUID, int]:
    """Keep what events tell of resources, each of another one.

    Gives those of which it is news, with the version that was known before, or 0.
    """
    rows = await conn.fetch(
        """
        insert into resources (id, kind, provider_id, name, deleted_at, version)
        select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[]) t
        order by 1
        on conflict (id) do update set
          name = excluded.name, deleted_at = excluded.deleted_at, version = excluded.version
        where resources.version < excluded.version
        returning id, coalesce(old.version, 0) as known
        """,
        [each.id for each in resources],
        [each.kind for each in resources],
        [each.provider_id for each in resources],
        [each.name for each in resources],
        [each.deleted_at for each in resources],
        [each.version for each in resources],
    )
    return {row["id"]: row["known"] for row in rows}


async def list_segments(conn: Connection, resource_ids: Sequence[UUID]) -> dict[UUID, list[Segment]]:
    """What is known of resources, each one's in order."""
    rows = await conn.fetch(
        """
        select resource_id, since, until, deployment_id, amount from segments where resource_id = any($1::uuid[])
        order by resource_id, since
        """,
        resource_ids,
    )
    found: dict[UUID, list[Segment]] = {}
    for id, *segment in rows:
        found.setdefault(id, []).append(Segment(*segment))
    return found


async def replace_segments(conn: Connection, segments: Mapping[UUID, tuple[str, Sequence[Segment]]]) -> None:
    """Keep other accounts of resources, each with its billing kind."""
    await conn.execute("delete from segments where resource_id = any($1::uuid[])", list(segments))
    rows = [(id, kind, each) for id, (kind, those) in segments.items() for each in those]
    await conn.execute(
        """
        insert into segments (resource_id, resource_kind, since, until, deployment_id, amount)
        select * from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::uuid[], $6::numeric[])
        """,
        [id for id, _, _ in rows],
        [kind for _, kind, _ in rows],
        [each.since for *_, each in rows],
        [each.until for *_, each in rows],
        [each.deployment_id for *_, each in rows],
        [each.amount for *_, each in rows],
    )


async def mark_dirty(conn: Connection, spans: Sequence[Span]) -> None:
    """Have those days metered again which end within, or at the end of, one of these times."""
    await conn.execute(
        """
        update metered_days set dirty = true where day in (
          select d.day from metered_days d
          where not d.dirty and exists (
            select from unnest($1::timestamptz[], $2::timestamptz[]) s(since, until)
            where d.day + 1 > s.since at time zone 'UTC' and (s.until is null or d.day < s.until at time zone 'UTC'))
          order by d.day for update)
        """,
        [span.since for span in spans],
        [span.until for span in spans],
    )


async def take_dirty(conn: Connection, limit: int) -> list[date]:
    """Days that are to be metered again, the oldest first; they count as asked for from now on."""
    rows = await conn.fetch(
        """
        update metered_days set dirty = false where day in (
          select day from metered_days where dirty order by day limit $1 for update skip locked)
        returning day
        """,
        limit,
    )
    return sorted(row["day"] for row in rows)


async def take_missed(conn: Connection, today: date, now: datetime) -> list[date]:
    """Days of this and the previous month, from the first that was ever metered on, that nobody metered by now.

    They count as asked for, for some hours: then they are missed again.
    """
    rows = await conn.fetch(
        """
        insert into metered_days (day, meterings, metered_at, observations, unmeasured)
        select day::date, 0, $2, 0, 0
        from generate_series(
          (select greatest(min(day), date_trunc('month', $1::date - interval '1 month')::date) from metered_days),
          $1::date - 1, interval '1 day') missed(day)
        where exists (select from metered_days)
          and not exists (select from metered_days m where m.day = missed.day and m.meterings > 0)
        order by day
        on conflict (day) do update set metered_at = excluded.metered_at
          where metered_days.meterings = 0 and metered_days.metered_at < excluded.metered_at - interval '6 hours'
        returning day
        """,
        today,
        now,
    )
    return sorted(row["day"] for row in rows)


async def project_deployments(conn: Connection, deployments: Sequence[Deployment]) -> None:
    """Keep what events tell of deployments, where it is newer than what is known."""
    await conn.execute(
        """
        insert into deployments (id, tenant_id, slug, version)
        select distinct on (id) *
        from unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[]) as told(id, tenant_id, slug, version)
        order by id, version desc
        on conflict (id) do update set
          tenant_id = excluded.tenant_id, slug = excluded.slug, version = excluded.version
        where deployments.version < excluded.version
        """,
        [each.id for each in deployments],
        [each.tenant_id for each in deployments],
        [each.slug for each in deployments],
        [each.version for each in deployments],
    )


async def list_config(conn: Connection, day: date) -> dict[str, Row]:
    """What holds on a day, by billing kind; nothing of a kind of which nothing was ever said."""
    rows = await conn.fetch(
        """
        select distinct on (resource_kind) resource_kind, granularity, retention_days from metering_config
        where effective_from <= $1 order by resource_kind, effective_from desc
        """,
        day,
    )
    return {row["resource_kind"]: row for row in rows}


async def insert_config(conn: Connection, cmd: SetMeteringConfig, day: date, meta: Meta) -> tuple[Row, bool]:
    """Say what holds of a kind from a day on; what was said of that very day before is replaced.

    Gives what holds then, and whether it is another than before: a command that comes again, where this service was
    rebuilt and knows its outcome already, changes nothing.
    """
    rows: list[Row] = await conn.fetch(
        """
        with said as (
          insert into metering_config as c (resource_kind, effective_from, granularity, retention_days, actor, set_at)
          values ($1, $2, $3, $4, $5, $6)
          on conflict (resource_kind, effective_from) do update set granularity = excluded.granularity,
            retention_days = excluded.retention_days, actor = excluded.actor, set_at = excluded.set_at,
            version = c.version + 1
          where (c.granularity, c.retention_days) is distinct from (excluded.granularity, excluded.retention_days)
          returning *)
        select *, true as is_new from said
        union all
        select *, false from metering_config
        where resource_kind = $1 and effective_from = $2 and not exists (select from said)
        """,
        cmd.resource_kind,
        day,
        cmd.granularity,
        cmd.retention_days,
        meta.actor,
        meta.now,
    )
    return rows[0], rows[0]["is_new"]


async def project_config(conn: Connection, told: MeteringConfig) -> None:
    """Keep what was said of a kind, as this service has told it itself: one that was rebuilt knows it by that."""
    await conn.execute(
        """
        insert into metering_config as c
          (resource_kind, effective_from, granularity, retention_days, actor, set_at, version)
        values ($1, $2, $3, $4, $5, $6, $7)
        on conflict (resource_kind, effective_from) do update set granularity = excluded.granularity,
          retention_days = excluded.retention_days, actor = excluded.actor, set_at = excluded.set_at,
          version = excluded.version
        where c.version < excluded.version
        """,
        *dict(told).values(),
    )


async def lock_config(conn: Connection) -> list[Row]:
    """All that was said of kinds; nobody says anything else until the transaction ends."""
    await conn.execute("lock table metering_config in share row exclusive mode")
    return await conn.fetch("select * from metering_config order by resource_kind, effective_from")


async def is_metered_from(conn: Connection, day: date) -> bool:
    """Whether a day, or a later one, is metered; none becomes so until the transaction ends."""
    await conn.execute("lock table metered_days in share row exclusive mode")
    return bool(await conn.fetchval("select exists (select from metered_days where day >= $1 and meterings > 0)", day))


async def lock_day(conn: Connection, day: date, now: datetime) -> int:
    """Have a day to oneself, and what is known: what becomes known later finds it metered, and makes it dirty.

    Gives how often it is metered with this time.
    """
    await conn.execute("lock table segments in share mode")
    meterings: int = await conn.fetchval(
        """
        insert into metered_days (day, meterings, metered_at, observations, unmeasured) values ($1, 1, $2, 0, 0)
        on conflict (day) do update set meterings = metered_days.meterings + 1, metered_at = $2, dirty = false
        returning meterings
        """,
        day,
        now,
    )
    return meterings


_SLOTS = """\
slots as (
          select * from unnest($2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::int[], $7::int[],
            $8::int[]) s(resource_kind, granularity, period_start, period_end, hours, nth, parts)),
        held as (
          select * from slots s join segments g using (resource_kind)
          where g.since < $1 and g.since < s.period_end and (g.until is null or g.until >= s.period_end)),
        now as (
          select period_start, deployment_id, resource_id, resource_kind, granularity,
            case when hours is not null then amount * hours else share(amount, nth, parts) end as qty
          from held where amount is not null)"""
"""What was in a day's slots ($2 to $8), up to the end of the day ($1)."""


async def insert_usage(conn: Connection, day: date, slots: Sequence[Slot], now: datetime) -> int:
    """Observe the slots of a day of which nothing is recorded yet. Gives how many observations there are.

    (Half the time of a comparison with nothing; and in the order of the key, a third less than in none.)
    """
    status = await conn.execute(
        f"""
        with {_SLOTS}
        insert into usage_records (period_start, deployment_id, resource_id, resource_kind, granularity, qty,
          recorded_at)
        select *, $9 from now order by period_start, deployment_id, resource_id
        """,
        _end(day),
        *zip(*slots, strict=True),
        now,
    )
    return int(status.split()[-1])


async def count_unmeasured(conn: Connection, day: date) -> int:
    """How many resources there were within a day whose size nobody knows."""
    count: int = await conn.fetchval(
        """
        select count(distinct resource_id) from segments
        where amount is null and since < $1 and (until is null or until > $1 - interval '1 day')
        """,
        _end(day),
    )
    return count


async def correct_usage(conn: Connection, day: date, slots: Sequence[Slot], now: datetime) -> Row:
    """Observe a day's slots once more: add what is new, correct what is otherwise, withdraw what is not.

    What was recorded before is kept. Gives `observations`, `added`, `corrected`, `withdrawn`.
    """
    rows: list[Row] = await conn.fetch(
        f"""
        with {_SLOTS},
        old as (
          select * from usage_records
          where period_start >= $1::timestamptz - interval '1 day' and period_start < $1 and resource_id is not null
            and resource_kind = any($2::text[])),
        both_sides as materialized (
          select period_start, deployment_id, resource_id, resource_kind, granularity, now.qty, old.qty as old_qty,
            old.sub_attribution, old.recorded_at
          from now full join old using (period_start, deployment_id, resource_id, resource_kind, granularity)),
        changed as (select * from both_sides where qty is distinct from old_qty),
        kept as (
          insert into superseded_usage_records (period_start, deployment_id, resource_id, resource_kind, granularity,
            qty, sub_attribution, recorded_at, superseded_at)
          select period_start, deployment_id, resource_id, resource_kind, granularity, old_qty, sub_attribution,
            recorded_at, $9
          from changed where old_qty is not null),
        added as (
          insert into usage_records (period_start, deployment_id, resource_id, resource_kind, granularity, qty,
            recorded_at)
          select period_start, deployment_id, resource_id, resource_kind, granularity, qty, $9
          from changed where old_qty is null order by period_start, deployment_id, resource_id),
        corrected as (
          update usage_records u set qty = c.qty, recorded_at = $9
          from changed c where c.qty is not null and c.old_qty is not null and {_SAME}),
        withdrawn as (
          delete from usage_records u using changed c where c.qty is null and {_SAME})
        select count(qty)::int as observations,
          count(*) filter (where old_qty is null)::int as added,
          count(*) filter (where qty <> old_qty)::int as corrected,
          count(*) filter (where qty is null)::int as withdrawn
        from both_sides
        """,
        _end(day),
        *zip(*slots, strict=True),
        now,
    )
    return rows[0]


_SAME = """
            u.period_start = c.period_start and u.deployment_id = c.deployment_id and u.resource_id = c.resource_id
            and u.resource_kind = c.resource_kind and u.granularity = c.granularity"""


def _end(day: date) -> datetime:
    return midnight(day) + timedelta(days=1)


async def mark_metered(conn: Connection, day: date, observations: int, unmeasured: int) -> None:
    """Say what came of a day."""
    await conn.execute(
        "update metered_days set observations = $2, unmeasured = $3 where day = $1", day, observations, unmeasured
    )


async def sum_day(conn: Connection, day: date, kinds: Collection[str]) -> None:
    """Sum up a day's observations by deployment and kind, where that gives something else than before."""
    await conn.execute(
        """
        with now as (
          select deployment_id, resource_kind, sum(qty) as used, count(*) as observations from usage_records
          where period_start >= $1::date at time zone 'UTC' and period_start < ($1::date + 1) at time zone 'UTC'
            and resource_kind = any($2::text[])
          group by deployment_id, resource_kind),
        old as (select * from usage_days where day = $1 and resource_kind = any($2::text[]))
        insert into usage_days (day, deployment_id, resource_kind, used, observations)
        select $1, deployment_id, resource_kind, coalesce(now.used, 0), coalesce(now.observations, 0)
        from now full join old using (deployment_id, resource_kind)
        where (coalesce(now.used, 0), coalesce(now.observations, 0)) is distinct from (old.used, old.observations)
        order by deployment_id, resource_kind
        on conflict (day, deployment_id, resource_kind) do update set
          used = excluded.used, observations = excluded.observations, version = usage_days.version + 1
        """,
        day,
        list(kinds),
    )


async def take_untold(conn: Connection, limit: int) -> list[Row]:
    """Days of usage that were not told yet as they are; they count as told from now on."""
    return await conn.fetch(
        """
        with untold as (
          select day, deployment_id, resource_kind from usage_days where told < version
          order by day, deployment_id, resource_kind limit $1 for update skip locked)
        update usage_days u set told = u.version
        from untold left join deployments d on d.id = untold.deployment_id
        where (u.day, u.deployment_id, u.resource_kind) = (untold.day, untold.deployment_id, untold.resource_kind)
        returning u.*, d.tenant_id
        """,
        limit,
    )


async def lock_days_after(conn: Connection, after: tuple[date, UUID, str], limit: int) -> list[Row]:
    """Days of usage, in the order of their keys; nobody changes them until the transaction ends."""
    return await conn.fetch(
        """
        select u.*, d.tenant_id from usage_days u left join deployments d on d.id = u.deployment_id
        where (u.day, u.deployment_id, u.resource_kind) > ($1, $2, $3)
        order by u.day, u.deployment_id, u.resource_kind limit $4
        for share of u
        """,
        *after,
        limit,
    )
