"""What is late is done first: a command that comes after its period's end finds the subscription as it would be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.deployments import (
    Authority,
    DeploymentCommand,
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
    Subscribe,
    SubscriptionPeriodOpened,
    UncancelSubscription,
)
from tests.deployments.customers import (
    NOW,
    Customer,
    active_version,
    addon_id,
    customer,
    first,
    subscriber,
    text,
    types,
)
from tests.deployments.world import Deployments

OPERATOR = Authority.OPERATOR
IN_JUNE = datetime(2026, 6, 20, 12, tzinfo=UTC)

# What is done, what it is told as, and what becomes of the subscription's row by it alone.
DONE: list[tuple[type[DeploymentCommand], dict[str, Any], list[str]]] = [
    (AttachAddon, {"code": "llm_5m_tokens"}, ["SubscriptionAddonAttached"]),
    (ChangePlanVersion, {"plan_code": "pro"}, ["SubscriptionPlanChanged"]),
    (ChangePlanVersion, {"plan_code": "pro", "dry_run": True}, []),
    (CancelSubscription, {"at": "now"}, ["DeploymentTransitioned", "SubscriptionCancelled"]),
    (CancelSubscription, {"at": "period_end"}, ["SubscriptionCancellationRequested"]),
    (TransitionDeployment, {"to_state": "paused"}, ["DeploymentTransitioned", "SubscriptionPaused"]),
    (UpdateDeployment, {"display_name": "Another"}, ["DeploymentUpdated"]),
]
REFUSED: list[tuple[type[DeploymentCommand], dict[str, Any], str]] = [
    (Subscribe, {"plan_code": "pro"}, "subscription_exists"),
    (AttachAddon, {"code": "no-such-addon"}, "addon_not_found"),
    (AttachAddon, {"code": "storage_50gb"}, "addon_attached"),
    (ChangePlanVersion, {"plan_code": "no-such-plan"}, "plan_or_version_not_found"),
    (UncancelSubscription, {}, "not_to_be_cancelled"),
    (TransitionDeployment, {"to_state": "archived"}, "invalid_transition"),
    (TransitionDeployment, {"to_state": "past_due"}, "forbidden"),
]


def opened(acme: Customer) -> list[SubscriptionPeriodOpened]:
    return [event for event in acme.told if isinstance(event, SubscriptionPeriodOpened)]


@pytest.mark.parametrize(("command", "fields", "told"), DONE)
async def test_the_missed_periods_are_opened_before_a_command_is_done(
    deployments: Deployments, command: type[DeploymentCommand], fields: dict[str, Any], told: list[str]
) -> None:
    acme, studio = await subscriber(deployments, "studio", "storage_50gb"), await active_version(deployments, "studio")
    await acme.ask(command, now=IN_JUNE, **fields)

    assert types(acme.told) == ["SubscriptionPeriodOpened"] * 3 + told
    assert [
        (e.subscription.current_period_start, e.subscription.current_period_end, e.subscription.version)
        for e in opened(acme)
    ] == [(first(4), first(5), 2), (first(5), first(6), 3), (first(6), first(7), 4)]
    assert [start for start, _ in await acme.periods()] == [first(3), first(4), first(5), first(6)]
    assert {version for _, version in (await acme.periods())[:3]} == {studio}
    row = await acme.subscription()
    assert (row["current_period_start"], row["current_period_end"]) == (first(6), first(7))
    history = await acme.history()
    assert [row["event_type"] for row in history[:4]] == ["started", *["period_opened"] * 3]
    assert [(row["actor"], row["occurred_at"]) for row in history[1:4]] == [("scheduler", IN_JUNE)] * 3
    assert [row["version"] for row in history] == list(range(1, row["version"] + 1))


@pytest.mark.parametrize(("command", "fields", "code"), REFUSED)
async def test_a_command_that_is_refused_opens_nothing(
    deployments: Deployments, command: type[DeploymentCommand], fields: dict[str, Any], code: str
) -> None:
    acme = await subscriber(deployments, "studio", "storage_50gb")
    assert (await acme.refused(command, now=IN_JUNE, **fields))[0] == code


async def test_a_change_of_plan_that_comes_late_reaches_back_to_no_missed_period(deployments: Deployments) -> None:
    acme = await subscriber(deployments)
    studio, pro = [await active_version(deployments, plan) for plan in ("studio", "pro")]
    result = await acme.ask(ChangePlanVersion, now=IN_JUNE, plan_code="pro")
    assert result["change"]["effective_from"] == "2026-06-01T00:00:00Z"
    assert await acme.periods() == [(first(3), studio), (first(4), studio), (first(5), studio), (first(6), pro)]


async def test_a_cancellation_that_was_due_comes_before_what_is_asked_after_it(deployments: Deployments) -> None:
    acme, storage = await subscriber(deployments, "studio", "storage_50gb"), await addon_id(deployments, "storage_50gb")
    await acme.ask(CancelSubscription, at="period_end")
    ended = ("subscription_cancelled", {"ended_at": text(first(4))})
    for command, fields in (
        (UncancelSubscription, {}),
        (DetachAddon, {"addon_id": storage}),
        (CancelSubscription, {"at": "now"}),
    ):
        assert await acme.refused(command, now=IN_JUNE, **fields) == ended
    assert await acme.refused(TransitionDeployment, now=IN_JUNE, to_state="paused") == (
        "invalid_transition",
        {"from": "cancelled", "to": "paused"},
    )
    await acme.ask(TransitionDeployment, by=OPERATOR, now=IN_JUNE, to_state="archived")
    cancelled, told, archived = acme.told
    assert isinstance(cancelled, DeploymentTransitioned)
    assert isinstance(archived, DeploymentTransitioned)
    assert (cancelled.to_state, archived.from_state, archived.to_state) == ("cancelled", "cancelled", "archived")
    assert types([told]) == ["SubscriptionCancelled"]
    assert (await acme.subscription())["ended_at"] == first(4)


async def test_a_trial_that_is_over_ends_before_what_is_asked_after_it(deployments: Deployments) -> None:
    acme = await customer(deployments, trial=True)
    end = NOW + timedelta(days=3)
    await acme.ask(Subscribe, by=OPERATOR, plan_code="studio", trial_ends_at=end)
    # Billing may cancel a trial, but not what is active.
    code, detail = await acme.refused(TransitionDeployment, by=Authority.BILLING, now=end, to_state="cancelled")
    assert (code, detail["from"]) == ("forbidden", "active")
    await acme.ask(AttachAddon, now=end, code="storage_50gb")
    assert types(acme.told) == ["DeploymentTransitioned", "SubscriptionTrialEnded", "SubscriptionAddonAttached"]
    assert await acme.state() == "active"


@pytest.mark.parametrize(("now", "periods"), [(first(4) - timedelta(microseconds=1), 1), (first(4), 2), (first(5), 3)])
async def test_the_end_of_a_period_belongs_to_the_next(deployments: Deployments, now: datetime, periods: int) -> None:
    acme = await subscriber(deployments)
    await acme.ask(AttachAddon, now=now, code="storage_50gb")
    assert len(await acme.periods()) == periods


async def test_what_was_paused_goes_through_its_periods_paused(deployments: Deployments) -> None:
    acme = await subscriber(deployments)
    await acme.ask(TransitionDeployment, to_state="paused")
    await acme.ask(TransitionDeployment, now=IN_JUNE, to_state="active")
    assert [event.subscription.status for event in opened(acme)] == ["paused"] * 3
    assert types(acme.told)[3:] == ["DeploymentTransitioned", "SubscriptionResumed"]


async def test_a_tenant_that_is_not_its_own_makes_no_late_deployment_catch_up(deployments: Deployments) -> None:
    acme = await subscriber(deployments)
    before = await acme.rows()
    for wish in (
        TransitionDeployment(deployment_id=acme.id, authority=Authority.TENANT, to_state=DeploymentState.PAUSED),
        AttachAddon(deployment_id=acme.id, authority=Authority.TENANT, code="storage_50gb"),
    ):
        assert (await deployments.refusal(wish, now=IN_JUNE, tenant="globex")).code == "forbidden"
    assert await acme.rows() == before
