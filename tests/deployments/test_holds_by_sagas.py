"""Sagas take deployments in hand: who may do so, what others may do meanwhile, and how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from contracts.deployments import (
    Authority,
    CreateDeployment,
    Deployment,
    DeploymentCommand,
    DeploymentEvent,
    DeploymentHeld,
    DeploymentState,
    DeploymentTransitioned,
    HoldDeployment,
    Provisioning,
    ReleaseDeployment,
    TransitionDeployment,
    UpdateDeployment,
)
from contracts.sagas import StartSaga
from contracts.subscriptions import (
    AttachAddon,
    CancelSubscription,
    ChangePlanVersion,
    DetachAddon,
    Subscribe,
    UncancelSubscription,
)
from services.deployments.handlers import transition_deployments
from services.sagas.deployments import PROVISION, ProvisionInputs
from shared.ids import uuid7
from shared.outcome import Meta, Outcome, Received, Refused
from tests.deployments.customers import NOW, Customer, addon_id, customer, first, subscriber, types
from tests.deployments.world import SMALL, Deployments, Row

OPERATOR, TENANT, BILLING, SAGA = Authority.OPERATOR, Authority.TENANT, Authority.BILLING, Authority.SAGA
S = DeploymentState


@dataclass
class Saga:
    """A saga that asks by somebody's authority for one deployment."""

    of: Customer
    by: Authority = OPERATOR
    id: UUID = field(default_factory=uuid4)

    async def hold(self, to_state: S | None = None) -> dict[str, Any]:
        return await self.of.ask(HoldDeployment, by=self.by, saga_id=self.id, to_state=to_state)

    async def move(self, to_state: S, **how: Any) -> dict[str, Any]:
        return await self.of.ask(TransitionDeployment, by=self.by, saga_id=self.id, to_state=to_state, **how)

    async def release(self) -> dict[str, Any]:
        return await self.of.ask(ReleaseDeployment, by=self.by, saga_id=self.id)


async def row_of(acme: Customer) -> Row:
    (row,) = (await acme.rows())[0]
    return row


async def history_of(acme: Customer) -> list[tuple[str | None, str, str | None]]:
    """From where to where the deployment went, and why."""
    return [(row["from_state"], row["to_state"], row["reason"]) for row in (await acme.rows())[1]]


async def held(world: Deployments) -> tuple[Customer, Saga]:
    """A subscriber whose deployment an operator's saga has in hand, to suspend it."""
    acme = await subscriber(world, "studio", "storage_50gb")
    saga = Saga(acme)
    await saga.hold(S.SUSPENDED)
    return acme, saga


async def to_be_provisioned(world: Deployments) -> tuple[Customer, Saga]:
    """A deployment that its saga is to build."""
    id = uuid4()
    command = CreateDeployment(tenant_id="acme", slug=f"app-{id.hex}", display_name="App", saga_id=id, provision=SMALL)
    acme = Customer(world, UUID((await world.do(command, now=NOW))["deployment"]["id"]))
    return acme, Saga(acme, SAGA, id)


def agree(events: Sequence[object], row: Row, *versions: int) -> None:
    """The events about a deployment have these versions, and the last one tells all of the row."""
    told = [event.deployment for event in events if isinstance(event, DeploymentEvent)]
    assert [deployment.version for deployment in told] == list(versions)
    assert told[-1] == Deployment.model_validate(dict(row))


# Who may hold.


@pytest.mark.parametrize("before", [state for state in S if state is not S.PROVISIONING])
@pytest.mark.parametrize("by", Authority)
async def test_exactly_who_may_make_a_move_may_hold_for_it_and_is_refused_alike(
    deployments: Deployments, before: S, by: Authority
) -> None:
    for after in S:
        acme = await customer(deployments)
        await acme.be(before)
        saga = Saga(acme, by)
        try:
            await saga.hold(after)
        except Refused:
            to_hold = await acme.refused(HoldDeployment, by=by, saga_id=saga.id, to_state=after)
            assert to_hold == await acme.refused(TransitionDeployment, by=by, saga_id=saga.id, to_state=after)
        else:
            await saga.move(after)
            assert await acme.state() == after


