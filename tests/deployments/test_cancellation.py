"""A subscription's end: now or with the period, and the way back; and how its status follows its deployment's state."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from contracts.deployments import (
    Authority,
    DeploymentState,
    DeploymentTransitioned,
    TransitionDeployment,
    UpdateDeployment,
)
from contracts.subscriptions import (
    AttachAddon,
    CancelSubscription,
    ChangePlanVersion,
    DetachAddon,
    SubscriptionCancellationRequested,
    SubscriptionCancellationWithdrawn,
    SubscriptionCancelled,
    SubscriptionEvent,
    SubscriptionPaused,
    SubscriptionResumed,
    SubscriptionStatus,
    UncancelSubscription,
)
from services.deployments.history import EVENT_TYPES
from tests.deployments.customers import NOW, Customer, addon_id, customer, first, subscriber, text, types
from tests.deployments.world import Deployments

OPERATOR, TENANT, BILLING = Authority.OPERATOR, Authority.TENANT, Authority.BILLING
LATER = NOW + timedelta(days=1)
BOTH = pytest.mark.parametrize("at", ["now", "period_end"])


async def moved(acme: Customer, to: str, by: Authority = OPERATOR, **fields: Any) -> dict[str, Any]:
    return await acme.ask(TransitionDeployment, by=by, now=LATER, to_state=DeploymentState(to), **fields)


async def last(acme: Customer) -> tuple[Any, ...]:
    """The newest row of the subscription's history."""
    row = (await acme.history())[-1]
    return tuple(row[name] for name in ("event_type", "detail", "reason", "actor", "occurred_at", "version"))


async def test_a_cancellation_now_ends_subscription_and_deployment(deployments: Deployments) -> None:
    acme = await subscriber(deployments, "studio", "storage_50gb")
    result = await acme.ask(CancelSubscription, now=LATER, at="now", reason="moving on")

    assert result.keys() == {"subscription", "deployment", "cancel_at"}
    assert (result["subscription"]["status"], result["cancel_at"]) == ("cancelled", None)
    assert (result["deployment"]["id"], result["deployment"]["state"]) == (str(acme.id), "cancelled")
    assert result["deployment"]["state_since"] == text(LATER)
    transitioned, cancelled = acme.told
    assert isinstance(transitioned, DeploymentTransitioned)
    assert (transitioned.from_state, transitioned.to_state) == ("active", "cancelled")
    assert (transitioned.authority, transitioned.reason) == (TENANT, "moving on")
    assert isinstance(cancelled, SubscriptionCancelled)
    assert (cancelled.subscription.status, cancelled.subscription.ended_at) == (SubscriptionStatus.CANCELLED, LATER)
    assert (cancelled.subscription.cancel_at, cancelled.subscription.version) == (None, 2)
    assert cancelled.subscription.current_period_end == first(4)
    row = await acme.subscription()
    assert (row["status"], row["ended_at"], row["cancel_at"]) == ("cancelled", LATER, None)
    assert await acme.state() == "cancelled"
    assert await last(acme) == ("cancelled", {}, "moving on", "ann@acme.test", LATER, 2)


async def test_a_cancellation_with_the_period_changes_nothing_before_its_end(deployments: Deployments) -> None:
    acme = await subscriber(deployments)
    result = await acme.ask(CancelSubscription, now=LATER, at="period_end", reason="moving on")

    assert (result["subscription"]["status"], result["cancel_at"]) == ("active", text(first(4)))
    assert result["deployment"]["state"] == "active"
    (requested,) = acme.told
    assert isinstance(requested, SubscriptionCancellationRequested)
    assert (requested.subscription.cancel_at, requested.subscription.version) == (first(4), 2)
    assert (requested.subscription.status, requested.subscription.ended_at) == (SubscriptionStatus.ACTIVE, None)
    row = await acme.subscription()
    assert (row["cancel_at"], row["cancel_asked_by"], row["cancel_authority"]) == (first(4), "ann@acme.test", "tenant")
    assert await last(acme) == ("cancellation_requested", {}, "moving on", "ann@acme.test", LATER, 2)


async def test_a_cancellation_with_the_period_that_is_asked_for_twice_is_told_once(deployments: Deployments) -> None:
    acme = await subscriber(deployments)
    once = await acme.ask(CancelSubscription, at="period_end")
    before = await acme.rows()
    twice = await acme.ask(CancelSubscription, at="period_end", reason="again")
    assert (twice, acme.told, await acme.rows()) == (once, [], before)


