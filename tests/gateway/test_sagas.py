"""Sagas over HTTP: begun, shown, listed, followed, stopped and let go on, each by those who may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
import pytest

from dev.tokens import mint
from services.gateway.app import create_app
from services.gateway.door import Door
from services.gateway.gateway import Gateway
from tests.gateway.selling import DEPLOYMENTS, Json, created, done, refused, slug, time
from tests.gateway.world import ACME, World, client, insert_run

pytestmark = pytest.mark.usefixtures("inventory")

SAGAS = "/api/v1/sagas"

# The shapes of the requirements, written down once more by hand.
R = {"id", "kind", "status", "current_step", "error", "steps"}
STEP = {"index", "name", "status", "attempts", "started_at", "finished_at", "error"}
SHOWN = {
    *("saga", "plan", "inputs", "context", "deployment_id", "tenant_id", "actor", "cancel_requested"),
    *("created_at", "finished_at", "version"),
}
LONG = ["echo"] * 50


@pytest.fixture
async def newcomer(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a tenant that has nothing yet."""
    async with client(gateway, mint(f"tenant-{uuid4()}", "tia@tenant.test")) as http:
        yield http


async def begun(operator: httpx.AsyncClient, *steps: str, **more: Any) -> Json:
    """A run that exercises the engine, as it is when it has begun."""
    body = {"kind": "exercise", "inputs": {"steps": list(steps)}, **more}
    saga: Json = done(await operator.post(SAGAS, json=body), 202)["saga"]
    return saga


async def ended(http: httpx.AsyncClient, id: str, seconds: float = 30) -> Json:
    """A run, once it has ended: its events say when."""
    async with asyncio.timeout(seconds):
        async for _ in events_of(http, id):
            pass
    return done(await http.get(f"{SAGAS}/{id}"))


async def events_of(http: httpx.AsyncClient, id: str | UUID) -> AsyncIterator[tuple[str, Json]]:
    """(event, data) of a run's stream, until it ends."""
    async with http.stream("GET", f"{SAGAS}/{id}/events") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for name, data in _parsed(answer.aiter_lines()):
            yield name, data


async def _parsed(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, Json]]:
    fields: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield fields["event"], orjson.loads(fields["data"])
            fields = {}


async def tenant_of(http: httpx.AsyncClient) -> str:
    id: str = done(await http.get("/api/v1/me"))["tenant_id"]
    return id


async def held_up(there: World, acme: httpx.AsyncClient) -> tuple[Json, Json]:
    """A deployment whose saga waits for a provider that is not there, and the saga."""
    body = done(await acme.post(DEPLOYMENTS, json={"slug": slug(), "region": "nyc3", "provision": True}), 202)
    async for _, run in events_of(acme, await _known(acme, body["saga"]["id"])):
        if len(run["saga"]["steps"]) > 1:
            break
    return body["deployment"], body["saga"]


async def _known(http: httpx.AsyncClient, id: str) -> str:
    """The id of a run that was promised, once it is there."""
    async with asyncio.timeout(30):
        while (await http.get(f"{SAGAS}/{id}")).status_code == 404:
            await asyncio.sleep(0.02)
    return id


async def finish(there: World, id: UUID) -> None:
    """Let a run of `insert_run` be done."""
    await there.admin.execute(
        "update sagas.saga_runs set status = 'completed', finished_at = now(), version = version + 1 where id = $1", id
    )


async def test_three_echoes_are_accepted_and_complete_with_what_each_said(operator: httpx.AsyncClient) -> None:
    first = await begun(operator, "echo", "echo", "echo")
    assert first.keys() == R
    assert (first["kind"], first["status"], first["current_step"], first["error"]) == ("exercise", "running", 0, None)
    shown = await ended(operator, first["id"])
    assert shown.keys() == SHOWN
    assert shown["context"] == {f"echoed_at_step_{n}": "hello" for n in range(3)}
    assert (shown["plan"], shown["inputs"]) == (["echo"] * 3, {"steps": ["echo"] * 3, "say": "hello"})
    assert (shown["actor"], shown["cancel_requested"]) == ("ops@arcadia.test", False)
    assert time(shown["finished_at"]) - time(shown["created_at"]) < timedelta(seconds=30)
    saga = shown["saga"]
    assert saga.keys() == R
    assert (saga["status"], saga["current_step"], saga["error"]) == ("completed", 2, None)
    for index, step in enumerate(saga["steps"]):
        assert step.keys() == STEP
        said = (step["index"], step["name"], step["status"], step["attempts"], step["error"])
        assert said == (index, "echo", "completed", 1, None)
        assert time(step["started_at"]) <= time(step["finished_at"])


