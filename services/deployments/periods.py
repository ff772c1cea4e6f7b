"""What time does to subscriptions: periods follow one another, trials end, cancellations come due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

import structlog

from contracts.deployments import Authority, Deployment, DeploymentEvent, DeploymentState, DeploymentTransitioned
from contracts.subscriptions import (
    RollPeriods,
    SubscriptionCancelled,
    SubscriptionEvent,
    SubscriptionPeriodOpened,
    SubscriptionStatus,
    SubscriptionTrialEnded,
)
from services.deployments import store, subscription_store
from services.deployments.domain import ENDED, Ends, PeriodOpens, Span, Standing, TrialEnds, steps_until, written
from services.deployments.history import record
from services.deployments.store import Move, Row
from shared.db import CONTENTION, Connection, is_away
from shared.jobs import JobRun, PutOff
from shared.outcome import Meta, Outcome
from shared.steps import Said, transact

AT_ONCE = 500

_CLOCK = "scheduler"
"""Whose doing it is when nobody asked for it."""
_SOON = timedelta(seconds=1)
_TRIAL_ENDED = "trial_ended"
_PERIOD_ENDED = "cancelled_at_period_end"

Told: TypeAlias = Sequence[DeploymentEvent | SubscriptionEvent]
"""What is to be told of subscriptions and their deployments."""

log = structlog.get_logger(__name__)


async def roll_periods(cmd: RollPeriods, run: JobRun[None]) -> Outcome:
    """Take every subscription from step to step up to a time, those first that have waited longest.

    Those whose deployment is in other hands come last: so this waits for no lock, and cannot deadlock. Raises `Stuck`
    where the code failed at some, once all others are through.
    """
    done, stuck = (run.progress or {}).get("steps", 0), list[UUID]()

    async def some(conn: Connection, meta: Meta) -> tuple[Stepped, Said]:
        rows = await subscription_store.lock_due(conn, cmd.until, AT_ONCE, but=stuck)
        stepped = await _step_apart(conn, rows, cmd.until, meta.now)
        return stepped, stepped.events

    async def rest(conn: Connection, _: Meta) -> tuple[int, Said]:
        return await subscription_store.count_due(conn, cmd.until, but=stuck), ()

    while (stepped := await transact(run, some)).count or stepped.stuck:
        done += stepped.count
        stuck += stepped.stuck
    if left := await transact(run, rest, progress={"steps": done}):
        raise PutOff(f"{left} subscriptions are in other hands", after=_SOON)
    if stuck:
        raise Stuck(f"{len(stuck)} subscriptions could not be rolled: {', '.join(map(str, stuck))}")
    return Outcome(result={"until": written(cmd.until), "steps": done})


class Stuck(Exception):
    """Time has passed for all subscriptions but some, at each of which the code failed."""


@dataclass
class Stepped:
    """How many subscriptions went a step further, and what is to be told of it; `stuck`: those that could not."""

    count: int = 0
    events: list[DeploymentEvent | SubscriptionEvent] = field(default_factory=list)
    stuck: list[UUID] = field(default_factory=list)


async def step_due(conn: Connection, until: datetime, now: datetime, *, limit: int) -> Stepped:
    """Take subscriptions one step further that are due by then, and whose deployment is free."""
    return await _step(conn, await subscription_store.lock_due(conn, until, limit), until, now)


async def step_late(conn: Connection, deployment_ids: Sequence[UUID], now: datetime) -> Stepped:
    """Take the subscriptions of deployments that the caller holds one step further, as far as they are due."""
    return await _step(conn, await subscription_store.lock_due_of(conn, deployment_ids, now), now, now)


def deployment_of(event: DeploymentEvent | SubscriptionEvent) -> UUID:
    """The deployment that an event is about."""
    return event.deployment.id if isinstance(event, DeploymentEvent) else event.subscription.deployment_id


async def _step_apart(conn: Connection, rows: Sequence[Row], until: datetime, now: datetime) -> Stepped:
    """Take subscriptions a step further; where that fails they are halved until the culprit is alone, and left out."""
    try:  # one that the code cannot bear must not stop the clock for everybody: the job fails at its end instead
        async with conn.transaction():
            return await _step(conn, rows, until, now)
    except Exception as error:
        if isinstance(error, CONTENTION) or is_away(conn, error):
            raise
        if len(rows) == 1:
            id, deployment_id = rows[0]["id"], rows[0]["deployment_id"]
            log.exception("a subscription cannot be rolled", subscription=str(id), deployment=str(deployment_id))
            return Stepped(stuck=[id])
    half = len(rows) // 2
    one, other = [await _step_apart(conn, part, until, now) for part in (rows[:half], rows[half:])]
    return Stepped(one.count + other.count, one.events + other.events, one.stuck + other.stuck)


async def _step(conn: Connection, rows: Sequence[Row], until: datetime, now: datetime) -> Stepped:
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


async def _end_trials(conn: Connection, rows: Sequence[Row], now: datetime) -> Told:
    """Tell that trials are over. A deployment that is still in trial goes on as an active one."""
    if not rows:
        return []
    ids = [row["id"] for row in rows]
    await subscription_store.mark_trials_ended(conn, ids)
    moves = [
        Move(row["deployment_id"], DeploymentState.ACTIVE, _TRIAL_ENDED, None, _CLOCK, lets_go=False)
        for row in rows
        if row["deployment_state"] == DeploymentState.TRIAL
    ]
    return [
        *await _move(conn, moves, Authority.BILLING, now),
        *await record(conn, SubscriptionTrialEnded, ids, now, actors=[_CLOCK] * len(ids)),
    ]


async def _open(conn: Connection, opened: Sequence[tuple[Row, Span]], now: datetime) -> Told:
    if not opened:
        return []
    spans = [(row["id"], span) for row, span in opened]
    await subscription_store.mark_periods(conn, spans)
    ids = [id for id, _ in spans]
    return await record(conn, SubscriptionPeriodOpened, ids, now, actors=[_CLOCK] * len(ids))


async def _end(conn: Connection, ended: Sequence[tuple[Row, datetime]], now: datetime) -> Told:
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
