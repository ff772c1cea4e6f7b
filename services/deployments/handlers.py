"""Messages in, messages out: deployments. Those of their subscriptions are in `subscriptions.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

from contracts.deployments import (
    Authority,
    CreateDeployment,
    DeploymentCreated,
    DeploymentState,
    DeploymentUpdated,
    TransitionDeployment,
    UpdateDeployment,
)
from services.deployments import lifecycle, store
from services.deployments.lifecycle import Locked, Wish, state_of
from services.deployments.subscriptions import withdraw
from shared.db import Connection
from shared.outcome import Meta, Outcome, Received, Refused


async def create_deployment(cmd: CreateDeployment, conn: Connection, meta: Meta) -> Outcome:
    """Create a deployment in the state in which its life begins."""
    if cmd.saga_id is not None:
        state = DeploymentState.PROVISIONING
    else:
        state = DeploymentState.TRIAL if cmd.trial else DeploymentState.ACTIVE
    row = await store.insert_deployment(conn, cmd, state, meta.actor, meta.now)
    if row is None:
        raise Refused("invalid_fields", fields={"slug": ["has already been taken"]})
    events = [DeploymentCreated(deployment=state_of(row))]
    return Outcome(result={"deployment": Locked(row, None).summary()}, events=events)


class Apart(Exception):
    """What the clock is late with was done for a command that is refused, and must be undone: it is handled alone."""


async def transition_deployments(
    received: Sequence[Received[TransitionDeployment]], conn: Connection
) -> list[Outcome | Refused]:
    """Bring deployments into other states, as far as the map allows it to those who ask; one after the other each."""
    now = received[0].meta.now
    locked = await lifecycle.lock_all(conn, list({each.message.deployment_id for each in received}), now)
    decided: dict[UUID, Outcome | Refused] = {}
    for turn in _turns(received):
        moves: list[tuple[UUID, Locked, Wish]] = []
        for cmd, meta in ((each.message, each.meta) for each in turn):
            wish = Wish(cmd.to_state, cmd.authority, meta.actor, cmd.reason, cmd.notes, cmd.saga_id)
            try:
                deployment = lifecycle.admitted(locked.get(cmd.deployment_id), cmd, meta)
                lifecycle.require(deployment, wish)
            except Refused as refusal:
                if (late := locked.get(cmd.deployment_id)) and late.events:
                    if len(received) > 1:
                        raise Apart from refusal
                    raise  # and not returned: what the clock was late with is undone by it
                decided[meta.message_id] = refusal
            else:
                moves.append((meta.message_id, deployment, wish))
        await lifecycle.move_all(conn, [(deployment, wish) for _, deployment, wish in moves], now)
        for id, deployment, _ in moves:
            decided[id] = Outcome(result={"deployment": deployment.summary()}, events=deployment.events)
            deployment.events = []
    return [decided[each.meta.message_id] for each in received]


def _turns(received: Sequence[Received[TransitionDeployment]]) -> Iterator[list[Received[TransitionDeployment]]]:
    """The commands in turns, in each of which a deployment has one at most."""
    left = list(received)
    while left:
        turn = {each.message.deployment_id: each for each in reversed(left)}
        yield [each for each in left if turn[each.message.deployment_id] is each]
        left = [each for each in left if turn[each.message.deployment_id] is not each]


async def update_deployment(cmd: UpdateDeployment, conn: Connection, meta: Meta) -> Outcome:
    """Change a deployment's display name, or the operators' hold on billing. What changes nothing is told nobody."""
    locked = await lifecycle.lock(conn, cmd, meta)
    wanted = {
        name: value
        for name in ("display_name", "billing_action_suspended")
        if (value := getattr(cmd, name)) is not None and value != locked.row[name]
    }
    if "billing_action_suspended" in wanted and cmd.authority is not Authority.OPERATOR:
        raise Refused("forbidden", message="billing_action_suspended is for operators to change.")
    if wanted:
        fields = {name: locked.row[name] for name in ("display_name", "billing_action_suspended")} | wanted
        locked.row = await store.update_deployment(conn, locked.row["id"], **fields)
        locked.events.append(DeploymentUpdated(deployment=state_of(locked.row), fields=sorted(wanted)))
    if wanted.get("billing_action_suspended"):
        await _spare(conn, locked, meta)
    return Outcome(result={"deployment": locked.summary()}, events=locked.events)


async def _spare(conn: Connection, locked: Locked, meta: Meta) -> None:
    """Withdraw what billing has asked for the period's end: it may ask again once the hold is lifted, not before."""
    it = locked.subscription
    if it is not None and it["cancel_at"] is not None and it["cancel_authority"] == Authority.BILLING:
        locked.events += await withdraw(conn, it["id"], meta, reason="billing_action_suspended")
