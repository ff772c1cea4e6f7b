"""Resources, their history and their links: every SQL statement about them. Times come in as arguments.

Whoever writes resources or projects takes a turn first (`take_turn`): so no two writers deadlock, whatever rows they
meet in, and the outbox has the states of a resource in the order of their versions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from services.inventory.domain import Happening, Link, Measured, Moment, PartTime, with_inherited
from shared.db import Connection

Row: TypeAlias = asyncpg.Record

BEFORE_ALL = UUID(int=0)
"""Before the first id, where pages follow each other in the order of ids."""

_TURN = 0x494E56454E544F52  # "INVENTOR"


async def take_turn(conn: Connection) -> None:
    """Wait until no other transaction writes resources or projects. The turn ends with the transaction."""
    await conn.execute("select pg_advisory_xact_lock($1)", _TURN)


async def touch_unchanged(
    conn: Connection, kind: str, provider_ids: Sequence[str], fingerprints: Sequence[bytes], seen_at: datetime
) -> set[str]:
    """Note that resources were seen; gives the provider's ids of those that are as they were. The others stay as is.

    (`offset 0` makes the planner look each of them up. Before the first ANALYZE it takes all of a kind for one row, and
    would compare each of its rows with each of these.)
    """
    rows = await conn.fetch(
        """
        update cloud_resources r
        set last_seen_at = greatest(r.last_seen_at, $4),
          stale_strike_count = 0, last_strike_at = null, vanish_approved = false
        from unnest($2::text[], $3::bytea[]) as s(provider_id, fingerprint)
        cross join lateral (
          select k.id from cloud_resources k
          where k.provider_id = s.provider_id and k.kind = $1 and k.provider = 'digitalocean'
            and k.fingerprint = s.fingerprint and k.deleted_at is null
          offset 0) as unchanged
        where r.id = unchanged.id
        returning r.provider_id
        """,
        kind,
        provider_ids,
        fingerprints,
        seen_at,
    )
    return {row["provider_id"] for row in rows}


async def list_by_provider_id(conn: Connection, kind: str, provider_ids: Sequence[str]) -> dict[str, Row]:
    """Resources of a kind by the provider's ids, tombstoned ones too."""
    rows = await conn.fetch(
        """
        select * from cloud_resources
        where provider = 'digitalocean' and kind = $1 and provider_id = any($2::text[])
        """,
        kind,
        provider_ids,
    )
    return {row["provider_id"]: row for row in rows}


async def upsert_seen(
    conn: Connection, kind: str, seen: Sequence[Mapping[str, Any]], seen_at: datetime
) -> dict[str, Row]:
    """Store resources as they were seen, tombstoned ones restored. Whose they are is not said yet.

    `seen`: the columns that come from the provider, `fingerprint` in hexadecimal, and `step`: by how much the version
    moves (it moves with another parent too). What serves the droplets of a cluster alone has the cluster for its
    parent, and keeps it until it serves another's: a new worker may not be known yet, or there may be none.
    Gives the rows by the provider's ids, with `old_parent_kind` and `old_parent_provider_id`.
    """
    rows = await conn.fetch(
        """
        insert into cloud_resources as r (kind, provider_id, name, region, state, size_slug, tags, attrs, fingerprint,
          parent_kind, parent_provider_id, part, first_seen_at, last_seen_at, version)
        select $1, s.provider_id, s.name, s.region, s.state, s.size_slug, s.tags, s.attrs, decode(s.fingerprint, 'hex'),
          coalesce(s.parent_kind, maker.kind, kept.parent_kind),
          coalesce(s.parent_provider_id, maker.provider_id, kept.parent_provider_id),
          s.part or s.parent_kind is null and coalesce(maker.kind, kept.parent_kind) is not null, $3, $3, s.step
        from jsonb_to_recordset($2) as s(provider_id text, name text, region text, state text, size_slug text,
          tags text[], attrs jsonb, fingerprint text, parent_kind text, parent_provider_id text, part boolean,
          step bigint)
        left join lateral maker_of(s.attrs -> 'droplet_ids') as maker on true
        left join cloud_resources kept
          on kept.provider_id = s.provider_id and kept.kind = $1 and kept.provider = 'digitalocean' and kept.part
          and s.attrs ? 'droplet_ids' and not serves_another(s.attrs -> 'droplet_ids', kept.parent_provider_id)
        on conflict (provider, kind, provider_id) do update
        set name = excluded.name, region = excluded.region, state = excluded.state, size_slug = excluded.size_slug,
          tags = excluded.tags, attrs = excluded.attrs, fingerprint = excluded.fingerprint,
          last_seen_at = greatest(r.last_seen_at, excluded.last_seen_at),
          stale_strike_count = 0, last_strike_at = null, vanish_approved = false,
          parent_kind = excluded.parent_kind, parent_provider_id = excluded.parent_provider_id, part = excluded.part,
          deleted_at = null, forgotten_at = null,
          version = r.version + greatest(excluded.version,
            ((excluded.parent_kind, excluded.parent_provider_id)
              is distinct from (r.parent_kind, r.parent_provider_id))::integer)
        returning old.parent_kind as old_parent_kind, old.parent_provider_id as old_parent_provider_id, new.*
        """,
        kind,
        seen,
        seen_at,
    )
    return {row["provider_id"]: row for row in rows}


