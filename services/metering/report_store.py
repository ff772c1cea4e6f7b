"""Every SQL statement about what is reported."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple, TypeAlias
from uuid import UUID

import asyncpg

from shared.db import Connection

Row: TypeAlias = asyncpg.Record


class Name(NamedTuple):
    """What a report is known by, for good."""

    tenant_id: str
    id: str


class Report(NamedTuple):
    """What is kept of a report; in the order of its columns."""

    tenant_id: str
    id: str
    deployment_id: UUID
    resource_kind: str
    quantity: Decimal
    occurred_at: datetime
    corrects: str | None

    @property
    def name(self) -> Name:
        """What it is known by."""
        return Name(self.tenant_id, self.id)


class Day(NamedTuple):
    """A deployment's day of a kind."""

    day: date
    deployment_id: UUID
    resource_kind: str


async def list_owners(conn: Connection, deployment_ids: Collection[UUID]) -> dict[UUID, str]:
    """The tenants of deployments, as far as they are known here."""
    rows = await conn.fetch("select id, tenant_id from deployments where id = any($1::uuid[])", list(deployment_ids))
    return {row["id"]: row["tenant_id"] for row in rows}


async def insert_reports(conn: Connection, reports: Sequence[Report], now: datetime) -> set[Name]:
    """Keep reports, of each name one. Gives the names that were not known before."""
    rows = await conn.fetch(
        """
        insert into usage_reports
          (tenant_id, id, deployment_id, resource_kind, quantity, occurred_at, corrects, counted, recorded_at)
        select *, case when corrects is null then quantity else 0 end, $8
        from unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::numeric[], $6::timestamptz[], $7::text[])
          r(tenant_id, id, deployment_id, resource_kind, quantity, occurred_at, corrects)
        order by tenant_id, id
        on conflict (tenant_id, id) do nothing
        returning tenant_id, id
        """,
        *zip(*reports, strict=True),
        now,
    )
    return {Name(*row) for row in rows}


async def find_reports(conn: Connection, names: Collection[Name]) -> dict[Name, Report]:
    """Reports that are known, by their names."""
    rows = await conn.fetch(
        """
        select tenant_id, id, deployment_id, resource_kind, quantity, occurred_at, corrects
        from usage_reports join unnest($1::text[], $2::text[]) n(tenant_id, id) using (tenant_id, id)
        """,
        [name.tenant_id for name in names],
        [name.id for name in names],
    )
    return {Name(row["tenant_id"], row["id"]): Report(*row) for row in rows}


async def lock_originals(conn: Connection, names: Collection[Name]) -> dict[Name, Row]:
    """Reports that are to be corrected; nobody else does that until the transaction ends."""
    rows = await conn.fetch(
        """
        select r.* from usage_reports r join unnest($1::text[], $2::text[]) n(tenant_id, id) using (tenant_id, id)
        where corrects is null order by tenant_id, id for update of r
        """,
        [name.tenant_id for name in names],
        [name.id for name in names],
    )
    return {Name(row["tenant_id"], row["id"]): row for row in rows}


async def mark_corrected(conn: Connection, counted: Mapping[Name, Decimal]) -> None:
    """Say what counts of reports from now on."""
    await conn.execute(
        """
        update usage_reports r set counted = c.counted
        from unnest($1::text[], $2::text[], $3::numeric[]) c(tenant_id, id, counted)
        where r.tenant_id = c.tenant_id and r.id = c.id
        """,
        [name.tenant_id for name in counted],
        [name.id for name in counted],
        list(counted.values()),
    )


async def insert_conflicts(
    conn: Connection, reports: Sequence[tuple[Name, dict[str, object], str | None]], now: datetime
) -> None:
    """Keep what came under a name that stands for something else, for somebody to look at."""
    await conn.execute(
        """
        insert into usage_conflicts (tenant_id, id, reported, actor, seen_at)
        select tenant_id, id, reported, actor, $5
        from unnest($1::text[], $2::text[], $3::jsonb[], $4::text[]) c(tenant_id, id, reported, actor)
        """,
        [name.tenant_id for name, *_ in reports],
        [name.id for name, *_ in reports],
        [reported for _, reported, _ in reports],
        [actor for *_, actor in reports],
        now,
    )


_GIVEN = "unnest($1::date[], $2::uuid[], $3::text[], $4::numeric[]) a(day, deployment_id, resource_kind, qty)"


def _columns(days: Mapping[Day, Decimal]) -> list[Sequence[object]]:
    ordered = sorted(days)  # as everybody does: nobody waits for somebody who waits for him
    return [*zip(*ordered, strict=True), [days[day] for day in ordered]]


async def lock_usage(conn: Connection, days: Collection[Day]) -> None:
    """Have the records of days to oneself, in the order in which everybody takes them, and with them their sums."""
    await conn.execute(
        """
        select from usage_records u
        join unnest($1::date[], $2::uuid[], $3::text[]) a(day, deployment_id, resource_kind)
          on u.period_start = a.day at time zone 'UTC' and u.deployment_id = a.deployment_id
          and u.resource_kind = a.resource_kind
        where u.resource_id is null
        order by u.period_start, u.deployment_id, u.resource_kind for update of u
        """,
        *zip(*days, strict=True),
    )


async def add_usage(conn: Connection, more: Mapping[Day, Decimal], now: datetime) -> None:
    """Count more of deployments' days, in their records and in their sums."""
    columns = _columns(more)
    await conn.execute(
        f"""
        insert into usage_records as u (period_start, deployment_id, resource_kind, granularity, qty, recorded_at)
        select day at time zone 'UTC', deployment_id, resource_kind, 'daily', qty, $5 from {_GIVEN}
        order by day, deployment_id, resource_kind
        on conflict (period_start, deployment_id, resource_id, resource_kind, granularity) do update set
          qty = u.qty + excluded.qty, recorded_at = excluded.recorded_at
        """,
        *columns,
        now,
    )
    await conn.execute(
        f"""
        insert into usage_days as u (day, deployment_id, resource_kind, used, observations)
        select day, deployment_id, resource_kind, qty, 1 from {_GIVEN}
        order by day, deployment_id, resource_kind
        on conflict (day, deployment_id, resource_kind) do update set
          used = u.used + excluded.used, version = u.version + 1
        """,
        *columns,
    )


async def subtract_usage(conn: Connection, less: Mapping[Day, Decimal], now: datetime) -> None:
    """Count less of days of which something was counted."""
    columns = _columns(less)
    await conn.execute(
        f"""
        update usage_records u set qty = u.qty - a.qty, recorded_at = $5
        from {_GIVEN}
        where u.period_start = a.day at time zone 'UTC' and u.deployment_id = a.deployment_id and u.resource_id is null
          and u.resource_kind = a.resource_kind and u.granularity = 'daily'
        """,
        *columns,
        now,
    )
    await conn.execute(
        f"""
        update usage_days u set used = u.used - a.qty, version = u.version + 1
        from {_GIVEN}
        where (u.day, u.deployment_id, u.resource_kind) = (a.day, a.deployment_id, a.resource_kind)
        """,
        *columns,
    )
