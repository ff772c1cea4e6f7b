"""Writing over HTTP: an operation, its command, its answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
import pytest

from dev.tokens import OPERATOR_ROLES, mint
from services.gateway import operations
from services.gateway.answers import answer_to
from services.gateway.app import serving
from services.gateway.gateway import Gateway
from shared import dead_letters
from shared.inbox import Recorded
from shared.process import running
from tests.gateway.answering import answering, forgetful
from tests.gateway.world import OPERATOR, World, client, cut

pytestmark = pytest.mark.usefixtures("inventory")

SYNC = "/api/v1/inventory/sync"


def link(world: World) -> str:
    return f"/api/v1/inventory/{world.fleet.resources['acme-web-0']}/link"


def body() -> dict[str, Any]:
    return {"deployment_id": str(uuid4()), "effective_from": "2026-11-01T00:00:00Z", "unknown": [1, 2]}


def key(value: str | None = None) -> dict[str, str]:
    return {"idempotency-key": value or str(uuid4())}


async def test_a_write_is_answered_with_what_came_of_it(there: World, operator: httpx.AsyncClient) -> None:
    answer = await operator.post(link(there), json=body())
    assert answer.status_code == 200, answer.text
    command = UUID(answer.json()["command"])
    assert (answer.json()["actor"], answer.json()["tenant"]) == ("ops@arcadia.test", "platform-admin")
    assert answer.headers["location"] == f"/api/v1/operations/{command}"
    assert answer.headers["x-correlation-id"] == str(command)
    assert (await there.effects()).count(command) == 1


async def test_a_refusal_is_answered_by_its_code(there: World, operator: httpx.AsyncClient) -> None:
    answer = await operator.post(link(there).replace("/link", "/unlink"))
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert (found["error"], found["status"], found["type"]) == ("not_found", 404, "urn:arcadia:problem:not_found")
    assert found["resource_id"] == str(there.fleet.resources["acme-web-0"])


def test_what_a_refusal_tells_cannot_change_the_problem_itself() -> None:
    told = dict.fromkeys(("status", "error", "detail", "headers", "members", "self", "type"), "shadow")
    status, answer = answer_to(
        Recorded("refused", code="already_decided", detail=told | {"decision": "approved"}), uuid4()
    )
    found = orjson.loads(answer)
    assert (status, found["status"], found["error"], found["decision"]) == (409, 409, "already_decided", "approved")
    assert (found["type"], found["headers"]) == ("urn:arcadia:problem:already_decided", "shadow")


@pytest.mark.parametrize("depth", [200, 300, 900])
async def test_a_deep_field_that_is_not_known_is_ignored_too(operator: httpx.AsyncClient, depth: int) -> None:
    deep = b'{"kind": "droplet", "x": ' + b"[" * depth + b"]" * depth + b"}"
    headers = {"content-type": "application/json", **key()}
    first, again = [await operator.post(SYNC, content=deep, headers=headers) for _ in range(2)]
    assert (first.status_code, again.json()) == (200, first.json())


async def test_a_command_that_was_given_up_is_answered_too(alone: World) -> None:
    async with (
        running(forgetful, alone.settings),
        serving(alone.settings) as gateway,
        client(gateway, OPERATOR) as http,
    ):
        answer = await http.patch(f"/api/v1/projects/{alone.fleet.projects['acme']}", json={"purpose": "x"})
    assert answer.status_code == 500
    found = answer.json()
    assert (found["error"], found["operation_id"]) == ("command_failed", answer.headers["x-correlation-id"])
    query = "select message_id from inventory.dead_letters where id = $1"
    assert str(await alone.admin.fetchval(query, UUID(found["dead_letter_id"]))) == found["operation_id"]


async def test_a_command_that_was_replayed_after_a_fix_is_answered_anew(alone: World) -> None:
    headers, wanted = key(), body()
    async with serving(alone.settings) as gateway, client(gateway, OPERATOR) as http:
        async with running(forgetful, alone.settings):
            failed = await same(http, alone, headers, wanted)
        assert failed.status_code == 500
        async with running(answering, alone.settings) as mended:
            async with mended.database.transaction() as conn:
                await dead_letters.replay(conn, [UUID(failed.json()["dead_letter_id"])], "a test")
            async with asyncio.timeout(20):
                while (again := await same(http, alone, headers, wanted)).status_code == 500:
                    await asyncio.sleep(0.1)
    assert again.status_code == 200, again.text
    assert await alone.effects() == [UUID(failed.json()["operation_id"])]


async def test_an_operation_tells_what_came_of_it(there: World, operator: httpx.AsyncClient) -> None:
    done = await operator.post(link(there), json=body())
    shown = (await operator.get(done.headers["location"])).json()["operation"]
    assert (shown["status"], shown["command"]) == ("ok", "arcadia.inventory.link-resource.v1")
    assert shown["result"] == done.json()
    refused = await operator.post(link(there).replace("/link", "/unlink"))
    shown = (await operator.get(refused.headers["location"])).json()["operation"]
    assert (shown["status"], shown["error"]) == ("refused", "not_found")


async def test_the_outcome_behind_a_key_is_kept_for_good(there: World, operator: httpx.AsyncClient) -> None:
    answer = await operator.post(link(there), json=body(), headers=key())
    id = UUID(answer.headers["x-correlation-id"])
    row = await there.admin.fetchrow("select status, expires_at from inventory.inbox where id = $1", id)
    assert row is not None
    assert (row["status"], row["expires_at"]) == ("ok", None)


async def same(http: httpx.AsyncClient, world: World, headers: dict[str, str], json: Any) -> httpx.Response:
    return await http.post(link(world), json=json, headers=headers)


async def test_the_same_key_and_request_get_the_same_answer_and_take_effect_once(
    there: World, operator: httpx.AsyncClient
) -> None:
    headers, wanted = key(), body()
    first = await same(operator, there, headers, wanted)
    again = await same(operator, there, headers, dict(reversed(wanted.items())))
    assert (first.status_code, first.content) == (again.status_code, again.content) == (200, first.content)
    assert first.headers["location"] == again.headers["location"]
    assert Counter(await there.effects())[UUID(first.json()["command"])] == 1


async def test_a_refusal_is_repeated_for_the_same_key_as_well(there: World, operator: httpx.AsyncClient) -> None:
    headers = key()
    path = link(there).replace("/link", "/unlink")
    first, again = [await operator.post(path, headers=headers) for _ in range(2)]
    assert (first.status_code, first.content) == (again.status_code, again.content) == (404, first.content)


async def test_a_key_stands_for_one_request_alone(there: World, operator: httpx.AsyncClient) -> None:
    headers = key()
    assert (await same(operator, there, headers, body())).status_code == 200
    for answer in (
        await same(operator, there, headers, body()),
        await operator.post(SYNC, headers=headers),
        await operator.post(link(there).replace("/link", "/unlink"), headers=headers),
    ):
        assert (answer.status_code, answer.json()["error"]) == (422, "idempotency_key_reused")


async def test_two_tenants_may_use_the_same_key(there: World, gateway: Gateway, operator: httpx.AsyncClient) -> None:
    headers = key()
    async with client(gateway, mint("another-platform", "al@arcadia.test", OPERATOR_ROLES)) as other:
        ours, theirs = await operator.post(SYNC, headers=headers), await other.post(SYNC, headers=headers)
    assert (ours.status_code, theirs.status_code) == (200, 200)
    assert ours.json()["command"] != theirs.json()["command"]


async def test_twenty_at_once_at_two_gateways_are_one(alone: World) -> None:
    headers, wanted = key(), body()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(answering, alone.settings))
        gateways = [await stack.enter_async_context(serving(alone.settings)) for _ in range(2)]
        doors = [await stack.enter_async_context(client(gateway, OPERATOR)) for gateway in gateways]
        answers = await asyncio.gather(*(same(doors[n % 2], alone, headers, wanted) for n in range(20)))
        assert {(a.status_code, a.content) for a in answers} == {(200, answers[0].content)}
        assert await alone.effects() == [UUID(answers[0].json()["command"])]
    async with serving(alone.settings) as restarted, client(restarted, OPERATOR) as http:
        later = await same(http, alone, headers, wanted)
    assert (later.status_code, later.content) == (200, answers[0].content)


async def test_many_different_writes_at_two_gateways_each_get_their_own_answer(alone: World) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(answering, alone.settings))
        gateways = [await stack.enter_async_context(serving(alone.settings)) for _ in range(2)]
        doors = [await stack.enter_async_context(client(gateway, OPERATOR)) for gateway in gateways]
        answers = await asyncio.gather(*(same(doors[n % 2], alone, key(), body()) for n in range(60)))
    assert {a.status_code for a in answers} == {200}
    assert all(a.json()["command"] == a.headers["x-correlation-id"] for a in answers)
    assert Counter(await alone.effects()) == Counter(UUID(a.json()["command"]) for a in answers)


async def test_with_the_service_down_a_write_is_accepted_and_done_once_when_it_is_back(alone: World) -> None:
    headers = key()
    async with serving(alone.settings) as gateway, client(gateway, OPERATOR) as http:
        accepted, twin = await asyncio.gather(*(http.post(SYNC, headers=headers) for _ in range(2)))
        assert accepted.status_code == 202, accepted.text
        assert accepted.content == twin.content
        location = accepted.headers["location"]
        assert accepted.json() == (await http.get(location)).json()
        assert accepted.json()["operation"]["status"] == "pending"
        async with running(answering, alone.settings):
            done = await http.post(SYNC, headers=headers)
            assert done.status_code == 200, done.text
        shown = (await http.get(location)).json()["operation"]
    assert (shown["status"], shown["result"]) == ("ok", done.json())
    assert await alone.effects() == [UUID(shown["id"])]


async def test_an_answer_that_the_gateway_did_not_hear_is_found_in_the_services_word(alone: World) -> None:
    deaf = alone.settings.model_copy(update={"kafka_bootstrap_servers": ["127.0.0.1:1"]})
    async with (
        serving(alone.settings),  # its relay publishes what the deaf one accepts
        running(answering, alone.settings),
        serving(deaf) as gateway,
        client(gateway, OPERATOR) as http,
    ):
        answer = await http.post(SYNC)
    assert answer.status_code == 200, answer.text


async def test_reads_and_writes_go_on_without_the_broker(alone: World) -> None:
    without = alone.settings.model_copy(update={"kafka_bootstrap_servers": ["127.0.0.1:1"]})
    async with serving(without) as gateway, client(gateway, OPERATOR) as http:
        assert (await http.get("/api/v1/inventory")).json()["count"] == 10
        accepted = await http.post(SYNC)
        assert accepted.status_code == 202
        assert await alone.admin.fetchval("select count(*) from gateway.outbox") == 1
    async with (
        serving(alone.settings) as gateway,
        client(gateway, OPERATOR) as http,
        running(answering, alone.settings),
    ):
        for _ in range(100):
            shown = (await http.get(accepted.headers["location"])).json()["operation"]
            if shown["status"] != "pending":
                break
            await asyncio.sleep(0.1)
    assert shown["status"] == "ok"


async def test_an_outage_while_the_answer_is_awaited_makes_no_error_of_an_accepted_write(alone: World) -> None:
    async with serving(alone.settings) as gateway, client(gateway, OPERATOR) as http:
        asked = asyncio.create_task(http.post(SYNC))
        async with asyncio.timeout(10):
            while not await alone.admin.fetchval("select count(*) from gateway.operations"):
                await asyncio.sleep(0.01)
        await alone.admin.execute("alter role gateway_operator connection limit 0")
        try:
            await cut(alone, "arcadia-gateway_operator")
            answer = await asked
        finally:
            await alone.admin.execute("alter role gateway_operator connection limit -1")
        assert answer.status_code == 202, answer.text
        assert (await http.get(answer.headers["location"])).json() == answer.json()


async def test_an_answer_that_cannot_be_kept_is_given_all_the_same(alone: World) -> None:
    """The service has its outcome, from which the next who asks gets the same."""
    async with serving(alone.settings) as gateway, client(gateway, OPERATOR) as http:
        headers = key()
        asked = asyncio.create_task(http.post(SYNC, headers=headers))
        published = "select count(*) = 1 and not exists (select from gateway.outbox) from gateway.operations"
        async with asyncio.timeout(10):
            while not await alone.admin.fetchval(published):
                await asyncio.sleep(0.01)
        await alone.admin.execute("alter role gateway connection limit 0")
        try:
            await cut(alone, "arcadia-gateway")
            async with running(answering, alone.settings):
                answer = await asked
                assert answer.status_code == 200, answer.text
        finally:
            await alone.admin.execute("alter role gateway connection limit -1")
        assert (await http.post(SYNC, headers=headers)).json() == answer.json()


async def test_an_operation_is_seen_by_its_own_alone(
    there: World, gateway: Gateway, operator: httpx.AsyncClient, acme: httpx.AsyncClient
) -> None:
    async with client(gateway, mint("acme", "root@acme.test", OPERATOR_ROLES)) as root:
        location = (await root.post(link(there), json=body())).headers["location"]
        assert (await root.get(location)).status_code == 200
    assert (await operator.get(location)).status_code == 200
    # The route was the operators', so its result is too, also within one tenant.
    assert (await acme.get(location)).status_code == 404
    await there.admin.execute(
        "update gateway.operations set operators_only = false where id = $1", UUID(location.rpartition("/")[2])
    )
    assert (await acme.get(location)).status_code == 200
    async with client(gateway, mint("globex", "gus@globex.test")) as globex:
        assert (await globex.get(location)).status_code == 404


async def test_what_an_operator_wrote_is_the_operators_on_any_route(
    there: World, gateway: Gateway, operator: httpx.AsyncClient, acme: httpx.AsyncClient, globex: httpx.AsyncClient
) -> None:
    """It may be about another tenant, and an operator may have a tenant."""
    made = await globex.post("/api/v1/deployments", json={"slug": f"a-{uuid4().hex}", "display_name": "Secret"})
    path, wish = f"/api/v1/deployments/{made.json()['deployment']['id']}", {"display_name": "Very secret"}
    headers = key()
    async with client(gateway, mint("acme", "root@acme.test", OPERATOR_ROLES)) as root:
        answer = await root.patch(path, json=wish, headers=headers)
        assert answer.status_code == 200, answer.text
        assert (await root.patch(path, json=wish, headers=headers)).content == answer.content
    assert (await operator.get(answer.headers["location"])).status_code == 200
    assert (await acme.get(answer.headers["location"])).status_code == 404
    again = await acme.patch(path, json=wish, headers=headers)
    assert (again.status_code, again.json()["error"]) == (422, "idempotency_key_reused")


async def test_operations_without_a_key_are_forgotten_after_a_while(alone: World) -> None:
    async with serving(alone.settings) as gateway, client(gateway, OPERATOR) as http:
        kept, gone = await asyncio.gather(http.post(SYNC, headers=key()), http.post(SYNC))
        aged = operations.FORGOTTEN_AFTER + timedelta(days=1)
        await alone.admin.execute("update gateway.operations set accepted_at = accepted_at - $1::interval", aged)
        now = await alone.admin.fetchval("select now()")
        async with gateway.database.transaction() as conn:
            assert await operations.forget_old(conn, now) is not None
            assert await operations.forget_old(conn, now) is None
        assert (await http.get(kept.headers["location"])).status_code == 200
        assert (await http.get(gone.headers["location"])).status_code == 404
