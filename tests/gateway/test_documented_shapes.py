"""What deployments, subscriptions, sagas and the catalog answer has the documented members, and no others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.gateway.selling import (
    CATALOG,
    DEPLOYMENTS,
    Json,
    created,
    done,
    named,
    published,
    slug,
    subscribed,
    terms,
)
from tests.gateway.test_documentation import closed, document, validate
from tests.gateway.test_sagas import SAGAS, begun, ended
from tests.gateway.world import World, insert_run

pytestmark = pytest.mark.usefixtures("inventory")

ZONES = {"resource_kind": "dns_zones", "included_qty": 1, "overage_price_cents": 100}
ONE = f"{DEPLOYMENTS}/{{deployment_id}}"


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
    Call("GET", f"{ONE}/usage"),
    Call("GET", SAGAS),
    Call("GET", f"{SAGAS}/{{saga_id}}"),
    Call("GET", f"{CATALOG}/plans"),
    Call("GET", f"{CATALOG}/addons"),
    Call("GET", f"{CATALOG}/resource-prices"),
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

# Each of these begins a saga about a deployment.
CHANGES = [
    Call("POST", f"{ONE}/suspend", 202),
    Call("POST", f"{ONE}/resume", 202, {"reason": "a test"}),
    Call("POST", f"{ONE}/resize", 202, {"size": "s-2vcpu-2gb"}),
    Call("POST", f"{ONE}/offboard", 202),
]
# What is done to a run: one that has failed, one under way, another that has failed.
TO_A_RUN = [
    Call("POST", f"{SAGAS}/{{saga_id}}/retry"),
    Call("POST", f"{SAGAS}/{{saga_id}}/cancel"),
    Call("POST", f"{SAGAS}/{{saga_id}}/write-off", body={"reason": "seen to by hand"}),
]


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
    deployment_id = path.rpartition("/")[2]
    run = await begun(operator, "echo", "fail", deployment_id=deployment_id)
    await ended(acme, run["id"])
    return {
        "deployment_id": deployment_id,
        "saga_id": run["id"],
        "code": code,
        "addon_id": str(there.fleet.addon),
        "plan_version_id": version,
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


async def test_each_change_by_a_saga_is_answered_as_documented(there: World, operator: httpx.AsyncClient) -> None:
    ids = [(await created(operator))["id"] for _ in CHANGES]
    for call, id in zip(CHANGES, ids, strict=True):
        await give_droplet(there, id)
        if call.route.endswith("resume"):
            done(await operator.post(f"{DEPLOYMENTS}/{id}/transition", json={"to_state": "suspended"}))
        assert (await check(operator, call, deployment_id=id)).keys() == {"saga"}
    wish = {"slug": slug(), "region": "nyc3", "provision": True}
    assert (await check(operator, Call("POST", DEPLOYMENTS, 202, wish))).keys() == {"deployment", "saga"}
    query = "delete from inventory.cloud_resources where deployment_id = any ($1::uuid[])"  # others count what is there
    await there.admin.execute(query, ids)


async def test_what_an_operator_does_to_a_run_is_answered_as_documented(
    there: World, operator: httpx.AsyncClient
) -> None:
    await check(operator, Call("POST", SAGAS, 202, {"kind": "exercise", "inputs": {"steps": ["echo"]}}))
    for call, status in zip(TO_A_RUN, ("failed", "running", "failed"), strict=True):
        id = await insert_run(there.admin, "acme", status=status)
        assert (await check(operator, call, saga_id=str(id)))["saga"]["id"] == str(id)


async def give_droplet(there: World, deployment_id: str) -> None:
    """Let the inventory know of a droplet of a deployment."""
    await there.admin.execute(
        """
        insert into inventory.cloud_resources (kind, provider_id, name, state, tags, attrs, fingerprint, tenant_id,
          deployment_id, first_seen_at, last_seen_at, version)
        values ('droplet', (random() * 1e12)::bigint::text, 'x', 'active', '{}', '{}', '', 'platform',
          $1, now(), now(), 1)
        """,
        UUID(deployment_id),
    )


async def test_a_price_is_documented_as_the_text_that_it_is(operator: httpx.AsyncClient) -> None:
    await check(operator, Call("POST", f"{CATALOG}/resource-prices", 201, A_PRICE))
    described = (await document(operator))["components"]["schemas"]["PriceRequest"]["properties"]["unit_price_cents"]
    assert described["type"] == "string"


async def test_every_route_of_deployments_sagas_and_the_catalog_is_among_these(stranger: httpx.AsyncClient) -> None:
    known = {(call.method, call.route) for call in (*GETS, *OPERATORS_GETS, *STORY, *CHANGES, *TO_A_RUN)}
    known |= {("POST", DEPLOYMENTS), ("POST", f"{ONE}/subscribe"), ("POST", SAGAS)}
    known |= {("GET", f"{ONE}/quote"), ("POST", f"{ONE}/quote/preview")}  # test_quotes.py
    known |= {("GET", f"{SAGAS}/{{saga_id}}/events")}  # a stream, whose events are what GET shows: test_sagas.py
    known |= {("POST", f"{CATALOG}/{name}") for name in ("plans", "addons", "resource-prices")}
    documented = {
        (method.upper(), path)
        for path, operations in (await document(stranger))["paths"].items()
        for method in operations
        if path.startswith((DEPLOYMENTS, SAGAS, CATALOG)) and method != "options"
    }
    assert documented == known