async def test_a_failing_third_step_is_walked_back_as_the_requirements_have_it(operator: httpx.AsyncClient) -> None:
    saga = (await ended(operator, (await begun(operator, "echo", "echo", "fail"))["id"]))["saga"]
    assert saga["status"] == "rolled_back"
    assert saga["error"] == {"compensate_from_idx": 1, "reason": "step_failed:fail"}
    assert [step["status"] for step in saga["steps"]] == ["compensated", "compensated", "failed"]
    assert saga["steps"][2]["error"]["code"] == "asked_to_fail"


async def test_what_cannot_be_begun_is_refused_with_the_reason(operator: httpx.AsyncClient) -> None:
    body = refused(await operator.post(SAGAS, json={"kind": "levitate"}), 422, "unknown_saga_kind", "kind", "known")
    assert "exercise" in body["known"]
    wrong: list[Json] = [{}, {"steps": []}, {"steps": ["dance"]}, {"steps": ["echo"], "loud": True}]
    for inputs in wrong:
        answer = await operator.post(SAGAS, json={"kind": "exercise", "inputs": inputs})
        refused(answer, 422, "invalid_inputs", "kind")
    answer = await operator.post(SAGAS, json={"kind": "exercise", "deployment_id": str(uuid4())})
    refused(answer, 404, "not_found")


