"""The story's third part: a tenant has a deployment built, step by step; and another, which fails and is undone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson

from dev.demo.screen import Screen
from dev.demo.stage import SPEED, ZONE, Caller, DemoFailed, Stage
from dev.digitalocean.faults import Fault

_DEPLOYMENTS = "/api/v1/deployments"
_UNFINISHED = {"pending", "running", "compensating"}


async def build(stage: Stage, screen: Screen, operator: Caller) -> None:
    """A tenant asks for a deployment, and a saga makes what it runs on."""
    await stage.provider.set(speed=SPEED)
    await stage.provider.add_zone(ZONE)
    async with stage.caller("acme", "dev@acme.example") as acme:
        deployment, run = await _built(screen, acme, "wiki")
        shown = await acme.get(f"{_DEPLOYMENTS}/{deployment['id']}")
    (droplet,) = await _droplets(stage, deployment)
    (record,) = await _records(stage, "wiki")
    screen.table(
        ["deployment", "state", "droplet", "size", "address", "name", "points to"],
        [
            [
                "wiki",
                shown["deployment"]["state"],
                droplet.id,
                droplet.size,
                run["context"]["ipv4"],
                f"{record.name}.{ZONE}",
                record.data,
            ]
        ],
    )
    screen.fact("Each step was a command to some service and its reply: kill any of them, and the saga goes on after.")


async def undo(stage: Stage, screen: Screen, operator: Caller) -> None:
    """The provider refuses the second one's name: what was built for it is taken down again."""
    path = f"/v2/domains/{ZONE}/*"
    await stage.provider.arm(
        Fault(effect="status", status=422, message="Data can't be blank", method="POST", path=path)
    )
    screen.step("from now on the provider refuses every new DNS record")
    async with stage.caller("acme", "dev@acme.example") as acme:
        deployment, run = await _built(screen, acme, "forum")
        shown = await acme.get(f"{_DEPLOYMENTS}/{deployment['id']}")
    await stage.provider.disarm()
    await stage.provider.advance(120)  # what is being destroyed is gone by then
    made = await stage.provider.created(f"deployment:{deployment['id']}")
    screen.table(
        ["deployment", "state", "saga", "why", "droplets made", "droplets left", "records left"],
        [
            [
                "forum",
                shown["deployment"]["state"],
                run["saga"]["status"],
                run["saga"]["error"]["reason"],
                len(made),
                len(await _droplets(stage, deployment)),
                len(await _records(stage, "forum")),
            ]
        ],
    )
    screen.fact("Nothing is left at the provider that would cost: asked there, not in our own books.")


async def _built(screen: Screen, caller: Caller, slug: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A deployment that is asked for, and its saga when it has ended."""
    asked = await caller.do("POST", _DEPLOYMENTS, {"slug": slug, "provision": True})
    screen.step(f"acme asks for the deployment `{slug}`: it is {asked['deployment']['state']}")
    return asked["deployment"], await followed(screen, caller, asked["saga"]["id"])


async def followed(screen: Screen, caller: Caller, saga_id: str) -> dict[str, Any]:
    """A saga when it has ended, each step shown as it happens."""
    told: dict[int, str] = {}
    async for run in _progress(caller, saga_id):
        for step in sorted(run["saga"]["steps"], key=_happened):
            if told.get(step["index"]) != step["status"]:
                told[step["index"]] = step["status"]
                why = f" ({step['error']['code']})" if step["error"] else ""
                screen.step(f"  {step['index'] + 1}/{len(run['plan'])} {step['name']:<18} {step['status']}{why}")
    screen.step(f"the saga is {run['saga']['status']}")
    return run


def _happened(step: dict[str, Any]) -> tuple[bool, int]:
    """Steps are done in their order, and undone after that, backwards."""
    undone = step["status"] == "compensated"
    return undone, -step["index"] if undone else step["index"]


async def _progress(caller: Caller, saga_id: str) -> AsyncIterator[dict[str, Any]]:
    """A run after each change, as GET /sagas/{id}/events tells it."""
    await caller.there(f"/api/v1/sagas/{saga_id}")
    run: dict[str, Any] = {}
    async with caller.client.stream("GET", f"/api/v1/sagas/{saga_id}/events") as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: ") and (said := orjson.loads(line.removeprefix("data: "))):
                run = said
                yield run
    if run["saga"]["status"] in _UNFINISHED:
        raise DemoFailed(f"the events of the saga {saga_id} ended before it did")


async def _droplets(stage: Stage, deployment: dict[str, Any]) -> list[Any]:
    return await stage.provider.droplets(f"deployment:{deployment['id']}")


async def _records(stage: Stage, slug: str) -> list[Any]:
    return [record for record in await stage.provider.records(ZONE) if record.name == f"{slug}.acme"]