@pytest.mark.parametrize(("first_by", "then_by"), [(TENANT, BILLING), (TENANT, OPERATOR), (BILLING, OPERATOR)])
async def test_whoever_has_more_right_takes_a_cancellation_over(
    deployments: Deployments, first_by: Authority, then_by: Authority
) -> None:
    acme = await subscriber(deployments)
    await acme.be("trial")  # of which all three may ask the end
    await acme.ask(CancelSubscription, by=first_by, at="period_end")
    result = await acme.ask(CancelSubscription, by=then_by, now=LATER, at="period_end", reason="unpaid")
    assert result["cancel_at"] == text(first(4))
    (requested,) = acme.told
    assert isinstance(requested, SubscriptionCancellationRequested)
    assert (requested.subscription.cancel_at, requested.subscription.version) == (first(4), 3)
    assert (await acme.subscription())["cancel_authority"] == then_by
    assert await last(acme) == ("cancellation_requested", {}, "unpaid", "ann@acme.test", LATER, 3)
    assert (await acme.refused(UncancelSubscription))[0] == "forbidden"

    before = await acme.rows()
    for by in (first_by, then_by):
        await acme.ask(CancelSubscription, by=by, now=LATER, at="period_end", reason="me too")
        assert (acme.told, await acme.rows()) == ([], before)


async def test_a_cancellation_now_goes_before_one_with_the_period(deployments: Deployments) -> None:
    acme = await subscriber(deployments)
    await acme.ask(CancelSubscription, at="period_end")
    result = await acme.ask(CancelSubscription, now=LATER, at="now")
    assert (result["subscription"]["status"], result["cancel_at"]) == ("cancelled", None)
    assert (await acme.subscription())["ended_at"] == LATER
    assert types(acme.told) == ["DeploymentTransitioned", "SubscriptionCancelled"]


@pytest.mark.parametrize(
    ("state", "authority", "code"),
    [
        ("suspended", TENANT, "forbidden"),
        ("past_due", TENANT, "forbidden"),
        ("provisioning", TENANT, "forbidden"),
        ("provisioning", OPERATOR, "forbidden"),
        ("active", BILLING, "forbidden"),
        ("archived", OPERATOR, "invalid_transition"),
        ("cancelled", OPERATOR, "invalid_transition"),
    ],
)
@BOTH
async def test_who_may_not_cancel_the_deployment_may_not_cancel_its_subscription(
    deployments: Deployments, state: str, authority: Authority, code: str, at: str
) -> None:
    acme = await subscriber(deployments)
    await acme.be(state)
    refused, detail = await acme.refused(CancelSubscription, by=authority, at=at)
    assert (refused, detail["from"], detail["to"]) == (code, state, "cancelled")


@BOTH
async def test_while_an_operator_holds_billing_off_it_does_not_cancel(deployments: Deployments, at: str) -> None:
    acme = await subscriber(deployments)
    await acme.be("past_due")
    await deployments.fetch("update cloud_deployments set billing_action_suspended = true where id = $1", acme.id)
    assert await acme.refused(CancelSubscription, by=BILLING, at=at) == (
        "billing_action_suspended",
        {"from": "past_due", "to": "cancelled"},
    )
    await acme.ask(CancelSubscription, by=OPERATOR, at=at)


async def test_a_cancellation_that_is_withdrawn_leaves_the_subscription_as_it_was(deployments: Deployments) -> None:
    acme = await subscriber(deployments)
    await acme.ask(CancelSubscription, at="period_end")
    result = await acme.ask(UncancelSubscription, now=LATER)

    assert result.keys() == {"subscription", "deployment", "cancel_at"}
    assert (result["subscription"]["status"], result["cancel_at"]) == ("active", None)
    assert result["deployment"]["state"] == "active"
    (withdrawn,) = acme.told
    assert isinstance(withdrawn, SubscriptionCancellationWithdrawn)
    assert (withdrawn.subscription.cancel_at, withdrawn.subscription.version) == (None, 3)
    row = await acme.subscription()
    assert (row["cancel_at"], row["cancel_asked_by"], row["cancel_authority"]) == (None, None, None)
    assert await last(acme) == ("cancellation_withdrawn", {}, None, "ann@acme.test", LATER, 3)


async def test_what_is_not_to_be_cancelled_needs_no_withdrawal(deployments: Deployments) -> None:
    acme = await subscriber(deployments)
    refused = ("not_to_be_cancelled", {"subscription_id": str((await acme.subscription())["id"])})
    assert await acme.refused(UncancelSubscription) == refused
    await acme.ask(CancelSubscription, at="period_end")
    await acme.ask(UncancelSubscription)
    assert await acme.refused(UncancelSubscription, by=OPERATOR) == refused


async def test_a_tenant_cannot_withdraw_what_others_asked_for(deployments: Deployments) -> None:
    acme = await subscriber(deployments)
    await acme.ask(CancelSubscription, by=OPERATOR, at="period_end")
    code, detail = await acme.refused(UncancelSubscription)
    assert (code, set(detail)) == ("forbidden", {"message"})
    await acme.ask(UncancelSubscription, by=OPERATOR)
    assert (await acme.subscription())["cancel_at"] is None


async def test_an_operator_may_withdraw_what_a_tenant_asked_for(deployments: Deployments) -> None:
    acme = await subscriber(deployments)
    await acme.ask(CancelSubscription, at="period_end")
    await acme.ask(UncancelSubscription, by=OPERATOR)
    assert types(acme.told) == ["SubscriptionCancellationWithdrawn"]