async def test_the_same_key_begins_one_run_however_often_it_comes(there: World, operator: httpx.AsyncClient) -> None:
    body = {"kind": "exercise", "inputs": {"steps": ["echo"]}, "tenant_id": (tenant := f"tenant-{uuid4()}")}
    headers = {"idempotency-key": str(uuid4())}
    answers = await asyncio.gather(*(operator.post(SAGAS, json=body, headers=headers) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {202}
    (id,) = {answer.json()["saga"]["id"] for answer in answers}
    runs = await there.admin.fetch("select id from sagas.saga_runs where tenant_id = $1", tenant)
    assert [str(row["id"]) for row in runs] == [id]
    other = await operator.post(SAGAS, json=body | {"inputs": {"steps": ["fail"]}}, headers=headers)
    refused(other, 422, "idempotency_key_reused")


async def test_of_two_sagas_for_one_deployment_at_once_one_is_busy(operator: httpx.AsyncClient) -> None:
    id = (await created(operator))["id"]
    body = {"kind": "exercise", "inputs": {"steps": LONG}, "deployment_id": id}
    first, second = sorted(
        await asyncio.gather(*(operator.post(SAGAS, json=body) for _ in range(2))), key=lambda each: each.status_code
    )
    run = done(first, 202)["saga"]
    refused(second, 409, "deployment_busy", "deployment_id", "saga_id")
    await ended(operator, run["id"])
    await begun(operator, "echo", deployment_id=id)


async def test_a_run_is_about_the_deployment_that_its_inputs_name_and_its_tenants(
    acme: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    id = (await created(acme))["id"]
    body = {"kind": "suspend_deployment", "inputs": {"deployment_id": id, "droplets": []}}
    run = done(await operator.post(SAGAS, json=body), 202)["saga"]
    shown = await ended(acme, run["id"])
    assert (shown["deployment_id"], shown["tenant_id"], shown["saga"]["status"]) == (id, "acme", "completed")
    other = body | {"deployment_id": str(uuid4())}
    refused(await operator.post(SAGAS, json=other), 422, "validation_failed", "errors")


async def test_a_tenant_sees_its_own_runs_and_nobody_elses(
    acme: httpx.AsyncClient, globex: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    run = await begun(operator, "echo", tenant_id="acme")
    assert (await ended(acme, run["id"]))["tenant_id"] == "acme"
    for route in (run["id"], f"{run['id']}/events"):
        refused(await globex.get(f"{SAGAS}/{route}"), 404, "not_found")
    assert run["id"] in [saga["id"] for saga in done(await acme.get(SAGAS))["sagas"]]
    assert run["id"] not in [saga["id"] for saga in done(await globex.get(SAGAS))["sagas"]]
    assert run["id"] in [saga["id"] for saga in done(await operator.get(SAGAS))["sagas"]]
    refused(await operator.get(f"{SAGAS}/{uuid4()}"), 404, "not_found")


async def test_tenants_neither_begin_nor_stop_nor_revive_a_run(there: World, acme: httpx.AsyncClient) -> None:
    before = await there.admin.fetchval("select count(*) from sagas.saga_runs")
    refused(await acme.post(SAGAS, json={"kind": "exercise", "inputs": {"steps": ["echo"]}}), 403, "forbidden")
    for act in ("cancel", "retry", "write-off"):
        path = f"{SAGAS}/{there.fleet.sagas['acme']}/{act}"
        refused(await acme.post(path, json={"reason": "mine"}), 403, "forbidden")
    refused(await acme.post(f"{DEPLOYMENTS}/{there.fleet.deployments['acme']}/resize", json={"size": "s-1vcpu-1gb"}),
            403, "forbidden")  # fmt: skip
    assert await there.admin.fetchval("select count(*) from sagas.saga_runs") == before


async def test_a_list_is_paged_with_the_newest_first(newcomer: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    tenant = await tenant_of(newcomer)
    ids = [(await begun(operator, "echo", tenant_id=tenant))["id"] for _ in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    for count in (2, 2, 1):
        parameters = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = done(await newcomer.get(SAGAS, params=parameters))
        assert page.keys() == {"sagas", "count", "next"}
        assert page["count"] == len(page["sagas"]) == count
        assert all(saga.keys() == R for saga in page["sagas"])
        seen += [saga["id"] for saga in page["sagas"]]
        cursor = page["next"]
    assert cursor is None
    assert seen == ids[::-1]


async def test_a_list_may_be_of_a_status_a_kind_or_a_deployment(
    newcomer: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    tenant = await tenant_of(newcomer)
    deployment = (await created(newcomer))["id"]
    good = (await begun(operator, "echo", tenant_id=tenant))["id"]
    bad = (await begun(operator, "fail", tenant_id=tenant))["id"]
    about = (await begun(operator, "echo", deployment_id=deployment))["id"]
    for id in (good, bad, about):
        await ended(newcomer, id)

    async def listed(**parameters: str) -> list[str]:
        return [saga["id"] for saga in done(await newcomer.get(SAGAS, params=parameters))["sagas"]]

    assert await listed() == [about, bad, good]
    assert await listed(status="rolled_back") == [bad]
    assert await listed(status="completed") == [about, good]
    assert await listed(kind="exercise") == [about, bad, good]
    assert await listed(kind="resize_droplet") == []
    assert await listed(deployment=deployment) == [about]
    assert await listed(deployment=str(uuid4())) == []
    refused(await newcomer.get(SAGAS, params={"status": "levitating"}), 422, "validation_failed", "errors")


async def test_a_run_that_has_ended_can_be_neither_stopped_nor_revived(operator: httpx.AsyncClient) -> None:
    for steps in (["echo"], ["fail"]):
        id = (await begun(operator, *steps))["id"]
        status = (await ended(operator, id))["saga"]["status"]
        for act, code in (("cancel", "not_cancellable"), ("retry", "not_retryable")):
            refused(await operator.post(f"{SAGAS}/{id}/{act}"), 409, code, "saga_id")
        given_up = await operator.post(f"{SAGAS}/{id}/write-off", json={"reason": "enough"})
        refused(given_up, 409, "not_failed", "saga_id")
        nameless = await operator.post(f"{SAGAS}/{id}/write-off", json={"reason": ""})
        refused(nameless, 422, "validation_failed", "errors")
    for act in ("cancel", "retry"):
        refused(await operator.post(f"{SAGAS}/{uuid4()}/{act}"), 404, "not_found", "saga_id")
    assert status == "rolled_back"


async def test_a_run_under_way_is_stopped_once_and_says_so(
    there: World, acme: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    deployment, saga = await held_up(there, acme)
    refused(await operator.post(f"{SAGAS}/{saga['id']}/retry"), 409, "not_retryable", "saga_id")
    assert done(await operator.post(f"{SAGAS}/{saga['id']}/cancel"))["saga"]["id"] == saga["id"]
    assert done(await acme.get(f"{SAGAS}/{saga['id']}"))["cancel_requested"]
    refused(
        await acme.post(f"{DEPLOYMENTS}/{deployment['id']}/offboard"),
        409,
        "deployment_busy",
        "deployment_id",
        "saga_id",
    )


async def test_a_deployment_shows_the_newest_run_about_it_or_none(
    acme: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    id = (await created(acme))["id"]
    path = f"{DEPLOYMENTS}/{id}"
    assert done(await acme.get(path))["saga"] is None
    for route, state in (("suspend", "suspended"), ("resume", "active")):
        run = done(await operator.post(f"{path}/{route}", json={"reason": "a test"}), 202)["saga"]
        saga = (await ended(acme, run["id"]))["saga"]
        shown = done(await acme.get(path))
        assert (shown["saga"], shown["deployment"]["state"]) == (saga, state)
        assert shown["events"][0]["reason"] == "a test"


async def test_a_change_that_the_map_of_states_denies_is_undone_and_leaves_the_deployment_free(
    acme: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    """A tenant may not suspend: the saga learns that from the deployment, and its answer is the run's error."""
    path = f"{DEPLOYMENTS}/{(await created(acme))['id']}"
    run = done(await acme.post(f"{path}/suspend"), 202)["saga"]
    saga = (await ended(acme, run["id"]))["saga"]
    assert (saga["status"], saga["steps"][0]["error"]["code"]) == ("rolled_back", "forbidden")
    done(await acme.post(f"{path}/transition", json={"to_state": "paused"}))


async def test_of_a_deployment_without_droplets_none_can_be_resized(operator: httpx.AsyncClient) -> None:
    path = f"{DEPLOYMENTS}/{(await created(operator))['id']}"
    answer = await operator.post(f"{path}/resize", json={"size": "s-2vcpu-2gb"})
    refused(answer, 422, "validation_failed", "errors")


@pytest.mark.parametrize("route", ["suspend", "resume", "offboard"])
async def test_another_tenants_deployment_is_not_changed(there: World, acme: httpx.AsyncClient, route: str) -> None:
    refused(await acme.post(f"{DEPLOYMENTS}/{there.fleet.deployments['globex']}/{route}"), 403, "forbidden")
    refused(await acme.post(f"{DEPLOYMENTS}/{uuid4()}/{route}"), 404, "not_found")


async def test_a_runs_events_are_the_run_after_each_change_and_then_the_end(
    there: World, acme: httpx.AsyncClient
) -> None:
    id = await insert_run(there.admin, "acme")
    stream = events_of(acme, id)
    seen = [await anext(stream)]
    assert seen[0] == ("saga", done(await acme.get(f"{SAGAS}/{id}")))
    await there.admin.execute("update sagas.saga_runs set version = 2, current_step = 1 where id = $1", id)
    seen.append(await anext(stream))
    late = [await anext(again := events_of(acme, id))]  # whoever comes, or comes again, begins with now
    await finish(there, id)
    seen += [each async for each in stream]
    late += [each async for each in again]
    assert [name for name, _ in seen] == ["saga", "saga", "saga", "end"]
    assert [run["version"] for name, run in seen if name == "saga"] == [1, 2, 3]
    assert [run.get("version") for _, run in late] == [2, 3, None]


async def test_a_runs_events_end_at_once_where_it_has_ended(there: World, acme: httpx.AsyncClient) -> None:
    async with asyncio.timeout(5):
        seen = [each async for each in events_of(acme, there.fleet.sagas["acme"])]
    assert [name for name, _ in seen] == ["saga", "end"]
    assert seen[0][1]["saga"]["status"] == "completed"


async def test_a_stream_of_events_outlives_the_time_out_of_answers(there: World, gateway: Gateway) -> None:
    timeout_s = 0.5
    door = Door(create_app(there.settings, gateway), timeout_s=timeout_s)
    id = await insert_run(there.admin, "acme")
    body = b""
    answering, answered = asyncio.Event(), asyncio.Event()

    async def receive() -> Any:
        await answered.wait()
        return {"type": "http.disconnect"}  # as a server says after the last byte

    async def send(message: Any) -> None:
        nonlocal body
        body += message.get("body", b"")
        answering.set()
        if not message.get("more_body", True):
            answered.set()

    path = f"{SAGAS}/{id}/events"
    headers = [(b"authorization", f"Bearer {ACME}".encode())]
    scope: Any = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
                  "root_path": "", "headers": headers, "client": None, "server": None, "state": {}}  # fmt: skip
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(door(scope, receive, send))
        await answering.wait()
        await asyncio.sleep(3 * timeout_s)
        await finish(there, id)
    assert body.endswith(b"event: end\ndata: {}\n\n")


async def test_a_stream_of_events_ends_with_its_callers_token(there: World, gateway: Gateway) -> None:
    id = await insert_run(there.admin, "acme")
    token = mint("acme", "ann@acme.test", lifetime_s=2)
    async with (
        client(gateway, token) as http,
        asyncio.timeout(20),
        http.stream("GET", f"{SAGAS}/{id}/events") as answer,
    ):
        lines = [line async for line in answer.aiter_lines()]
    assert "event: saga" in lines
    assert "event: end" not in lines
