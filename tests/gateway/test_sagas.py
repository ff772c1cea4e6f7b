"""Sagas over HTTP: begun, shown, followed, stopped; each to whom it concerns."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest

from tests.gateway.selling import DEPLOYMENTS, slug
from tests.gateway.world import World

pytestmark = pytest.mark.usefixtures("inventory")

SAGAS = "/api/v1/sagas"
R = {"id", "kind", "status", "current_step", "error", "steps"}
STEP = {"index", "name", "status", "attempts", "started_at", "finished_at", "error"}


async def begun(operator: httpx.AsyncClient, *steps: str, **more: Any) -> dict[str, Any]:
    """A run of steps that need nobody."""
    answer = await operator.post(SAGAS, json={"kind": "exercise", "inputs": {"steps": steps}, **more})
    assert answer.status_code == 202, answer.text
    saga: dict[str, Any] = answer.json()["saga"]
    return saga


async def ended(http: httpx.AsyncClient, saga: dict[str, Any]) -> dict[str, Any]:
    """A run as it is shown once it has ended."""
    async with asyncio.timeout(30):
        while True:
            shown: dict[str, Any] = (await http.get(f"{SAGAS}/{saga['id']}")).json()
            if shown["finished_at"]:
                return shown
            await asyncio.sleep(0.05)


async def test_three_echoes(operator: httpx.AsyncClient) -> None:
    saga = await begun(operator, "echo", "echo", "echo")
    assert set(saga) == R
    assert (saga["status"], saga["current_step"]) == ("running", 0)
    (step,) = saga["steps"]
    assert set(step) == STEP
    assert step["status"] == "running"
    shown = await ended(operator, saga)
    assert shown["context"] == {f"echoed_at_step_{n}": "hello" for n in range(3)}
    assert set(shown["saga"]) == R
    assert shown["saga"]["status"] == "completed"
    assert [each["status"] for each in shown["saga"]["steps"]] == ["completed"] * 3
    assert shown["plan"] == ["echo"] * 3


async def test_a_third_step_that_fails(operator: httpx.AsyncClient) -> None:
    shown = await ended(operator, await begun(operator, "echo", "echo", "fail"))
    assert shown["saga"]["status"] == "rolled_back"
    assert shown["saga"]["error"] == {"compensate_from_idx": 1, "reason": "step_failed:fail"}
    assert [each["status"] for each in shown["saga"]["steps"]] == ["compensated", "compensated", "failed"]


async def test_the_same_key_begins_one_run(there: World, operator: httpx.AsyncClient) -> None:
    headers, body = {"idempotency-key": str(uuid4())}, {"kind": "exercise", "inputs": {"steps": ["echo"]}}
    answers = await asyncio.gather(*(operator.post(SAGAS, json=body, headers=headers) for _ in range(5)))
    assert len({answer.text for answer in answers}) == 1
    assert {answer.status_code for answer in answers} == {202}


async def test_a_deployment_has_one_run_at_a_time(operator: httpx.AsyncClient) -> None:
    deployment = str(uuid4())
    body = {"kind": "exercise", "inputs": {"steps": ["echo"] * 50}, "deployment_id": deployment}
    answers = await asyncio.gather(*(operator.post(SAGAS, json=body) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409, 409]
    assert {answer.json()["error"] for answer in answers if answer.status_code == 409} == {"deployment_busy"}
    (one,) = (answer.json()["saga"] for answer in answers if answer.status_code == 202)
    await ended(operator, one)
    listed = (await operator.get(SAGAS, params={"deployment": deployment})).json()
    assert [each["id"] for each in listed["sagas"]] == [one["id"]]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"kind": "unheard_of"}, "unknown_saga_kind"),
        ({"kind": "exercise", "inputs": {"steps": ["dance"]}}, "invalid_inputs"),
        ({"kind": "exercise", "inputs": {"steps": ["echo"], "sya": "hello"}}, "invalid_inputs"),
    ],
)
async def test_what_no_flow_can_begin_with_is_refused(
    operator: httpx.AsyncClient, body: dict[str, Any], error: str
) -> None:
    answer = await operator.post(SAGAS, json=body)
    assert (answer.status_code, answer.json()["error"]) == (422, error)


async def test_operators_alone_begin_stop_and_retry_sagas(acme: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    saga = await begun(operator, "echo", tenant_id="acme")
    body = {"kind": "exercise", "inputs": {"steps": ["echo"]}}
    for path, json in ((SAGAS, body), (f"{SAGAS}/{saga['id']}/cancel", None), (f"{SAGAS}/{saga['id']}/retry", None)):
        answer = await acme.post(path, json=json)
        assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")


async def test_what_has_ended_is_neither_stopped_nor_retried(operator: httpx.AsyncClient) -> None:
    saga = await begun(operator, "echo")
    await ended(operator, saga)
    for route, error in (("cancel", "not_cancellable"), ("retry", "not_retryable")):
        answer = await operator.post(f"{SAGAS}/{saga['id']}/{route}")
        assert (answer.status_code, answer.json()["error"], answer.json()["saga_id"]) == (409, error, saga["id"])
        answer = await operator.post(f"{SAGAS}/{uuid4()}/{route}")
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


async def test_one_that_is_under_way_can_be_stopped(operator: httpx.AsyncClient) -> None:
    saga = await begun(operator, *["echo"] * 50)
    answer = await operator.post(f"{SAGAS}/{saga['id']}/cancel")
    assert answer.status_code == 200, answer.text
    assert answer.json()["saga"]["id"] == saga["id"]
    shown = await ended(operator, saga)
    assert (shown["saga"]["status"], shown["saga"]["error"]["reason"]) == ("rolled_back", "cancelled")
    assert {each["status"] for each in shown["saga"]["steps"]} == {"compensated"}


async def test_a_tenant_sees_its_own_runs_and_no_others(
    acme: httpx.AsyncClient, globex: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    saga = await begun(operator, "echo", tenant_id="acme")
    assert (await ended(acme, saga))["tenant_id"] == "acme"
    assert saga["id"] in [each["id"] for each in (await acme.get(SAGAS)).json()["sagas"]]
    for path in (f"{SAGAS}/{saga['id']}", f"{SAGAS}/{saga['id']}/events"):
        assert (await globex.get(path)).status_code == 404
    assert saga["id"] not in (await globex.get(SAGAS)).text


async def test_lists_begin_with_the_newest_and_have_pages(operator: httpx.AsyncClient) -> None:
    tenant = f"t-{uuid4().hex}"
    made = [await begun(operator, step, tenant_id=tenant) for step in ("echo", "fail", "echo")]
    for saga in made:
        await ended(operator, saga)
    ids = [saga["id"] for saga in reversed(made)]
    first = (await operator.get(SAGAS, params={"limit": 2})).json()
    assert ([each["id"] for each in first["sagas"]], first["count"]) == (ids[:2], 2)
    second = (await operator.get(SAGAS, params={"limit": 2, "cursor": first["next"]})).json()
    assert second["sagas"][0]["id"] == ids[2]
    failed = (await operator.get(SAGAS, params={"status": "rolled_back", "kind": "exercise", "limit": 1})).json()
    assert [each["id"] for each in failed["sagas"]] == [made[1]["id"]]


async def followed(http: httpx.AsyncClient, saga_id: str) -> list[tuple[str, Any]]:
    """The events of a run, to its end."""
    events: list[tuple[str, Any]] = []
    async with asyncio.timeout(30), http.stream("GET", f"{SAGAS}/{saga_id}/events") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        name = ""
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                events.append((name, orjson.loads(line.removeprefix("data: "))))
    return events


async def test_a_run_is_followed_to_its_end(operator: httpx.AsyncClient) -> None:
    saga = await begun(operator, *["echo"] * 50)
    events = await followed(operator, saga["id"])
    assert [name for name, _ in events] == ["saga"] * (len(events) - 1) + ["end"]
    versions = [run["version"] for name, run in events if name == "saga"]
    assert versions == sorted(set(versions))
    assert len(versions) > 1, "it was told of before it had ended"
    assert events[-2][1] == (await operator.get(f"{SAGAS}/{saga['id']}")).json()
    assert events[-2][1]["saga"]["status"] == "completed"
    assert [name for name, _ in await followed(operator, saga["id"])] == ["saga", "end"]


async def test_a_deployment_shows_its_newest_run(acme: httpx.AsyncClient) -> None:
    made = (await acme.post(DEPLOYMENTS, json={"slug": slug(), "provision": True})).json()
    shown = (await acme.get(f"{DEPLOYMENTS}/{made['deployment']['id']}")).json()
    async with asyncio.timeout(10):
        while shown["saga"] is None:  # it has not begun yet
            shown = (await acme.get(f"{DEPLOYMENTS}/{made['deployment']['id']}")).json()
    assert shown["saga"]["id"] == made["saga"]["id"]
    plain = (await acme.post(DEPLOYMENTS, json={"slug": slug()})).json()["deployment"]
    assert (await acme.get(f"{DEPLOYMENTS}/{plain['id']}")).json()["saga"] is None


@pytest.mark.parametrize("route", ["suspend", "resume", "offboard"])
async def test_a_change_of_what_is_not_seen_is_not_begun(
    there: World, globex: httpx.AsyncClient, acme: httpx.AsyncClient, route: str
) -> None:
    made = (await acme.post(DEPLOYMENTS, json={"slug": slug()})).json()["deployment"]
    for id, status in ((made["id"], 403), (str(uuid4()), 404)):
        assert (await globex.post(f"{DEPLOYMENTS}/{id}/{route}")).status_code == status


async def test_what_the_map_does_not_allow_ends_the_run_at_once(
    acme: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    made = (await acme.post(DEPLOYMENTS, json={"slug": slug()})).json()["deployment"]
    answer = await acme.post(f"{DEPLOYMENTS}/{made['id']}/suspend")  # which is for operators, and for billing
    assert answer.status_code == 202, answer.text
    shown = await ended(operator, answer.json()["saga"])
    assert shown["saga"]["status"] == "rolled_back"
    assert shown["saga"]["steps"][0]["error"]["code"] == "forbidden"
    assert (await acme.get(f"{DEPLOYMENTS}/{made['id']}")).json()["deployment"]["state"] == "active"


async def test_resizing_wants_one_of_its_droplets(acme: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    made = (await acme.post(DEPLOYMENTS, json={"slug": slug()})).json()["deployment"]
    answer = await operator.post(f"{DEPLOYMENTS}/{made['id']}/resize", json={"size": "s-2vcpu-2gb"})
    assert (answer.status_code, answer.json()["error"]) == (422, "validation_failed")
    assert (await acme.post(f"{DEPLOYMENTS}/{made['id']}/resize", json={"size": "s-2vcpu-2gb"})).status_code == 403