async def find_resource(conn: Connection, resource_id: UUID) -> Row | None:
    """A resource by its id."""
    return await conn.fetchrow("select * from cloud_resources where id = $1", resource_id)


async def list_resources_after(conn: Connection, after: UUID, limit: int) -> list[Row]:
    """Resources in the order of their ids, those left out that the bus was told to forget."""
    return await conn.fetch(
        "select * from cloud_resources where id > $1 and forgotten_at is null order by id limit $2", after, limit
    )


async def insert_resource_events(
    conn: Connection,
    happened: Sequence[tuple[Row, Happening, Mapping[str, Any], str | None]],
    actor: str | None,
    now: datetime,
) -> None:
    """Append to the history: the resource after it, what happened, what changed, and why."""
    await conn.execute(
        """
        insert into cloud_resource_events
          (resource_id, event_type, changes, reason, actor, tenant_id, version, occurred_at)
        select e.resource_id, e.event_type, e.changes, e.reason, $7, e.tenant_id, e.version, $8
        from unnest($1::uuid[], $2::text[], $3::jsonb[], $4::text[], $5::text[], $6::bigint[])
          as e(resource_id, event_type, changes, reason, tenant_id, version)
        """,
        [row["id"] for row, *_ in happened],
        [happening for _, happening, *_ in happened],
        [changes for _, _, changes, _ in happened],
        [reason for *_, reason in happened],
        [row["tenant_id"] for row, *_ in happened],
        [row["version"] for row, *_ in happened],
        actor,
        now,
    )


async def insert_drifts(conn: Connection, drifts: Sequence[Mapping[str, Any]]) -> None:
    """Append to the history that resources are not as they were asked for: `id`, `resource_id`, `occurred_at`, and
    `changes` from what was asked for to what is. What is told again is there already."""
    await conn.execute(
        """
        insert into cloud_resource_events (id, resource_id, event_type, changes, tenant_id, version, occurred_at)
        select distinct on (d.id) d.id, r.id, 'drift_detected', d.changes, r.tenant_id, r.version, d.occurred_at
        from jsonb_to_recordset($1) as d(id uuid, resource_id uuid, changes jsonb, occurred_at timestamptz)
        join cloud_resources r on r.id = d.resource_id
        on conflict (id) do nothing
        """,
        drifts,
    )


async def list_past(conn: Connection, resource_ids: Sequence[UUID], since: datetime) -> dict[UUID, list[Moment]]:
    """What has changed resources' states and sizes, or whether they exist, since a time; each resource's in order."""
    rows = await conn.fetch(
        """
        select resource_id, occurred_at, event_type, changes from cloud_resource_events
        where resource_id = any($1::uuid[]) and occurred_at >= $2
          and (event_type in ('deleted', 'restored')
            or event_type <> 'drift_detected' and changes ?| '{state,size_slug,attrs.size_gb}')
        order by resource_id, id
        """,
        resource_ids,
        since,
    )
    past: dict[UUID, list[Moment]] = {}
    for row in rows:
        old = {field: change["old"] for field, change in row["changes"].items()}
        past.setdefault(row["resource_id"], []).append(Moment(row["occurred_at"], row["event_type"], old))
    return past


async def list_own_links(conn: Connection, resource_id: UUID) -> list[Link]:
    """The links that were made of a resource itself, in the order of their beginning."""
    rows = await conn.fetch(
        """
        select effective_from, deployment_id, tenant_id from resource_links
        where resource_id = $1 order by effective_from
        """,
        resource_id,
    )
    return [Link(row["effective_from"], row["deployment_id"], row["tenant_id"]) for row in rows]


async def list_links(conn: Connection, resource_ids: Sequence[UUID]) -> dict[UUID, list[Link]]:
    """The links of resources, each resource's in the order of their beginning. A part has those of its whole."""
    rows = await conn.fetch(
        """
        select resource_id, effective_from, deployment_id, tenant_id, null as since, null as until
        from resource_links where resource_id = any($1::uuid[])
        union all
        select t.resource_id, l.effective_from, l.deployment_id, l.tenant_id, t.since, t.until
        from part_times t
        join cloud_resources w
          on w.provider_id = t.whole_provider_id and w.kind = t.whole_kind and w.provider = 'digitalocean'
        join resource_links l on l.resource_id = w.id
        where t.resource_id = any($1::uuid[])
        order by resource_id, since, effective_from
        """,
        resource_ids,
    )
    own: dict[UUID, list[Link]] = {row["resource_id"]: [] for row in rows}
    parts: dict[UUID, dict[datetime, PartTime]] = {id: {} for id in own}
    for row in rows:
        links = own[row["resource_id"]]
        if since := row["since"]:
            links = parts[row["resource_id"]].setdefault(since, PartTime(since, row["until"], [])).links
        links.append(Link(row["effective_from"], row["deployment_id"], row["tenant_id"]))
    return {id: with_inherited(links, list(parts[id].values())) for id, links in own.items()}


