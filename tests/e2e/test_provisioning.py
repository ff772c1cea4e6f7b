"""Deployments that are built, changed and retired: through HTTP, Kafka and a provider, every service a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from dev.demo.stage import Stage
from dev.digitalocean.faults import Fault
from dev.tokens import OPERATOR_ROLES, mint

DEPLOYMENTS, SAGAS = "/api/v1/deployments", "/api/v1/sagas"
ZONE = "apps.example.com"
SPEED = 20

FAST = {"PROVISION_DOMAIN": ZONE, "PROVISION_REGION": "nyc3", "PROVIDER_TIME_SCALE": str(1 / SPEED)}
pytestmark = pytest.mark.parametrize("system", [FAST], indirect=True)

STEPS = ["mark", "create_droplet", "await_droplet", "register_resource", "link_resource", "point_dns", "activate"]


@asynccontextmanager
async def caller(system: Stage, *, operator: bool = False) -> AsyncIterator[httpx.AsyncClient]:
    token = mint("platform", "ops@arcadia.test", OPERATOR_ROLES) if operator else mint("acme", "ann@acme.test")
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=system.gateway, headers=headers, timeout=30, trust_env=False) as http:
        yield http


async def begun(answer: httpx.Response) -> dict[str, Any]:
    """What a route answers that begins a saga."""
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def ended(http: httpx.AsyncClient, saga: dict[str, Any], seconds: float = 60) -> dict[str, Any]:
    """A saga, once it has ended."""
    async with asyncio.timeout(seconds):
        while True:
            answer = await http.get(f"{SAGAS}/{saga['id']}")
            if answer.status_code == 200 and answer.json()["finished_at"]:  # (before it has begun: 404)
                found: dict[str, Any] = answer.json()
                return found
            await asyncio.sleep(0.1)


async def built(system: Stage, http: httpx.AsyncClient, slug: str = "shop") -> tuple[dict[str, Any], dict[str, Any]]:
    """A deployment that is asked for, and its saga once that has ended."""
    body = await begun(await http.post(DEPLOYMENTS, json={"slug": slug, "provision": True}))
    return body["deployment"], await ended(http, body["saga"])


async def ours(system: Stage, deployment: dict[str, Any]) -> list[Any]:
    """The deployment's droplets that are really there."""
    await system.provider.advance(120)  # whatever is being destroyed is gone by then
    return await system.provider.droplets(f"deployment:{deployment['id']}")


async def name_of(system: Stage, slug: str = "shop") -> list[str]:
    """Where the deployment's name points."""
    return [record.data for record in await system.provider.records(ZONE) if record.name == f"{slug}.acme"]


async def asked_and_known(operator: httpx.AsyncClient, resource: dict[str, Any], field: str = "state") -> Any:
    """What is asked of a resource in a field, which is what the inventory knows of it at once; there is no drift."""
    async with asyncio.timeout(20):
        while True:
            spec = (await operator.get(f"/api/v1/drift/specs/{resource['id']}")).json()["spec"]["spec"]
            known = (await operator.get(f"/api/v1/inventory/{resource['id']}")).json()["resource"]
            if spec[field] == known[field]:
                break
            await asyncio.sleep(0.1)
    detected = (await operator.post("/api/v1/drift/detect", json={"resource_id": resource["id"]})).json()
    assert (detected["specs"], detected["open"]) == (1, 0)
    return {field: known[field]}


async def test_a_deployment_is_built_suspended_resumed_resized_and_retired(system: Stage) -> None:
    await system.provider.set(speed=SPEED)
    await system.provider.add_zone(ZONE)
    async with caller(system) as acme, caller(system, operator=True) as operator:
        deployment, run = await built(system, acme)
        assert [step["name"] for step in run["saga"]["steps"]] == STEPS
        assert {step["status"] for step in run["saga"]["steps"]} == {"completed"}, run
        shown = (await acme.get(f"{DEPLOYMENTS}/{deployment['id']}")).json()
        assert (shown["deployment"]["state"], shown["saga"]) == ("active", run["saga"])
        (droplet,) = await ours(system, deployment)
        assert await name_of(system) == [run["context"]["ipv4"]]
        linked = (await acme.get("/api/v1/inventory", params={"deployment": deployment["id"]})).json()
        assert [each["provider_id"] for each in linked["resources"]] == [str(droplet.id)]

        for route, state, status in (("suspend", "suspended", "off"), ("resume", "active", "active")):
            body = await begun(await operator.post(f"{DEPLOYMENTS}/{deployment['id']}/{route}", json={"reason": "x"}))
            assert (await ended(operator, body["saga"]))["saga"]["status"] == "completed"
            shown = (await acme.get(f"{DEPLOYMENTS}/{deployment['id']}")).json()
            assert shown["deployment"]["state"] == state
            assert [each.status for each in await ours(system, deployment)] == [status]
            assert (await asked_and_known(operator, linked["resources"][0])) == {"state": status}

        wish = {"size": "s-2vcpu-2gb"}
        body = await begun(await operator.post(f"{DEPLOYMENTS}/{deployment['id']}/resize", json=wish))
        assert (await ended(operator, body["saga"]))["saga"]["status"] == "completed"
        (droplet,) = await ours(system, deployment)
        assert (droplet.size, droplet.status) == ("s-2vcpu-2gb", "active")
        assert (await asked_and_known(operator, linked["resources"][0], "size_slug")) == {"size_slug": "s-2vcpu-2gb"}

        body = await begun(await acme.post(f"{DEPLOYMENTS}/{deployment['id']}/offboard"))
        assert (await ended(acme, body["saga"]))["saga"]["status"] == "completed"
        assert await ours(system, deployment) == []
        assert await name_of(system) == []
        shown = (await acme.get(f"{DEPLOYMENTS}/{deployment['id']}")).json()
        assert shown["deployment"]["state"] == "cancelled"

        resource = linked["resources"][0]["id"]
        assert (await operator.get(f"/api/v1/drift/specs/{resource}")).json()["spec"]["retired_at"]
        assert (await operator.get("/api/v1/drift", params={"status": "stale"})).json()["drift"] == []
        swept = await operator.post("/api/v1/provider/sweep-orphans", json={"destroy": True})
        assert swept.json() == {"orphans": [], "complete": True}


async def test_one_that_fails_at_its_name_leaves_nothing_behind(system: Stage) -> None:
    await system.provider.set(speed=SPEED)
    await system.provider.add_zone(ZONE)
    await system.provider.arm(
        Fault(effect="status", status=422, message="Data can't be blank", method="POST", path=f"/v2/domains/{ZONE}/*")
    )
    async with caller(system) as acme:
        deployment, run = await built(system, acme)
        assert (run["saga"]["status"], run["saga"]["error"]) == (
            "rolled_back",
            {"compensate_from_idx": 4, "reason": "step_failed:point_dns"},
        )
        statuses = [step["status"] for step in run["saga"]["steps"]]
        assert statuses == ["compensated", "compensated", "completed", "completed", "compensated", "failed"]
        shown = (await acme.get(f"{DEPLOYMENTS}/{deployment['id']}")).json()
        assert shown["deployment"]["state"] == "cancelled"
        assert await ours(system, deployment) == []
        assert await name_of(system) == []
        assert await system.provider.created(f"deployment:{deployment['id']}"), "it had been there"
