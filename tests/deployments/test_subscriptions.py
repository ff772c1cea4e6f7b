"""Subscribing a deployment: what it binds to, and who is refused why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from contracts.deployments import Authority, DeploymentCommand, DeploymentTransitioned
from contracts.money import Currency
from contracts.subscriptions import (
    AttachAddon,
    CancelSubscription,
    ChangePlanVersion,
    DetachAddon,
    Period,
    Subscribe,
    Subscription,
    SubscriptionStarted,
    SubscriptionStatus,
    UncancelSubscription,
)
from tests.deployments.customers import (
    NOW,
    active_version,
    addon,
    addon_id,
    customer,
    drafted,
    first,
    named,
    published,
    subscriber,
    text,
)
from tests.deployments.world import Deployments

OPERATOR = Authority.OPERATOR

# What can be asked of a subscription that goes on, with fields that would do.
OF_SUBSCRIPTIONS: list[tuple[type[DeploymentCommand], dict[str, Any]]] = [
    (AttachAddon, {"code": "storage_50gb"}),
    (DetachAddon, {"addon_id": uuid4()}),
    (ChangePlanVersion, {"plan_code": "pro"}),
    (ChangePlanVersion, {"plan_code": "pro", "dry_run": True}),
    (CancelSubscription, {"at": "now"}),
    (CancelSubscription, {"at": "period_end"}),
    (UncancelSubscription, {}),
]


async def test_a_deployment_is_subscribed_to_the_active_version_for_this_calendar_month(
    deployments: Deployments,
) -> None:
    acme, studio = await customer(deployments), await active_version(deployments, "studio")
    result = await acme.ask(Subscribe, plan_code="studio")
    row = await acme.subscription()

    assert result == {
        "subscription": {
            "id": str(row["id"]),
            "status": "active",
            "plan_version_id": str(studio),
            "current_period_start": "2026-03-01T00:00:00Z",
            "current_period_end": "2026-04-01T00:00:00Z",
            "trial_ends_at": None,
            "addons": [],
        }
    }
    assert acme.told == [
        SubscriptionStarted(
            subscription=Subscription(
                id=row["id"],
                deployment_id=acme.id,
                tenant_id="acme",
                status=SubscriptionStatus.ACTIVE,
                plan_code="studio",
                plan_version_id=studio,
                current_period_start=first(3),
                current_period_end=first(4),
                trial_ends_at=None,
                cancel_at=None,
                started_at=NOW,
                ended_at=None,
                addons=[],
                periods=[Period(start=first(3), end=first(4), plan_version_id=studio)],
                version=1,
            ),
            actor="ann@acme.test",
        )
    ]
    assert await acme.periods() == [(first(3), studio)]
    (event,) = await acme.history()
    assert (event["event_type"], event["detail"], event["reason"], event["actor"]) == (
        "started", {}, None, "ann@acme.test"
    )  # fmt: skip
    assert (event["subscription_id"], event["tenant_id"], event["occurred_at"], event["version"]) == (
        row["id"], "acme", NOW, 1
    )  # fmt: skip


@pytest.mark.parametrize(
    ("now", "start", "end"),
    [
        ("2026-03-01T00:00:00", "2026-03-01", "2026-04-01"),
        ("2026-03-31T23:59:59.999999", "2026-03-01", "2026-04-01"),
        ("2026-12-31T12:00:00", "2026-12-01", "2027-01-01"),
        ("2028-02-29T12:00:00", "2028-02-01", "2028-03-01"),
    ],
)
async def test_the_first_period_is_the_calendar_month(deployments: Deployments, now: str, start: str, end: str) -> None:
    acme = await subscriber(deployments, since=datetime.fromisoformat(now).replace(tzinfo=UTC))
    row = await acme.subscription()
    assert (row["current_period_start"].isoformat(), row["current_period_end"].isoformat()) == (
        f"{start}T00:00:00+00:00",
        f"{end}T00:00:00+00:00",
    )


async def test_addons_are_kept_with_the_quantity_and_the_price_that_they_had(deployments: Deployments) -> None:
    acme, storage = await customer(deployments), await addon_id(deployments, "storage_50gb")
    result = await acme.ask(Subscribe, plan_code="studio", addons=["storage_50gb"])

    assert result["subscription"]["addons"] == [
        {"addon_id": str(storage), "resource_kind": "spaces_gb_month", "qty": 50, "price_cents": 750}
    ]
    (row,) = await acme.addons()
    assert (row["addon_id"], row["tenant_id"], row["resource_kind"]) == (storage, "acme", "spaces_gb_month")
    assert (row["qty"], row["price_cents"], row["currency"]) == (50, 750, "AUD")
    assert (row["attached_at"], row["detached_at"]) == (NOW, None)
    (started,) = acme.told
    assert isinstance(started, SubscriptionStarted)
    (told,) = started.subscription.addons
    assert told.model_dump() == {
        "addon_id": storage,
        "resource_kind": "spaces_gb_month",
        "qty": 50,
        "price_cents": 750,
        "id": row["id"],
        "code": "storage_50gb",
        "currency": "AUD",
        "attached_at": NOW,
        "detached_at": None,
    }


async def test_several_addons_are_attached_at_once(deployments: Deployments) -> None:
    acme = await subscriber(deployments, "pro", "storage_250gb", "llm_5m_tokens", "storage_50gb")
    assert sorted((row["qty"], row["price_cents"]) for row in await acme.addons()) == [
        (50, 750),
        (250, 3000),
        (5_000_000, 1200),
    ]
    assert [row["event_type"] for row in await acme.history()] == ["started"]


async def test_a_later_change_of_the_catalog_reprices_no_subscriber(deployments: Deployments) -> None:
    code, id = await addon(deployments, cents=100)
    acme = await subscriber(deployments, "studio", code)
    await deployments.fetch("update addons set price_cents = 999, qty = 1 where id = $1", id)
    result = await acme.ask(AttachAddon, code="storage_50gb")

    mine, storage = result["subscription"]["addons"]
    assert (mine["addon_id"], mine["qty"], mine["price_cents"]) == (str(id), 5, 100)
    assert (storage["qty"], storage["price_cents"]) == (50, 750)


async def test_a_plan_that_is_not_there_or_not_on_sale_is_not_found(deployments: Deployments) -> None:
    acme, unpublished = await customer(deployments), await named(deployments)
    await drafted(deployments, unpublished)
    for code in ("no-such-plan", unpublished):
        assert await acme.refused(Subscribe, plan_code=code) == ("plan_or_version_not_found", {"plan_code": code})


async def test_a_deployment_has_one_subscription(deployments: Deployments) -> None:
    acme = await subscriber(deployments)
    detail = {"subscription_id": str((await acme.subscription())["id"])}
    assert await acme.refused(Subscribe, plan_code="pro") == ("subscription_exists", detail)
    await acme.ask(CancelSubscription, at="now")
    assert await acme.refused(Subscribe, plan_code="pro") == ("subscription_exists", detail)


async def test_an_addon_that_is_not_there_refuses_the_whole_request(deployments: Deployments) -> None:
    acme = await customer(deployments)
    codes = ["storage_50gb", "no-such-addon", "nor-this"]
    assert await acme.refused(Subscribe, plan_code="studio", addons=codes) == (
        "addon_not_found",
        {"addons": ["no-such-addon", "nor-this"]},
    )
    assert (await acme.rows())[2:] == [[], [], [], []]


async def test_an_addon_that_is_named_twice_is_refused(deployments: Deployments) -> None:
    acme = await customer(deployments)
    codes = ["storage_50gb", "llm_5m_tokens", "storage_50gb"]
    assert await acme.refused(Subscribe, plan_code="studio", addons=codes) == ("addon_repeated", {"addons": codes})


async def test_plan_and_addons_are_in_one_currency(deployments: Deployments) -> None:
    acme, plan = await customer(deployments), await named(deployments)
    await published(deployments, plan, currency=Currency.USD)
    assert await acme.refused(Subscribe, plan_code=plan, addons=["storage_50gb"]) == (
        "currency_mismatch",
        {"currency": "AUD", "subscription_currency": "USD", "addon": "storage_50gb"},
    )
    code, _ = await addon(deployments, currency=Currency.USD)
    await acme.ask(Subscribe, plan_code=plan, addons=[code])
    assert [row["currency"] for row in await acme.addons()] == ["USD"]


@pytest.mark.parametrize("state", ["cancelled", "archived"])
async def test_a_deployment_whose_life_is_over_is_not_subscribed(deployments: Deployments, state: str) -> None:
    acme = await customer(deployments)
    await acme.be(state)
    assert await acme.refused(Subscribe, by=OPERATOR, plan_code="studio") == ("deployment_ended", {"state": state})


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("provisioning", "active"),
        ("trial", "active"),
        ("active", "active"),
        ("past_due", "active"),
        ("suspended", "active"),
        ("paused", "paused"),
    ],
)
async def test_a_subscription_begins_as_its_deployment_stands(
    deployments: Deployments, state: str, status: str
) -> None:
    acme = await customer(deployments)
    await acme.be(state)
    result = await acme.ask(Subscribe, plan_code="studio")
    assert (result["subscription"]["status"], (await acme.subscription())["status"]) == (status, status)


async def test_an_operator_gives_a_trial(deployments: Deployments) -> None:
    acme, end = await customer(deployments, trial=True), NOW + timedelta(days=14)
    result = await acme.ask(Subscribe, by=OPERATOR, plan_code="studio", trial_ends_at=end)
    assert result["subscription"]["trial_ends_at"] == text(end)
    row = await acme.subscription()
    assert (row["trial_ends_at"], row["trial_ended"], row["next_step_at"]) == (end, False, end)
    (started,) = acme.told
    assert isinstance(started, SubscriptionStarted)
    assert started.subscription.trial_ends_at == end
    assert await acme.state() == "trial"


async def test_nobody_but_an_operator_gives_a_trial(deployments: Deployments) -> None:
    acme, end = await customer(deployments), NOW + timedelta(days=14)
    for authority in set(Authority) - {OPERATOR}:
        code, detail = await acme.refused(Subscribe, by=authority, plan_code="studio", trial_ends_at=end)
        assert (code, set(detail)) == ("forbidden", {"message"})


@pytest.mark.parametrize("ago", [timedelta(0), timedelta(days=1)])
async def test_a_trial_that_is_over_before_it_begins_is_refused(deployments: Deployments, ago: timedelta) -> None:
    acme = await customer(deployments)
    assert await acme.refused(Subscribe, by=OPERATOR, plan_code="studio", trial_ends_at=NOW - ago) == (
        "trial_ends_in_past",
        {"trial_ends_at": text(NOW - ago), "now": text(NOW)},
    )


async def test_whoever_subscribes_without_a_trial_is_in_trial_no_more(deployments: Deployments) -> None:
    acme = await customer(deployments, trial=True)
    assert (await acme.refused(Subscribe, plan_code="no-such-plan"))[0] == "plan_or_version_not_found"
    assert await acme.state() == "trial"
    result = await acme.ask(Subscribe, plan_code="studio")

    transitioned, started = acme.told
    assert isinstance(transitioned, DeploymentTransitioned)
    assert (transitioned.from_state, transitioned.to_state) == ("trial", "active")
    assert (transitioned.authority, transitioned.reason) == (Authority.BILLING, "subscribed")
    assert isinstance(started, SubscriptionStarted)
    assert (await acme.state(), result["subscription"]["status"]) == ("active", "active")
    assert [row["event_type"] for row in await acme.history()] == ["started"]
    row = (await acme.rows())[1][-1]
    assert (row["from_state"], row["to_state"], row["reason"], row["actor"], row["occurred_at"]) == (
        "trial", "active", "subscribed", "ann@acme.test", NOW
    )  # fmt: skip


@pytest.mark.parametrize(("command", "fields"), [(Subscribe, {"plan_code": "studio"}), *OF_SUBSCRIPTIONS])
async def test_what_is_not_there_is_not_found_and_what_is_anothers_is_forbidden(
    deployments: Deployments, command: type[DeploymentCommand], fields: dict[str, Any]
) -> None:
    acme, nowhere = await subscriber(deployments), uuid4()
    wish = command(deployment_id=nowhere, authority=Authority.TENANT, **fields)
    refused = await deployments.refusal(wish, now=NOW)
    assert (refused.code, refused.detail) == ("not_found", {"deployment_id": str(nowhere)})

    before = await acme.rows()
    wish = command(deployment_id=acme.id, authority=Authority.TENANT, **fields)
    refused = await deployments.refusal(wish, now=NOW, tenant="globex")
    assert (refused.code, refused.detail["deployment_id"]) == ("forbidden", str(acme.id))
    assert await acme.rows() == before


@pytest.mark.parametrize(("command", "fields"), OF_SUBSCRIPTIONS)
async def test_a_deployment_without_a_subscription_has_none_to_change(
    deployments: Deployments, command: type[DeploymentCommand], fields: dict[str, Any]
) -> None:
    acme = await customer(deployments)
    detail = {"deployment_id": str(acme.id)}
    assert await acme.refused(command, **fields) == ("subscription_not_found", detail)


@pytest.mark.parametrize(("command", "fields"), OF_SUBSCRIPTIONS)
async def test_nothing_is_done_to_a_subscription_that_is_over(
    deployments: Deployments, command: type[DeploymentCommand], fields: dict[str, Any]
) -> None:
    acme = await subscriber(deployments)
    await acme.ask(CancelSubscription, at="now")
    later = NOW + timedelta(days=100)
    for authority in (Authority.TENANT, OPERATOR):
        refused = await acme.refused(command, by=authority, now=later, **fields)
        assert refused == ("subscription_cancelled", {"ended_at": text(NOW)})


async def test_an_operator_may_ask_for_every_tenant(deployments: Deployments) -> None:
    acme = await customer(deployments)
    wish = Subscribe(deployment_id=acme.id, authority=OPERATOR, plan_code="studio")
    await deployments.do(wish, now=NOW, tenant="platform-admin", actor="ops@arcadia.test")
    assert (await acme.subscription())["tenant_id"] == "acme"
    (event,) = await acme.history()
    assert (event["tenant_id"], event["actor"]) == ("acme", "ops@arcadia.test")