async def test_a_subscription_is_paused_and_resumed_with_its_deployment(deployments: Deployments) -> None:
    acme = await subscriber(deployments)
    await moved(acme, "paused", TENANT, reason="a quiet month")
    transitioned, paused = acme.told
    assert isinstance(transitioned, DeploymentTransitioned)
    assert isinstance(paused, SubscriptionPaused)
    assert (paused.subscription.status, paused.subscription.version) == (SubscriptionStatus.PAUSED, 2)
    assert await last(acme) == ("paused", {}, "a quiet month", "ann@acme.test", LATER, 2)
    assert (await acme.subscription())["status"] == "paused"

    await moved(acme, "active", TENANT)
    _, resumed = acme.told
    assert isinstance(resumed, SubscriptionResumed)
    assert (resumed.subscription.status, resumed.subscription.version) == (SubscriptionStatus.ACTIVE, 3)
    assert await last(acme) == ("resumed", {}, None, "ann@acme.test", LATER, 3)
    assert (await acme.subscription())["status"] == "active"


@pytest.mark.parametrize("state", ["past_due", "suspended"])
async def test_a_subscription_stays_active_while_its_deployment_is_in_arrears(
    deployments: Deployments, state: str
) -> None:
    acme = await subscriber(deployments)
    await moved(acme, state)
    assert types(acme.told) == ["DeploymentTransitioned"]
    assert (await acme.subscription())["status"] == "active"
    await moved(acme, "active")
    assert types(acme.told) == ["DeploymentTransitioned"]


async def test_what_was_paused_and_then_suspended_is_resumed_with_the_deployment(deployments: Deployments) -> None:
    acme = await subscriber(deployments)
    await moved(acme, "paused")
    await moved(acme, "suspended")
    assert (await acme.subscription())["status"] == "paused"
    await moved(acme, "active")
    assert types(acme.told) == ["DeploymentTransitioned", "SubscriptionResumed"]


async def test_a_pause_withdraws_no_cancellation(deployments: Deployments) -> None:
    acme = await subscriber(deployments)
    await acme.ask(CancelSubscription, at="period_end")
    for state in ("paused", "active"):
        await moved(acme, state, TENANT)
        row = await acme.subscription()
        assert (row["status"], row["cancel_at"], row["cancel_authority"]) == (state, first(4), "tenant")


async def test_a_cancelled_deployment_cancels_its_subscription(deployments: Deployments) -> None:
    acme = await subscriber(deployments)
    await acme.ask(CancelSubscription, at="period_end")
    await moved(acme, "cancelled", TENANT, reason="at once after all")
    assert types(acme.told) == ["DeploymentTransitioned", "SubscriptionCancelled"]
    row = await acme.subscription()
    assert (row["status"], row["ended_at"], row["cancel_at"]) == ("cancelled", LATER, None)
    assert await last(acme) == ("cancelled", {}, "at once after all", "ann@acme.test", LATER, 3)
    await moved(acme, "archived")
    assert types(acme.told) == ["DeploymentTransitioned"]


async def test_a_deployment_without_a_subscription_moves_alone(deployments: Deployments) -> None:
    acme = await customer(deployments)
    await moved(acme, "paused")
    await moved(acme, "cancelled")
    assert types(acme.told) == ["DeploymentTransitioned"]


async def test_events_say_why_and_by_whom_as_the_history_does(deployments: Deployments) -> None:
    acme = await subscriber(deployments, trial_ends_at=LATER)
    await acme.ask(AttachAddon, code="storage_50gb")
    await acme.ask(ChangePlanVersion, plan_code="pro")
    await moved(acme, "paused", TENANT, reason="a quiet month")
    await moved(acme, "active", TENANT)
    await acme.ask(CancelSubscription, at="period_end", reason="moving on")
    await acme.ask(UncancelSubscription)
    await acme.ask(DetachAddon, addon_id=await addon_id(deployments, "storage_50gb"))
    await acme.ask(CancelSubscription, at="period_end", reason="moving on after all")
    await moved(acme, "past_due")
    await acme.ask(CancelSubscription, by=BILLING, at="period_end", reason="unpaid")
    await moved(acme, "active")
    await acme.ask(UpdateDeployment, now=first(5), display_name="Too late")

    told = [event for event in deployments.said if isinstance(event, SubscriptionEvent)]
    history = await acme.history()
    assert [(EVENT_TYPES[type(e)], e.reason, e.actor, e.sequence()) for e in told] == [
        tuple(row[name] for name in ("event_type", "reason", "actor", "version")) for row in history
    ]
    assert {row["event_type"] for row in history} == set(EVENT_TYPES.values()) - {"period_opened"}
    assert [(e.reason, e.actor) for e in told][-1:] == [("cancelled_at_period_end", "ann@acme.test")]