async def test_under_the_operators_hold_on_billing_a_saga_of_billing_holds_for_no_suspension(
    deployments: Deployments,
) -> None:
    acme = await customer(deployments)
    await acme.ask(UpdateDeployment, by=OPERATOR, billing_action_suspended=True)
    suspension: dict[str, Any] = {"saga_id": uuid4(), "to_state": S.SUSPENDED}
    assert (await acme.refused(HoldDeployment, by=BILLING, **suspension))[0] == "billing_action_suspended"
    await acme.ask(HoldDeployment, by=OPERATOR, **suspension)


async def test_what_is_not_there_is_not_held_nor_what_is_anothers(deployments: Deployments) -> None:
    acme = await customer(deployments)
    hold = HoldDeployment(deployment_id=acme.id, authority=TENANT, saga_id=uuid4(), to_state=S.PAUSED)
    assert (await deployments.refusal(hold, tenant="globex")).code == "forbidden"
    nobodys = hold.model_copy(update={"deployment_id": uuid4()})
    assert (await deployments.refusal(nobodys)).code == "not_found"


async def test_a_hold_without_a_move_is_for_whoever_may_speak_of_the_deployment(deployments: Deployments) -> None:
    for by in (OPERATOR, BILLING, TENANT):
        acme = await customer(deployments)
        saga = Saga(acme, by)
        await saga.hold()
        assert (await row_of(acme))["saga_id"] == saga.id


async def test_a_hold_is_told_once_with_all_of_the_state_and_is_no_history(deployments: Deployments) -> None:
    acme = await customer(deployments)
    saga = Saga(acme)
    result = await saga.hold(S.SUSPENDED)
    (event,) = acme.told
    assert isinstance(event, DeploymentHeld)
    assert (event.authority, event.deployment.saga_id, event.deployment.state) == (OPERATOR, saga.id, S.ACTIVE)
    agree(acme.told, await row_of(acme), 2)
    before = await acme.rows()
    assert (await saga.hold(S.SUSPENDED), acme.told, await acme.rows()) == (result, [], before)
    assert await history_of(acme) == [(None, "active", "created")]


# What others may do meanwhile.


MOVES: Sequence[tuple[Authority, type[DeploymentCommand], dict[str, Any]]] = [
    (OPERATOR, TransitionDeployment, {"to_state": S.PAUSED}),
    (OPERATOR, TransitionDeployment, {"to_state": S.SUSPENDED}),
    (BILLING, TransitionDeployment, {"to_state": S.PAST_DUE}),
    (TENANT, TransitionDeployment, {"to_state": S.CANCELLED}),
    (OPERATOR, TransitionDeployment, {"to_state": S.SUSPENDED, "saga_id": UUID(int=9)}),
    (OPERATOR, HoldDeployment, {"to_state": S.SUSPENDED, "saga_id": UUID(int=9)}),
    (OPERATOR, HoldDeployment, {"saga_id": UUID(int=9)}),
    (OPERATOR, CancelSubscription, {"at": "now"}),
    (TENANT, CancelSubscription, {"at": "now"}),
]


async def test_what_a_saga_has_in_hand_nobody_else_moves(deployments: Deployments) -> None:
    acme, saga = await held(deployments)
    for by, command, fields in MOVES:
        code, detail = await acme.refused(command, by=by, **fields)
        assert (code, detail["saga_id"]) == ("deployment_busy", str(saga.id)), (by, command, fields)
    await saga.release()
    for by, command, fields in MOVES[1:3]:
        await acme.ask(command, by=by, **fields)
        await acme.be("active")


async def test_a_trial_that_a_saga_has_in_hand_is_not_ended_by_a_subscription(deployments: Deployments) -> None:
    acme = await customer(deployments, trial=True)
    saga = Saga(acme)
    await saga.hold(S.CANCELLED)
    assert (await acme.refused(Subscribe, plan_code="studio"))[0] == "deployment_busy"
    await acme.ask(Subscribe, by=OPERATOR, plan_code="studio", trial_ends_at=first(4))
    assert (await acme.state(), (await row_of(acme))["saga_id"]) == ("trial", saga.id)


