"""Reading the inventory over HTTP."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

from contracts.message import schema_path
from contracts.registry import messages
from services.gateway.app import serving
from services.gateway.gateway import Gateway
from shared.db import Database
from shared.migrate import OPERATOR_ROLE, TENANT_ROLE
from tests.gateway.world import ACME, World, client


async def listed(http: httpx.AsyncClient, path: str = "/api/v1/inventory", **parameters: Any) -> dict[str, Any]:
    answer = await http.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def names(http: httpx.AsyncClient, **parameters: Any) -> list[str]:
    return [resource["name"] for resource in (await listed(http, **parameters))["resources"]]


async def test_a_list_without_a_limit_is_complete_and_counted(acme: httpx.AsyncClient) -> None:
    page = await listed(acme)
    assert [r["name"] for r in page["resources"]] == ["acme-web-0", "acme-web-1", "acme-web-2", "acme-web-3"]
    assert (page["count"], page["next"]) == (4, None)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"region": "nyc3"}, ["acme-web-1", "acme-web-3"]),
        ({"kind": "droplet", "state": "active", "region": "syd1"}, ["acme-web-0", "acme-web-2"]),
        ({"kind": "volume"}, []),
        ({"state": "off"}, []),
        ({"state": "deleted"}, ["acme-web-4"]),
        ({"tag": "acme-web-2"}, ["acme-web-2"]),
        ({"tag": "we"}, []),
        ({"q": "WEB-3"}, ["acme-web-3"]),
        ({"q": "do-acme-web-1"}, ["acme-web-1"]),
        ({"q": "%"}, []),
        ({"deployment": str(uuid4())}, []),
        ({"colour": "green", "page": "7"}, ["acme-web-0", "acme-web-1", "acme-web-2", "acme-web-3"]),
    ],
)
async def test_a_list_is_filtered(acme: httpx.AsyncClient, filters: dict[str, str], expected: list[str]) -> None:
    assert await names(acme, **filters) == expected


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 1000])
async def test_following_next_gives_every_row_once(operator: httpx.AsyncClient, there: World, limit: int) -> None:
    everything = await listed(operator)
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    for _ in range(20):
        page = await listed(operator, limit=limit, **cursor)
        assert page["count"] == len(page["resources"]) <= limit
        found += page["resources"]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert found == everything["resources"]
    assert {r["id"] for r in found} == {str(i) for i in there.fleet.tenants} - {
        str(there.fleet.resources["acme-web-4"])
    }


async def test_a_list_beyond_a_thousand_rows_says_where_it_goes_on(alone: World) -> None:
    await alone.admin.execute(
        """
        insert into inventory.cloud_resources
          (kind, provider_id, name, tags, attrs, fingerprint, tenant_id, first_seen_at, last_seen_at, version)
        select 'droplet', 'many-' || n, 'many-' || n, '{}', '{}', '', 'acme', now(), now(), 1
        from generate_series(1, 1000) n
        """
    )
    async with serving(alone.settings) as gateway, client(gateway, ACME) as http:
        first = await listed(http)
        second = await listed(http, cursor=first["next"])
    assert (first["count"], len(first["resources"])) == (1000, 1000)
    assert (second["count"], second["next"]) == (4, None)


@pytest.mark.parametrize("tenant", ["acme", "small", None])
async def test_a_page_costs_what_is_on_it_and_not_what_there_is(alone: World, tenant: str | None) -> None:
    await alone.admin.execute(
        """
        insert into inventory.cloud_resources
          (kind, provider_id, name, tags, attrs, fingerprint, tenant_id, first_seen_at, last_seen_at, version)
        select 'droplet', n, n, '{}', '{}', '',
               case when n % 1000 = 0 then 'small' else (array['acme', 'globex'])[n % 2 + 1] end, now(), now(), 1
        from generate_series(1, 20000) n
        """
    )
    # Some rows behind others that are younger, as time makes it.
    await alone.admin.execute("update inventory.cloud_resources set version = 2 where provider_id like '%7'")
    await alone.admin.execute("analyze inventory.cloud_resources")
    ids = await alone.admin.fetchval(
        """
        select array_agg(id order by id) from inventory.cloud_resources
        where deleted_at is null and ($1::text is null or tenant_id = $1)
        """,
        tenant,
    )
    filters = "null, null, null, null, null, null, $1, 20"
    role, read = (
        (TENANT_ROLE, f"tenant_resources('{tenant}', {filters})") if tenant else
        (OPERATOR_ROLE, f"operator_resources({filters})")
    )  # fmt: skip
    database = await Database.of_service(alone.settings, "gateway", role=role)
    async with database.connection() as conn:
        for after in [None, *ids[::500], *ids[:8]]:  # from the sixth on, PostgreSQL uses a plan for any arguments
            page = json.loads(await conn.fetchval(f"select {read}", after))
            start = 0 if after is None else ids.index(after) + 1
            assert [r["id"] for r in page["resources"]] == [str(id) for id in ids[start : start + 20]]
            (told,) = json.loads(await conn.fetchval(f"explain (analyze, buffers, format json) select {read}", after))
        assert told["Plan"]["Shared Hit Blocks"] + told["Plan"]["Shared Read Blocks"] < 100
    await database.close()


async def test_a_resource_is_shown_with_what_happened_to_it(acme: httpx.AsyncClient, there: World) -> None:
    id = there.fleet.resources["acme-web-0"]
    body = await listed(acme, f"/api/v1/inventory/{id}")
    assert body["resource"]["name"] == "acme-web-0"
    assert body["resource"]["attrs"] == {"vcpus": 1}
    assert [(e["event_type"], e["resource_id"]) for e in body["events"]] == [("discovered", str(id))]


async def test_a_resource_that_is_gone_can_still_be_shown(acme: httpx.AsyncClient, there: World) -> None:
    body = await listed(acme, f"/api/v1/inventory/{there.fleet.resources['acme-web-4']}")
    assert body["resource"]["deleted_at"] is not None


async def test_an_operator_sees_all_tenants(operator: httpx.AsyncClient) -> None:
    found = await listed(operator)
    assert {r["tenant_id"] for r in found["resources"]} == {"acme", "globex", None}
    assert found["count"] == 10


async def test_operators_see_the_projects_and_the_held_syncs(operator: httpx.AsyncClient, there: World) -> None:
    projects = await listed(operator, "/api/v1/projects")
    assert {p["name"]: p["tenant_id"] for p in projects["projects"]} == {
        "acme": "acme", "globex": "globex", "nobody": None
    }  # fmt: skip
    held = await listed(operator, "/api/v1/inventory/held-syncs", status="open")
    assert [h["id"] for h in held["held_syncs"]] == [str(there.fleet.held_sync)]
    assert (await listed(operator, "/api/v1/inventory/held-syncs", status="approved"))["count"] == 0


async def test_pages_of_projects_follow_each_other(operator: httpx.AsyncClient) -> None:
    first = await listed(operator, "/api/v1/projects", limit=2)
    second = await listed(operator, "/api/v1/projects", limit=2, cursor=first["next"])
    assert [p["name"] for p in first["projects"] + second["projects"]] == ["acme", "globex", "nobody"]
    assert second["next"] is None


async def test_the_service_names_itself_to_anybody(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.get("/api/health")
    assert (answer.status_code, answer.json()) == (200, {"service": "arcadia-cloud", "status": "ok"})


async def test_the_contracts_are_served_to_anybody_under_the_path_that_messages_name(
    stranger: httpx.AsyncClient,
) -> None:
    for message in messages():
        answer = await stranger.get(schema_path(message.TYPE))
        assert (answer.status_code, answer.json()["type"]) == (200, "object"), message.TYPE
    assert (await stranger.get("/api/v1/contracts/asyncapi.json")).json()["asyncapi"].startswith("3.")
    for name in ("nothing.json", "..%2Fasyncapi.json", "%2e%2e"):
        assert (await stranger.get(f"/api/v1/contracts/schemas/{name}")).status_code == 404


async def test_the_gateway_is_ready_when_the_database_is(gateway: Gateway) -> None:
    assert await gateway.ready() == {"database": None}
