"""Deployments over HTTP, in the exact shapes that existing clients depend on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from dev.tokens import mint
from services.gateway.gateway import Gateway
from tests.gateway.selling import (
    DEPLOYMENTS,
    PROBLEM,
    WRITES,
    D,
    E,
    Json,
    created,
    done,
    path_of_new,
    refused,
    slug,
    time,
)
from tests.gateway.world import World, client

pytestmark = pytest.mark.usefixtures("inventory")


@pytest.fixture
async def alone_tenant(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a tenant that has nothing yet."""
    async with client(gateway, mint(f"tenant-{uuid4()}", "tia@tenant.test")) as http:
        yield http


async def listed(http: httpx.AsyncClient, **parameters: Any) -> Json:
    return done(await http.get(DEPLOYMENTS, params=parameters))


async def test_a_deployment_is_created_active_with_all_that_was_said_of_it(
    there: World, acme: httpx.AsyncClient
) -> None:
    wanted = slug()
    before = datetime.now(UTC) - timedelta(seconds=1)
    answer = await acme.post(
        DEPLOYMENTS,
        json={
            "slug": wanted,
            "display_name": "Acme's shop",
            "region": "syd1",
            "llm_mode": "platform",
            "template_code": "wordpress",
            "template_version": "6.8",
        },
    )
    body = done(answer, 201)
    assert body.keys() == {"deployment"}
    made = body["deployment"]
    assert made.keys() == D
    assert before <= time(made["state_since"]) <= datetime.now(UTC)
    assert made == {
        "id": made["id"],
        "tenant_id": "acme",
        "slug": wanted,
        "display_name": "Acme's shop",
        "region": "syd1",
        "state": "active",
        "state_since": made["state_since"],
        "llm_mode": "platform",
        "template_code": "wordpress",
        "billing_action_suspended": False,
    }
    row = await there.admin.fetchrow("select * from deployments.cloud_deployments where id = $1", UUID(made["id"]))
    assert row is not None
    assert (row["tenant_id"], row["template_version"], row["saga_id"]) == ("acme", "6.8", None)


async def test_a_deployment_may_be_created_with_a_slug_alone(acme: httpx.AsyncClient) -> None:
    made = await created(acme, slug=(wanted := slug()))
    assert (made["slug"], made["display_name"]) == (wanted, wanted)
    assert {made[name] for name in ("region", "llm_mode", "template_code")} == {None}


async def test_the_tenant_counts_from_operators_only(acme: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    assert (await created(acme, tenant_id="globex"))["tenant_id"] == "acme"
    assert (await created(operator, tenant_id="globex"))["tenant_id"] == "globex"
    assert (await created(operator))["tenant_id"] == "platform-admin"


async def test_a_trial_counts_from_operators_only(acme: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    assert (await created(acme, trial=True))["state"] == "active"
    assert (await created(operator, trial=True, tenant_id="acme"))["state"] == "trial"


async def test_a_slug_that_the_tenant_has_already_is_told_by_its_field(
    acme: httpx.AsyncClient, globex: httpx.AsyncClient
) -> None:
    taken = (await created(acme))["slug"]
    answer = await acme.post(DEPLOYMENTS, json={"slug": taken})
    body = refused(answer, 422, {"slug": ["has already been taken"]})
    assert body["type"] == "urn:arcadia:problem:validation_failed"
    assert (body["title"], body["detail"]) == (
        "Validation failed",
        "These values cannot be used: slug; see `error`.",
    )
    assert (await created(globex, slug=taken))["tenant_id"] == "globex"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"slug"}),
        ({"slug": None}, {"slug"}),
        ({"slug": "Not A Slug"}, {"slug"}),
        ({"slug": "-shop"}, {"slug"}),
        ({"slug": "shop\n"}, {"slug"}),
        ({"slug": "s" * 64}, {"slug"}),
        ({"slug": "ok", "display_name": ""}, {"display_name"}),
        ({"slug": "ok", "display_name": "a\x00b"}, {"display_name"}),
        ({"slug": "ok", "region": "sydney one"}, {"region"}),
        ({"slug": "ok", "llm_mode": 7}, {"llm_mode"}),
        ({"slug": "ok", "tenant_id": ""}, {"tenant_id"}),
        ({"slug": "ok", "trial": "perhaps"}, {"trial"}),
        ({"slug": 7, "display_name": [], "region": {}}, {"slug", "display_name", "region"}),
        ([], {"body"}),
    ],
)
async def test_bad_input_is_told_field_by_field(acme: httpx.AsyncClient, body: Any, fields: set[str]) -> None:
    answer = await acme.post(DEPLOYMENTS, json=body)
    assert answer.status_code == 422, answer.text
    found = answer.json()
    assert found.keys() == PROBLEM
    assert found["error"].keys() == fields
    assert all(
        messages and all(isinstance(each, str) and each for each in messages) for messages in found["error"].values()
    )