async def test_what_moves_nothing_is_done_meanwhile(deployments: Deployments) -> None:
    acme, saga = await held(deployments)
    storage = await addon_id(deployments, "storage_50gb")
    for command, fields, told in (
        (ChangePlanVersion, {"plan_code": "pro"}, "SubscriptionPlanChanged"),
        (AttachAddon, {"code": "llm_5m_tokens"}, "SubscriptionAddonAttached"),
        (DetachAddon, {"addon_id": storage}, "SubscriptionAddonDetached"),
        (UpdateDeployment, {"display_name": "Another"}, "DeploymentUpdated"),
        (CancelSubscription, {"at": "period_end"}, "SubscriptionCancellationRequested"),
    ):
        await acme.ask(command, **fields)
        assert types(acme.told) == [told]
    row = await row_of(acme)
    assert (row["saga_id"], row["version"], row["display_name"]) == (saga.id, 3, "Another")
    await saga.move(S.SUSPENDED)
    agree(acme.told, await row_of(acme), 4)


# How it ends.


async def test_a_move_ends_the_hold_and_takes_effect_once_however_often_its_saga_asks(deployments: Deployments) -> None:
    acme, saga = await held(deployments)
    result = await saga.move(S.SUSPENDED, reason="unpaid")
    (moved,) = acme.told
    assert isinstance(moved, DeploymentTransitioned)
    assert (moved.from_state, moved.to_state, moved.deployment.saga_id) == (S.ACTIVE, S.SUSPENDED, None)
    agree(acme.told, await row_of(acme), 3)
    rows = await acme.rows()
    assert (await saga.move(S.SUSPENDED, reason="unpaid"), acme.told, await acme.rows()) == (result, [], rows)
    assert await history_of(acme) == [(None, "active", "created"), ("active", "suspended", "unpaid")]

    # Another saga's is another move; and once it is elsewhere, the first one's is none any more.
    again: dict[str, Any] = {"by": OPERATOR, "to_state": S.SUSPENDED}
    assert (await acme.refused(TransitionDeployment, saga_id=uuid4(), **again))[0] == "invalid_transition"
    other = Saga(acme)
    await other.hold(S.CANCELLED)
    await other.move(S.CANCELLED)
    assert (await acme.refused(TransitionDeployment, saga_id=saga.id, **again))[0] == "invalid_transition"


async def test_a_move_that_is_asked_twice_in_one_batch_is_told_once(deployments: Deployments) -> None:
    acme, saga = await held(deployments)
    move = TransitionDeployment(deployment_id=acme.id, authority=OPERATOR, to_state=S.SUSPENDED, saga_id=saga.id)
    asked = [Received(move, Meta(uuid7(), NOW, tenant_id="acme", actor="mo@acme.test")) for _ in range(2)]
    async with deployments.db.transaction() as conn:
        one, other = await transition_deployments(asked, conn)
    assert isinstance(one, Outcome)
    assert isinstance(other, Outcome)
    assert (types(one.events), other.events, one.result) == (["DeploymentTransitioned"], [], other.result)
    assert len(await history_of(acme)) == 2


async def test_what_is_let_go_is_as_it_was_and_anybodys_to_move(deployments: Deployments) -> None:
    acme, saga = await held(deployments)
    await saga.release()
    assert types(acme.told) == ["DeploymentReleased"]
    agree(acme.told, await row_of(acme), 3)
    row = await row_of(acme)
    assert (row["state"], row["saga_id"]) == ("active", None)
    assert await history_of(acme) == [(None, "active", "created")]
    await acme.ask(TransitionDeployment, to_state=S.PAUSED)


