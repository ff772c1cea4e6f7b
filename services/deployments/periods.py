"""What time does to subscriptions: periods follow one another, trials end, cancellations come due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from contracts.deployments import Authority, Deployment, DeploymentEvent, DeploymentState, DeploymentTransitioned
from contracts.message import Event
from contracts.subscriptions import (
    RollPeriods,
    SubscriptionCancelled,
    SubscriptionPeriodOpened,
    SubscriptionStatus,
    SubscriptionTrialEnded,
)
from services.deployments import store, subscription_store
from services.deployments.domain import ENDED, Ends, PeriodOpens, Span, Standing, TrialEnds, steps_until
from services.deployments.history import record
from services.deployments.store import Move, Row
from shared.db import Connection
from shared.jobs import JobRun, PutOff
from shared.outcome import Meta, Outcome
from shared.steps import Said, transact

AT_ONCE = 500

_CLOCK = "scheduler"
"""Whose doing it is when nobody asked for it."""
_SOON = timedelta(seconds=1)
_TRIAL_ENDED = "trial_ended"
_PERIOD_ENDED = "cancelled_at_period_end"


async def roll_periods(cmd: RollPeriods, run: JobRun[None]) -> Outcome:
    """Take every subscription from step to step up to a time, those first that have waited longest.

    Those whose deployment is in other hands come last: so this waits for no lock, and cannot deadlock.
    """
    done = (run.progress or {}).get("steps", 0)

    async def some(conn: Connection, meta: Meta) -> tuple[int, Said]:
        stepped = await step_due(conn, cmd.until, meta.now, limit=AT_ONCE)
        return stepped.count, stepped.events

    async def rest(conn: Connection, _: Meta) -> tuple[int, Said]:
        return await subscription_store.count_due(conn, cmd.until), ()

    while steps := await transact(run, some):
        done += steps
    if left := await transact(run, rest, progress={"steps": done}):
        raise PutOff(f"{left} subscriptions are in other hands", after=_SOON)
    return Outcome(result={"until": cmd.until.isoformat(), "steps": done})


@dataclass
class Stepped:
    """How many subscriptions went a step further, and what is to be told of it."""

    count: int = 0
    events: list[Event] = field(default_factory=list)


async def step_due(
    conn: Connection, until: datetime, now: datetime, *, limit: int, alone: UUID | None = None
) -> Stepped:
    """Take subscriptions (or this one alone) one step further that are due by then, and whose deployment is free."""
    rows = await subscription_store.lock_due(conn, until, limit, alone=alone)
    trials, opened, ended = [], [], []
    for row in rows:
        match next(steps_until(_standing(row), until)):
            case TrialEnds():
                trials.append(row)
            case PeriodOpens(span):
                opened.append((row, span))
            case Ends(at):
                ended.append((row, at))
    events = [*await _end_trials(conn, trials, now), *await _open(conn, opened, now), *await _end(conn, ended, now)]
    return Stepped(len(rows), events)


def _standing(row: Row) -> Standing:
    return Standing(
        Span(row["current_period_start"], row["current_period_end"]),
        None if row["trial_ended"] else row["trial_ends_at"],
        row["cancel_at"] is not None,
    )


async def _end_trials(conn: Connection, rows: Sequence[Row], now: datetime) -> list[Event]:
    """Tell that trials are over. A deployment that is still in trial goes on as an active one."""
    if not rows:
        return []
    ids = [row["id"] for row in rows]
    await subscription_store.mark_trials_ended(conn, ids)
    moves = [
        Move(row["deployment_id"], DeploymentState.ACTIVE, _TRIAL_ENDED, None, _CLOCK)
        for row in rows
        if row["deployment_state"] == DeploymentState.TRIAL
    ]
    return [
        *await _move(conn, moves, Authority.BILLING, now),
        *await record(conn, SubscriptionTrialEnded, ids, now, actors=[_CLOCK] * len(ids)),
    ]


async def _open(conn: Connection, opened: Sequence[tuple[Row, Span]], now: datetime) -> Sequence[Event]:
    if not opened:
        return []
    spans = [(row["id"], span) for row, span in opened]
    await subscription_store.mark_periods(conn, spans)
    ids = [id for id, _ in spans]
    return await record(conn, SubscriptionPeriodOpened, ids, now, actors=[_CLOCK] * len(ids))


async def _end(conn: Connection, ended: Sequence[tuple[Row, datetime]], now: datetime) -> list[Event]:
    """Cancel subscriptions with their period, and their deployments with them, on behalf of those who asked for it.

    They asked while they might: whatever the deployment has become since, it ends by the operators' right.
    """
    if not ended:
        return []
    ids, actors = [row["id"] for row, _ in ended], [row["cancel_asked_by"] for row, _ in ended]
    await subscription_store.mark_status(conn, ids, SubscriptionStatus.CANCELLED, [at for _, at in ended])
    moves = [
        Move(row["deployment_id"], DeploymentState.CANCELLED, _PERIOD_ENDED, None, row["cancel_asked_by"])
        for row, _ in ended
        if row["deployment_state"] not in ENDED
    ]
    reasons = [_PERIOD_ENDED] * len(ids)
    return [
        *await _move(conn, moves, Authority.OPERATOR, now),
        *await record(conn, SubscriptionCancelled, ids, now, actors=actors, reasons=reasons),
    ]


async def _move(conn: Connection, moves: Sequence[Move], authority: Authority, now: datetime) -> list[DeploymentEvent]:
    """Bring the deployments of subscriptions into other states."""
    moved = await store.mark_states(conn, moves, now) if moves else {}
    return [transitioned(moved[move.id], authority, move.reason) for move in moves]


def transitioned(row: Row, authority: Authority, reason: str | None, notes: str | None = None) -> DeploymentEvent:
    """The event of a row that `mark_states` gave."""
    return DeploymentTransitioned(
        deployment=Deployment.model_validate(dict(row)),
        from_state=row["from_state"],
        to_state=row["state"],
        authority=authority,
        reason=reason,
        notes=notes,
    )