async def test_a_body_that_is_missing_is_asked_for(acme: httpx.AsyncClient) -> None:
    refused(await acme.post(DEPLOYMENTS), 422, {"body": ["A body is needed"]})


async def test_what_is_to_be_provisioned_is_answered_with_its_saga(there: World, acme: httpx.AsyncClient) -> None:
    answer = await acme.post(DEPLOYMENTS, json={"slug": slug(), "provision": True, "region": "nyc3"})
    assert answer.status_code == 202, answer.text
    deployment, saga = answer.json()["deployment"], answer.json()["saga"]
    assert (deployment["state"], saga["kind"], saga["status"]) == ("provisioning", "provision_deployment", "pending")
    query = "select saga_id from deployments.cloud_deployments where id = $1"
    assert str(await there.admin.fetchval(query, UUID(deployment["id"]))) == saga["id"]


async def test_the_same_key_creates_once_and_is_answered_the_same(alone_tenant: httpx.AsyncClient) -> None:
    headers, body = {"idempotency-key": str(uuid4())}, {"slug": slug()}
    first, again = [await alone_tenant.post(DEPLOYMENTS, json=body, headers=headers) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert first.headers["location"] == again.headers["location"]
    assert (await listed(alone_tenant))["count"] == 1


async def test_unknown_fields_and_parameters_are_ignored(alone_tenant: httpx.AsyncClient) -> None:
    body = {"slug": slug(), "colour": "green", "state": "suspended", "id": 7, "nested": {"deep": [1]}}
    answer = await alone_tenant.post(DEPLOYMENTS, params={"page": 3, "state": "x"}, json=body)
    made = done(answer, 201)["deployment"]
    assert made.keys() == D
    assert made["state"] == "active"
    page = await listed(alone_tenant, page=2, per_page="many", colour="green")
    assert [each["id"] for each in page["deployments"]] == [made["id"]]
    path = f"{DEPLOYMENTS}/{made['id']}"
    assert done(await alone_tenant.get(path, params={"expand": "all"}))["deployment"]["id"] == made["id"]
    moved = await alone_tenant.post(f"{path}/transition", json={"to_state": "paused", "force": True})
    assert done(moved)["deployment"]["state"] == "paused"


async def test_a_list_has_all_of_a_tenants_deployments_in_the_order_of_their_creation(
    alone_tenant: httpx.AsyncClient,
) -> None:
    assert await listed(alone_tenant) == {"deployments": [], "count": 0, "next": None}
    made = [await created(alone_tenant) for _ in range(3)]
    page = await listed(alone_tenant)
    assert page.keys() == {"deployments", "count", "next"}
    assert (page["count"], page["next"]) == (3, None)
    for shown, told in zip(page["deployments"], made, strict=True):
        assert shown.keys() == D
        assert time(shown.pop("state_since")) == time(told.pop("state_since"))
        assert shown == told


async def test_a_list_is_filtered_by_state(alone_tenant: httpx.AsyncClient) -> None:
    paused, active = await created(alone_tenant), await created(alone_tenant)
    await alone_tenant.post(f"{DEPLOYMENTS}/{paused['id']}/transition", json={"to_state": "paused"})
    for state, expected in (("paused", [paused]), ("active", [active]), ("archived", [])):
        page = await listed(alone_tenant, state=state)
        assert [each["id"] for each in page["deployments"]] == [each["id"] for each in expected]
        assert page["count"] == len(expected)
    answer = await alone_tenant.get(DEPLOYMENTS, params={"state": "flying"})
    refused(answer, 422, "validation_failed", "errors")


async def test_pages_follow_one_another(alone_tenant: httpx.AsyncClient) -> None:
    made = [(await created(alone_tenant))["id"] for _ in range(5)]
    found: list[str] = []
    cursor: dict[str, Any] = {}
    for expected in (2, 2, 1):
        page = await listed(alone_tenant, limit=2, **cursor)
        assert page["count"] == len(page["deployments"]) == expected
        found += [each["id"] for each in page["deployments"]]
        cursor = {"cursor": page["next"]}
    assert (found, page["next"]) == (made, None)


async def test_a_list_without_a_limit_ends_at_a_thousand_and_says_where_it_goes_on(
    there: World, alone_tenant: httpx.AsyncClient
) -> None:
    tenant = (await created(alone_tenant))["tenant_id"]
    await there.admin.execute(
        """
        insert into deployments.cloud_deployments
          (tenant_id, slug, display_name, state, state_since, created_at, version)
        select $1, 'many-' || n, 'App', 'active', now(), now(), 1 from generate_series(1, 1000) n
        """,
        tenant,
    )
    first = await listed(alone_tenant)
    assert (first["count"], len(first["deployments"])) == (1000, 1000)
    second = await listed(alone_tenant, cursor=first["next"])
    assert (second["count"], second["next"]) == (1, None)
    await there.admin.execute(
        "delete from deployments.cloud_deployments where tenant_id = $1 and slug ~ '^many-'", tenant
    )


async def test_an_operator_sees_all_tenants_deployments_and_a_tenant_its_own(
    acme: httpx.AsyncClient, globex: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    ours, theirs = await created(acme), await created(globex)
    everything = {each["id"] for each in (await listed(operator))["deployments"]}
    assert {ours["id"], theirs["id"]} <= everything
    for http, tenant in ((acme, "acme"), (globex, "globex")):
        assert {each["tenant_id"] for each in (await listed(http))["deployments"]} == {tenant}


async def test_a_deployment_is_shown_with_what_happened_to_it(
    acme: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    path = await path_of_new(acme)
    done(await acme.post(f"{path}/transition", json={"to_state": "paused", "reason": "quiet", "notes": "a note"}))
    for http in (acme, operator):
        shown = done(await http.get(path))
        assert shown.keys() == {"deployment", "subscription", "events", "saga"}
        assert shown["deployment"].keys() == D
        assert (shown["deployment"]["state"], shown["subscription"], shown["saga"]) == ("paused", None, None)
        newest, oldest = shown["events"]
        assert newest.keys() == oldest.keys() == E
        assert (newest["from_state"], newest["to_state"], newest["reason"]) == ("active", "paused", "quiet")
        assert (oldest["from_state"], oldest["to_state"]) == (None, "active")
        assert newest["actor"] == oldest["actor"] == "ann@acme.test"
        assert time(newest["occurred_at"]) == time(shown["deployment"]["state_since"]) > time(oldest["occurred_at"])


async def test_a_transition_is_answered_with_the_deployment(acme: httpx.AsyncClient) -> None:
    before = await created(acme)
    answer = await acme.post(f"{DEPLOYMENTS}/{before['id']}/transition", json={"to_state": "paused"})
    body = done(answer)
    after = body["deployment"]
    assert body.keys() == {"deployment"}
    assert after.keys() == D
    assert time(after.pop("state_since")) > time(before.pop("state_since"))
    assert after == before | {"state": "paused"}


async def test_where_no_way_leads_a_transition_is_refused_with_both_states(
    acme: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    path = await path_of_new(acme)
    done(await acme.post(f"{path}/transition", json={"to_state": "paused"}))
    for http in (acme, operator):
        answer = await http.post(f"{path}/transition", json={"to_state": "archived"})
        body = refused(answer, 422, "invalid_transition", "from", "to")
        assert (body["from"], body["to"]) == ("paused", "archived")
        assert (body["type"], body["title"]) == ("urn:arcadia:problem:invalid_transition", "Invalid transition")
    assert len(done(await acme.get(path))["events"]) == 2


async def test_what_the_map_allows_to_others_only_is_forbidden(
    acme: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    path = await path_of_new(acme)
    answer = await acme.post(f"{path}/transition", json={"to_state": "suspended"})
    body = refused(answer, 403, "forbidden", "from", "to")
    assert (body["from"], body["to"]) == ("active", "suspended")
    done(await operator.post(f"{path}/transition", json={"to_state": "suspended"}))
    for state in ("active", "cancelled"):
        refused(await acme.post(f"{path}/transition", json={"to_state": state}), 403, "forbidden", "from", "to")


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "to_state"), ({"to_state": "flying"}, "to_state"), ({"to_state": "paused", "reason": "x" * 256}, "reason")],
)
async def test_a_transition_to_nowhere_is_bad_input(acme: httpx.AsyncClient, body: Json, field: str) -> None:
    answer = await acme.post(f"{await path_of_new(acme)}/transition", json=body)
    found = refused(answer, 422, "validation_failed", "errors")
    assert [each["field"] for each in found["errors"]] == [field]


async def test_a_deployment_is_renamed_by_its_tenant(acme: httpx.AsyncClient) -> None:
    before = await created(acme)
    body = done(await acme.patch(f"{DEPLOYMENTS}/{before['id']}", json={"display_name": "Another"}))
    assert body.keys() == {"deployment"}
    assert body["deployment"] == before | {"display_name": "Another"}


async def test_billing_is_held_off_by_operators_alone(acme: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    path = await path_of_new(acme)
    wish = {"display_name": "Sneaked in", "billing_action_suspended": True}
    refused(await acme.patch(path, json=wish), 403, "forbidden")
    held = done(await operator.patch(path, json={"billing_action_suspended": True}))["deployment"]
    assert held.keys() == D
    assert held["billing_action_suspended"] is True
    assert held["display_name"] != "Sneaked in"
    assert done(await acme.get(path))["deployment"]["billing_action_suspended"] is True
    freed = done(await operator.patch(path, json={"billing_action_suspended": False, "display_name": "Free"}))
    assert freed["deployment"]["billing_action_suspended"] is False
    assert freed["deployment"]["display_name"] == "Free"


@pytest.mark.parametrize(
    "body", [{}, {"display_name": ""}, {"display_name": None}, {"billing_action_suspended": "perhaps"}, {"slug": "new"}]
)
async def test_a_change_that_says_nothing_usable_is_bad_input(operator: httpx.AsyncClient, body: Json) -> None:
    refused(await operator.patch(await path_of_new(operator), json=body), 422, "validation_failed", "errors")


@pytest.mark.parametrize("wish", WRITES)
async def test_what_is_not_there_is_not_found_and_what_is_anothers_is_forbidden(
    acme: httpx.AsyncClient, globex: httpx.AsyncClient, operator: httpx.AsyncClient, wish: str
) -> None:
    method, path, body = WRITES[wish]
    own = await path_of_new(acme)
    refused(await globex.request(method, f"{own}{path}", json=body), 403, "forbidden", "deployment_id")
    nowhere = f"{DEPLOYMENTS}/{uuid4()}"
    for http in (acme, operator):
        refused(await http.request(method, f"{nowhere}{path}", json=body), 404, "not_found", "deployment_id")
    assert len(done(await acme.get(own))["events"]) == 1


@pytest.mark.parametrize("path", ["", "/subscription"])
async def test_reading_what_is_not_there_is_not_found_and_what_is_anothers_is_forbidden(
    acme: httpx.AsyncClient, globex: httpx.AsyncClient, operator: httpx.AsyncClient, path: str
) -> None:
    own = await path_of_new(acme)
    refused(await globex.get(f"{own}{path}"), 403, "forbidden")
    for http in (acme, operator):
        refused(await http.get(f"{DEPLOYMENTS}/{uuid4()}{path}"), 404, "not_found")


async def test_an_id_that_is_none_names_nothing(acme: httpx.AsyncClient) -> None:
    for method, path in (("GET", ""), ("PATCH", ""), ("POST", "/transition"), ("POST", "/cancel")):
        answer = await acme.request(method, f"{DEPLOYMENTS}/seven{path}", json={})
        refused(answer, 404, "not_found")
