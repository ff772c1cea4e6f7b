"""Runs and their ledger: every SQL statement about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self, TypeAlias
from uuid import UUID

import asyncpg

from contracts.sagas import UNFINISHED, SagaRun, SagaStatus, SagaStep, SagaSummary, StepStatus
from services.sagas.domain import Entry, Run, resources_in
from shared.db import Connection, Writing

Row: TypeAlias = asyncpg.Record


@dataclass(frozen=True)
class Stored:
    """A run with what the engine does not ask about."""

    run: Run
    kind: str
    flow_version: int
    names: Sequence[str]
    deployment_id: UUID | None
    tenant_id: str | None
    actor: str | None
    created_at: datetime
    finished_at: datetime | None
    version: int

    @classmethod
    def of(cls, row: Row) -> Self:
        """A run as it is in its row."""
        engine = row["engine"]
        run = Run(
            id=row["id"],
            status=SagaStatus(row["status"]),
            inputs=row["inputs"],
            context=row["context"],
            marks=[mark and StepStatus(mark) for mark in engine["marks"]],
            at=row["current_step"],
            attempts=engine["attempts"],
            open=frozenset(engine["open"]),
            resting=engine["resting"],
            round=engine["round"],
            cancel_requested=row["cancel_requested"],
            error=row["error"],
            timer=engine["timer"],
            due_at=row["due_at"],
        )
        return cls(run, names=row["steps"], **{name: row[name] for name in _COMMON})

    def advanced(self, run: Run, now: datetime) -> Self:
        """The same with its run changed."""
        finished_at = None if run.status in UNFINISHED else self.finished_at or now
        return replace(self, run=run, finished_at=finished_at, version=self.version + 1)

    def told(self) -> SagaRun:
        """The run as others get it."""
        run = self.run
        return SagaRun(
            id=run.id,
            status=run.status,
            steps=list(self.names),
            current_step=run.at,
            inputs=dict(run.inputs),
            context=dict(run.context),
            cancel_requested=run.cancel_requested,
            error=run.error and dict(run.error),
            resource_ids=sorted(resources_in(run.inputs)),
            left=run.context.get("left", []),
            **{name: getattr(self, name) for name in _COMMON if name != "actor"},
        )

    def summary(self, ledger: Sequence[Row | Mapping[str, Any]]) -> dict[str, Any]:
        """The run as callers of the API get it; `ledger`: its rows."""
        steps = [SagaStep(index=row["step_idx"], **{name: row[name] for name in _OF_A_STEP}) for row in ledger]
        run = self.run
        error = run.error and dict(run.error)
        shown = SagaSummary(id=run.id, kind=self.kind, status=run.status, current_step=run.at, error=error, steps=steps)
        return shown.model_dump(mode="json")


_OF_A_STEP = ("name", "status", "attempts", "started_at", "finished_at", "error")
_COMMON = (
    "kind",
    "flow_version",
    "deployment_id",
    "tenant_id",
    "actor",
    "created_at",
    "finished_at",
    "version",
)

Ledger: TypeAlias = Sequence[tuple[Stored, Entry]]


async def insert_runs(conn: Connection, runs: Sequence[Stored], ledger: Ledger, now: datetime) -> set[UUID]:
    """Insert runs that have begun. Gives those that were: not where the id is known, or the deployment has one."""
    rows = await conn.fetch(
        """
        with made as (
          insert into saga_runs (id, kind, flow_version, status, deployment_id, tenant_id, actor, steps, current_step,
            inputs, context, engine, due_at, cancel_requested, error, created_at, finished_at, version)
          select id, kind, flow_version, status, deployment_id, tenant_id, actor, steps, current_step,
            inputs, context, engine, due_at, cancel_requested, error, created_at, finished_at, version
          from jsonb_populate_recordset(null::saga_runs, $1)
          on conflict do nothing
          returning id),
        begun as (
          insert into saga_step_results (saga_id, step_idx, name, status, output, error, attempts, undo_attempts,
            started_at, finished_at)
          select saga_id, step_idx, name, status, output, error, attempts, undo_attempts,
            $3::timestamptz, case when status <> 'running' then $3::timestamptz end
          from jsonb_populate_recordset(null::saga_step_results, $2) join made on made.id = saga_id)
        select id from made
        """,
        [_whole(each) for each in runs],
        _entries(ledger),
        now,
    )
    return {row["id"] for row in rows}


async def lock_runs(conn: Connection, ids: Sequence[UUID]) -> dict[UUID, Stored]:
    """Runs for whoever is to change them, as far as there are such. Locked by id, so that none deadlock."""
    rows = await conn.fetch("select * from saga_runs where id = any($1::uuid[]) order by id for update", ids)
    return {row["id"]: Stored.of(row) for row in rows}


def writing(runs: Sequence[Stored], versions: Mapping[str, int], ledger: Ledger, now: datetime) -> Writing:
    """What is to be written of runs, and of their steps into the ledger; `versions`: those that were read, by id."""
    return Writing(_WRITING, _ALL_WRITTEN, ([_changing(each) for each in runs], _entries(ledger), now, dict(versions)))


_WRITING = """
  changed as (
    update saga_runs r
    set status = w.status, current_step = w.current_step, context = w.context, engine = w.engine, due_at = w.due_at,
      cancel_requested = w.cancel_requested, error = w.error, finished_at = w.finished_at, version = w.version
    from jsonb_populate_recordset(null::saga_runs, $1::jsonb) w
    where r.id = w.id and r.version = ($4::jsonb ->> r.id::text)::bigint
    returning 1),
  noted as (
    insert into saga_step_results as l (saga_id, step_idx, name, status, output, error, attempts, undo_attempts,
      started_at, finished_at)
    select saga_id, step_idx, name, status, output, error, attempts, undo_attempts,
      $3::timestamptz, case when status <> 'running' then $3::timestamptz end
    from jsonb_populate_recordset(null::saga_step_results, $2::jsonb)
    on conflict (saga_id, step_idx) do update
    set status = excluded.status,
      output = coalesce(excluded.output, l.output),
      error = case when excluded.status <> 'completed' then coalesce(excluded.error, l.error) end,
      attempts = l.attempts + excluded.attempts,
      undo_attempts = l.undo_attempts + excluded.undo_attempts,
      finished_at = case when excluded.status <> 'running' then coalesce(l.finished_at, $3::timestamptz) end,
      undone_at = case when excluded.status in ('compensated', 'compensation_failed') then $3::timestamptz end)
