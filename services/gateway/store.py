"""Every SQL statement of the gateway. Reads give JSON text, as PostgreSQL writes it: it is the answer's body."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.gateway.auth import Identity
from shared.db import Connection, Database
from shared.inbox import Recorded
from shared.outbox import WRITTEN, Row, Written


@dataclass(frozen=True)
class Read:
    """A read that `define_read` made twice: `tenant` takes the tenant's id before the other arguments."""

    tenant: str
    operator: str


_RESOURCES = Read(
    "select tenant_resources($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    "select operator_resources($1, $2, $3, $4, $5, $6, $7, $8)",
)
_RESOURCE = Read("select tenant_resource($1, $2, $3)", "select operator_resource($1, $2)")


@dataclass(frozen=True)
class Views:
    """The two pools through which the other services' published views are read; neither has a grant on any table."""

    tenant: Database
    operator: Database

    async def find(self, identity: Identity, read: Read, *arguments: Any) -> str | None:
        """What a caller reads, as JSON text: an operator of all tenants, everybody else of its own."""
        if identity.operator:
            return await find_json(self.operator, read.operator, *arguments)
        return await find_json(self.tenant, read.tenant, identity.tenant_id, *arguments)

    async def get(self, identity: Identity, read: Read, *arguments: Any) -> str:
        """What a caller reads by a read that always gives something."""
        if identity.operator:
            return await read_json(self.operator, read.operator, *arguments)
        return await read_json(self.tenant, read.tenant, identity.tenant_id, *arguments)

    async def resources(
        self,
        identity: Identity,
        *,
        kind: str | None,
        region: str | None,
        state: str | None,
        deployment: UUID | None,
        tag: str | None,
        q: str | None,
        after: UUID | None,
        limit: int,
    ) -> str:
        """A page of resources, `{"resources": [...], "count": n, "next": ...}`."""
        return await self.get(identity, _RESOURCES, kind, region, state, deployment, tag, q, after, limit)

    async def find_resource(self, identity: Identity, id: UUID, *, events: int) -> str | None:
        """A resource with its newest events, `{"resource": {...}, "events": [...]}`; None where it is not seen."""
        return await self.find(identity, _RESOURCE, id, events)

    async def projects(self, *, after: UUID | None, limit: int) -> str:
        """A page of all tenants' projects, `{"projects": [...], "count": n, "next": ...}`."""
        query = """
            with page as (
              select item, row_number() over (order by (item).id) as n
              from (
                select p as item from inventory.v1_all_projects p
                where p.deleted_at is null and ($1::uuid is null or p.id > $1)
                order by p.id limit $2::int + 1) found)
            select json_build_object(
              'projects', coalesce(json_agg(item order by n) filter (where n <= $2), '[]'),
              'count', count(*) filter (where n <= $2),
              'next', case when count(*) > $2 then cursor_of((array_agg((item).id order by n))[$2]) end)
            from page
            """
        return await read_json(self.operator, query, after, limit)

    async def coverage(self, kinds: Sequence[str]) -> str:
        """How fresh each of these kinds is, `{"status": ..., "kinds": [...], "count": n}`."""
        query = """
            with covered as (
              select k.kind, coalesce(c.resources, 0) as resources, coalesce(c.status, 'never') as status,
                c.complete_at, extract(epoch from now() - c.complete_at)::bigint as age_seconds,
                c.last_status, c.last_started_at, c.last_finished_at, coalesce(c.doubts, '[]') as doubts, c.held_sync_id
              from unnest($1::text[]) with ordinality as k(kind, n)
              left join inventory.v1_all_coverage c on c.kind = k.kind
              order by k.n)
            select json_build_object(
              'status', case when bool_and(status = 'fresh') then 'ok' else 'attention' end,
              'kinds', json_agg(covered),
              'count', count(*))
            from covered
            """
        return await read_json(self.operator, query, kinds)

    async def orphans(self, *, after: UUID | None, limit: int) -> str:
        """A page of what nobody owns, with the costs of all of it."""
        query = """
            with found as materialized (select o from inventory.v1_all_orphans o),
            page as (
              select o, row_number() over (order by (o).id) as n
              from found where $1::uuid is null or (o).id > $1
              order by (o).id limit $2::int + 1)
            select json_build_object(
              'orphans', coalesce(json_agg(o order by n) filter (where n <= $2), '[]'),
              'count', count(*) filter (where n <= $2),
              'next', case when count(*) > $2 then cursor_of((array_agg((o).id order by n))[$2]) end,
              'monthly_usd_cents', (select coalesce(sum((o).monthly_usd_cents), 0) from found),
              'unpriced', (select count(*) from found where (o).monthly_usd_cents is null))
            from page
            """
        return await read_json(self.operator, query, after, limit)

    async def held_syncs(self, *, status: str | None, after: UUID | None, limit: int) -> str:
        """A page of held syncs, `{"held_syncs": [...], "count": n, "next": ...}`; `status` None: all of them."""
        query = """
            with page as (
              select item, row_number() over (order by (item).id) as n
              from (
                select h as item from inventory.v1_all_held_syncs h
                where ($1::text is null or h.status = $1) and ($2::uuid is null or h.id > $2)
                order by h.id limit $3::int + 1) found)
            select json_build_object(
              'held_syncs', coalesce(json_agg(item order by n) filter (where n <= $3), '[]'),
              'count', count(*) filter (where n <= $3),
              'next', case when count(*) > $3 then cursor_of((array_agg((item).id order by n))[$3]) end)
            from page
            """
        return await read_json(self.operator, query, status, after, limit)

    async def find_outcome(self, service: str, command_id: UUID) -> Recorded | None:
        """A command's outcome in its service's word; None while there is none."""
        schema = '"' + service.replace('"', '""') + '"'
        columns = "status, result, code, detail"
        query = f"select {columns} from {schema}.v1_all_outcomes where id = $1 and status <> 'pending'"
        async with self.operator.connection() as conn:
            row = await conn.fetchrow(query, command_id)
        return Recorded(row["status"], row["result"], row["code"], row["detail"]) if row else None