async def test_letting_go_is_never_refused_and_again_does_nothing(deployments: Deployments) -> None:
    acme, saga = await held(deployments)
    free = await customer(deployments)
    for nobodys in (Saga(Customer(deployments, uuid4())), Saga(acme), Saga(acme, TENANT)):
        before = [await nobodys.of.rows(), await acme.rows()]
        await nobodys.release()
        assert (nobodys.of.told, [await nobodys.of.rows(), await acme.rows()]) == ([], before)
    await saga.release()
    after = await acme.rows()
    await saga.release()
    assert (acme.told, await acme.rows()) == ([], after)
    await Saga(free).release()
    assert (free.told, (await row_of(free))["version"]) == ([], 1)


async def test_a_hold_that_comes_after_its_saga_is_over_is_refused(deployments: Deployments) -> None:
    """A dead letter that is handled again, say: nobody would ever let the deployment go."""
    acme, saga = await held(deployments)
    await saga.release()
    late = Saga(await customer(deployments))
    await late.release()
    for over in (saga, late):
        code, _ = await over.of.refused(HoldDeployment, by=OPERATOR, saga_id=over.id)
        assert (code, (await row_of(over.of))["saga_id"]) == ("saga_is_over", None)
    await Saga(acme).hold()


async def test_a_move_that_is_asked_again_after_others_have_moved_on_is_not_made_again(
    deployments: Deployments,
) -> None:
    acme, saga = await held(deployments)
    await saga.move(S.SUSPENDED)
    await acme.ask(TransitionDeployment, by=OPERATOR, to_state=S.ACTIVE)
    assert (await saga.move(S.SUSPENDED))["deployment"]["state"] == "active"
    assert (acme.told, await acme.state()) == ([], "active")


async def test_what_was_to_be_provisioned_is_cancelled_when_it_is_let_go(deployments: Deployments) -> None:
    acme, saga = await to_be_provisioned(deployments)
    for command, fields in (
        (TransitionDeployment, {"to_state": S.CANCELLED}),
        (HoldDeployment, {"to_state": S.ACTIVE, "saga_id": uuid4()}),
    ):
        assert (await acme.refused(command, by=SAGA, **fields))[0] in {"forbidden", "deployment_busy"}
    await Saga(acme, SAGA).release()
    assert acme.told == []
    await saga.hold(S.ACTIVE)
    assert acme.told == []
    await saga.release()
    (cancelled,) = acme.told
    assert isinstance(cancelled, DeploymentTransitioned)
    assert (cancelled.to_state, cancelled.reason, cancelled.authority) == (S.CANCELLED, "provisioning_failed", SAGA)
    agree(acme.told, await row_of(acme), 2)
    await saga.release()
    assert acme.told == []
    assert await history_of(acme) == [
        (None, "provisioning", "created"),
        ("provisioning", "cancelled", "provisioning_failed"),
    ]


async def test_what_is_provisioned_is_active_and_let_go_by_it(deployments: Deployments) -> None:
    acme, saga = await to_be_provisioned(deployments)
    result = await saga.move(S.ACTIVE, reason="provisioned")
    row = await row_of(acme)
    assert (row["state"], row["saga_id"], row["version"]) == ("active", None, 2)
    assert (await saga.move(S.ACTIVE, reason="provisioned"), acme.told) == (result, [])
    await saga.release()  # what its saga undoes then is no longer to be provisioned
    assert (acme.told, await acme.state()) == ([], "active")


# Time.


async def to_end_in_april(world: Deployments, to_state: S) -> tuple[Customer, Saga]:
    """A subscriber who goes with March, in the hand of a saga that is going to bring it into a state."""
    acme = await subscriber(world)
    await acme.ask(CancelSubscription, at="period_end")
    saga = Saga(acme)
    await saga.hold(to_state)
    return acme, saga


async def test_time_ends_a_subscription_under_a_saga_whose_move_is_refused_then(deployments: Deployments) -> None:
    acme, saga = await to_end_in_april(deployments, S.SUSPENDED)
    move: dict[str, Any] = {"by": OPERATOR, "saga_id": saga.id, "to_state": S.SUSPENDED, "now": first(4)}
    assert (await acme.refused(TransitionDeployment, **move))[0] == "invalid_transition"
    await acme.ask(UpdateDeployment, now=first(4), display_name="Another")
    assert types(acme.told) == ["DeploymentTransitioned", "SubscriptionCancelled", "DeploymentUpdated"]
    agree(acme.told, await row_of(acme), 3, 4)
    row = await row_of(acme)
    assert (row["state"], row["saga_id"]) == ("cancelled", None)
    assert (await acme.refused(TransitionDeployment, **move))[0] == "invalid_transition"
    await saga.release()
    assert acme.told == []


