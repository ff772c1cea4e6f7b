"""The catalog over HTTP: everybody reads it, operators write it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from services.deployments.app import service as deployments
from services.gateway.app import serving
from shared.process import running
from tests.gateway.selling import CATALOG, Json, done, drafted, named, published, refused, slug, subscribed, terms, time
from tests.gateway.world import ACME, OPERATOR, World, client

pytestmark = pytest.mark.usefixtures("inventory")

PLAN = {"id", "code", "name", "active_version"}
VERSION = {"id", "number", "status", "base_price_cents", "currency", "published_at", "retired_at", "items"}
ITEM = {"resource_kind", "included_qty", "overage_unit", "overage_price_cents", "hard_cap_qty"}
ADDON = {"id", "code", "name", "resource_kind", "qty", "price_cents", "currency"}
PRICE = {"resource_kind", "unit_price_cents", "currency", "effective_from", "effective_until"}
RETIRED = {"plan_version_id", "plan_code", "number", "base_price_cents", "currency", "retired_at"}
WRITTEN = {"created_at", "version"}  # what a write tells beside what a list shows

ZONES: Json = {
    "resource_kind": "dns_zones",
    "included_qty": 1,
    "overage_unit": 2,
    "overage_price_cents": 100,
    "hard_cap_qty": 5,
}
AN_ADDON: Json = {
    "name": "Five zones",
    "resource_kind": "dns_zones",
    "qty": 5,
    "price_cents": 300,
    "currency": "AUD",
}
A_PRICE: Json = {"resource_kind": "backup_gb_month", "unit_price_cents": "0.0021", "currency": "AUD"}


@dataclass
class Market:
    """A gateway and a service on a catalog of its own, in which nothing is on sale but Studio and 50 GB."""

    operator: httpx.AsyncClient
    acme: httpx.AsyncClient


@pytest.fixture
async def market(alone: World) -> AsyncIterator[Market]:
    async with (
        running(deployments, alone.settings),
        serving(alone.settings) as gateway,
        client(gateway, OPERATOR) as operator,
        client(gateway, ACME) as acme,
    ):
        yield Market(operator, acme)


async def plans(http: httpx.AsyncClient) -> dict[str, Json]:
    body = done(await http.get(f"{CATALOG}/plans"))
    assert body.keys() == {"plans", "count"}
    assert body["count"] == len(body["plans"])
    return {plan["code"]: plan for plan in body["plans"]}


async def test_a_plan_becomes_an_offer(acme: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    code = slug()
    plan = done(await operator.post(f"{CATALOG}/plans", json={"code": code, "name": "Large"}), 201)["plan"]
    assert plan.keys() == {"id", "code", "name", "versions"} | WRITTEN
    assert (plan["code"], plan["name"], plan["versions"], plan["version"]) == (code, "Large", [], 1)
    assert (await plans(operator))[code] == {"id": plan["id"], "code": code, "name": "Large", "active_version": None}
    assert code not in await plans(acme)

    draft = done(await operator.post(f"{CATALOG}/plans/{code}/versions", json=terms(7700, ZONES)), 201)["version"]
    assert draft.keys() == VERSION | {"plan_code", "created_at"}
    assert (draft["plan_code"], draft["number"], draft["status"], draft["published_at"]) == (code, 1, "draft", None)
    assert (draft["base_price_cents"], draft["currency"], draft["items"]) == (7700, "AUD", [ZONES])
    assert code not in await plans(acme)

    answer = await operator.post(f"{CATALOG}/versions/{draft['id']}/publish")
    version = done(answer)["version"]
    assert version == draft | {"status": "active", "published_at": version["published_at"]}
    for http in (acme, operator):
        offer = (await plans(http))[code]
        assert offer.keys() == PLAN
        active = offer["active_version"]
        assert active.keys() == VERSION
        assert active["items"] == [ZONES]
        assert active["items"][0].keys() == ITEM
        assert (active["id"], active["base_price_cents"], active["retired_at"]) == (version["id"], 7700, None)
        assert time(active["published_at"]) == time(version["published_at"])


async def test_plans_are_listed_the_cheapest_first(market: Market) -> None:
    for cents in (9000, 1000):
        await published(market.operator, await named(market.operator), terms(cents))
    await named(market.operator)
    listed = done(await market.acme.get(f"{CATALOG}/plans"))
    assert listed["count"] == 3
    assert [plan["active_version"]["base_price_cents"] for plan in listed["plans"]] == [1000, 5000, 9000]
    *_, unpublished = done(await market.operator.get(f"{CATALOG}/plans"))["plans"]
    assert unpublished["active_version"] is None


async def test_an_operator_sees_all_versions_of_a_plan_and_how_many_are_on_each(
    acme: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    code = await named(operator)
    old = await published(operator, code, terms(1000, ZONES))
    await subscribed(acme, code)
    active, draft = await published(operator, code, terms(1500)), await drafted(operator, code, terms(2000))
    body = done(await operator.get(f"{CATALOG}/plans/{code}"))
    assert body.keys() == {"plan"}
    plan = body["plan"]
    assert plan.keys() == {"id", "code", "name", "versions"}
    assert all(version.keys() == VERSION | {"subscribers"} for version in plan["versions"])
    assert [(v["id"], v["number"], v["status"], v["subscribers"]) for v in plan["versions"]] == [
        (draft, 3, "draft", 0),
        (active, 2, "active", 0),
        (old, 1, "retired", 1),
    ]
    assert plan["versions"][2]["items"] == [ZONES]
    assert plan["versions"][2]["retired_at"] is not None
    refused(await operator.get(f"{CATALOG}/plans/no-such-plan"), 404, "not_found")


async def test_what_cannot_be_done_to_a_plan_is_refused(operator: httpx.AsyncClient) -> None:
    code = await named(operator)
    old, nothing = await published(operator, code, terms()), uuid4()
    new = await published(operator, code, terms())
    answer = await operator.post(f"{CATALOG}/plans", json={"code": code, "name": "Another"})
    assert refused(answer, 409, "plan_exists", "plan_code")["plan_code"] == code
    answer = await operator.post(f"{CATALOG}/plans/no-such-plan/versions", json=terms())
    refused(answer, 404, "plan_not_found", "plan_code")
    answer = await operator.post(f"{CATALOG}/versions/{old}/publish")
    refused(answer, 409, "version_retired", "plan_version_id", "remedy")
    answer = await operator.post(f"{CATALOG}/versions/{nothing}/publish")
    assert refused(answer, 404, "version_not_found", "plan_version_id")["plan_version_id"] == str(nothing)
    again = done(await operator.post(f"{CATALOG}/versions/{new}/publish"))["version"]
    assert (again["id"], again["status"]) == (new, "active")


async def test_a_new_version_reprices_nobody_until_they_are_migrated(
    acme: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    code = await named(operator)
    old = await published(operator, code, terms(1000, ZONES))
    path = await subscribed(acme, code, "storage_50gb")
    new = await published(operator, code, terms(1500))
    assert done(await acme.get(path))["subscription"]["plan_version_id"] == old

    migrate = f"{CATALOG}/plans/{code}/migrate"
    dry = done(await operator.post(migrate, json={"dry_run": True}))
    assert done(await acme.get(path))["subscription"]["plan_version_id"] == old
    assert dry.keys() == {"plan_code", "to_version_id", "subscriptions", "changes", "dry_run"}
    assert (dry["plan_code"], dry["to_version_id"], dry["subscriptions"]) == (code, new, 1)
    (moved,) = dry["changes"]
    assert moved.keys() == {"subscriptions", "change"}
    assert (moved["subscriptions"], moved["change"]["from_version_id"]) == (1, old)
    assert moved["change"]["base_price_cents"] == {"old": 1000, "new": 1500}
    elsewhere = done(await operator.post(migrate, json={"from_version_id": str(uuid4())}))
    assert (elsewhere["subscriptions"], elsewhere["changes"]) == (0, [])
    answer = await operator.post(migrate, json={"to_version_id": old})
    refused(answer, 409, "version_not_active", "plan_version_id", "active")
    assert done(await operator.post(migrate, json={"to_version_id": new})) == dry | {"dry_run": False}
    subscription = done(await acme.get(path))["subscription"]
    assert (subscription["plan_version_id"], subscription["addons"][0]["price_cents"]) == (new, 750)


async def test_a_migration_that_leads_nowhere_is_refused(acme: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    code = await named(operator)
    for plan, status, error in (("no-such-plan", 404, "plan_not_found"), (code, 409, "no_active_version")):
        refused(await operator.post(f"{CATALOG}/plans/{plan}/migrate"), status, error, "plan_code")
    await published(operator, code, terms())
    await subscribed(acme, code)
    await published(operator, code, terms(currency="USD"))
    answer = await operator.post(f"{CATALOG}/plans/{code}/migrate")
    refused(answer, 422, "currency_mismatch", "plan_version_id", "currency")


async def test_those_on_retired_versions_are_listed_page_by_page(market: Market) -> None:
    code = await named(market.operator)
    old = await published(market.operator, code, terms(1000))
    paths = [await subscribed(market.acme, code) for _ in range(3)]
    listing = f"{CATALOG}/retired-versions"
    assert done(await market.operator.get(listing)) == {"versions": [], "subscribers": [], "count": 0, "next": None}
    await published(market.operator, code, terms(1500))
    done(await market.acme.post(f"{paths[2]}/cancel", json={"at": "now"}))

    first = done(await market.operator.get(listing, params={"limit": 1}))
    assert first.keys() == {"versions", "subscribers", "count", "next"}
    second = done(await market.operator.get(listing, params={"limit": 1, "cursor": first["next"]}))
    assert (first["count"], second["count"], second["next"]) == (1, 1, None)
    (version,) = first["versions"]
    assert version.keys() == RETIRED | {"subscribers"}
    assert (version["plan_version_id"], version["plan_code"], version["number"], version["subscribers"]) == (
        old, code, 1, 2
    )  # fmt: skip
    found = first["subscribers"] + second["subscribers"]
    assert all(each.keys() == RETIRED | {"subscription_id", "deployment_id", "tenant_id", "slug"} for each in found)
    assert [each["deployment_id"] for each in found] == [path.rpartition("/")[2] for path in paths[:2]]


async def test_an_addon_becomes_an_offer(acme: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    code = slug()
    addon = done(await operator.post(f"{CATALOG}/addons", json={"code": code} | AN_ADDON), 201)["addon"]
    assert addon.keys() == ADDON | WRITTEN
    assert addon | {"code": code} | AN_ADDON == addon
    for http in (acme, operator):
        listed = done(await http.get(f"{CATALOG}/addons"))
        assert listed.keys() == {"addons", "count"}
        assert listed["count"] == len(listed["addons"])
        assert [each for each in listed["addons"] if each["code"] == code] == [
            {name: value for name, value in addon.items() if name in ADDON}
        ]
        assert [each["code"] for each in listed["addons"]] == sorted(each["code"] for each in listed["addons"])
    answer = await operator.post(f"{CATALOG}/addons", json={"code": code} | AN_ADDON)
    assert refused(answer, 409, "addon_exists", "addon_code")["addon_code"] == code


async def prices(http: httpx.AsyncClient, at: datetime | None = None) -> list[Json]:
    parameters = {"at": at.isoformat()} if at else {}
    body = done(await http.get(f"{CATALOG}/resource-prices", params=parameters))
    assert body.keys() == {"resource_prices", "count"}
    assert body["count"] == len(body["resource_prices"])
    found: list[Json] = body["resource_prices"]
    return found


async def priced(http: httpx.AsyncClient, value: str, since: str) -> Json:
    """All prices of the kind, once it has this one too."""
    wish = A_PRICE | {"unit_price_cents": value, "effective_from": since}
    answer = done(await http.post(f"{CATALOG}/resource-prices", json=wish), 201)
    assert answer.keys() == {"resource_prices"}
    found: Json = answer["resource_prices"]
    return found


async def test_a_price_holds_from_its_time_on(market: Market) -> None:
    assert await prices(market.acme) == []
    await priced(market.operator, "2.50", "2026-06-01T00:00:00Z")
    await priced(market.operator, "7", "2090-01-01T00:00:00Z")
    assert await priced(market.operator, "0.0021", "2026-05-01T10:00:00+10:00") == {
        "resource_kind": "backup_gb_month",
        "prices": [
            {"effective_from": "2026-05-01T00:00:00Z", "unit_price_cents": "0.0021", "currency": "AUD"},
            {"effective_from": "2026-06-01T00:00:00Z", "unit_price_cents": "2.5", "currency": "AUD"},
            {"effective_from": "2090-01-01T00:00:00Z", "unit_price_cents": "7", "currency": "AUD"},
        ],
        "version": 3,
    }
    (shown,) = await prices(market.acme)
    assert shown.keys() == PRICE
    assert time(shown["effective_from"]) == datetime(2026, 6, 1, tzinfo=UTC)
    assert time(shown["effective_until"]) == datetime(2090, 1, 1, tzinfo=UTC)
    (told,) = await prices(market.operator)
    assert told.keys() == PRICE | {"actor", "recorded_at"}
    assert told | {"resource_kind": "backup_gb_month", "unit_price_cents": "2.5", "actor": "ops@arcadia.test"} == told

    wish = A_PRICE | {"effective_from": "2026-06-01T10:00:00+10:00"}
    answer = await market.operator.post(f"{CATALOG}/resource-prices", json=wish)
    refused(answer, 409, "price_exists", "resource_kind", "effective_from")
    done(await market.operator.post(f"{CATALOG}/resource-prices", json=A_PRICE), 201)
    assert [each["unit_price_cents"] for each in await prices(market.acme)] == ["0.0021"]


async def test_the_prices_of_any_time_can_be_asked_for(market: Market) -> None:
    may, june = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    await priced(market.operator, "0.0021", may.isoformat())
    await priced(market.operator, "2.5", june.isoformat())
    moment = timedelta(microseconds=1)
    for at, values in ((may - moment, []), (may, ["0.0021"]), (june - moment, ["0.0021"]), (june, ["2.5"])):
        for http in (market.acme, market.operator):
            assert [each["unit_price_cents"] for each in await prices(http, at)] == values
    for wrong in (
        "yesterday",
        "2026-06-01T00:00:00",
        "1999-12-31T23:59:59Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
    ):
        answer = await market.acme.get(f"{CATALOG}/resource-prices", params={"at": wrong})
        refused(answer, 422, "validation_failed", "errors")


WRITES: list[tuple[str, Any]] = [
    ("/plans", {"code": "mine", "name": "Mine"}),
    ("/plans/studio/versions", terms()),
    ("/versions/019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f11/publish", None),
    ("/plans/studio/migrate", {"dry_run": True}),
    ("/addons", {"code": "mine"} | AN_ADDON),
    ("/resource-prices", A_PRICE),
]


@pytest.mark.parametrize(("path", "body"), WRITES)
async def test_the_catalog_is_the_operators_to_write(
    there: World, acme: httpx.AsyncClient, globex: httpx.AsyncClient, path: str, body: Any
) -> None:
    before = await there.admin.fetchval("select count(*) from gateway.operations")
    for http in (acme, globex):  # globex's token has the role `admin`, which grants nothing
        refused(await http.post(f"{CATALOG}{path}", json=body), 403, "forbidden")
    assert await there.admin.fetchval("select count(*) from gateway.operations") == before


@pytest.mark.parametrize("path", ["/plans/studio", "/retired-versions"])
async def test_what_tells_of_subscribers_is_the_operators_to_read(acme: httpx.AsyncClient, path: str) -> None:
    refused(await acme.get(f"{CATALOG}{path}"), 403, "forbidden")


AMOUNTS = [20.0, "20", True, None, -1, 20.5, 10**12, 10**30]
BAD: list[tuple[str, Json, str]] = [
    *[("/plans/studio/versions", terms() | {"base_price_cents": value}, "base_price_cents") for value in AMOUNTS],
    *[("/addons", {"code": "x"} | AN_ADDON | {"price_cents": value}, "price_cents") for value in AMOUNTS],
    *[("/addons", {"code": "x"} | AN_ADDON | {"qty": value}, "qty") for value in (*AMOUNTS[:6], 0, 10**16)],
    *[("/plans/studio/versions", terms(1, ZONES | {"included_qty": v}), "items.0.included_qty") for v in AMOUNTS[:6]],
    ("/plans/studio/versions", terms(1, ZONES | {"overage_unit": 0}), "items.0.overage_unit"),
    ("/plans/studio/versions", terms(1, ZONES | {"overage_price_cents": 1.5}), "items.0.overage_price_cents"),
    ("/plans/studio/versions", terms(1, ZONES | {"included_qty": 6}), "items.0.hard_cap_qty"),
    ("/plans/studio/versions", terms(1, ZONES | {"resource_kind": "droplet"}), "items.0.resource_kind"),
    ("/plans/studio/versions", terms(1, ZONES, ZONES), "items"),
    ("/plans/studio/versions", terms(currency="ZZZ"), "currency"),
    ("/plans", {"code": "Not A Code", "name": "X"}, "code"),
    ("/plans", {"code": "x", "name": ""}, "name"),
    ("/addons", {"code": "x"} | AN_ADDON | {"currency": "aud"}, "currency"),
    ("/addons", {"code": "x"} | AN_ADDON | {"resource_kind": "submarine"}, "resource_kind"),
    *[
        ("/resource-prices", A_PRICE | {"unit_price_cents": value}, "unit_price_cents")
        for value in (0.0021, 2.0, True, None, -1, "-1", "NaN", "Infinity", "1e30", "0.0000000001", "free")
    ],
    ("/resource-prices", A_PRICE | {"currency": "ZZZ"}, "currency"),
    ("/resource-prices", A_PRICE | {"resource_kind": "droplet"}, "resource_kind"),
    ("/resource-prices", A_PRICE | {"effective_from": "2026-05-01T00:00:00"}, "effective_from"),
    ("/plans/studio/migrate", {"from_version_id": "seven"}, "from_version_id"),
    ("/plans/studio/migrate", {"to_version_id": "eight"}, "to_version_id"),
]


def named_in(body: Any, field: str) -> object:
    """What stands in a body at a path such as `items.0.included_qty`."""
    for part in field.split("."):
        body = body[int(part)] if isinstance(body, list) else body.get(part)
    return body


@pytest.mark.parametrize(("path", "body", "field"), BAD, ids=[f"{f}={named_in(body, f)!r:.30}" for _, body, f in BAD])
async def test_bad_input_is_told_where_it_is_bad_and_nothing_is_stored(
    there: World, operator: httpx.AsyncClient, path: str, body: Json, field: str
) -> None:
    before = await there.admin.fetchval("select count(*) from gateway.operations")
    found = refused(await operator.post(f"{CATALOG}{path}", json=body), 422, "validation_failed", "errors")
    assert [(each["source"], each["field"]) for each in found["errors"]] == [("body", field)]
    assert await there.admin.fetchval("select count(*) from gateway.operations") == before


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
async def test_what_is_no_json_is_no_price_either(operator: httpx.AsyncClient, number: str) -> None:
    content = f'{{"resource_kind": "dns_zones", "unit_price_cents": {number}, "currency": "AUD"}}'
    answer = await operator.post(f"{CATALOG}/resource-prices", content=content)
    refused(answer, 400, "malformed_request")


async def test_the_same_key_writes_once_and_is_answered_the_same(operator: httpx.AsyncClient) -> None:
    headers, code = {"idempotency-key": str(uuid4())}, await named(operator)
    path = f"{CATALOG}/plans/{code}/versions"
    answers = [await operator.post(path, json=terms(), headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].content == answers[1].content
    assert len(done(await operator.get(f"{CATALOG}/plans/{code}"))["plan"]["versions"]) == 1
