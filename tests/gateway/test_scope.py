"""A tenant never sees another's rows: on no route, in no view, and by no setting that somebody left behind."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from services.gateway.gateway import Gateway
from shared.migrate import OPERATOR_ROLE, TENANT_ROLE
from tests.gateway.world import World

PUBLIC = {"/api/health", "/api/v1/contracts/schemas/{file_name}", "/api/v1/contracts/asyncapi.json"}
BODIES: dict[str, dict[str, Any]] = {
    "link_resource": {"deployment_id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f11"},
    "classify_project": {"purpose": "a test"},
    "create_deployment": {"slug": "another"},
    "update_deployment": {"display_name": "Mine"},
    "transition_deployment": {"to_state": "cancelled"},
    "subscribe": {"plan_code": "studio"},
    "attach_addon": {"code": "storage_50gb"},
    "change_plan": {"plan_code": "studio"},
    "create_plan": {"code": "cheap", "name": "Cheap"},
    "draft_plan_version": {"base_price_cents": 1, "currency": "AUD", "items": []},
    "create_addon": {
        "code": "x",
        "name": "X",
        "resource_kind": "dns_zones",
        "qty": 1,
        "price_cents": 1,
        "currency": "AUD",
    },
    "resize_deployment": {"size": "s-2vcpu-2gb"},
    "start_saga": {"kind": "exercise", "inputs": {"steps": ["echo"]}},
    "set_config": {"granularity": "hourly"},
    "record_spec": {"spec": {"region": "syd1"}},
    "set_rule": {"severity": "low"},
    "snooze_drift": {"until": "2099-01-01T00:00:00Z"},
    "record_usage": {
        "events": [
            {
                "id": "req-17",
                "deployment_id": str(UUID(int=1)),
                "resource_kind": "llm_tokens",
                "quantity": "1",
                "occurred_at": "2026-05-10T00:00:00Z",
            }
        ]
    },
    "meter_days": {"since": "2026-05-01", "until": "2026-05-02"},
    "set_fx_rate": {"from_currency": "USD", "effective_from": "2026-05-01", "rate": "1.5"},
    "preview_quote": {"plan_code": "studio"},
    "set_resource_price": {"resource_kind": "dns_zones", "unit_price_cents": "1", "currency": "AUD"},
}
# Everybody may create what is then its own.
OWN = {"create_deployment"}
# Of these a tenant may know all: what is on sale, and whose a deployment is.
TOLD_TO_ALL = {
    "deployments.v1_plans",
    "deployments.v1_addons",
    "deployments.v1_resource_prices",
    "deployments.v1_deployment_owner",
}


async def routes(http: httpx.AsyncClient) -> list[tuple[str, str, dict[str, Any]]]:
    """(method, path, operation) of everything in the OpenAPI document."""
    document = (await http.get("/api/v1/schema/openapi.json")).json()
    return [
        (method.upper(), path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method in {"get", "post", "put", "patch", "delete"}
    ]


def filled(path: str, world: World, of: str) -> str:
    """The path with the ids of somebody's things in the place of its parameters."""
    ids = {
        "{resource_id}": world.fleet.resources[f"{of}-web-0"],
        "{project_id}": world.fleet.projects[of],
        "{held_sync_id}": world.fleet.held_sync,
        "{deployment_id}": world.fleet.deployments[of],
        "{saga_id}": world.fleet.sagas[of],
        "{addon_id}": world.fleet.addon,
        "{plan_version_id}": world.fleet.draft,
        "{code}": "studio",
        "{operation_id}": UUID(int=1),
        "{invoice_id}": UUID(int=1),
        "{line}": 1,
        "{ingest}": 1,
        "{resource_kind}": "droplet_hours",
        "{day}": "2026-05-10",
        "{drift_id}": UUID(int=1),
        "{surge_id}": UUID(int=1),
        "{field}": "name",
    }
    for name, id in ids.items():
        path = path.replace(name, str(id))
    assert "{" not in path, f"{path}: say in this test what its parameters can name"
    return path


async def test_no_route_shows_a_tenant_what_is_anothers(
    there: World, inventory: None, acme: httpx.AsyncClient, globex: httpx.AsyncClient
) -> None:
    """Each route, asked by acme with globex's ids, and by globex with acme's."""
    before = await there.effects()
    walked = 0
    for method, path, operation in await routes(acme):
        if path in PUBLIC:
            continue
        for asking, own, other in ((acme, "acme", "globex"), (globex, "globex", "acme")):
            body = BODIES.get(operation["operationId"])
            answer = await asking.request(method, filled(path, there, other), json=body)
            expected = {201} if operation["operationId"] in OWN else {200, 403, 404}
            assert answer.status_code in expected, f"{method} {path}: {answer.status_code} {answer.text}"
            foreign = there.fleet.of(other) | {str(there.fleet.projects[other]), other}
            shown = set(_words(answer.json())) & foreign if answer.is_success else set()
            assert not shown, f"{method} {path} shows {own} what is {other}'s: {shown}"
            walked += 1
    assert walked >= 2 * 11
    assert await there.effects() == before


