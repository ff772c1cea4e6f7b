"""The operators' hold on billing: who may set it, and what becomes of what billing has asked for already."""

from __future__ import annotations

from datetime import timedelta

import pytest

from contracts.deployments import Authority, DeploymentUpdated, UpdateDeployment
from contracts.subscriptions import (
    CancelSubscription,
    SubscriptionCancellationWithdrawn,
    SubscriptionPeriodOpened,
    UncancelSubscription,
)
from tests.deployments.customers import NOW, Customer, customer, first, subscriber, text, types
from tests.deployments.world import Deployments

OPERATOR, TENANT, BILLING = Authority.OPERATOR, Authority.TENANT, Authority.BILLING
LATER = NOW + timedelta(days=1)


async def in_arrears(world: Deployments) -> Customer:
    """A subscriber who has not paid: billing may cancel."""
    acme = await subscriber(world)
    await acme.be("past_due")
    return acme


async def held(acme: Customer, hold: bool = True) -> None:
    await acme.ask(UpdateDeployment, by=OPERATOR, now=LATER, billing_action_suspended=hold)


async def test_the_hold_withdraws_what_billing_has_asked_for_the_periods_end(deployments: Deployments) -> None:
    acme = await in_arrears(deployments)
    await acme.ask(CancelSubscription, by=BILLING, at="period_end", reason="unpaid")
    await held(acme)

    updated, withdrawn = acme.told
    assert isinstance(updated, DeploymentUpdated)
    assert (updated.deployment.billing_action_suspended, updated.fields) == (True, ["billing_action_suspended"])
    assert isinstance(withdrawn, SubscriptionCancellationWithdrawn)
    assert (withdrawn.subscription.cancel_at, withdrawn.subscription.version) == (None, 3)
    row = (await acme.history())[-1]
    assert (row["event_type"], row["reason"], row["actor"], row["occurred_at"]) == (
        "cancellation_withdrawn", "billing_action_suspended", "ann@acme.test", LATER
    )  # fmt: skip
    # The period ends, and nothing else.
    await acme.ask(UpdateDeployment, by=OPERATOR, now=first(4), display_name="Another")
    opened, _ = acme.told
    assert isinstance(opened, SubscriptionPeriodOpened)
    assert (await acme.state(), (await acme.subscription())["status"]) == ("past_due", "active")


async def test_once_the_hold_is_lifted_billing_may_ask_again(deployments: Deployments) -> None:
    acme = await in_arrears(deployments)
    await acme.ask(CancelSubscription, by=BILLING, at="period_end")
    await held(acme)
    assert (await acme.refused(CancelSubscription, by=BILLING, at="period_end"))[0] == "billing_action_suspended"
    await held(acme, False)
    assert types(acme.told) == ["DeploymentUpdated"]
    assert (await acme.subscription())["cancel_at"] is None
    await acme.ask(CancelSubscription, by=BILLING, at="period_end")
    await acme.ask(UpdateDeployment, by=OPERATOR, now=first(4), display_name="Another")
    assert await acme.state() == "cancelled"


@pytest.mark.parametrize("asked_by", [[OPERATOR], [BILLING, OPERATOR], [TENANT]])
async def test_what_others_asked_for_stands_under_the_hold(deployments: Deployments, asked_by: list[Authority]) -> None:
    acme = await subscriber(deployments)
    await acme.be("trial")
    for by in asked_by:
        await acme.ask(CancelSubscription, by=by, at="period_end")
    await held(acme)
    assert types(acme.told) == ["DeploymentUpdated"]
    assert (await acme.subscription())["cancel_at"] == first(4)
    await acme.ask(UpdateDeployment, by=OPERATOR, now=first(4), display_name="Another")
    assert await acme.state() == "cancelled"


async def test_a_hold_on_what_is_not_to_be_cancelled_is_told_alone(deployments: Deployments) -> None:
    for acme in (await customer(deployments), await subscriber(deployments)):
        await held(acme)
        assert types(acme.told) == ["DeploymentUpdated"]
        await held(acme)
        assert acme.told == []


async def test_a_tenant_may_repeat_the_hold_as_it_is_and_not_change_it(deployments: Deployments) -> None:
    acme = await customer(deployments)
    for hold in (False, True):
        await held(acme, hold)
        code, detail = await acme.refused(UpdateDeployment, display_name="Mine", billing_action_suspended=not hold)
        assert (code, set(detail)) == ("forbidden", {"message"})
        name = f"Mine, and {hold}"
        result = await acme.ask(UpdateDeployment, display_name=name, billing_action_suspended=hold)
        shown = result["deployment"]
        assert (shown["display_name"], shown["billing_action_suspended"]) == (name, hold)
        (updated,) = acme.told
        assert isinstance(updated, DeploymentUpdated)
        assert updated.fields == ["display_name"]


async def test_a_withdrawal_by_the_hold_is_final(deployments: Deployments) -> None:
    acme = await in_arrears(deployments)
    await acme.ask(CancelSubscription, by=BILLING, at="period_end")
    await held(acme)
    assert (await acme.refused(UncancelSubscription, by=OPERATOR))[0] == "not_to_be_cancelled"
    assert (await acme.ask(CancelSubscription, by=OPERATOR, at="period_end"))["cancel_at"] == text(first(4))
