"""Drifts and surges: every SQL statement that finds them, changes them, or tells of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from services.drift.domain import Finding, Json, Open, canonical
from shared.db import Connection

Row: TypeAlias = asyncpg.Record

_IS_SETTLED = """\
(p.changed_xid is null or pg_visible_in_snapshot(p.changed_xid, $1::text::pg_snapshot)
          or p.changed_xid >= pg_snapshot_xmax(pg_current_snapshot()))"""
"""Nothing of it has changed since the snapshot. (What we see of a transaction yet to come was restored from a dump.)"""

_DIFFERS = "(not r.canonical @> p.canonical or r.canonical ?| p.absent)"
"""A field is not as it is to be. (A canonical text is contained in the other where it is the same.)"""


async def list_changed(conn: Connection, snapshot: str) -> list[UUID]:
    """The resources whose specs are to be compared since before a snapshot was taken."""
    rows = await conn.fetch(
        f"""
        select p.resource_id from cloud_provisioned p
        where p.changed_xid is not null and {_IS_SETTLED} order by p.resource_id
        """,
        snapshot,
    )
    return [row["resource_id"] for row in rows]


async def list_suspects(conn: Connection, snapshot: str) -> tuple[int, list[UUID]]:
    """How many specs there are, and the resources that are not as they are to be, or were not: nothing is locked."""
    rows: list[Row] = await conn.fetch(
        f"""
        with compared as (
          select p.resource_id, {_DIFFERS} or p.changed_xid is not null as suspect
          from cloud_provisioned p join resources r on r.id = p.resource_id
          where p.retired_at is null and {_IS_SETTLED})
        select (select count(*) from compared) as specs, array(
          select resource_id from compared where suspect
          union select resource_id from cloud_drift where status = 'open' order by 1) as suspects
        """,
        snapshot,
    )
    return rows[0]["specs"], rows[0]["suspects"]


async def lock_settled(conn: Connection, snapshot: str, resource_ids: Sequence[UUID]) -> list[UUID]:
    """Lock the specs that can be compared, and count them as compared. Gives those.

    Not those of which something has changed since the snapshot: that is another look's. Nor what a saga changes just
    now, nor a resource that was last seen before what a saga has left of it: they are marked again when that is over.
    """
    rows = await conn.fetch(
        f"""
        with locked as materialized (
          select p.resource_id, p.seen_version from cloud_provisioned p
          where p.resource_id = any($2::uuid[]) and p.retired_at is null and {_IS_SETTLED}
          order by p.resource_id for update of p),
        seen_to as (
          update cloud_provisioned p set changed_xid = null from locked l
          where p.resource_id = l.resource_id and p.changed_xid is not null)
        select l.resource_id from locked l join resources r on r.id = l.resource_id
        where r.version >= l.seen_version and run_of(r) is null
        """,
        snapshot,
        resource_ids,
    )
    return [row["resource_id"] for row in rows]


async def list_findings(conn: Connection, resource_ids: Sequence[UUID]) -> list[Finding]:
    """The fields of resources that are not as they are to be; of one that is gone, only that."""
    rows = await conn.fetch(
        f"""
        select p.resource_id, r.kind, f.field,
          case when f.field = 'exists' then 'true' else p.spec -> f.field end as desired,
          r.live -> f.field as live, p.spec_version
        from cloud_provisioned p join resources r on r.id = p.resource_id
        cross join lateral (
          select key as field from jsonb_each(p.canonical) s where r.canonical -> s.key is distinct from s.value
          union all select name from unnest(p.absent) name where r.canonical ? name) f
        where p.resource_id = any($1::uuid[]) and {_DIFFERS}
          and (r.deleted_at is null or f.field = 'exists') and not is_ignored(r.kind, f.field)
        order by p.resource_id, f.field
        """,
        resource_ids,
    )
    return [Finding(**row) for row in rows]


async def list_open(conn: Connection, resource_ids: Sequence[UUID]) -> dict[tuple[UUID, str], Open]:
    """The open drifts of resources whose specs are locked, by resource and field."""
    rows = await conn.fetch(
        "select id, resource_id, field, desired, live from cloud_drift "
        "where status = 'open' and resource_id = any($1::uuid[])",
        resource_ids,
    )
    return {
        (row["resource_id"], row["field"]): Open(row["id"], canonical(row["desired"]), canonical(row["live"]))
        for row in rows
    }


async def insert_drifts(
    conn: Connection, findings: Sequence[Finding], surges: Sequence[UUID | None], now: datetime
) -> dict[UUID, UUID | None]:
    """Open drifts, each with the surge that it is part of. Gives their ids, with their surges'."""
    rows = await conn.fetch(
        """
        with made as (
          insert into cloud_drift (resource_id, kind, field, desired, live, spec_version, surge_id, detected_at,
            changed_at)
          select resource_id, kind, field, desired, live, spec_version, surge_id, $2, $2
          from jsonb_to_recordset($1) t(resource_id uuid, kind text, field text, desired jsonb, live jsonb,
            spec_version bigint, surge_id uuid)
          on conflict (resource_id, field) where status = 'open' do nothing
          returning id, surge_id),
        noted as (insert into cloud_drift_events (drift_id, what, at) select id, 'detected', $2 from made)
        select id, surge_id from made
        """,
        [{**_row(each), "surge_id": surge and str(surge)} for each, surge in zip(findings, surges, strict=True)],
        now,
    )
    return {row["id"]: row["surge_id"] for row in rows}


