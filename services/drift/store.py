"""Specs, and what is known of resources, sagas and sizes: every SQL statement about them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from contracts.drift import EXISTS
from contracts.inventory import Resource
from contracts.sagas import UNFINISHED, SagaRun
from services.drift.domain import Json, Spec, canonical_fields, is_made, live_fields
from shared.db import Connection

Row: TypeAlias = asyncpg.Record

MARK = "changed_xid = pg_current_xact_id()"
"""What makes a spec one that is to be compared, once its transaction is known to be over: see `take_snapshot`."""


async def project_resources(conn: Connection, resources: Sequence[Resource]) -> None:
    """Keep what events tell of resources, each of another one, where it is news; their specs are to be compared."""
    await conn.execute(
        f"""
        with news as (
          insert into resources (id, kind, provider_id, name, tenant_id, deployment_id, parent_kind, parent_provider_id,
            live, canonical, size_slug, monthly_cents, is_made, first_seen_at, deleted_at, version)
          select * from jsonb_to_recordset($1) t(id uuid, kind text, provider_id text, name text, tenant_id text,
            deployment_id uuid, parent_kind text, parent_provider_id text, live jsonb, canonical jsonb, size_slug text,
            monthly_cents bigint, is_made boolean, first_seen_at timestamptz, deleted_at timestamptz, version bigint)
          order by 1
          on conflict (id) do update set
            name = excluded.name, tenant_id = excluded.tenant_id, deployment_id = excluded.deployment_id,
            parent_kind = excluded.parent_kind, parent_provider_id = excluded.parent_provider_id,
            live = excluded.live, canonical = excluded.canonical, size_slug = excluded.size_slug,
            monthly_cents = excluded.monthly_cents, is_made = excluded.is_made, deleted_at = excluded.deleted_at,
            version = excluded.version
          where resources.version < excluded.version
          returning id)
        update cloud_provisioned set {MARK} where resource_id in (
          select p.resource_id from cloud_provisioned p join news on news.id = p.resource_id
          where p.retired_at is null order by p.resource_id for update of p)
        """,
        [_of_resource(each) for each in resources],
    )


_TOLD = {"id", "kind", "provider_id", "name", "tenant_id", "deployment_id", "size_slug", "first_seen_at", "deleted_at",
         "version"}  # fmt: skip


def _of_resource(resource: Resource) -> Json:
    live, price = live_fields(resource), resource.attrs.get("monthly_usd_cents")
    return resource.model_dump(mode="json", include=_TOLD) | {
        "parent_kind": resource.parent and resource.parent.kind,
        "parent_provider_id": resource.parent and resource.parent.provider_id,
        "live": live,
        "canonical": canonical_fields(live),
        "monthly_cents": price if isinstance(price, int) else None,
        "is_made": is_made(resource),
    }


async def find_kind(conn: Connection, resource_id: UUID) -> str | None:
    """The kind of a resource; None where nobody has told of it."""
    found: str | None = await conn.fetchval("select kind from resources where id = $1", resource_id)
    return found


async def project_runs(conn: Connection, runs: Sequence[SagaRun]) -> set[UUID]:
    """Keep what events tell of runs, each of another one. Gives those of which it is news."""
    rows = await conn.fetch(
        """
        insert into runs (id, deployment_id, resource_ids, is_unfinished, finished_at, version)
        select * from jsonb_to_recordset($1) t(id uuid, deployment_id uuid, resource_ids uuid[], is_unfinished boolean,
          finished_at timestamptz, version bigint)
        order by 1
        on conflict (id) do update set deployment_id = excluded.deployment_id, resource_ids = excluded.resource_ids,
          is_unfinished = excluded.is_unfinished, finished_at = excluded.finished_at, version = excluded.version
        where runs.version < excluded.version
        returning id
        """,
        [_of_run(each) for each in runs],
    )
    return {row["id"] for row in rows}


def _of_run(run: SagaRun) -> Json:
    told = run.model_dump(mode="json", include={"id", "deployment_id", "resource_ids", "finished_at", "version"})
    return told | {"is_unfinished": run.status in UNFINISHED}


async def list_touched(conn: Connection, run_ids: Sequence[UUID]) -> list[UUID]:
    """The resources that have specs and that runs change, or may."""
    rows = await conn.fetch(
        """
        (select unnest(resource_ids) as id from runs where id = any($1::uuid[])
        union
        select r.id from runs join resources r on r.deployment_id = runs.deployment_id
        where runs.id = any($1::uuid[]))
        intersect
        select resource_id from cloud_provisioned where retired_at is null
        """,
        run_ids,
    )
    return [row["id"] for row in rows]


async def mark_changed(conn: Connection, resource_ids: Sequence[UUID]) -> None:
    """Have specs compared that are locked."""
    await conn.execute(
        f"update cloud_provisioned set {MARK} where resource_id = any($1::uuid[]) and retired_at is null", resource_ids
    )


async def find_busy(conn: Connection, resource_id: UUID) -> UUID | None:
    """The run that changes a resource just now, if one does."""
    found: UUID | None = await conn.fetchval("select run_of(r) from resources r where id = $1", resource_id)
    return found


async def mark_ruled(conn: Connection, kind: str | None, field: str) -> None:
    """Have the specs compared that say something of a field of a kind, or of any kind."""
    await conn.execute(
        f"""
        update cloud_provisioned set {MARK} where resource_id in (
          select p.resource_id from cloud_provisioned p join resources r on r.id = p.resource_id
          where p.retired_at is null and (p.spec ? $2 or $2 = '{EXISTS}') and ($1::text is null or r.kind = $1)
          order by p.resource_id for update of p)
        """,
        kind,
        field,
    )


async def begin_specs(conn: Connection, resource_ids: Collection[UUID], now: datetime) -> None:
    """Make sure that there are rows to be locked, for whoever is to write them: two may have a first word at once."""
    await conn.execute(
        """
        insert into cloud_provisioned (resource_id, spec, canonical, absent, spec_version, recorded_at, said)
        select id, '{}', '{}', '{}', 0, $2, '{}' from unnest($1::uuid[]) id order by id
        on conflict (resource_id) do nothing
        """,
        list(resource_ids),
        now,
    )


async def lock_specs(conn: Connection, resource_ids: Collection[UUID]) -> dict[UUID, Spec]:
    """Specs for whoever is to change them, as far as there are such; at version 0 nothing was ever said."""
    rows = await conn.fetch(
        "select * from cloud_provisioned where resource_id = any($1::uuid[]) order by resource_id for update",
        list(resource_ids),
    )
    return {row["resource_id"]: _spec_of(row) for row in rows}


def _spec_of(row: Row) -> Spec:
    return Spec(
        resource_id=row["resource_id"],
        fields=row["spec"],
        version=row["spec_version"],
        saga_id=row["saga_id"],
        actor=row["actor"],
        recorded_at=row["recorded_at"],
        replaced_at=row["replaced_at"],
        said={name: datetime.fromisoformat(at) for name, at in row["said"].items()},
        seen_version=row["seen_version"],
        retired_at=row["retired_at"],
    )


async def upsert_specs(conn: Connection, specs: Sequence[Spec]) -> None:
    """Write specs, new ones and those that were locked; they are to be compared."""
    await conn.execute(
        """
        insert into cloud_provisioned as p (resource_id, spec, canonical, absent, spec_version, saga_id, actor,
          recorded_at, replaced_at, said, seen_version, retired_at, changed_xid)
        select resource_id, spec, canonical,
          array(select name from jsonb_each(spec) e(name, value) where not canonical ? name), spec_version, saga_id,
          actor, recorded_at, replaced_at, said, seen_version, retired_at,
          case when retired_at is null then pg_current_xact_id() end
        from unnest($1::uuid[], $2::jsonb[], $3::jsonb[], $4::bigint[], $5::uuid[], $6::text[], $7::timestamptz[],
          $8::timestamptz[], $9::jsonb[], $10::bigint[], $11::timestamptz[]) t(resource_id, spec, canonical,
          spec_version, saga_id, actor, recorded_at, replaced_at, said, seen_version, retired_at)
        order by 1
        on conflict (resource_id) do update set
          spec = excluded.spec, canonical = excluded.canonical, absent = excluded.absent,
          spec_version = excluded.spec_version, saga_id = excluded.saga_id, actor = excluded.actor,
          recorded_at = excluded.recorded_at, replaced_at = excluded.replaced_at, said = excluded.said,
          seen_version = excluded.seen_version, retired_at = excluded.retired_at, changed_xid = excluded.changed_xid
        """,
        [each.resource_id for each in specs],
        [dict(each.fields) for each in specs],
        [canonical_fields({**each.fields, EXISTS: True}) for each in specs],
        [each.version for each in specs],
        [each.saga_id for each in specs],
        [each.actor for each in specs],
        [each.recorded_at for each in specs],
        [each.replaced_at for each in specs],
        [{name: at.isoformat() for name, at in each.said.items()} for each in specs],
        [each.seen_version for each in specs],
        [each.retired_at for each in specs],
    )


async def list_specs_after(conn: Connection, after: UUID, limit: int) -> list[Spec]:
    """Specs in the order of their resources' ids; nobody changes them until the transaction ends."""
    rows = await conn.fetch(
        "select * from cloud_provisioned where resource_id > $1 order by resource_id limit $2 for share", after, limit
    )
    return [_spec_of(row) for row in rows]


