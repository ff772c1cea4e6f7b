"""Changing to another plan or version: what it means, for which period it counts, and who may choose what."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from contracts.catalog import PublishPlanVersion
from contracts.deployments import Authority
from contracts.kinds import BillingKind
from contracts.money import Currency
from contracts.subscriptions import (
    Amounts,
    AttachAddon,
    ChangePlanVersion,
    ItemChange,
    Period,
    PlanChange,
    SubscriptionPlanChanged,
)
from tests.deployments.customers import (
    NOW,
    active_version,
    drafted,
    first,
    item,
    named,
    published,
    subscriber,
    types,
)
from tests.deployments.world import Deployments

ZONES, HOURS, TOKENS = BillingKind.DNS_ZONES, BillingKind.DROPLET_HOURS, BillingKind.LLM_TOKENS
SPACES = BillingKind.SPACES_GB_MONTH
NEXT_MONTH = NOW + timedelta(days=31)
NOTHING = Amounts(old=None, new=None)


def amounts(old: int | None, new: int | None) -> Amounts:
    return Amounts(old=old, new=new)


async def test_a_change_of_plan_tells_what_it_means_and_counts_for_the_current_period(deployments: Deployments) -> None:
    small, large = await named(deployments), await named(deployments)
    before = await published(
        deployments, small, 1000, item(ZONES, 1, cents=100, cap=5), item(HOURS, 700), item(SPACES, 10)
    )
    after = await published(
        deployments, large, 2500, item(ZONES, 4, unit=2, cents=100), item(TOKENS, 9, cents=3, cap=90), item(SPACES, 10)
    )
    acme = await subscriber(deployments, small)
    result = await acme.ask(ChangePlanVersion, plan_code=large)

    change = PlanChange(
        from_plan_code=small,
        from_version_id=before,
        to_plan_code=large,
        to_version_id=after,
        currency=Currency.AUD,
        base_price_cents=amounts(1000, 2500),
        items=[
            ItemChange(
                resource_kind=ZONES,
                included_qty=amounts(1, 4),
                overage_unit=amounts(1, 2),
                overage_price_cents=amounts(100, 100),
                hard_cap_qty=amounts(5, None),
            ),
            ItemChange(
                resource_kind=HOURS,
                included_qty=amounts(700, None),
                overage_unit=amounts(1, None),
                overage_price_cents=amounts(0, None),
                hard_cap_qty=NOTHING,
            ),
            ItemChange(
                resource_kind=TOKENS,
                included_qty=amounts(None, 9),
                overage_unit=amounts(None, 1),
                overage_price_cents=amounts(None, 3),
                hard_cap_qty=amounts(None, 90),
            ),
        ],
        effective_from=first(3),
    )
    assert result.keys() == {"subscription", "change", "dry_run"}
    assert (result["change"], result["dry_run"]) == (change.model_dump(mode="json"), False)
    assert result["subscription"]["plan_version_id"] == str(after)
    assert await acme.periods() == [(first(3), after)]
    (told,) = acme.told
    assert isinstance(told, SubscriptionPlanChanged)
    assert (told.change, told.subscription.plan_code, told.subscription.version) == (change, large, 2)
    assert told.subscription.periods == [Period(start=first(3), end=first(4), plan_version_id=after)]
    _, event = await acme.history()
    assert (event["event_type"], event["detail"]) == ("plan_changed", {"change": change.model_dump(mode="json")})
    assert (event["actor"], event["version"]) == ("ann@acme.test", 2)


async def test_a_dry_run_tells_the_same_and_changes_nothing(deployments: Deployments) -> None:
    acme = await subscriber(deployments, "studio", "storage_50gb")
    before = await acme.rows()
    dry = await acme.ask(ChangePlanVersion, plan_code="pro", dry_run=True)
    assert (acme.told, await acme.rows()) == ([], before)
    real = await acme.ask(ChangePlanVersion, plan_code="pro")

    assert (dry["dry_run"], real["dry_run"]) == (True, False)
    assert dry["change"] == real["change"]
    assert dry["change"]["base_price_cents"] == {"old": 5000, "new": 12000}
    studio, pro = [str(await active_version(deployments, plan)) for plan in ("studio", "pro")]
    assert dry["subscription"] == real["subscription"] | {"plan_version_id": studio}
    assert real["subscription"]["plan_version_id"] == pro
    assert [addon["price_cents"] for addon in real["subscription"]["addons"]] == [750]


async def test_the_period_before_keeps_the_version_that_counted_for_it(deployments: Deployments) -> None:
    starter, studio, pro = [await active_version(deployments, plan) for plan in ("starter", "studio", "pro")]
    acme = await subscriber(deployments, "starter")
    await acme.ask(ChangePlanVersion, plan_code="studio")
    result = await acme.ask(ChangePlanVersion, now=NEXT_MONTH, plan_code="pro")

    assert result["change"]["effective_from"] == "2026-04-01T00:00:00Z"
    assert await acme.periods() == [(first(3), studio), (first(4), pro)]
    newest = acme.told[-1]
    assert isinstance(newest, SubscriptionPlanChanged)
    assert newest.subscription.periods == [
        Period(start=first(4), end=first(5), plan_version_id=pro),
        Period(start=first(3), end=first(4), plan_version_id=studio),
    ]
    assert starter not in {version for _, version in await acme.periods()}


async def test_a_tenant_may_choose_an_active_version_by_its_id(deployments: Deployments) -> None:
    acme, pro = await subscriber(deployments), await active_version(deployments, "pro")
    result = await acme.ask(ChangePlanVersion, plan_version_id=pro)
    assert (result["subscription"]["plan_version_id"], result["change"]["to_plan_code"]) == (str(pro), "pro")


@pytest.mark.parametrize("dry_run", [True, False])
async def test_an_operator_alone_may_choose_a_retired_version(deployments: Deployments, dry_run: bool) -> None:
    plan = await named(deployments)
    retired, _ = await published(deployments, plan, 900), await published(deployments, plan, 1100)
    acme = await subscriber(deployments)
    wish: dict[str, Any] = {"plan_version_id": retired, "dry_run": dry_run}
    refused = ("version_not_active", {"plan_version_id": str(retired), "status": "retired"})
    for authority in (Authority.TENANT, Authority.BILLING):
        assert await acme.refused(ChangePlanVersion, by=authority, **wish) == refused
    result = await acme.ask(ChangePlanVersion, by=Authority.OPERATOR, **wish)
    assert result["change"]["to_version_id"] == str(retired)
    assert ((await acme.subscription())["plan_version_id"] == retired) is not dry_run


async def test_nobody_chooses_a_draft(deployments: Deployments) -> None:
    acme, plan = await subscriber(deployments), await named(deployments)
    draft = await drafted(deployments, plan)
    for authority in (Authority.TENANT, Authority.OPERATOR):
        assert await acme.refused(ChangePlanVersion, by=authority, plan_version_id=draft) == (
            "version_not_active",
            {"plan_version_id": str(draft), "status": "draft"},
        )
    await deployments.do(PublishPlanVersion(plan_version_id=draft), now=NOW)
    await acme.ask(ChangePlanVersion, plan_version_id=draft)


async def test_a_plan_or_version_that_is_not_there_is_not_found(deployments: Deployments) -> None:
    acme, version, unpublished = await subscriber(deployments), uuid4(), await named(deployments)
    await drafted(deployments, unpublished)
    for code in ("no-such-plan", unpublished, None):
        assert await acme.refused(ChangePlanVersion, plan_code=code) == (
            "plan_or_version_not_found",
            {"plan_code": code},
        )
    assert await acme.refused(ChangePlanVersion, plan_version_id=version) == (
        "plan_or_version_not_found",
        {"plan_version_id": str(version)},
    )


async def test_a_subscription_stays_in_its_currency(deployments: Deployments) -> None:
    acme, plan = await subscriber(deployments, "studio"), await named(deployments)
    await published(deployments, plan, currency=Currency.USD)
    assert await acme.refused(ChangePlanVersion, plan_code=plan) == (
        "currency_mismatch",
        {"currency": "USD", "subscription_currency": "AUD", "plan_code": plan},
    )


async def test_a_change_to_the_version_that_is_bound_already_tells_nobody(deployments: Deployments) -> None:
    acme = await subscriber(deployments)
    before = await acme.rows()
    result = await acme.ask(ChangePlanVersion, plan_code="studio")
    assert (result["change"]["base_price_cents"], result["change"]["items"]) == ({"old": 5000, "new": 5000}, [])
    assert (acme.told, await acme.rows()) == ([], before)


async def test_a_change_leaves_what_is_attached_at_its_price(deployments: Deployments) -> None:
    acme = await subscriber(deployments, "studio", "storage_50gb")
    await acme.ask(ChangePlanVersion, plan_code="pro")
    await acme.ask(AttachAddon, code="llm_5m_tokens")
    assert types(acme.told) == ["SubscriptionAddonAttached"]
    assert [(row["price_cents"], row["detached_at"]) for row in await acme.addons()] == [(750, None), (1200, None)]


async def test_a_raised_price_reaches_a_subscriber_who_takes_the_new_version(deployments: Deployments) -> None:
    plan = await named(deployments)
    old = await published(deployments, plan, 1000)
    acme = await subscriber(deployments, plan)
    new = await published(deployments, plan, 1300)
    assert (await acme.subscription())["plan_version_id"] == old
    result = await acme.ask(ChangePlanVersion, plan_code=plan)
    assert result["change"]["base_price_cents"] == {"old": 1000, "new": 1300}
    assert (await acme.subscription())["plan_version_id"] == new