def _row(finding: Finding) -> dict[str, Any]:
    return {**vars(finding), "resource_id": str(finding.resource_id)}


async def update_drifts(conn: Connection, changed: Mapping[UUID, Finding], now: datetime) -> None:
    """Have open drifts show other values. One that was left out of the inbox is back in it, if what is has changed."""
    await conn.execute(
        """
        with news as (
          select * from jsonb_to_recordset($1) t(id uuid, desired jsonb, live jsonb, spec_version bigint)),
        changed as (
          update cloud_drift d set desired = n.desired, live = n.live, spec_version = n.spec_version,
            changed_at = $2, version = d.version + 1,
            snoozed_until = case when n.live is not distinct from d.live then d.snoozed_until end
          from news n where d.id = n.id and d.status = 'open'
          returning d.id, old.live)
        insert into cloud_drift_events (drift_id, what, detail, at)
        select id, 'value', jsonb_build_object('live_before', live), $2 from changed
        """,
        [{**_row(each), "id": str(id)} for id, each in changed.items()],
        now,
    )


async def close_stale(conn: Connection, drift_ids: Sequence[UUID], now: datetime) -> dict[UUID, str]:
    """Close drifts of which comparing shows nothing any more. Gives why: `matches`, `ignored`, `not_asked_for` or
    `gone`."""
    rows = await conn.fetch(
        """
        with over as (
          update cloud_drift d set status = 'stale', closed_at = $2, is_reverting = false, version = d.version + 1
          from cloud_provisioned p, resources r
          where d.id = any($1::uuid[]) and d.status = 'open' and p.resource_id = d.resource_id and r.id = d.resource_id
          returning d.id, case
            when is_ignored(d.kind, d.field) then 'ignored'
            when p.retired_at is not null or not (p.spec ? d.field or d.field = 'exists') then 'not_asked_for'
            when r.deleted_at is not null then 'gone'
            else 'matches' end as why),
        noted as (
          insert into cloud_drift_events (drift_id, what, detail, at)
          select id, 'stale', jsonb_build_object('reason', why), $2 from over)
        select id, why from over
        """,
        drift_ids,
        now,
    )
    return {row["id"]: row["why"] for row in rows}


async def list_open_ids(conn: Connection, resource_ids: Sequence[UUID]) -> list[UUID]:
    """The open drifts of resources."""
    rows = await conn.fetch(
        "select id from cloud_drift where resource_id = any($1::uuid[]) and status = 'open'", resource_ids
    )
    return [row["id"] for row in rows]


async def count_open(conn: Connection) -> int:
    """How many drifts are open."""
    count: int = await conn.fetchval("select count(*) from cloud_drift where status = 'open'")
    return count


async def find_resource_of(conn: Connection, drift_id: UUID) -> UUID | None:
    """The resource of a drift."""
    found: UUID | None = await conn.fetchval("select resource_id from cloud_drift where id = $1", drift_id)
    return found


async def lock_drift(conn: Connection, drift_id: UUID) -> Row:
    """A drift whose resource's spec is locked."""
    rows: list[Row] = await conn.fetch("select * from cloud_drift where id = $1 for update", drift_id)
    return rows[0]


async def note(conn: Connection, drift_ids: Sequence[UUID], what: str, detail: Json | None, actor: str | None) -> None:
    """Add to the history of drifts."""
    await conn.execute(
        """
        insert into cloud_drift_events (drift_id, what, detail, actor, at)
        select id, $2, $3, $4, now() from unnest($1::uuid[]) id
        """,
        drift_ids,
        what,
        detail,
        actor,
    )


async def mark_accepted(conn: Connection, drift_ids: Sequence[UUID], now: datetime) -> None:
    """Close drifts: what is, is what is asked for."""
    await conn.execute(
        """
        update cloud_drift set status = 'accepted', closed_at = $2, version = version + 1
        where id = any($1::uuid[]) and status = 'open'
        """,
        drift_ids,
        now,
    )