async def upsert_rule(conn: Connection, rule: Json, actor: str | None, now: datetime) -> Row:
    """Set a rule; gives it."""
    rows: list[Row] = await conn.fetch(
        """
        insert into drift_rules (kind, field, severity, ignore, reason, actor, set_at)
        values ($1, $2, $3, $4, $5, $6, $7)
        on conflict (field, kind) do update set severity = excluded.severity, ignore = excluded.ignore,
          reason = excluded.reason, actor = excluded.actor, set_at = excluded.set_at
        returning kind, field, severity, ignore, reason, actor, set_at
        """,
        *(rule[name] for name in ("kind", "field", "severity", "ignore", "reason")),
        actor,
        now,
    )
    return rows[0]


async def delete_rule(conn: Connection, kind: str | None, field: str) -> bool:
    """Take a rule back; False where there was none."""
    status = await conn.execute(
        "delete from drift_rules where kind is not distinct from $1 and field = $2", kind, field
    )
    return status != "DELETE 0"


async def replace_sizes(conn: Connection, prices: Sequence[tuple[str, Any]], now: datetime) -> None:
    """Keep the provider's sizes with their prices a month, in cents. One that is no longer sold keeps its last."""
    await conn.execute(
        """
        insert into sizes (slug, monthly_cents, seen_at) select *, $3 from unnest($1::text[], $2::numeric[])
        on conflict (slug) do update set monthly_cents = excluded.monthly_cents, seen_at = excluded.seen_at
        """,
        [slug for slug, _ in prices],
        [cents for _, cents in prices],
        now,
    )