"""
_ALL_WRITTEN = "(select count(*) from changed) = (select count(*) from jsonb_object_keys($4::jsonb))"


def _changing(stored: Stored) -> dict[str, Any]:
    """What changes of a run, by column. (One document costs a third of an array for each column.)"""
    run = stored.run
    return {
        "id": run.id,
        "status": run.status,
        "current_step": run.at,
        "context": run.context,
        "engine": {
            "marks": run.marks,
            "attempts": run.attempts,
            "open": list(run.open),
            "resting": run.resting,
            "round": run.round,
            "timer": run.timer,
        },
        "due_at": run.due_at,
        "cancel_requested": run.cancel_requested,
        "error": run.error,
        "finished_at": stored.finished_at,
        "version": stored.version,
    }


def _whole(stored: Stored) -> dict[str, Any]:
    """A run by column."""
    kept = {name: getattr(stored, name) for name in _COMMON}
    return {**kept, **_changing(stored), "steps": stored.names, "inputs": stored.run.inputs}


def _entries(ledger: Ledger) -> list[dict[str, Any]]:
    """Entries of the ledger, by column."""
    return [
        {
            "saga_id": stored.run.id,
            "step_idx": entry.step,
            "name": stored.names[entry.step],
            "status": entry.status,
            "output": entry.output,
            "error": entry.error,
            "attempts": entry.attempts,
            "undo_attempts": entry.undo_attempts,
        }
        for stored, entry in ledger
    ]


async def take_due(conn: Connection, now: datetime, again: timedelta, limit: int) -> list[tuple[UUID, int]]:
    """Runs whose timers ring, and the numbers of these. Each rings `again` until its run goes on."""
    rows = await conn.fetch(
        """
        with due as (
          select id from saga_runs where finished_at is null and due_at <= $1 order by id limit $2
          for update skip locked)
        update saga_runs r set due_at = $1 + $3::interval from due where r.id = due.id
        returning r.id, (r.engine ->> 'timer')::int as timer
        """,
        now,
        limit,
        again,
    )
    return [(row["id"], row["timer"]) for row in rows]


async def find_unfinished(conn: Connection, deployment_ids: Sequence[UUID]) -> dict[UUID, UUID]:
    """The runs for deployments that have not ended, by the deployment's id."""
    rows = await conn.fetch(
        "select deployment_id, id from saga_runs where deployment_id = any($1::uuid[]) and finished_at is null",
        deployment_ids,
    )
    return {row["deployment_id"]: row["id"] for row in rows}


async def list_known(conn: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Which of these ids are runs."""
    rows = await conn.fetch("select id from saga_runs where id = any($1::uuid[])", ids)
    return {row["id"] for row in rows}


async def list_ledger(conn: Connection, id: UUID) -> list[Row]:
    """A run's ledger, step by step."""
    return list(await conn.fetch("select * from saga_step_results where saga_id = $1 order by step_idx", id))


async def take_page(conn: Connection, after: UUID, limit: int) -> list[Stored]:
    """Runs in the order of their ids, each in a new version.

    Whoever is about to write one as it was when he read it fails, and so says nothing newer that is sent before this.
    """
    rows = await conn.fetch(
        """
        with page as (select id from saga_runs where id > $1 order by id limit $2 for update),
        taken as (update saga_runs r set version = version + 1 from page where r.id = page.id returning r.*)
        select * from taken order by id
        """,
        after,
        limit,
    )
    return [Stored.of(row) for row in rows]