async def test_where_time_did_what_a_saga_was_about_to_do_that_is_told_and_the_saga_is_answered(
    deployments: Deployments,
) -> None:
    acme, saga = await to_end_in_april(deployments, S.CANCELLED)
    result = await saga.move(S.CANCELLED, now=first(4))
    assert types(acme.told) == ["DeploymentTransitioned", "SubscriptionCancelled"]
    assert (result["deployment"]["state"], len(await history_of(acme))) == ("cancelled", 2)
    agree(acme.told, await row_of(acme), 3)


async def test_the_end_of_a_trial_takes_no_deployment_out_of_a_sagas_hand(deployments: Deployments) -> None:
    acme = await customer(deployments, trial=True)
    await acme.ask(Subscribe, by=OPERATOR, plan_code="studio", trial_ends_at=first(4))
    saga = Saga(acme)
    await saga.hold(S.PAUSED)
    await acme.ask(UpdateDeployment, now=first(4), display_name="Another")
    row = await row_of(acme)
    assert (row["state"], row["saga_id"]) == ("active", saga.id)
    pause: dict[str, Any] = {"to_state": S.PAUSED, "now": first(4)}
    assert (await acme.refused(TransitionDeployment, by=OPERATOR, **pause))[0] == "deployment_busy"
    await saga.move(S.PAUSED, now=first(4))
    assert (await row_of(acme))["saga_id"] is None


async def test_a_wish_for_the_periods_end_is_withdrawn_under_a_saga(deployments: Deployments) -> None:
    acme, _ = await to_end_in_april(deployments, S.SUSPENDED)
    await acme.ask(UncancelSubscription)
    assert types(acme.told) == ["SubscriptionCancellationWithdrawn"]


# Deployments that are built.


async def test_a_deployment_that_is_to_be_built_is_created_together_with_its_saga(deployments: Deployments) -> None:
    saga = uuid4()
    command = CreateDeployment(
        tenant_id="acme", slug=f"app-{saga.hex}", display_name="App", region="syd1", saga_id=saga, provision=SMALL
    )
    result = await deployments.do(command, now=NOW)
    id = UUID(result["deployment"]["id"])
    assert (result["deployment"]["state"], result["saga"]["id"]) == ("provisioning", str(saga))
    assert (result["saga"]["kind"], result["saga"]["status"]) == (PROVISION.kind, "pending")
    (start,) = deployments.sent
    assert isinstance(start, StartSaga)
    assert (start.saga_id, start.kind) == (saga, PROVISION.kind)
    assert (start.deployment_id, start.tenant_id) == (id, "acme")
    inputs = ProvisionInputs.model_validate(start.inputs)
    assert (inputs.deployment_id, inputs.tenant_id, inputs.slug) == (id, "acme", command.slug)
    assert Provisioning.model_validate(inputs.model_dump(include=set(Provisioning.model_fields))) == SMALL


@pytest.mark.parametrize("alone", [{"provision": SMALL}, {"saga_id": uuid4()}], ids=["provision", "saga_id"])
def test_what_is_to_be_built_and_its_saga_are_refused_without_each_other(alone: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="provision and saga_id go together"):
        CreateDeployment(tenant_id="acme", slug="app", display_name="App", **alone)


async def test_a_creation_that_is_refused_begins_no_saga(deployments: Deployments) -> None:
    slug = f"app-{uuid4().hex}"
    await deployments.do(CreateDeployment(tenant_id="acme", slug=slug, display_name="App"))
    command = CreateDeployment(tenant_id="acme", slug=slug, display_name="App", saga_id=uuid4(), provision=SMALL)
    assert (await deployments.refusal(command)).code == "invalid_fields"
    assert deployments.sent == []