async def mark_reverting(conn: Connection, drift_id: UUID, saga_id: UUID) -> None:
    """A saga is to bring the resource back."""
    await conn.execute(
        """
        update cloud_drift set is_reverting = true, revert_saga_id = $2, revert_error = null, version = version + 1
        where id = $1
        """,
        drift_id,
        saga_id,
    )


async def mark_snoozed(conn: Connection, drift_id: UUID, until: datetime | None) -> None:
    """Leave a drift out of the inbox until a time; None: no longer."""
    await conn.execute(
        "update cloud_drift set snoozed_until = $2, version = version + 1 where id = $1", drift_id, until
    )


async def take_woken(conn: Connection, now: datetime, limit: int) -> list[UUID]:
    """Drifts whose time out of the inbox is over; it is so from now on."""
    rows = await conn.fetch(
        """
        update cloud_drift set snoozed_until = null, version = version + 1 where id in (
          select id from cloud_drift where status = 'open' and snoozed_until <= $1
          order by id limit $2 for update skip locked)
        returning id
        """,
        now,
        limit,
    )
    return [row["id"] for row in rows]


async def mark_reverted(conn: Connection, saga_ids: Sequence[UUID], now: datetime) -> list[UUID]:
    """Close drifts whose sagas have brought the resource back."""
    rows = await conn.fetch(
        """
        with done as (
          update cloud_drift set status = 'reverted', closed_at = $2, is_reverting = false, revert_error = null,
            version = version + 1
          where revert_saga_id = any($1::uuid[]) and status = 'open'
          returning id),
        noted as (insert into cloud_drift_events (drift_id, what, at) select id, 'reverted', $2 from done)
        select id from done
        """,
        saga_ids,
        now,
    )
    return [row["id"] for row in rows]


async def mark_reopened(conn: Connection, errors: Mapping[UUID, Json], now: datetime) -> list[UUID]:
    """Drifts whose sagas could not bring the resource back, by saga with the reason."""
    rows = await conn.fetch(
        """
        with failed as (
          update cloud_drift d set is_reverting = false, revert_error = e.error, version = d.version + 1
          from unnest($1::uuid[], $2::jsonb[]) e(saga_id, error)
          where d.revert_saga_id = e.saga_id and d.status = 'open' and d.is_reverting
          returning d.id, e.error),
        noted as (
          insert into cloud_drift_events (drift_id, what, detail, at) select id, 'reopened', error, $3 from failed)
        select id from failed
        """,
        list(errors),
        list(errors.values()),
        now,
    )
    return [row["id"] for row in rows]


async def mark_reverting_again(conn: Connection, saga_ids: Sequence[UUID], now: datetime) -> list[UUID]:
    """Drifts whose sagas had failed and go on."""
    rows = await conn.fetch(
        """
        with again as (
          update cloud_drift set is_reverting = true, version = version + 1
          where revert_saga_id = any($1::uuid[]) and status = 'open' and not is_reverting
          returning id),
        noted as (insert into cloud_drift_events (drift_id, what, at) select id, 'reverting', $2 from again)
        select id from again
        """,
        saga_ids,
        now,
    )
    return [row["id"] for row in rows]


async def list_shown(conn: Connection, drift_ids: Sequence[UUID]) -> dict[UUID, Row]:
    """Drifts as others get them."""
    rows = await conn.fetch("select * from shown where id = any($1::uuid[])", drift_ids)
    return {row["id"]: row for row in rows}


async def lock_drifts_after(conn: Connection, after: UUID, limit: int) -> list[Row]:
    """Drifts in the order of their ids; nobody changes them until the transaction ends."""
    rows = await conn.fetch("select id from cloud_drift where id > $1 order by id limit $2 for share", after, limit)
    shown = await list_shown(conn, [row["id"] for row in rows])
    return [shown[row["id"]] for row in rows]


async def delete_old_drifts(conn: Connection, before: datetime, limit: int) -> list[UUID]:
    """Forget drifts that were over before a time, with their histories. Gives those that went."""
    rows = await conn.fetch(
        """
        delete from cloud_drift where id in (
          select id from cloud_drift where closed_at < $1 limit $2 for update skip locked)
        returning id
        """,
        before,
        limit,
    )
    return [row["id"] for row in rows]


async def count_alarming(conn: Connection, now: datetime) -> tuple[dict[str, int], int]:
    """How many drifts are in the inbox, by severity, and in how many surges some are open."""
    rows = await conn.fetch(
        """
        select severity_of(kind, field) as severity, sum(count)::int as count from (
          select kind, field, count(*) from cloud_drift
          where status = 'open' and surge_id is null and (snoozed_until is null or snoozed_until <= $1)
          group by kind, field) c
        group by 1
        """,
        now,
    )
    surges: int = await conn.fetchval(
        "select count(*) from surges s where exists (select from cloud_drift where surge_id = s.id and status = 'open')"
    )
    return {row["severity"]: row["count"] for row in rows}, surges
