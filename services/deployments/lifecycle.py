"""How deployments go from state to state, and their subscriptions with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from contracts.deployments import Authority, Deployment, DeploymentCommand, DeploymentState, DeploymentSummary
from contracts.message import Event
from contracts.subscriptions import (
    SubscriptionCancelled,
    SubscriptionEvent,
    SubscriptionPaused,
    SubscriptionResumed,
    SubscriptionStatus,
)
from services.deployments import periods, store, subscription_store
from services.deployments.domain import Verdict, judge, status_with
from services.deployments.history import record
from services.deployments.store import Move, Row
from shared.db import Connection
from shared.outcome import Meta, Refused

_TOLD_AS: Mapping[SubscriptionStatus, type[SubscriptionEvent]] = {
    SubscriptionStatus.ACTIVE: SubscriptionResumed,
    SubscriptionStatus.PAUSED: SubscriptionPaused,
    SubscriptionStatus.CANCELLED: SubscriptionCancelled,
}


@dataclass
class Locked:
    """A deployment that nobody else changes now, with its subscription, up to date. `events`: what is to be told."""

    row: Row
    subscription: Row | None
    events: list[Event] = field(default_factory=list)

    @property
    def state(self) -> DeploymentState:
        return DeploymentState(self.row["state"])

    def is_late(self, now: datetime) -> bool:
        """Whether time should have changed the subscription by now."""
        it = self.subscription
        return it is not None and it["status"] != "cancelled" and it["next_step_at"] <= now

    def summary(self) -> dict[str, Any]:
        """The deployment as callers of the API get it."""
        return DeploymentSummary.model_validate(dict(self.row)).model_dump(mode="json")


def state_of(row: Row) -> Deployment:
    """A row as others get it."""
    return Deployment.model_validate(dict(row))


async def lock(conn: Connection, cmd: DeploymentCommand, meta: Meta) -> Locked:
    """The deployment that a command is about. What is due by the clock is done first: it came before the command.

    Raises `Refused` where there is none, or it is another tenant's.
    """
    locked = (await lock_all(conn, [cmd.deployment_id], meta.now)).get(cmd.deployment_id)
    return admitted(locked, cmd, meta)


def admitted(locked: Locked | None, cmd: DeploymentCommand, meta: Meta) -> Locked:
    """The deployment that a command is about. Raises `Refused` where there is none, or it is another tenant's."""
    if locked is None:
        raise Refused("not_found", deployment_id=str(cmd.deployment_id))
    if cmd.authority is Authority.TENANT and locked.row["tenant_id"] != meta.tenant_id:
        raise Refused("forbidden", deployment_id=str(cmd.deployment_id), message="It is another tenant's.")
    return locked


async def lock_all(conn: Connection, ids: Sequence[UUID], now: datetime) -> dict[UUID, Locked]:
    """Deployments by their ids, as far as there are such, up to date."""
    locked = {id: Locked(*rows) for id, rows in (await store.lock_deployments(conn, ids)).items()}
    while late := [id for id, each in locked.items() if each.is_late(now)]:  # by minutes, or after an outage
        stepped = await periods.step_late(conn, late, now)
        if stepped.count < len(late):
            raise RuntimeError(f"{len(late)} subscriptions are due and {stepped.count} went a step further: {late}")
        for id, rows in (await store.lock_deployments(conn, late)).items():
            locked[id] = Locked(*rows, locked[id].events)
        for event in stepped.events:
            locked[periods.deployment_of(event)].events.append(event)
    return locked


@dataclass(frozen=True)
class Wish:
    """That a deployment go into another state. `actor`: who wishes it; `saga_id`: which saga, where one does."""

    to_state: DeploymentState
    authority: Authority
    actor: str | None
    reason: str | None = None
    notes: str | None = None
    saga_id: UUID | None = None


async def move(conn: Connection, locked: Locked, wish: Wish, now: datetime) -> None:
    """Bring a deployment into another state, and its subscription with it. Raises `Refused`."""
    require(locked, wish)
    await move_all(conn, [(locked, wish)], now)


async def move_all(conn: Connection, moves: Sequence[tuple[Locked, Wish]], now: datetime) -> None:
    """Bring deployments, each once, into states that are allowed, and their subscriptions with them.

    What is to be told of each is added to its `events`.
    """
    if not moves:
        return
    rows = await store.mark_states(
        conn,
        [Move(each.row["id"], wish.to_state, wish.reason, wish.notes, wish.actor) for each, wish in moves],
        now,
    )
    for locked, wish in moves:
        locked.row = rows[locked.row["id"]]
        locked.events.append(periods.transitioned(locked.row, wish.authority, wish.reason, wish.notes))
    await _follow(conn, moves, now)


async def _follow(conn: Connection, moves: Sequence[tuple[Locked, Wish]], now: datetime) -> None:
    """Let the subscriptions' status follow their deployments' state."""
    changed: dict[SubscriptionStatus, list[tuple[Locked, Wish]]] = {}
    for locked, wish in moves:
        if locked.subscription is not None:
            before = SubscriptionStatus(locked.subscription["status"])
            if (after := status_with(wish.to_state, before)) is not before:
                changed.setdefault(after, []).append((locked, wish))
    for status, those in changed.items():
        ids = [locked.subscription["id"] for locked, _ in those if locked.subscription]
        ended_at = now if status is SubscriptionStatus.CANCELLED else None
        rows = await subscription_store.mark_status(conn, ids, status, [ended_at] * len(ids))
        told = await record(
            conn,
            _TOLD_AS[status],
            ids,
            now,
            actors=[wish.actor for _, wish in those],
            reasons=[wish.reason for _, wish in those],
        )
        for (locked, _), id, event in zip(those, ids, told, strict=True):
            locked.subscription = rows[id]
            locked.events.append(event)


def require(locked: Locked, wish: Wish) -> None:
    """Raise `Refused` where a wish is not allowed, or not now."""
    require_allowed(locked, wish)
    require_free(locked, wish.saga_id)


def require_allowed(locked: Locked, wish: Wish) -> None:
    """Raise `Refused` where a wish is not allowed."""
    row = locked.row
    its_saga = wish.saga_id is not None and wish.saga_id == row["saga_id"]
    between = {"from": locked.state, "to": wish.to_state}
    verdict = judge(
        locked.state,
        wish.to_state,
        wish.authority,
        its_saga=its_saga,
        billing_action_suspended=row["billing_action_suspended"],
    )
    match verdict:
        case Verdict.INVALID:
            raise Refused("invalid_transition", **between)
        case Verdict.FOR_OTHERS:
            raise Refused("forbidden", **between, message=f"That is not for a {wish.authority} to ask.")
        case Verdict.HELD_BY_OPERATOR:
            raise Refused("billing_action_suspended", **between)


def require_free(locked: Locked, saga_id: UUID | None) -> None:
    """Raise `Refused` where another saga has the deployment in hand."""
    if (holder := locked.row["saga_id"]) is not None and holder != saga_id:
        raise Refused("deployment_busy", saga_id=str(holder), message="A saga has it in hand; wait for its end.")