async def upsert_link(conn: Connection, resource_id: UUID, link: Link, actor: str | None, now: datetime) -> None:
    """Let a link begin; one that began at the same time gives way."""
    await conn.execute(
        """
        insert into resource_links (resource_id, effective_from, deployment_id, tenant_id, actor, recorded_at)
        values ($1, $2, $3, $4, $5, $6)
        on conflict (resource_id, effective_from) do update
        set deployment_id = excluded.deployment_id, tenant_id = excluded.tenant_id, actor = excluded.actor,
          recorded_at = excluded.recorded_at
        """,
        resource_id,
        link.since,
        link.deployment_id,
        link.tenant_id,
        actor,
        now,
    )


async def delete_other_links(conn: Connection, resource_id: UUID, beginnings: Sequence[datetime]) -> None:
    """Drop the links of a resource that begin at none of these times."""
    await conn.execute(
        "delete from resource_links where resource_id = $1 and effective_from <> all($2::timestamptz[])",
        resource_id,
        beginnings,
    )


async def find_deployment_tenant(conn: Connection, deployment_id: UUID) -> str | None:
    """The tenant that an earlier link named for a deployment."""
    tenant_id: str | None = await conn.fetchval(
        """
        select tenant_id from resource_links where deployment_id = $1 and tenant_id is not null
        order by recorded_at desc limit 1
        """,
        deployment_id,
    )
    return tenant_id


async def list_measurements(conn: Connection, buckets: Sequence[str]) -> dict[str, Row]:
    """What was found when these buckets were measured last."""
    rows = await conn.fetch(
        """
        select bucket, region, size_bytes, objects, measured_at, tried_at, error from bucket_measurements
        where bucket = any($1::text[])
        """,
        buckets,
    )
    return {row["bucket"]: row for row in rows}


async def upsert_measurement(conn: Connection, bucket: str, found: Measured, began_at: datetime) -> Row:
    """Write down what a listing of a bucket found."""
    rows: list[Row] = await conn.fetch(
        """
        insert into bucket_measurements (bucket, region, size_bytes, objects, measured_at, tried_at)
        values ($1, $2, $3, $4, $5, $5)
        on conflict (bucket) do update
        set region = excluded.region, size_bytes = excluded.size_bytes, objects = excluded.objects,
          measured_at = excluded.measured_at, tried_at = excluded.tried_at, error = null
        returning *
        """,
        bucket,
        found.region,
        found.size_bytes,
        found.objects,
        began_at,
    )
    return rows[0]


async def upsert_failed_measurement(conn: Connection, bucket: str, error: str, began_at: datetime) -> None:
    """Write down why a bucket could not be measured. What an earlier measurement found stays."""
    await conn.execute(
        """
        insert into bucket_measurements (bucket, tried_at, error) values ($1, $3, $2)
        on conflict (bucket) do update set tried_at = excluded.tried_at, error = excluded.error
        """,
        bucket,
        error,
        began_at,
    )


async def delete_old_measurements(conn: Connection, before: datetime, limit: int) -> int:
    """Drop measurements of buckets that nobody measured since a time, some at a go. Gives how many."""
    rows = await conn.fetch(
        """
        delete from bucket_measurements
        where bucket in (select bucket from bucket_measurements where tried_at < $1 limit $2)
        returning 1
        """,
        before,
        limit,
    )
    return len(rows)


async def forget_deleted(conn: Connection, deleted_before: datetime, limit: int, now: datetime) -> list[UUID]:
    """Note that the bus is told to forget resources that are long gone, some at a go. Their rows stay, as history."""
    rows = await conn.fetch(
        """
        update cloud_resources set forgotten_at = $3
        where id in (
          select id from cloud_resources where deleted_at < $1 and forgotten_at is null order by deleted_at limit $2)
        returning id
        """,
        deleted_before,
        limit,
        now,
    )
    return [row["id"] for row in rows]


async def delete_old_events(conn: Connection, before: datetime, limit: int) -> int:
    """Drop history that is past its time, some at a go. Gives how much."""
    rows = await conn.fetch(
        """
        delete from cloud_resource_events
        where id in (select id from cloud_resource_events where occurred_at < $1 order by occurred_at limit $2)
        returning 1
        """,
        before,
        limit,
    )
    return len(rows)