def _words(value: Any) -> list[str]:
    """Every string in a JSON value."""
    if isinstance(value, dict):
        return [word for each in value.items() for word in _words(list(each))]
    if isinstance(value, list):
        return [word for each in value for word in _words(each)]
    return [value] if isinstance(value, str) else []


async def test_every_route_but_the_public_ones_wants_a_token(there: World, stranger: httpx.AsyncClient) -> None:
    for method, path, operation in await routes(stranger):
        body = BODIES.get(operation["operationId"])
        answer = await stranger.request(method, path if path in PUBLIC else filled(path, there, "acme"), json=body)
        assert (answer.status_code != 401) == (path in PUBLIC), f"{method} {path}: {answer.status_code}"


async def as_role(gateway: Gateway, role: str) -> asyncpg.Connection[Any]:
    conn = await asyncpg.connect(gateway.process.settings.role_url(role))
    await conn.execute("set search_path to gateway")
    return conn


async def published(there: World, pattern: str) -> list[str]:
    rows = await there.admin.fetch(
        "select format('%I.%I', schemaname, viewname) as name from pg_views where viewname ~ $1 order by 1", pattern
    )
    return [row["name"] for row in rows]


async def test_every_scoped_view_shows_nothing_without_the_setting_and_ones_own_with_it(
    there: World, gateway: Gateway
) -> None:
    views = await published(there, "^v1_(?!all_)")
    assert {"inventory.v1_resources", "inventory.v1_projects", "inventory.v1_resource_events"} <= set(views)
    conn = await as_role(gateway, TENANT_ROLE)
    try:
        assert set(views) >= TOLD_TO_ALL
        for view in set(views) - TOLD_TO_ALL:
            assert await conn.fetchval(f"select count(*) from {view}") == 0, view
            for nobody in ("", "nobody", "acme' or true --"):
                assert await _rows(conn, view, nobody) == [], view
            for row in await _rows(conn, view, "acme"):
                assert row.get("tenant_id", "acme") == "acme", view
        assert len(await _rows(conn, "inventory.v1_resources", "acme")) == 5
        assert len(await _rows(conn, "inventory.v1_resource_events", "globex")) == 4
    finally:
        await conn.close()


async def _rows(conn: asyncpg.Connection[Any], view: str, tenant: str) -> list[dict[str, Any]]:
    async with conn.transaction():
        await conn.execute("select set_config('arcadia.tenant_id', $1, true)", tenant)
        return [dict(row) for row in await conn.fetch(f"select * from {view}")]


@pytest.mark.parametrize(("role", "kind"), [(TENANT_ROLE, "^v1_all_"), (OPERATOR_ROLE, "^v1_(?!all_)")])
async def test_each_role_reads_its_kind_of_views_alone(there: World, gateway: Gateway, role: str, kind: str) -> None:
    conn = await as_role(gateway, role)
    try:
        views = set(await published(there, kind)) - {"deployments.v1_deployment_owner"}
        assert len(views) > 5
        for view in views:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.fetch(f"select * from {view}")
    finally:
        await conn.close()


@pytest.mark.parametrize("role", [TENANT_ROLE, OPERATOR_ROLE])
async def test_neither_role_has_a_grant_on_any_table(there: World, gateway: Gateway, role: str) -> None:
    tables = await there.admin.fetch(
        """
        select format('%I.%I', schemaname, tablename) as name from pg_tables
        where schemaname not in ('pg_catalog', 'information_schema')
        """
    )
    assert len(tables) > 10
    conn = await as_role(gateway, role)
    try:
        for (table,) in tables:
            for statement in (f"select * from {table}", f"delete from {table}", f"update {table} set id = null"):
                with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedColumnError)):
                    await conn.execute(statement)
    finally:
        await conn.close()


async def test_a_read_leaves_no_tenant_behind_for_whoever_gets_the_connection_next(
    there: World, gateway: Gateway
) -> None:
    conn = await as_role(gateway, TENANT_ROLE)
    try:
        for attempt in range(10):  # from the sixth on, PostgreSQL uses the plan of those before
            tenant, count = [("acme", 4), ("globex", 4), ("nobody", 0)][attempt % 3]
            query = "select tenant_resources($1, null, null, null, null, null, null, null, 1000)"
            found = json.loads(await conn.fetchval(query, tenant))
            assert found["count"] == count
            assert {r["tenant_id"] for r in found["resources"]} <= {tenant}
            assert await conn.fetchval("select current_setting('arcadia.tenant_id', true)") == ""
            assert await conn.fetchval("select count(*) from inventory.v1_resources") == 0
    finally:
        await conn.close()


async def test_a_failed_read_leaves_no_tenant_behind_either(there: World, gateway: Gateway) -> None:
    conn = await as_role(gateway, TENANT_ROLE)
    try:
        with pytest.raises(asyncpg.InvalidRowCountInLimitClauseError):
            await conn.fetchval("select tenant_resources('acme', null, null, null, null, null, null, null, -7)")
        assert await conn.fetchval("select count(*) from inventory.v1_resources") == 0
    finally:
        await conn.close()


async def test_a_tenant_cannot_read_by_the_operators_function(gateway: Gateway) -> None:
    conn = await as_role(gateway, TENANT_ROLE)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.fetchval("select operator_resources(null, null, null, null, null, null, null, 10)")
    finally:
        await conn.close()
