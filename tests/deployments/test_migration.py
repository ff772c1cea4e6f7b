"""Moving subscribers from retired versions of a plan to its active one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.catalog import MigrateSubscriptions
from contracts.deployments import Authority, TransitionDeployment
from contracts.kinds import BillingKind
from contracts.money import Currency
from contracts.subscriptions import CancelSubscription, ChangePlanVersion, SubscriptionPlanChanged
from services.deployments.app import service
from services.deployments.catalog import MOVED_AT_ONCE
from shared.jobs import PutOff
from shared.outcome import Refused
from shared.process import running
from tests.deployments.customers import (
    NOW,
    Customer,
    drafted,
    first,
    item,
    named,
    published,
    subscriber,
    types,
)
from tests.deployments.world import Deployments

ZONES = BillingKind.DNS_ZONES
LATER = NOW + timedelta(days=1)
NEXT_MONTH = NOW + timedelta(days=31)


async def bound(*customers: Customer) -> list[UUID]:
    """The version that each is bound to."""
    return [(await acme.subscription())["plan_version_id"] for acme in customers]


async def migrated(world: Deployments, plan: str, **how: Any) -> dict[str, Any]:
    """What comes of a migration. Its events, and no others, are in `said` then."""
    world.said.clear()
    return await world.do(MigrateSubscriptions(plan_code=plan, **how), now=LATER, actor="ops@arcadia.test")


async def test_all_who_are_on_retired_versions_are_moved_to_the_active_one(own_deployments: Deployments) -> None:
    world, plan = own_deployments, await named(own_deployments)
    oldest = await published(world, plan, 1000, item(ZONES, 1, cents=50))
    one, two = await subscriber(world, plan, "storage_50gb"), await subscriber(world, plan)
    older = await published(world, plan, 1200, item(ZONES, 2, cents=50))
    three = await subscriber(world, plan)
    newest = await published(world, plan, 1500, item(ZONES, 2, cents=50))
    four, elsewhere = await subscriber(world, plan), await subscriber(world, "studio")
    untouched = [await four.rows(), await elsewhere.rows()]
    result = await migrated(world, plan)

    assert result.keys() == {"plan_code", "dry_run", "to_version_id", "subscriptions", "changes"}
    assert (result["plan_code"], result["dry_run"], result["to_version_id"]) == (plan, False, str(newest))
    assert (result["subscriptions"], [each["subscriptions"] for each in result["changes"]]) == (3, [2, 1])
    assert [
        (each["change"]["from_version_id"], each["change"]["base_price_cents"], len(each["change"]["items"]))
        for each in result["changes"]
    ] == [(str(oldest), {"old": 1000, "new": 1500}, 1), (str(older), {"old": 1200, "new": 1500}, 0)]
    assert [each["change"]["effective_from"] for each in result["changes"]] == [None, None]
    assert await bound(one, two, three, four) == [newest] * 4
    assert [await four.rows(), await elsewhere.rows()] == untouched

    assert types(world.said) == ["SubscriptionPlanChanged"] * 3
    assert await one.periods() == [(first(3), newest)]
    assert [row["price_cents"] for row in await one.addons()] == [750]
    _, event = await one.history()
    assert (event["event_type"], event["actor"], event["version"]) == ("plan_changed", "ops@arcadia.test", 2)
    assert event["detail"]["change"] == result["changes"][0]["change"] | {"effective_from": "2026-03-01T00:00:00Z"}
    for told in world.said:
        assert isinstance(told, SubscriptionPlanChanged)
        assert (told.change.to_version_id, told.change.effective_from) == (newest, first(3))
        assert told.subscription.plan_version_id == newest


async def test_those_of_one_version_alone_can_be_moved(own_deployments: Deployments) -> None:
    world, plan = own_deployments, await named(own_deployments)
    oldest = await published(world, plan, 1000)
    one = await subscriber(world, plan)
    older = await published(world, plan, 1200)
    two = await subscriber(world, plan)
    newest = await published(world, plan, 1500)
    result = await migrated(world, plan, from_version_id=older)
    assert (result["subscriptions"], len(result["changes"])) == (1, 1)
    assert await bound(one, two) == [oldest, newest]
    assert types(world.said) == ["SubscriptionPlanChanged"]


@pytest.mark.parametrize("chosen", [True, False])
async def test_a_dry_run_tells_what_the_real_one_does_and_changes_nothing(
    own_deployments: Deployments, chosen: bool
) -> None:
    world, plan = own_deployments, await named(own_deployments)
    oldest = await published(world, plan, 1000, item(ZONES, 1))
    customers = [await subscriber(world, plan) for _ in range(2)]
    await published(world, plan, 1100, item(ZONES, 3))
    customers += [await subscriber(world, plan)]
    await published(world, plan, 1500, item(ZONES, 2))
    how = {"from_version_id": oldest} if chosen else {}
    before = [await acme.rows() for acme in customers]
    dry = await migrated(world, plan, dry_run=True, **how)
    assert (world.said, [await acme.rows() for acme in customers]) == ([], before)
    real = await migrated(world, plan, **how)
    assert dry == real | {"dry_run": True}
    assert real["subscriptions"] == len(world.said) == (2 if chosen else 3)


async def test_nobody_is_moved_to_another_version_than_the_dry_run_spoke_of(own_deployments: Deployments) -> None:
    world, plan = own_deployments, await named(own_deployments)
    oldest = await published(world, plan, 1000)
    acme = await subscriber(world, plan)
    await published(world, plan, 1500)
    dry = await migrated(world, plan, dry_run=True)
    meanwhile = await published(world, plan, 9900)
    with pytest.raises(Refused) as refusal:
        await migrated(world, plan, to_version_id=UUID(dry["to_version_id"]))
    assert (refusal.value.code, refusal.value.detail["active"]) == ("version_not_active", str(meanwhile))
    assert await bound(acme) == [oldest]
    assert (await migrated(world, plan, to_version_id=meanwhile))["subscriptions"] == 1
    assert await bound(acme) == [meanwhile]


async def test_a_version_with_nobody_on_it_moves_nobody(own_deployments: Deployments) -> None:
    world, plan = own_deployments, await named(own_deployments)
    await published(world, plan)
    gone = await subscriber(world, plan)
    await gone.ask(CancelSubscription, at="now")
    active = await published(world, plan)
    stays = await subscriber(world, plan)
    before = [await gone.rows(), await stays.rows()]
    for version in (None, active, uuid4()):
        result = await migrated(world, plan, from_version_id=version)
        assert (result["subscriptions"], result["changes"]) == (0, [])
    assert [await gone.rows(), await stays.rows()] == before
    assert world.said == []


async def test_those_who_are_paused_or_to_be_cancelled_are_moved_too(own_deployments: Deployments) -> None:
    world, plan = own_deployments, await named(own_deployments)
    await published(world, plan)
    paused, leaving = await subscriber(world, plan), await subscriber(world, plan)
    await paused.ask(TransitionDeployment, to_state="paused")
    await leaving.ask(CancelSubscription, at="period_end")
    newest = await published(world, plan)
    assert (await migrated(world, plan))["subscriptions"] == 2
    assert await bound(paused, leaving) == [newest, newest]
    assert (await paused.subscription())["status"] == "paused"
    assert (await leaving.subscription())["cancel_at"] == first(4)


async def test_a_plan_that_is_not_there_or_not_on_sale_has_nowhere_to_move_to(own_deployments: Deployments) -> None:
    world, plan = own_deployments, await named(own_deployments)
    await drafted(world, plan)
    for code, refusal in (("no-such-plan", "plan_not_found"), (plan, "no_active_version")):
        for dry_run in (True, False):
            refused = await world.refusal(MigrateSubscriptions(plan_code=code, dry_run=dry_run), now=NOW)
            assert (refused.code, refused.detail) == (refusal, {"plan_code": code})


async def test_nobody_is_moved_into_another_currency(own_deployments: Deployments) -> None:
    world, plan = own_deployments, await named(own_deployments)
    australian = await published(world, plan, 1000)
    one = await subscriber(world, plan)
    american = await published(world, plan, 900, currency=Currency.USD)
    two = await subscriber(world, plan)
    newest = await published(world, plan, 950, currency=Currency.USD)
    for dry_run in (True, False):
        refused = await world.refusal(MigrateSubscriptions(plan_code=plan, dry_run=dry_run), now=LATER)
        assert (refused.code, refused.detail) == (
            "currency_mismatch",
            {"plan_version_id": str(australian), "currency": "AUD"},
        )
    assert await bound(one, two) == [australian, american]
    await migrated(world, plan, from_version_id=american)
    assert await bound(one, two) == [australian, newest]


async def test_those_whose_period_is_over_are_rolled_first(own_deployments: Deployments) -> None:
    world, plan = own_deployments, await named(own_deployments)
    old = await published(world, plan, 1000)
    acme, leaving = await subscriber(world, plan), await subscriber(world, plan)
    await leaving.ask(CancelSubscription, at="period_end")
    new = await published(world, plan, 1500)
    world.said.clear()
    await world.do(MigrateSubscriptions(plan_code=plan), now=NEXT_MONTH)

    assert await acme.periods() == [(first(3), old), (first(4), new)]
    assert [row["event_type"] for row in await acme.history()] == ["started", "period_opened", "plan_changed"]
    ended = await leaving.subscription()
    assert (ended["status"], ended["ended_at"], ended["plan_version_id"]) == ("cancelled", first(4), old)
    changed = world.said[-1]
    assert isinstance(changed, SubscriptionPlanChanged)
    assert changed.change.effective_from == first(4)
    assert types(world.said).count("SubscriptionPlanChanged") == 1


async def test_whoever_came_back_to_a_retired_version_is_moved_again(own_deployments: Deployments) -> None:
    world, plan = own_deployments, await named(own_deployments)
    retired = await published(world, plan, 1000)
    acme = await subscriber(world, plan)
    newest = await published(world, plan, 1500)
    await migrated(world, plan)
    await acme.ask(ChangePlanVersion, by=Authority.OPERATOR, plan_version_id=retired)
    assert (await migrated(world, plan))["subscriptions"] == 1
    assert await bound(acme) == [newest]


async def test_a_migration_waits_for_those_in_other_hands(own_deployments: Deployments) -> None:
    world, plan = own_deployments, await named(own_deployments)
    await published(world, plan, 1000)
    acme = await subscriber(world, plan)
    before = await acme.rows()
    newest = await published(world, plan, 1500)
    async with world.db.transaction() as conn:
        await conn.execute("select from cloud_deployments where id = $1 for update", acme.id)
        with pytest.raises(PutOff, match="in other hands"):
            await migrated(world, plan)
    assert await acme.rows() == before
    await migrated(world, plan)
    assert await bound(acme) == [newest]


MANY = """
    with deployment as (
      insert into cloud_deployments (tenant_id, slug, display_name, state, state_since, created_at, version)
      select 'acme', 'many-' || n, 'App', 'active', now(), now(), 1 from generate_series(1, $2::int) n returning id),
    subscription as (
      insert into subscriptions (deployment_id, tenant_id, plan_version_id, status, current_period_start,
        current_period_end, started_at, version)
      select id, 'acme', $1, 'active', date_trunc('month', now()), '2100-01-01', now(), 1 from deployment returning id)
    insert into subscription_periods (subscription_id, period_start, plan_version_id)
    select id, date_trunc('month', now()), $1 from subscription
"""


async def test_more_than_are_moved_at_a_go_are_all_moved_once(own_deployments: Deployments) -> None:
    world, plan = own_deployments, await named(own_deployments)
    old = await published(world, plan, 1000)
    await world.fetch(MANY, old, 2 * MOVED_AT_ONCE + 1)
    new = await published(world, plan, 1500)
    async with running(service, world.settings):
        (id,) = await world.send(MigrateSubscriptions(plan_code=plan), actor="ops@arcadia.test")
        outcome = await world.outcome(id, seconds=60)
    assert (outcome.status, (outcome.result or {})["subscriptions"]) == ("ok", 2 * MOVED_AT_ONCE + 1)
    for query in (
        "select plan_version_id, version, count(*) from subscriptions group by 1, 2",
        "select plan_version_id, 2::bigint, count(*) from subscription_periods group by 1",
    ):
        assert [tuple(row) for row in await world.fetch(query)] == [(new, 2, 2 * MOVED_AT_ONCE + 1)]
    told = await world.fetch("select subscription_id, event_type from subscription_events")
    assert len({row["subscription_id"] for row in told}) == len(told) == 2 * MOVED_AT_ONCE + 1
