"""Deployments and what happened to them: every SQL statement about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import asyncpg

from contracts.deployments import CreateDeployment, DeploymentState
from shared.db import Connection

Row: TypeAlias = asyncpg.Record

BEFORE_ALL = UUID(int=0)


async def insert_deployment(
    conn: Connection, wanted: CreateDeployment, state: DeploymentState, actor: str | None, now: datetime
) -> Row | None:
    """Insert a deployment with the event of its creation; None where the tenant has the slug already.

    Waits for a transaction that is inserting the same.
    """
    return await conn.fetchrow(
        """
        with made as (
          insert into cloud_deployments (tenant_id, slug, display_name, region, state, state_since, llm_mode,
            template_code, template_version, saga_id, created_at, version)
          values ($1, $2, $3, $4, $5, $11, $6, $7, $8, $9, $11, 1)
          on conflict (tenant_id, slug) do nothing
          returning *),
        told as (
          insert into cloud_deployment_events (deployment_id, tenant_id, to_state, reason, actor, occurred_at, version)
          select id, tenant_id, state, 'created', $10, $11, version from made)
        select * from made
        """,
        wanted.tenant_id,
        wanted.slug,
        wanted.display_name,
        wanted.region,
        state,
        wanted.llm_mode,
        wanted.template_code,
        wanted.template_version,
        wanted.saga_id,
        actor,
        now,
    )


async def lock_deployments(conn: Connection, ids: Sequence[UUID]) -> dict[UUID, tuple[Row, Row | None]]:
    """Deployments and their subscriptions, for whoever is to change them. Locked by id, so that none deadlock."""
    rows = await conn.fetch("select deployment, subscription from lock_deployments($1)", ids)
    return {row["deployment"]["id"]: (row["deployment"], row["subscription"]) for row in rows}


@dataclass(frozen=True)
class Move:
    """A deployment's move into another state, and what is written down of it.

    `lets_go`: no saga has it in hand any more.
    """

    id: UUID
    to_state: DeploymentState
    reason: str | None
    notes: str | None
    actor: str | None
    lets_go: bool = True


async def mark_states(conn: Connection, moves: Sequence[Move], now: datetime) -> dict[UUID, Row]:
    """Bring deployments, each once, into other states, each with an event. Gives the new rows, with `from_state`."""
    rows = await conn.fetch(
        """
        with moved as (
          update cloud_deployments d
          set state = m.to_state, state_since = $6, version = d.version + 1,
            saga_id = case when not m.lets_go then d.saga_id end,
            last_saga_id = case when m.lets_go then coalesce(d.saga_id, d.last_saga_id) else d.last_saga_id end
          from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $7::bool[])
            as m(id, to_state, reason, notes, actor, lets_go)
          where d.id = m.id
          returning d.*, old.state as from_state, m.reason, m.notes, m.actor),
        told as (
          insert into cloud_deployment_events
            (deployment_id, tenant_id, from_state, to_state, reason, notes, actor, occurred_at, version)
          select id, tenant_id, from_state, state, reason, notes, actor, $6, version from moved)
        select * from moved
        """,
        [move.id for move in moves],
        [move.to_state for move in moves],
        [move.reason for move in moves],
        [move.notes for move in moves],
        [move.actor for move in moves],
        now,
        [move.lets_go for move in moves],
    )
    return {row["id"]: row for row in rows}


async def update_deployment(
    conn: Connection, deployment_id: UUID, display_name: str, billing_action_suspended: bool
) -> Row:
    """Change what is no state of a deployment."""
    rows: list[Row] = await conn.fetch(
        """
        update cloud_deployments set display_name = $2, billing_action_suspended = $3, version = version + 1
        where id = $1 returning *
        """,
        deployment_id,
        display_name,
        billing_action_suspended,
    )
    return rows[0]


async def mark_let_go(conn: Connection, deployment_id: UUID, saga_id: UUID) -> Row:
    """Note that the saga which has a deployment in hand lets it go as it is."""
    rows: list[Row] = await conn.fetch(
        """
        update cloud_deployments set saga_id = null, last_saga_id = $2, version = version + 1
        where id = $1 returning *
        """,
        deployment_id,
        saga_id,
    )
    return rows[0]


async def mark_over(conn: Connection, deployment_id: UUID, saga_id: UUID) -> None:
    """Note that a saga is over which did not have a deployment in hand: it shall not get it any more."""
    await conn.execute("update cloud_deployments set last_saga_id = $2 where id = $1", deployment_id, saga_id)


async def mark_held(conn: Connection, deployment_id: UUID, saga_id: UUID) -> Row:
    """Note which saga has a deployment in hand."""
    rows: list[Row] = await conn.fetch(
        "update cloud_deployments set saga_id = $2, version = version + 1 where id = $1 returning *",
        deployment_id,
        saga_id,
    )
    return rows[0]


async def find_held(conn: Connection, saga_id: UUID) -> UUID | None:
    """The deployment that a saga has in hand."""
    found: UUID | None = await conn.fetchval("select id from cloud_deployments where saga_id = $1", saga_id)
    return found


async def lock_deployments_after(conn: Connection, after: UUID, limit: int) -> list[Row]:
    """Deployments in the order of their ids. Nobody changes one before this transaction ends."""
    return await conn.fetch(
        "select * from cloud_deployments where id > $1 order by id limit $2 for share", after, limit
    )
