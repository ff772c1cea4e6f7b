"""Attaching addons to subscriptions, and detaching them."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from contracts.deployments import Authority
from contracts.money import Currency
from contracts.subscriptions import AttachAddon, DetachAddon, SubscriptionAddonAttached, SubscriptionAddonDetached
from tests.deployments.customers import NOW, addon, addon_id, subscriber
from tests.deployments.world import Deployments

LATER = NOW + timedelta(hours=1)


async def test_an_addon_is_attached_at_todays_price(deployments: Deployments) -> None:
    acme, storage = await subscriber(deployments), await addon_id(deployments, "storage_50gb")
    result = await acme.ask(AttachAddon, now=LATER, code="storage_50gb")

    assert result.keys() == {"subscription"}
    assert result["subscription"]["addons"] == [
        {"addon_id": str(storage), "resource_kind": "spaces_gb_month", "qty": 50, "price_cents": 750}
    ]
    (row,) = await acme.addons()
    assert (row["addon_id"], row["qty"], row["price_cents"], row["currency"]) == (storage, 50, 750, "AUD")
    assert (row["attached_at"], row["detached_at"]) == (LATER, None)
    (attached,) = acme.told
    assert isinstance(attached, SubscriptionAddonAttached)
    assert (attached.addon_id, attached.subscription.version) == (storage, 2)
    assert [(each.id, each.code, each.attached_at) for each in attached.subscription.addons] == [
        (row["id"], "storage_50gb", LATER)
    ]
    _, event = await acme.history()
    assert (event["event_type"], event["detail"], event["actor"]) == (
        "addon_attached", {"addon_id": str(storage)}, "ann@acme.test"
    )  # fmt: skip
    assert (event["occurred_at"], event["version"]) == (LATER, 2)


async def test_an_addon_that_is_attached_twice_is_refused(deployments: Deployments) -> None:
    acme, storage = await subscriber(deployments, "studio", "storage_50gb"), await addon_id(deployments, "storage_50gb")
    assert await acme.refused(AttachAddon, code="storage_50gb") == (
        "addon_attached",
        {"addon_id": str(storage), "addon_code": "storage_50gb"},
    )


async def test_an_addon_that_is_not_there_is_not_attached(deployments: Deployments) -> None:
    acme = await subscriber(deployments)
    assert await acme.refused(AttachAddon, code="no-such-addon") == ("addon_not_found", {"addons": ["no-such-addon"]})


async def test_an_addon_in_another_currency_is_not_attached(deployments: Deployments) -> None:
    acme, (code, _) = await subscriber(deployments), await addon(deployments, currency=Currency.NZD)
    assert await acme.refused(AttachAddon, by=Authority.OPERATOR, code=code) == (
        "currency_mismatch",
        {"currency": "NZD", "subscription_currency": "AUD", "addon": code},
    )


async def test_an_addon_is_detached(deployments: Deployments) -> None:
    acme = await subscriber(deployments, "studio", "storage_50gb", "llm_5m_tokens")
    storage, tokens = [await addon_id(deployments, code) for code in ("storage_50gb", "llm_5m_tokens")]
    result = await acme.ask(DetachAddon, now=LATER, addon_id=storage)

    assert [each["addon_id"] for each in result["subscription"]["addons"]] == [str(tokens)]
    assert {row["addon_id"]: row["detached_at"] for row in await acme.addons()} == {storage: LATER, tokens: None}
    (detached,) = acme.told
    assert isinstance(detached, SubscriptionAddonDetached)
    assert (detached.addon_id, detached.subscription.version) == (storage, 2)
    # What was attached in the period is told of on, for whoever bills it.
    assert {each.addon_id: each.detached_at for each in detached.subscription.addons} == {storage: LATER, tokens: None}
    _, event = await acme.history()
    assert (event["event_type"], event["detail"], event["version"]) == (
        "addon_detached", {"addon_id": str(storage)}, 2
    )  # fmt: skip


async def test_what_is_not_attached_cannot_be_detached(deployments: Deployments) -> None:
    acme, storage = await subscriber(deployments, "studio", "storage_50gb"), await addon_id(deployments, "storage_50gb")
    tokens = await addon_id(deployments, "llm_5m_tokens")
    for id in (tokens, uuid4()):
        assert await acme.refused(DetachAddon, addon_id=id) == ("addon_not_attached", {"addon_id": str(id)})
    await acme.ask(DetachAddon, addon_id=storage)
    assert await acme.refused(DetachAddon, addon_id=storage) == ("addon_not_attached", {"addon_id": str(storage)})


async def test_what_was_detached_is_attached_again_at_the_price_of_then(deployments: Deployments) -> None:
    code, id = await addon(deployments, cents=100)
    acme = await subscriber(deployments, "studio", code)
    await acme.ask(DetachAddon, now=LATER, addon_id=id)
    await deployments.fetch("update addons set price_cents = 130, qty = 6 where id = $1", id)
    result = await acme.ask(AttachAddon, now=LATER, code=code)

    assert result["subscription"]["addons"] == [
        {"addon_id": str(id), "resource_kind": "dns_zones", "qty": 6, "price_cents": 130}
    ]
    rows = await acme.addons()
    assert [(row["qty"], row["price_cents"], row["attached_at"], row["detached_at"]) for row in rows] == [
        (5, 100, NOW, LATER),
        (6, 130, LATER, None),
    ]
    (attached,) = acme.told
    assert isinstance(attached, SubscriptionAddonAttached)
    assert [(each.price_cents, each.detached_at) for each in attached.subscription.addons] == [
        (100, LATER),
        (130, None),
    ]


async def test_an_addon_of_a_subscription_is_nobody_elses(deployments: Deployments) -> None:
    acme, other = await subscriber(deployments, "studio", "storage_50gb"), await subscriber(deployments)
    storage = await addon_id(deployments, "storage_50gb")
    await other.ask(AttachAddon, code="storage_50gb")
    await other.ask(DetachAddon, addon_id=storage)
    assert [row["detached_at"] for row in await acme.addons()] == [None]


async def test_what_was_detached_two_periods_ago_is_told_no_more(deployments: Deployments) -> None:
    acme, storage = await subscriber(deployments, "studio", "storage_50gb"), await addon_id(deployments, "storage_50gb")
    await acme.ask(DetachAddon, now=LATER, addon_id=storage)
    told = {}
    for days in (20, 30, 60):
        await acme.ask(AttachAddon, now=NOW + timedelta(days=days), code="llm_5m_tokens")
        newest = acme.told[-1]
        assert isinstance(newest, SubscriptionAddonAttached)
        told[days] = {each.code for each in newest.subscription.addons}
        await acme.ask(
            DetachAddon, now=NOW + timedelta(days=days), addon_id=await addon_id(deployments, "llm_5m_tokens")
        )
    assert told == {
        20: {"storage_50gb", "llm_5m_tokens"},
        30: {"storage_50gb", "llm_5m_tokens"},
        60: {"llm_5m_tokens"},
    }