async def ask_for_sizes(conn: Connection, now: datetime, *, seen_before: datetime, asked_before: datetime) -> bool:
    """Whether the sizes are to be read: they were last read before a time, or never. They count as asked for then."""
    status = await conn.execute(
        """
        update asked set at = $1
        where what = 'sizes' and (at is null or at < $3) and (select coalesce(max(seen_at) < $2, true) from sizes)
        """,
        now,
        seen_before,
        asked_before,
    )
    return status != "UPDATE 0"


async def ask_for_look(conn: Connection, now: datetime, *, asked_before: datetime) -> bool:
    """Whether what has changed is to be looked at: some has, and that was not asked for lately. It counts so then."""
    status = await conn.execute(
        """
        update asked set at = $1
        where what = 'look' and (at is null or at < $2) and exists (
          select from cloud_provisioned where changed_xid is not null)
        """,
        now,
        asked_before,
    )
    return status != "UPDATE 0"


async def begin_look(conn: Connection) -> None:
    """From here on, another look may be asked for."""
    await conn.execute("update asked set at = null where what = 'look' and at is not null")


async def take_snapshot(conn: Connection) -> str:
    """Which transactions are over just now."""
    snapshot: str = await conn.fetchval("select pg_current_snapshot()::text")
    return snapshot


async def delete_old_runs(conn: Connection, before: datetime, limit: int) -> int:
    """Forget runs that ended before a time. Gives how many went."""
    status = await conn.execute(
        """
        delete from runs where id in (
          select id from runs where not is_unfinished and finished_at < $1 limit $2 for update skip locked)
        """,
        before,
        limit,
    )
    return int(status.split()[-1])


async def delete_old_resources(conn: Connection, before: datetime, limit: int) -> int:
    """Forget resources that are gone since before a time, of which nothing is asked. Gives how many went."""
    status = await conn.execute(
        """
        delete from resources where id in (
          select id from resources r where deleted_at < $1
            and not exists (select from cloud_provisioned p where p.resource_id = r.id)
          limit $2 for update skip locked)
        """,
        before,
        limit,
    )
    return int(status.split()[-1])
