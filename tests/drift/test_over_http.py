"""Drift as operators meet it: from a hand at the provider to the inbox, and out of it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dev.digitalocean.control import TrueDroplet
from dev.digitalocean.faults import Fault
from dev.digitalocean.running import RunningStandIn, running_stand_in
from dev.stack import Stack
from tests.conftest import new_database, settings_for
from tests.drift.system import SPEED, System, system
from tests.gateway.test_documentation import checked


@pytest.fixture(scope="module")
def stand_in() -> Iterator[RunningStandIn]:
    with running_stand_in(droplets=0, projects=1) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DO_API_TOKEN", running.token)
        yield running


@pytest.fixture(scope="module")
async def shared_system(stack: Stack, stand_in: RunningStandIn) -> AsyncIterator[System]:
    """Everything, for all tests of this module: each has droplets of its own."""
    settings = settings_for(stack, await new_database(stack)).model_copy(
        update={"do_api_url": stand_in.url, "do_rate_limit": 0, "inventory_strike_minutes": 0}
    )
    async with stand_in.control() as control, system(settings, control) as there:
        await control.set(speed=SPEED, rate_minute=0, rate_hour=0)
        yield there


@pytest.fixture
async def there(shared_system: System) -> AsyncIterator[System]:
    yield shared_system
    await shared_system.provider.disarm()
    for each in (await shared_system.get("/drift", snoozed=True, gathered=True))["drift"]:
        await shared_system.operator.delete(f"/api/v1/drift/specs/{each['resource_id']}")


async def seen(there: System, **fields: Any) -> tuple[TrueDroplet, dict[str, Any]]:
    """A droplet that somebody has made, and the inventory has seen."""
    (droplet,) = await there.provider.add_droplets(**({"size": "s-1vcpu-1gb", "region": "nyc3"} | fields))
    await there.sync()
    return droplet, (await there.resource(droplet))["resource"]


async def asked_for(there: System, **spec: Any) -> tuple[TrueDroplet, dict[str, Any]]:
    """A droplet of which this is asked."""
    droplet, resource = await seen(there)
    await there.do("PUT", f"/drift/specs/{resource['id']}", {"spec": spec})
    return droplet, resource


async def test_the_case_of_the_requirements(there: System) -> None:
    """A wrong size and a right region: the size alone is flagged; the event is written; accepting adopts what is."""
    droplet, resource = await seen(there)
    spec = {"size_slug": "s-4vcpu-8gb", "region": "nyc3"}
    recorded = await there.do("PUT", f"/drift/specs/{resource['id']}", {"spec": spec})
    assert (recorded["spec"]["spec_version"], recorded["spec"]["spec"]) == (1, spec)
    detected = await there.do("POST", "/drift/detect")
    assert (detected["specs"], detected["open"]) == (1, 1)
    (drift,) = (await there.get("/drift"))["drift"]
    assert (drift["field"], drift["desired"], drift["live"]) == ("size_slug", "s-4vcpu-8gb", "s-1vcpu-1gb")
    async with asyncio.timeout(20):
        while (events := (await there.resource(droplet))["events"])[0]["event_type"] != "drift_detected":
            await asyncio.sleep(0.1)
    assert events[0]["changes"] == {"size_slug": {"old": "s-4vcpu-8gb", "new": "s-1vcpu-1gb"}}
    accepted = await there.do("POST", f"/drift/{drift['id']}/accept")
    assert accepted["drift"]["status"] == "accepted"
    shown = await there.get(f"/drift/specs/{resource['id']}")
    assert (shown["spec"]["spec"]["size_slug"], shown["spec"]["spec_version"]) == ("s-1vcpu-1gb", 2)
    detected = await there.do("POST", "/drift/detect")
    assert (detected["open"], detected["detected"]) == (0, 0)
    assert (await there.get("/drift"))["drift"] == []
    history = (await there.get(f"/drift/{drift['id']}"))["events"]
    assert [(each["what"], each["actor"]) for each in history] == [("detected", None), ("accepted", "ops@arcadia.test")]
    kinds = [each["event_type"] for each in (await there.resource(droplet))["events"]]
    assert kinds.count("drift_detected") == 1


async def test_a_size_changed_by_hand_is_found_priced_and_brought_back(there: System) -> None:
    droplet, _ = await asked_for(there, size_slug="s-1vcpu-1gb", state="active")
    await there.provider.change_droplet(droplet.id, size="s-2vcpu-2gb")
    await there.sync()
    (drift,) = await there.drifts(1)
    assert (drift["field"], drift["monthly_delta_cents"], drift["severity"]) == ("size_slug", 1200, "high")
    begun = await there.do("POST", f"/drift/{drift['id']}/revert", status=202)
    assert begun["drift"]["is_reverting"]
    run = await there.ended(begun["drift"]["revert_saga_id"])
    steps = [step["name"] for step in run["saga"]["steps"]]
    assert steps == [f"look_at_{droplet.id}", "power_off", "resize", "power_on", "register_resource"]
    await there.closed(drift, "reverted")
    (now,) = [each for each in await there.provider.droplets() if each.id == droplet.id]
    assert (now.size, now.status) == ("s-1vcpu-1gb", "active")
    assert (await there.do("POST", "/drift/detect"))["open"] == 0
    assert [each["what"] for each in (await there.get(f"/drift/{drift['id']}"))["events"]] == [
        "detected", "reverting", "reverted",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "asked", "by_hand"),
    [
        ("name", "shop", {"name": "renamed"}),
        ("tags", ["a", "b"], {"tags": ["b", "c"]}),
        ("state", "active", {"status": "off"}),
        ("state", "off", {"status": "active"}),
    ],
)
async def test_names_tags_and_power_are_brought_back_too(
    there: System, field: str, asked: Any, by_hand: dict[str, Any]
) -> None:
    droplet, _ = await asked_for(there, **{field: asked})
    await there.provider.change_droplet(droplet.id, **by_hand)
    await there.sync()
    await there.do("POST", "/drift/detect")
    (drift,) = await there.drifts(1)
    begun = await there.do("POST", f"/drift/{drift['id']}/revert", status=202)
    run = await there.ended(begun["drift"]["revert_saga_id"])
    assert run["saga"]["status"] == "completed", run
    await there.closed(drift, "reverted")
    (now,) = [each for each in await there.provider.droplets() if each.id == droplet.id]
    real = {"name": now.name, "tags": sorted(now.tags), "state": now.status}
    assert real[field] == asked
    assert (await there.do("POST", "/drift/detect"))["open"] == 0


async def test_a_revert_that_fails_opens_the_drift_again_and_leaves_the_droplet_on(there: System) -> None:
    droplet, resource = await asked_for(there, size_slug="s-1vcpu-1gb", state="active")
    await there.provider.change_droplet(droplet.id, size="s-2vcpu-2gb")
    await there.sync()
    (drift,) = await there.drifts(1)
    text = "Size can not decrease size of Droplet's disk image"
    path = f"/v2/droplets/{droplet.id}/actions"
    await there.provider.arm(
        Fault(effect="status", status=422, message=text, method="POST", path=path, after=1, count=1)
    )
    begun = await there.do("POST", f"/drift/{drift['id']}/revert", status=202)
    ending = asyncio.create_task(there.ended(begun["drift"]["revert_saga_id"]))
    state = "active"
    while not ending.done() and state != "off":  # what is seen last is half done
        await there.sync()
        state = (await there.resource(droplet))["resource"]["state"]
    assert state == "off"
    assert (await ending)["saga"]["status"] == "rolled_back"
    async with asyncio.timeout(20):
        while (shown := (await there.get(f"/drift/{drift['id']}"))["drift"])["is_reverting"]:
            await asyncio.sleep(0.1)
    assert (shown["status"], shown["revert_error"]["reason"]) == ("open", "step_failed:resize")
    (now,) = [each for each in await there.provider.droplets() if each.id == droplet.id]
    assert (now.size, now.status) == ("s-2vcpu-2gb", "active")
    await there.do("POST", "/drift/detect")
    assert [each["field"] for each in await there.drifts(1, resource=resource["id"])] == ["size_slug"]
    assert not await there.drifts(0, status="stale", resource=resource["id"])


async def test_a_droplet_that_is_destroyed_while_it_is_brought_back_leaves_no_drift_stuck(there: System) -> None:
    droplet, _ = await asked_for(there, size_slug="s-1vcpu-1gb")
    await there.provider.change_droplet(droplet.id, size="s-2vcpu-2gb")
    await there.sync()
    (drift,) = await there.drifts(1)
    await there.provider.delete_droplet(droplet.id)
    begun = await there.do("POST", f"/drift/{drift['id']}/revert", status=202)
    run = await there.ended(begun["drift"]["revert_saga_id"])
    assert (run["saga"]["status"], run["saga"]["error"]["reason"]) == (
        "rolled_back", f"step_failed:look_at_{droplet.id}",
    )  # fmt: skip
    for _ in range(3):
        await there.sync()
    assert (await there.closed(drift, "stale"))["events"][-1]["detail"] == {"reason": "gone"}
    (gone,) = await there.drifts(1)
    assert (gone["field"], gone["severity"], gone["monthly_delta_cents"]) == ("exists", "critical", -600)
    refused = await there.do("POST", f"/drift/{gone['id']}/revert", status=422)
    assert refused["error"] == "not_revertible"
    await there.do("POST", f"/drift/{gone['id']}/accept")
    assert (await there.do("POST", "/drift/detect"))["open"] == 0


async def test_our_own_resize_is_no_drift_however_often_it_is_seen_half_done(there: System) -> None:
    droplet, resource = await asked_for(there, size_slug="s-1vcpu-1gb", state="active")
    wish = {"droplet": {"droplet_id": droplet.id, "resource_id": resource["id"]}, "size": "s-2vcpu-2gb"}
    begun = await there.do("POST", "/sagas", {"kind": "resize_droplet", "inputs": wish}, status=202)
    ending = asyncio.create_task(there.ended(begun["saga"]["id"]))
    seen_half_done = set()
    while not ending.done():
        await there.sync()
        now = (await there.resource(droplet))["resource"]
        seen_half_done.add((now["state"], now["size_slug"]))
        await there.do("POST", "/drift/detect")
    assert (await ending)["saga"]["status"] == "completed"
    await there.sync()
    assert (await there.do("POST", "/drift/detect"))["open"] == 0
    assert len(seen_half_done) > 1
    for status in ("open", "stale"):
        assert not await there.drifts(0, status=status, resource=resource["id"])
    shown = await there.get(f"/drift/specs/{resource['id']}")
    assert (shown["spec"]["spec"]["size_slug"], shown["spec"]["saga_id"]) == ("s-2vcpu-2gb", begun["saga"]["id"])


async def test_what_is_nobodys_is_reported_with_its_cost(there: System) -> None:
    await asked_for(there, size_slug="s-1vcpu-1gb")
    _, resource = await seen(there, size="s-2vcpu-2gb", name="forgotten")
    report = await there.get("/drift/unmanaged", kind="droplet")
    found = {each["name"]: each["monthly_usd_cents"] for each in report["unmanaged"]}
    assert found["forgotten"] == 1800
    before = report["monthly_usd_cents"]
    await there.do("PUT", f"/drift/specs/{resource['id']}", {"spec": {"size_slug": "s-2vcpu-2gb"}})
    report = await there.get("/drift/unmanaged", kind="droplet")
    assert (report["monthly_usd_cents"], report["unpriced"]) == (before - 1800, 0)


async def test_what_is_snoozed_or_ignored_is_out_of_the_inbox(there: System) -> None:
    _, resource = await asked_for(there, size_slug="s-2vcpu-2gb", name="other")
    drifts = {each["field"]: each for each in await there.drifts(2)}
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    await there.do("POST", f"/drift/{drifts['size_slug']['id']}/snooze", {"until": until})
    assert [each["field"] for each in await there.drifts(1)] == ["name"]
    assert len(await there.drifts(2, snoozed=True)) == 2
    await there.do("PUT", "/drift/rules/name", {"severity": "low", "ignore": True, "reason": "renamed by the day"})
    await there.closed(drifts["name"], "stale")
    rules = {each["field"]: each for each in (await there.get("/drift/rules"))["rules"] if each["kind"] is None}
    assert (rules["name"]["ignore"], rules["name"]["actor"]) == (True, "ops@arcadia.test")
    await there.do("PUT", "/drift/rules/name", {"severity": "low"})
    assert len(await there.drifts(2, snoozed=True, resource=resource["id"])) == 2


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({}, "at least 1"),
        ({"Size": "x"}, "pattern"),
        ({"exists": True}, "goes without saying"),
        ({"name": "a\x00b"}, "no text"),
        ({"vcpus": 2**64}, "64 bits"),
        ({"image": "ubuntu"}, "Nobody is told"),
        ({"deep": [[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]}, "nested"),
    ],
)
async def test_a_spec_that_cannot_be_compared_is_refused_with_the_reason(
    there: System, spec: dict[str, Any], word: str
) -> None:
    _, resource = await seen(there)
    answer = await there.operator.put(f"/api/v1/drift/specs/{resource['id']}", json={"spec": spec})
    assert (answer.status_code, word in answer.text) == (422, True), answer.text


async def test_operators_alone_see_drift(there: System) -> None:
    for path in ("/drift", "/drift/specs", "/drift/rules", "/drift/unmanaged", "/drift/surges"):
        assert (await there.acme.get(f"/api/v1{path}")).status_code == 403


async def test_the_answers_are_as_documented(there: System) -> None:
    await asked_for(there, size_slug="s-2vcpu-2gb")
    (drift,) = await there.drifts(1)
    for path in ("/drift", f"/drift/{drift['id']}", "/drift/specs", f"/drift/specs/{drift['resource_id']}",
                 "/drift/rules", "/drift/unmanaged", "/drift/surges"):  # fmt: skip
        answer = await there.operator.get(f"/api/v1{path}")
        route = path.replace(drift["id"], "{drift_id}").replace(drift["resource_id"], "{resource_id}")
        await checked(there.operator, f"/api/v1{route}", answer)
    for method, route, path, body in (
        ("post", "/drift/{drift_id}/snooze", f"/drift/{drift['id']}/snooze", {"until": None}),
        ("post", "/drift/detect", "/drift/detect", None),
        ("put", "/drift/rules/{field}", "/drift/rules/vcpus", {"severity": "low", "kind": "droplet"}),
        ("delete", "/drift/rules/{field}", "/drift/rules/vcpus?kind=droplet", None),
        ("post", "/drift/{drift_id}/accept", f"/drift/{drift['id']}/accept", None),
        ("delete", "/drift/specs/{resource_id}", f"/drift/specs/{drift['resource_id']}", None),
    ):
        answer = await there.operator.request(method, f"/api/v1{path}", json=body)
        await checked(there.operator, f"/api/v1{route}", answer)
