"""What deployments, subscriptions and the catalog answer has the documented members, and no others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.gateway.selling import CATALOG, DEPLOYMENTS, Json, named, published, slug, subscribed, terms
from tests.gateway.test_documentation import closed, document, validate
from tests.gateway.world import World

pytestmark = pytest.mark.usefixtures("inventory")

ZONES = {"resource_kind": "dns_zones", "included_qty": 1, "overage_price_cents": 100}
ONE = f"{DEPLOYMENTS}/{{deployment_id}}"
SAGAS = "/api/v1/sagas"


@dataclass(frozen=True)
class Call:
    """A request to a documented route, and the status of its success."""

    method: str
    route: str
    status: int = 200
    body: Json | None = None


GETS = [
    Call("GET", DEPLOYMENTS),
    Call("GET", ONE),
    Call("GET", f"{ONE}/subscription"),
    Call("GET", f"{CATALOG}/plans"),
    Call("GET", f"{CATALOG}/addons"),
    Call("GET", f"{CATALOG}/resource-prices"),
    Call("GET", SAGAS),
    Call("GET", f"{SAGAS}/{{saga_id}}"),
]
OPERATORS_GETS = [Call("GET", f"{CATALOG}/plans/{{code}}"), Call("GET", f"{CATALOG}/retired-versions")]

A_PRICE = {"resource_kind": "backup_gb_month", "unit_price_cents": "0.5", "currency": "AUD"}
AN_ADDON = {"name": "X", "resource_kind": "dns_zones", "qty": 5, "price_cents": 300, "currency": "AUD"}

# In this order, each of these can be done to a deployment that is subscribed.
STORY = [
    Call("POST", f"{ONE}/addons", 201, {"code": "storage_50gb"}),
    Call("DELETE", f"{ONE}/addons/{{addon_id}}"),
    Call("POST", f"{ONE}/plan", 200, {"plan_code": "studio", "dry_run": True}),
    Call("POST", f"{ONE}/plan", 200, {"plan_code": "studio"}),
    Call("POST", f"{ONE}/cancel"),
    Call("POST", f"{ONE}/uncancel"),
    Call("PATCH", ONE, 200, {"display_name": "Another"}),
    Call("POST", f"{ONE}/transition", 200, {"to_state": "paused"}),
    Call("POST", f"{CATALOG}/plans/{{code}}/versions", 201, terms(3, ZONES)),
    Call("POST", f"{CATALOG}/versions/{{plan_version_id}}/publish"),
    Call("POST", f"{CATALOG}/plans/{{code}}/migrate", 200, {"dry_run": True}),
    Call("POST", f"{CATALOG}/plans/{{code}}/migrate"),
]

# These begin a run each.
CHANGES = [Call("POST", f"{ONE}/{change}", 202, {"reason": "x"}) for change in ("suspend", "resume", "offboard")]


async def check(http: httpx.AsyncClient, call: Call, **ids: str) -> Any:
    """Make a call, and compare what is answered with what the document says of it. Gives the answer."""
    answer = await http.request(call.method, call.route.format(**ids), json=call.body)
    assert answer.status_code == call.status, f"{call}: {answer.text}"
    found = await document(http)
    described = found["paths"][call.route][call.method.lower()]["responses"][str(call.status)]
    validate(closed(found), described["content"]["application/json"]["schema"], answer.json())
    return answer.json()


async def sold(there: World, acme: httpx.AsyncClient, operator: httpx.AsyncClient) -> dict[str, str]:
    """A subscriber of a version that is retired, with an addon and some history: the ids for the routes."""
    code = await named(operator)
    await published(operator, code, terms(1000, ZONES))
    path = await subscribed(acme, code, "storage_50gb")
    await acme.post(f"{path}/transition", json={"to_state": "paused", "reason": "a quiet month"})
    version = await published(operator, code, terms(1500, ZONES))
    await operator.post(f"{CATALOG}/resource-prices", json=A_PRICE)
    return {
        "deployment_id": path.rpartition("/")[2],
        "code": code,
        "addon_id": str(there.fleet.addon),
        "plan_version_id": version,
        "saga_id": str(there.fleet.sagas["acme"]),
    }


async def test_all_that_is_read_is_as_documented(
    there: World, acme: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    ids = await sold(there, acme, operator)
    for call in GETS:
        for http in (acme, operator):
            assert await check(http, call, **ids)
    for call in OPERATORS_GETS:
        assert await check(operator, call, **ids)


async def test_all_that_is_done_is_answered_as_documented(
    there: World, acme: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    ids = await sold(there, acme, operator)
    made = await check(operator, Call("POST", DEPLOYMENTS, 201, {"slug": slug()}))
    ids["deployment_id"] = made["deployment"]["id"]
    wish = {"plan_code": ids["code"], "addons": []}
    await check(operator, Call("POST", f"{ONE}/subscribe", 201, wish), **ids)
    for call in STORY:
        await check(operator, call, **ids)
    code = slug()
    await check(operator, Call("POST", f"{CATALOG}/plans", 201, {"code": code, "name": "X"}))
    await check(operator, Call("POST", f"{CATALOG}/addons", 201, {"code": code} | AN_ADDON))


async def test_a_price_is_documented_as_the_text_that_it_is(operator: httpx.AsyncClient) -> None:
    await check(operator, Call("POST", f"{CATALOG}/resource-prices", 201, A_PRICE))
    described = (await document(operator))["components"]["schemas"]["PriceRequest"]["properties"]["unit_price_cents"]
    assert described["type"] == "string"


async def test_what_a_saga_does_is_answered_with_it_as_documented(
    acme: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    built = await check(acme, Call("POST", DEPLOYMENTS, 202, {"slug": slug(), "provision": True}))
    assert built["saga"]["status"] == "pending"
    for call in CHANGES:
        made = await check(operator, Call("POST", DEPLOYMENTS, 201, {"slug": slug()}))
        await check(operator, call, deployment_id=made["deployment"]["id"])
    begun = await check(operator, Call("POST", SAGAS, 202, {"kind": "exercise", "inputs": {"steps": ["echo"] * 50}}))
    await check(operator, Call("POST", f"{SAGAS}/{{saga_id}}/cancel"), saga_id=begun["saga"]["id"])


async def test_every_route_of_deployments_sagas_and_the_catalog_is_among_these(stranger: httpx.AsyncClient) -> None:
    known = {(call.method, call.route) for call in (*GETS, *OPERATORS_GETS, *STORY, *CHANGES)}
    known |= {
        ("POST", DEPLOYMENTS),
        ("POST", f"{ONE}/subscribe"),
        ("POST", SAGAS),
        ("POST", f"{SAGAS}/{{saga_id}}/cancel"),
    }
    # `retry` wants a run that has failed, `resize` a droplet, and a stream of events is no JSON: each has its own test.
    known |= {("POST", f"{SAGAS}/{{saga_id}}/retry"), ("POST", f"{ONE}/resize"), ("GET", f"{SAGAS}/{{saga_id}}/events")}
    known |= {("POST", f"{CATALOG}/{name}") for name in ("plans", "addons", "resource-prices")}
    documented = {
        (method.upper(), path)
        for path, operations in (await document(stranger))["paths"].items()
        for method in operations
        if path.startswith((DEPLOYMENTS, SAGAS, CATALOG)) and method != "options"
    }
    assert documented == known
