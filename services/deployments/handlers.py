"""Messages in, messages out: deployments. Those of their subscriptions are in `subscriptions.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from uuid import UUID

from contracts.deployments import (
    REPLIES,
    Authority,
    CreateDeployment,
    DeploymentCreated,
    DeploymentHeld,
    DeploymentReleased,
    DeploymentState,
    DeploymentUpdated,
    HoldDeployment,
    Provisioning,
    ReleaseDeployment,
    TransitionDeployment,
    UpdateDeployment,
)
from contracts.message import Reply
from contracts.sagas import SagaStatus, SagaSummary, StartSaga
from services.deployments import lifecycle, store
from services.deployments.domain import ENDED
from services.deployments.lifecycle import Locked, Wish, state_of
from services.deployments.store import Row
from services.deployments.subscriptions import withdraw
from shared.db import Connection
from shared.outcome import Meta, Outcome, Received, Refused, Send

_NOT_BUILT = "provisioning_failed"


async def create_deployment(cmd: CreateDeployment, conn: Connection, meta: Meta) -> Outcome:
    """Create a deployment in the state in which its life begins."""
    if cmd.provision is not None:
        state = DeploymentState.PROVISIONING
    else:
        state = DeploymentState.TRIAL if cmd.trial else DeploymentState.ACTIVE
    row = await store.insert_deployment(conn, cmd, state, meta.actor, meta.now)
    if row is None:
        raise Refused("invalid_fields", fields={"slug": ["has already been taken"]})
    outcome = Outcome(
        result={"deployment": Locked(row, None).summary()}, events=[DeploymentCreated(deployment=state_of(row))]
    )
    return outcome if cmd.provision is None else _provisioned(outcome, row, cmd.provision)


def _provisioned(outcome: Outcome, row: Row, wanted: Provisioning) -> Outcome:
    """The creation of a deployment that is to be built: its saga begins with it."""
    start = StartSaga(
        saga_id=row["saga_id"],
        kind="provision_deployment",
        inputs={
            "deployment_id": str(row["id"]),
            "tenant_id": row["tenant_id"],
            "slug": row["slug"],
            **wanted.model_dump(),
        },
        deployment_id=row["id"],
        tenant_id=row["tenant_id"],
    )
    run = SagaSummary(
        id=start.saga_id, kind=start.kind, status=SagaStatus.PENDING, current_step=0, error=None, steps=[]
    )
    result = {**(outcome.result or {}), "saga": run.model_dump(mode="json")}
    return replace(outcome, result=result, commands=[Send(start, id=start.saga_id, reply_to=REPLIES)])


async def forget_unbuilt(reply: Reply, conn: Connection, meta: Meta) -> Outcome | None:
    """Cancel a deployment whose saga was refused: nobody else would ever let it go."""
    # Else it has begun; or its command has died, and may be handled again.
    if reply.status != "refused" or reply.code == "saga_exists":
        return None
    deployment_id = await store.find_held(conn, reply.command_id)
    if deployment_id is None:
        return None
    release = ReleaseDeployment(deployment_id=deployment_id, authority=Authority.SAGA, saga_id=reply.command_id)
    return replace(await release_deployment(release, conn, meta), result=None)


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
                if _is_done(deployment, wish):
                    decided[meta.message_id] = _told(deployment)
                    continue
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
            decided[id] = _told(deployment)
    return [decided[each.meta.message_id] for each in received]


def _told(deployment: Locked) -> Outcome:
    """What comes of a command of a batch; the next one in it tells only what is new."""
    events, deployment.events = deployment.events, []
    return Outcome(result={"deployment": deployment.summary()}, events=events)


def _is_done(locked: Locked, wish: Wish) -> bool:
    """Whether the saga that asks has made its move before, and only not heard of it: others may have moved it on since.

    Only time takes a deployment out of a saga's hand without its move, and that ends it.
    """
    if wish.saga_id is None or not _has_let_go(locked, wish.saga_id):
        return False
    return locked.state is wish.to_state or locked.state not in ENDED


def _has_let_go(locked: Locked, saga_id: UUID) -> bool:
    """Whether a saga was the last that let the deployment go."""
    return locked.row["saga_id"] is None and locked.row["last_saga_id"] == saga_id


async def hold_deployment(cmd: HoldDeployment, conn: Connection, meta: Meta) -> Outcome:
    """Take a deployment in hand for a saga, if it may do what it is going to."""
    locked = await lifecycle.lock(conn, cmd, meta)
    lifecycle.require_free(locked, cmd.saga_id)
    if locked.row["saga_id"] is None:
        if _has_let_go(locked, cmd.saga_id):
            raise Refused("saga_is_over", saga_id=str(cmd.saga_id), message="It has let the deployment go before.")
        if cmd.to_state is not None:
            lifecycle.require(locked, Wish(cmd.to_state, cmd.authority, meta.actor, saga_id=cmd.saga_id))
        locked.row = await store.mark_held(conn, locked.row["id"], cmd.saga_id)
        locked.events.append(DeploymentHeld(deployment=state_of(locked.row), authority=cmd.authority))
    return Outcome(result={"deployment": locked.summary()}, events=locked.events)


async def release_deployment(cmd: ReleaseDeployment, conn: Connection, meta: Meta) -> Outcome:
    """Let a deployment go that a saga has in hand. What was to be provisioned never will be: it is cancelled."""
    locked = (await lifecycle.lock_all(conn, [cmd.deployment_id], meta.now)).get(cmd.deployment_id)
    if locked is None:
        return Outcome()
    if locked.row["saga_id"] == cmd.saga_id:
        if locked.state is DeploymentState.PROVISIONING:
            wish = Wish(DeploymentState.CANCELLED, Authority.SAGA, meta.actor, _NOT_BUILT, saga_id=cmd.saga_id)
            await lifecycle.move(conn, locked, wish, meta.now)
        else:
            locked.row = await store.mark_let_go(conn, locked.row["id"], cmd.saga_id)
            locked.events.append(DeploymentReleased(deployment=state_of(locked.row)))
    elif locked.row["saga_id"] is None:
        await store.mark_over(conn, locked.row["id"], cmd.saga_id)
    return Outcome(result={"deployment": locked.summary()}, events=locked.events)


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
