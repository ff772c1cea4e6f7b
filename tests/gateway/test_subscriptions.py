"""Subscriptions over HTTP, in the exact shapes that existing clients depend on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.gateway.selling import (
    ADDON,
    CATALOG,
    D,
    Json,
    S,
    created,
    done,
    drafted,
    named,
    path_of_new,
    published,
    refused,
    slug,
    subscribed,
    terms,
    time,
)
from tests.gateway.world import World

pytestmark = pytest.mark.usefixtures("inventory")

CANCELLED = {"subscription", "deployment", "cancel_at"}
CHANGE = {
    *("from_plan_code", "from_version_id", "to_plan_code", "to_version_id", "currency", "base_price_cents", "items"),
    "effective_from",
}
SHOWN = {
    *("id", "deployment_id", "status", "plan_version_id", "current_period_start", "current_period_end"),
    *("trial_ends_at", "cancel_at", "started_at", "ended_at", "plan_code", "plan_name", "number", "base_price_cents"),
    "currency",
}
SHOWN_ADDON = {
    *("id", "subscription_id", "addon_id", "resource_kind", "qty", "price_cents", "currency", "attached_at"),
    *("code", "name"),
}
SHOWN_EVENT = {"id", "subscription_id", "event_type", "detail", "reason", "actor", "occurred_at"}


def is_this_month(subscription: Json) -> bool:
    """Whether the current period is the calendar month, in UTC."""
    start, end = time(subscription["current_period_start"]), time(subscription["current_period_end"])
    next_month = (start + timedelta(days=31)).replace(day=1)
    midnight = {"day": 1, "hour": 0, "minute": 0, "second": 0, "microsecond": 0}
    return start <= datetime.now(UTC) < end == next_month and start == start.replace(**midnight)  # type: ignore[arg-type]


def same(one: Json, other: Json) -> bool:
    """Whether two answers show one and the same subscription, however each writes its times."""
    times = ("current_period_start", "current_period_end")
    plain = [{**each, **{name: time(each[name]) for name in times}} for each in (one, other)]
    return plain[0] == plain[1]


async def test_a_deployment_is_subscribed_with_addons_at_todays_price(there: World, acme: httpx.AsyncClient) -> None:
    path = await path_of_new(acme)
    body = done(await acme.post(f"{path}/subscribe", json={"plan_code": "studio", "addons": ["storage_50gb"]}), 201)
    assert body.keys() == {"subscription"}
    subscription = body["subscription"]
    assert subscription.keys() == S
    assert is_this_month(subscription)
    query = "select v.id from deployments.plan_versions v join deployments.plans p on p.id = v.plan_id " + (
        "where p.code = 'studio' and v.status = 'active'"
    )
    assert subscription["plan_version_id"] == str(await there.admin.fetchval(query))
    assert (subscription["status"], subscription["trial_ends_at"]) == ("active", None)
    assert subscription["addons"] == [
        {"addon_id": str(there.fleet.addon), "resource_kind": "spaces_gb_month", "qty": 50, "price_cents": 750}
    ]
    assert all(addon.keys() == ADDON for addon in subscription["addons"])

    shown = done(await acme.get(path))
    assert shown.keys() == {"deployment", "subscription", "events", "saga"}
    assert shown["subscription"].keys() == S
    assert same(shown["subscription"], subscription)


async def test_the_case_of_the_requirements(acme: httpx.AsyncClient) -> None:
    path = await path_of_new(acme)
    moved = done(await acme.post(f"{path}/transition", json={"to_state": "paused", "reason": "a quiet month"}))
    assert moved["deployment"]["state"] == "paused"
    no_way = await acme.post(f"{path}/transition", json={"to_state": "archived"})
    refused(no_way, 422, "invalid_transition", "from", "to")
    done(await acme.post(f"{path}/subscribe", json={"plan_code": "studio", "addons": ["storage_50gb"]}), 201)
    shown = done(await acme.get(path))
    assert shown["deployment"]["state"] == "paused"
    (addon,) = shown["subscription"]["addons"]
    assert (addon["price_cents"], addon["qty"]) == (750, 50)
    assert [(e["from_state"], e["to_state"], e["actor"]) for e in shown["events"]] == [
        ("active", "paused", "ann@acme.test"),
        (None, "active", "ann@acme.test"),
    ]


async def test_a_plan_that_is_not_on_sale_is_not_found(acme: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    path, unpublished = await path_of_new(acme), await named(operator)
    await drafted(operator, unpublished, terms())
    for code in ("no-such-plan", unpublished):
        answer = await acme.post(f"{path}/subscribe", json={"plan_code": code})
        assert refused(answer, 404, "plan_or_version_not_found", "plan_code")["plan_code"] == code


async def test_a_second_subscription_is_refused(acme: httpx.AsyncClient) -> None:
    path = await subscribed(acme)
    answer = await acme.post(f"{path}/subscribe", json={"plan_code": "studio"})
    refused(answer, 409, "subscription_exists", "subscription_id")


async def test_an_addon_that_is_not_there_refuses_the_whole_request(acme: httpx.AsyncClient) -> None:
    path = await path_of_new(acme)
    codes = ["storage_50gb", "no-such-addon"]
    answer = await acme.post(f"{path}/subscribe", json={"plan_code": "studio", "addons": codes})
    assert refused(answer, 422, "addon_not_found", "addons")["addons"] == ["no-such-addon"]
    assert done(await acme.get(path))["subscription"] is None
    answer = await acme.post(f"{path}/subscribe", json={"plan_code": "studio", "addons": ["storage_50gb"] * 2})
    refused(answer, 422, "addon_repeated", "addons")


async def test_what_is_in_another_currency_is_refused(acme: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    plan = await named(operator)
    await published(operator, plan, terms(currency="USD"))
    wish = {"plan_code": plan, "addons": ["storage_50gb"]}
    answer = await acme.post(f"{await path_of_new(acme)}/subscribe", json=wish)
    body = refused(answer, 422, "currency_mismatch", "currency", "subscription_currency", "addon")
    assert (body["currency"], body["subscription_currency"], body["addon"]) == ("AUD", "USD", "storage_50gb")


async def test_a_deployment_whose_life_is_over_is_not_subscribed(acme: httpx.AsyncClient) -> None:
    path = await path_of_new(acme)
    done(await acme.post(f"{path}/transition", json={"to_state": "cancelled"}))
    answer = await acme.post(f"{path}/subscribe", json={"plan_code": "studio"})
    assert refused(answer, 409, "deployment_ended", "state")["state"] == "cancelled"


async def test_a_trial_is_for_operators_to_give(acme: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    made = await created(operator, tenant_id="acme", trial=True)
    path, end = f"/api/v1/deployments/{made['id']}", datetime.now(UTC) + timedelta(days=14)
    wish = {"plan_code": "studio", "trial_ends_at": end.isoformat()}
    refused(await acme.post(f"{path}/subscribe", json=wish), 403, "forbidden")
    past = wish | {"trial_ends_at": "2026-01-01T00:00:00Z"}
    refused(await operator.post(f"{path}/subscribe", json=past), 422, "trial_ends_in_past", "trial_ends_at", "now")
    naive = wish | {"trial_ends_at": "2090-01-01T00:00:00"}
    refused(await operator.post(f"{path}/subscribe", json=naive), 422, "validation_failed", "errors")
    body = done(await operator.post(f"{path}/subscribe", json=wish), 201)
    assert time(body["subscription"]["trial_ends_at"]) == end
    assert time(done(await acme.get(path))["subscription"]["trial_ends_at"]) == end


async def test_the_same_key_subscribes_once_and_is_answered_the_same(acme: httpx.AsyncClient) -> None:
    path, headers = await path_of_new(acme), {"idempotency-key": str(uuid4())}
    answers = [await acme.post(f"{path}/subscribe", json={"plan_code": "studio"}, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].content == answers[1].content


async def test_an_addon_is_attached_and_detached(
    there: World, acme: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    path = await subscribed(acme)
    attached = done(await acme.post(f"{path}/addons", json={"code": "storage_50gb"}), 201)
    assert attached.keys() == {"subscription"}
    assert attached["subscription"].keys() == S
    (addon,) = attached["subscription"]["addons"]
    assert addon.keys() == ADDON
    assert (addon["addon_id"], addon["qty"], addon["price_cents"]) == (str(there.fleet.addon), 50, 750)
    again = refused(
        await acme.post(f"{path}/addons", json={"code": "storage_50gb"}),
        409,
        "addon_attached",
        "addon_id",
        "addon_code",
    )
    assert again["addon_id"] == addon["addon_id"]

    detached = done(await acme.delete(f"{path}/addons/{addon['addon_id']}"))
    assert detached.keys() == {"subscription"}
    assert detached["subscription"] == attached["subscription"] | {"addons": []}
    for http in (acme, operator):
        assert done(await http.get(path))["subscription"]["addons"] == []
        assert done(await http.get(f"{path}/subscription"))["addons"] == []
    refused(await acme.delete(f"{path}/addons/{addon['addon_id']}"), 404, "addon_not_attached", "addon_id")
    answer = await acme.post(f"{path}/addons", json={"code": "no-such-addon"})
    refused(answer, 422, "addon_not_found", "addons")
    assert done(await acme.post(f"{path}/addons", json={"code": "storage_50gb"}), 201) == attached


async def test_a_plan_is_changed_as_its_dry_run_told(acme: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    plan, path = await named(operator), await subscribed(acme)
    zones = {"resource_kind": "dns_zones", "included_qty": 4, "overage_price_cents": 100}
    version = await published(operator, plan, terms(9000, zones))
    before = done(await acme.get(path))["subscription"]
    dry = done(await acme.post(f"{path}/plan", json={"plan_code": plan, "dry_run": True}))
    assert dry.keys() == {"subscription", "change", "dry_run"}
    assert same(dry["subscription"], before)
    assert same(done(await acme.get(path))["subscription"], before)

    real = done(await acme.post(f"{path}/plan", json={"plan_code": plan}))
    assert (real.keys(), real["dry_run"], dry["dry_run"]) == (dry.keys(), False, True)
    assert real["change"] == dry["change"]
    change = real["change"]
    assert change.keys() == CHANGE
    assert change == {
        "from_plan_code": "studio",
        "from_version_id": before["plan_version_id"],
        "to_plan_code": plan,
        "to_version_id": version,
        "currency": "AUD",
        "base_price_cents": {"old": 5000, "new": 9000},
        "items": [
            {
                "resource_kind": "dns_zones",
                "included_qty": {"old": None, "new": 4},
                "overage_unit": {"old": None, "new": 1},
                "overage_price_cents": {"old": None, "new": 100},
                "hard_cap_qty": {"old": None, "new": None},
            }
        ],
        "effective_from": change["effective_from"],
    }
    assert time(change["effective_from"]) == time(before["current_period_start"])
    assert same(real["subscription"], before | {"plan_version_id": version})
    assert same(done(await acme.get(path))["subscription"], real["subscription"])


async def test_a_version_that_is_not_on_sale_is_for_operators_to_choose(
    acme: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    plan, path = await named(operator), await subscribed(acme)
    retired = await published(operator, plan, terms(800))
    active, draft = await published(operator, plan, terms(900)), await drafted(operator, plan, terms(1000))
    members = ("plan_version_id", "status")
    refused(await acme.post(f"{path}/plan", json={"plan_version_id": retired}), 409, "version_not_active", *members)
    for http in (acme, operator):
        refused(await http.post(f"{path}/plan", json={"plan_version_id": draft}), 409, "version_not_active", *members)
    for http, version in ((acme, active), (operator, retired)):
        body = done(await http.post(f"{path}/plan", json={"plan_version_id": version}))
        assert body["subscription"]["plan_version_id"] == version


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"plan_code": "no-such-plan"}, 404, "plan_or_version_not_found"),
        ({"plan_version_id": str(uuid4())}, 404, "plan_or_version_not_found"),
        ({"plan_version_id": "seven"}, 422, "validation_failed"),
        ({}, 422, "validation_failed"),
        ({"dry_run": True}, 422, "validation_failed"),
        ({"plan_code": "studio", "plan_version_id": str(uuid4())}, 422, "validation_failed"),
    ],
)
async def test_a_change_to_nothing_is_refused(acme: httpx.AsyncClient, body: Json, status: int, error: str) -> None:
    answer = await acme.post(f"{await subscribed(acme)}/plan", json=body)
    refused(answer, status, error, "errors" if status == 422 else next(iter(body)))


@pytest.mark.parametrize("body", [None, {}, {"at": "period_end"}])
async def test_a_subscription_is_cancelled_with_its_period_and_goes_on_after_all(
    acme: httpx.AsyncClient, body: Json | None
) -> None:
    path = await subscribed(acme)
    asked = done(await acme.post(f"{path}/cancel", json=body))
    assert asked.keys() == CANCELLED
    assert asked["subscription"].keys() == S
    assert asked["deployment"].keys() == D
    assert (asked["subscription"]["status"], asked["deployment"]["state"]) == ("active", "active")
    assert time(asked["cancel_at"]) == time(asked["subscription"]["current_period_end"])
    assert done(await acme.post(f"{path}/cancel", json=body)) == asked
    shown = done(await acme.get(f"{path}/subscription"))["subscription"]
    assert time(shown["cancel_at"]) == time(asked["cancel_at"])

    withdrawn = done(await acme.post(f"{path}/uncancel"))
    assert withdrawn == asked | {"cancel_at": None}
    refused(await acme.post(f"{path}/uncancel"), 409, "not_to_be_cancelled", "subscription_id")


async def test_a_subscription_is_cancelled_now_with_its_deployment(acme: httpx.AsyncClient) -> None:
    path = await subscribed(acme)
    ended = done(await acme.post(f"{path}/cancel", json={"at": "now", "reason": "moving on"}))
    assert ended.keys() == CANCELLED
    assert (ended["subscription"]["status"], ended["deployment"]["state"]) == ("cancelled", "cancelled")
    assert ended["cancel_at"] is None
    shown = done(await acme.get(path))
    assert (shown["deployment"]["state"], shown["subscription"]["status"]) == ("cancelled", "cancelled")
    newest = shown["events"][0]
    assert (newest["from_state"], newest["to_state"], newest["reason"]) == ("active", "cancelled", "moving on")
    for wish, body in (("cancel", {"at": "now"}), ("uncancel", None), ("plan", {"plan_code": "studio"})):
        refused(await acme.post(f"{path}/{wish}", json=body), 409, "subscription_cancelled", "ended_at")


async def test_a_cancellation_is_refused_as_the_transition_would_be(
    acme: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    path = await subscribed(acme)
    done(await operator.post(f"{path}/transition", json={"to_state": "suspended"}))
    for at in ("now", "period_end"):
        body = refused(await acme.post(f"{path}/cancel", json={"at": at}), 403, "forbidden", "from", "to")
        assert (body["from"], body["to"]) == ("suspended", "cancelled")
    refused(await acme.post(f"{path}/cancel", json={"at": "tomorrow"}), 422, "validation_failed", "errors")


async def test_a_tenant_cannot_withdraw_what_an_operator_asked_for(
    acme: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    path = await subscribed(acme)
    done(await operator.post(f"{path}/cancel"))
    refused(await acme.post(f"{path}/uncancel"), 403, "forbidden")
    assert done(await operator.post(f"{path}/uncancel"))["cancel_at"] is None


async def test_a_subscription_is_shown_with_its_terms_and_its_history(
    acme: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    path = await subscribed(acme, "studio", "storage_50gb")
    done(await acme.post(f"{path}/transition", json={"to_state": "paused", "reason": "a quiet month"}))
    for http, more in ((acme, set[str]()), (operator, {"tenant_id"})):
        shown = done(await http.get(f"{path}/subscription"))
        assert shown.keys() == {"subscription", "addons", "events"}
        subscription, (addon,), (newest, oldest) = shown["subscription"], shown["addons"], shown["events"]
        assert subscription.keys() == SHOWN | more
        assert path.endswith(subscription["deployment_id"])
        assert (subscription["plan_code"], subscription["plan_name"], subscription["number"]) == ("studio", "Studio", 1)
        assert (subscription["base_price_cents"], subscription["currency"]) == (5000, "AUD")
        assert (subscription["status"], subscription["cancel_at"], subscription["ended_at"]) == ("paused", None, None)
        assert addon.keys() == SHOWN_ADDON
        assert (addon["code"], addon["name"], addon["qty"], addon["price_cents"]) == ("storage_50gb", "50 GB", 50, 750)
        assert newest.keys() == oldest.keys() == SHOWN_EVENT | more
        assert (newest["event_type"], newest["reason"], newest["actor"]) == ("paused", "a quiet month", "ann@acme.test")
        assert (oldest["event_type"], oldest["detail"]) == ("started", {})


async def test_a_deployment_without_a_subscription_has_none_to_show_or_to_change(acme: httpx.AsyncClient) -> None:
    path = await path_of_new(acme)
    refused(await acme.get(f"{path}/subscription"), 404, "not_found")
    wishes: list[tuple[str, str, Any]] = [
        ("POST", "/addons", {"code": "storage_50gb"}),
        ("DELETE", f"/addons/{uuid4()}", None),
        ("POST", "/plan", {"plan_code": "studio"}),
        ("POST", "/cancel", None),
        ("POST", "/uncancel", None),
    ]
    for method, of, body in wishes:
        answer = await acme.request(method, f"{path}{of}", json=body)
        refused(answer, 404, "subscription_not_found", "deployment_id")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "plan_code"),
        ({"plan_code": 7}, "plan_code"),
        ({"plan_code": "studio", "addons": "storage_50gb"}, "addons"),
        ({"plan_code": "studio", "addons": ["x"] * 101}, "addons"),
        ({"plan_code": "studio", "addons": [None]}, "addons.0"),
        ({"plan_code": "studio", "trial_ends_at": "soon"}, "trial_ends_at"),
    ],
)
async def test_bad_input_is_told_where_it_is_bad(acme: httpx.AsyncClient, body: Json, field: str) -> None:
    found = refused(
        await acme.post(f"{await path_of_new(acme)}/subscribe", json=body), 422, "validation_failed", "errors"
    )
    assert [each["field"] for each in found["errors"]] == [field]


async def test_a_later_addon_of_the_catalog_reprices_nobody(
    acme: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    path = await subscribed(acme, "studio", "storage_50gb")
    dearer = {"code": slug(), "name": "50 GB, dearer", "resource_kind": "spaces_gb_month", "qty": 50}
    done(await operator.post(f"{CATALOG}/addons", json=dearer | {"price_cents": 990, "currency": "AUD"}), 201)
    assert [each["price_cents"] for each in done(await acme.get(path))["subscription"]["addons"]] == [750]