async def read_json(database: Database, query: str, *arguments: Any) -> str:
    """What a query gives that always gives some JSON text."""
    async with database.connection() as conn:
        answer: str = await conn.fetchval(query, *arguments)
    return answer


async def find_json(database: Database, query: str, *arguments: Any) -> str | None:
    """What a query gives: JSON text, or None."""
    async with database.connection() as conn:
        answer: str | None = await conn.fetchval(query, *arguments)
    return answer


@dataclass(frozen=True)
class Operation:
    """An accepted write. `answer` is there once it is final: (HTTP status, body)."""

    id: UUID
    tenant_id: str
    idempotency_key: str | None
    request_hash: bytes
    actor: str
    operators_only: bool
    service: str
    command_type: str
    accepted_at: datetime
    answer: tuple[int, bytes] | None = None


async def insert_operations(conn: Connection, accepted: Sequence[tuple[Operation, Row]]) -> tuple[set[UUID], Written]:
    """Insert operations, each with its command in the outbox; gives the ids of those that were not there already.

    Waits for a transaction that is inserting the same. (One statement, and so a transaction by itself.)
    """
    since = time.monotonic()
    operations, commands = [operation for operation, _ in accepted], [row for _, row in accepted]
    (inserted,) = await conn.fetch(
        f"""
        with accepted as (
          insert into operations
            (id, tenant_id, idempotency_key, request_hash, actor, operators_only, service, command_type, accepted_at)
          select * from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::boolean[], $7::text[],
            $8::text[], $9::timestamptz[])
          on conflict (id) do nothing
          returning id),
        sent as (
          insert into outbox (id, aggregatetype, aggregateid, type, payload)
          select id, topic, key, type, payload
          from unnest($1::uuid[], $10::text[], $11::text[], $8::text[], $12::bytea[])
            as c(id, topic, key, type, payload)
          join accepted using (id)
          returning id, position)
        select {WRITTEN} from sent
        """,
        [each.id for each in operations],
        [each.tenant_id for each in operations],
        [each.idempotency_key for each in operations],
        [each.request_hash for each in operations],
        [each.actor for each in operations],
        [each.operators_only for each in operations],
        [each.service for each in operations],
        [each.command_type for each in operations],
        [each.accepted_at for each in operations],
        [row.topic for row in commands],
        [row.key for row in commands],
        [row.payload for row in commands],
    )
    return set(inserted["ids"]), Written.of(commands, inserted, since)


async def list_operations(conn: Connection, ids: Sequence[UUID]) -> dict[UUID, Operation]:
    """Operations by their ids, as far as there are such."""
    if not ids:
        return {}
    rows = await conn.fetch(
        """
        select id, tenant_id, idempotency_key, request_hash, actor, operators_only, service, command_type, accepted_at,
               answer_status, answer_body
        from operations where id = any($1::uuid[])
        """,
        ids,
    )
    return {row["id"]: _operation(dict(row)) for row in rows}


def _operation(fields: dict[str, Any]) -> Operation:
    status, body = fields.pop("answer_status"), fields.pop("answer_body")
    return Operation(**fields, answer=None if status is None else (status, body))


async def mark_answered(conn: Connection, answers: Sequence[tuple[UUID, int, bytes]]) -> dict[UUID, tuple[int, bytes]]:
    """Keep the final answers (id, status, body) of operations. Gives those that are kept: the first of each."""
    rows = await conn.fetch(
        """
        update operations o set
          answered_at = coalesce(o.answered_at, now()),
          answer_status = coalesce(o.answer_status, a.status),
          answer_body = coalesce(o.answer_body, a.body)
        from unnest($1::uuid[], $2::smallint[], $3::bytea[]) as a(id, status, body)
        where o.id = a.id
        returning o.id, o.answer_status, o.answer_body
        """,
        [id for id, _, _ in answers],
        [status for _, status, _ in answers],
        [body for _, _, body in answers],
    )
    return {row["id"]: (row["answer_status"], row["answer_body"]) for row in rows}


async def delete_forgettable(conn: Connection, before: datetime, limit: int) -> int:
    """Forget operations without a key that were accepted before a time, some at a go. Gives how many went."""
    rows: Sequence[Any] = await conn.fetch(
        """
        delete from operations where id in (
          select id from operations where idempotency_key is null and accepted_at < $1
          order by accepted_at limit $2 for update skip locked)
        returning 1
        """,
        before,
        limit,
    )
    return len(rows)
