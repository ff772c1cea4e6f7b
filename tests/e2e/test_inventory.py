"""The inventory's story, from the provider over the bus to HTTP, with every service as a process."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from typing import Any

import httpx

from dev.demo.stage import Caller, Stage
from dev.digitalocean.faults import Fault
from tests.e2e.stranger import Schemas, everything_said

_TOPICS = [
    "inventory.commands",
    "inventory.resources",
    "inventory.projects",
    "inventory.dead-letters",
    "gateway.replies",
]


async def test_the_case_of_five_droplets_over_http_and_on_the_bus(system: Stage) -> None:
    async with system.caller("platform", "ops@arcadia.example", operator=True) as operator:
        await _discovered(operator)
        await _nothing_new(operator)
        gone = await _tombstoned_by_the_third_sync(system, operator)
        await _restored(system, operator, gone)
    said = await _said(system)
    types = Counter(message["type"].split(".")[2] for topic, _, message in said if topic.endswith(".resources"))
    assert types == {"resource-discovered": 5, "resource-deleted": 1, "resource-restored": 1}
    _check_as_a_stranger(system, said)


async def _discovered(operator: Caller) -> None:
    numbers = await operator.do("POST", "/api/v1/inventory/sync")
    assert numbers["droplet"]["seen"] == 5
    answer = await operator.get("/api/v1/inventory")
    assert answer["count"] == len(answer["resources"]) == 5
    for resource in answer["resources"]:
        shown = await operator.get(f"/api/v1/inventory/{resource['id']}")
        assert [event["event_type"] for event in shown["events"]] == ["discovered"]
    projects = (await operator.get("/api/v1/projects"))["projects"]
    assert "skyai-internal" in {project["name"] for project in projects}
    assert {resource["project_id"] for resource in answer["resources"]} <= {project["id"] for project in projects}


async def _nothing_new(operator: Caller) -> None:
    before = await operator.get("/api/v1/inventory")
    numbers = await operator.do("POST", "/api/v1/inventory/sync", {"kind": "droplet"})
    assert (numbers["droplet"]["seen"], numbers["droplet"]["updated"]) == (5, 0)
    after = await operator.get("/api/v1/inventory")
    assert [r["version"] for r in after["resources"]] == [r["version"] for r in before["resources"]] == [1] * 5


async def _tombstoned_by_the_third_sync(system: Stage, operator: Caller) -> dict[str, Any]:
    """Hide one droplet from every list; give its resource."""
    before: dict[str, dict[str, Any]] = {r["id"]: r for r in (await operator.get("/api/v1/inventory"))["resources"]}
    await system.provider.arm(Fault(effect="omit", path="/v2/*", share=0.2))
    for _ in range(2):
        await operator.do("POST", "/api/v1/inventory/sync")
        assert (await operator.get("/api/v1/inventory"))["count"] == 5
    await operator.do("POST", "/api/v1/inventory/sync")
    left = {r["id"] for r in (await operator.get("/api/v1/inventory"))["resources"]}
    (gone,) = before.keys() - left
    (deleted,) = (await operator.get("/api/v1/inventory", state="deleted"))["resources"]
    assert (deleted["id"], deleted["deleted_at"] is not None) == (gone, True)
    return before[gone]


async def _restored(system: Stage, operator: Caller, gone: dict[str, Any]) -> None:
    await system.provider.disarm()
    await operator.do("POST", "/api/v1/inventory/sync")
    shown = await operator.get(f"/api/v1/inventory/{gone['id']}")
    assert shown["resource"]["deleted_at"] is None
    assert [event["event_type"] for event in shown["events"]] == ["restored", "deleted", "discovered"]


async def _said(system: Stage) -> list[tuple[str, str, Any]]:
    prefix = f"{system.settings.kafka_prefix}arcadia."
    return await everything_said(system.settings.kafka_bootstrap_servers[0], [prefix + topic for topic in _TOPICS])


def _check_as_a_stranger(system: Stage, said: list[tuple[str, str, Any]]) -> None:
    """Every message fits the schemas, its key is its subject, and the AsyncAPI document knows it on its topic."""
    document = httpx.get(f"{system.gateway}/api/v1/contracts/asyncapi.json", trust_env=False).raise_for_status().json()
    channels = {channel["address"]: channel for channel in document["channels"].values()}
    with closing(Schemas(system.gateway)) as schemas:
        for topic, key, message in said:
            schemas.check(message)
            assert key == message["subject"]
            known = channels[topic.removeprefix(system.settings.kafka_prefix)]["messages"]
            assert message["type"] in str(known), f"{message['type']} is not documented on {topic}"


async def test_a_tenant_sees_what_is_its_own_and_follows_a_project_that_changes_hands(system: Stage) -> None:
    async with (
        system.caller("platform", "ops@arcadia.example", operator=True) as operator,
        system.caller("acme", "dev@acme.example") as acme,
        system.caller("globex", "dev@globex.example") as globex,
    ):
        await operator.do("POST", "/api/v1/inventory/sync")
        owned = Counter(r["project_id"] for r in (await operator.get("/api/v1/inventory"))["resources"])
        project, count = owned.most_common(1)[0]
        assert (await acme.get("/api/v1/inventory"))["count"] == 0

        await operator.do("PATCH", f"/api/v1/projects/{project}", {"tenant_id": "acme"})
        mine = await acme.get("/api/v1/inventory")
        assert mine["count"] == count
        resource = mine["resources"][0]["id"]
        assert await globex.status(f"/api/v1/inventory/{resource}") == 404

        link = {"deployment_id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f11", "tenant_id": "globex"}
        await operator.do("POST", f"/api/v1/inventory/{resource}/link", link)
        assert await acme.status(f"/api/v1/inventory/{resource}") == 404
        shown = await globex.get(f"/api/v1/inventory/{resource}")
        assert shown["resource"]["deployment_id"] == link["deployment_id"]
        await operator.do("POST", f"/api/v1/inventory/{resource}/unlink")
        assert await acme.status(f"/api/v1/inventory/{resource}") == 200
