"""A fleet of all kinds, with changes and provider's faults between fifty syncs: in the end all tell the same."""

from __future__ import annotations

import random
from typing import Any

import pytest

from contracts.inventory import RESOURCES, ClassifyProject, SyncInventory
from contracts.kinds import ResourceKind
from contracts.message import Envelope
from dev.digitalocean.running import RunningStandIn
from services.inventory.kinds import KINDS
from tests.inventory.agitated import Agitated, told, truth
from tests.inventory.world import Inventory, Row

SYNCS = 50
LEFT_TO_SETTLE = 3
TENANTS = 4


@pytest.mark.parametrize("seed", [1])
async def test_a_small_fleet_in_motion(hasty_inventory: Inventory, provider: RunningStandIn, seed: int) -> None:
    await story(hasty_inventory, provider, seed, droplets=100, changes=8)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_fleet_of_twenty_thousand_in_motion(
    hasty_inventory: Inventory, provider: RunningStandIn, seed: int
) -> None:
    count = await story(hasty_inventory, provider, seed, droplets=9500, changes=150)
    assert count >= 20_000


async def story(inventory: Inventory, provider: RunningStandIn, seed: int, *, droplets: int, changes: int) -> int:
    """Everything; gives how many resources there were at the beginning."""
    await inventory.provider.reset(droplets=droplets, others=120, projects=8, seed=seed)
    await inventory.sync()
    projects = [project.id for project in (await inventory.provider.truth()).projects]
    await classify(inventory, projects[:TENANTS])
    count = len(await inventory.resources())
    fleet = Agitated(inventory.provider, random.Random(seed), projects)
    outcomes = []
    for _ in range(SYNCS):
        await fleet.arm()
        await fleet.stir(changes)
        outcomes.append(await inventory.ok(SyncInventory(), seconds=600))
    walks = [walk for outcome in outcomes for walk in outcome.values()]
    assert any("error" in walk for walk in walks), "no fault made a walk fail"
    assert any(not walk["complete"] and "error" not in walk for walk in walks), "no fault made a walk incomplete"
    await inventory.provider.disarm()
    for _ in range(LEFT_TO_SETTLE):
        last = await inventory.ok(SyncInventory(), seconds=600)
    assert {name for name, walk in last.items() if not walk["complete"]} == set()
    await equals_the_truth(inventory, provider)
    await is_what_the_topic_tells(inventory)
    assert fleet.done.keys() >= {"changed", "moved", "deleted", "added"}, "the hand was idle"
    return count


async def classify(inventory: Inventory, provider_ids: list[str]) -> None:
    for n, provider_id in enumerate(provider_ids):
        (row,) = await inventory.fetch("select id from cloud_projects where provider_id = $1", provider_id)
        await inventory.ok(ClassifyProject(project_id=row["id"], fields=["tenant_id"], tenant_id=f"tenant-{n}"))


async def equals_the_truth(inventory: Inventory, provider: RunningStandIn) -> None:
    """Every row of the tables is what the provider has, and nothing is missing; each is in its project."""
    there = await truth(inventory.provider, provider.url, provider.token)
    live = await inventory.resources("deleted_at is null")
    for kind in KINDS:
        mine = {row["provider_id"]: row for row in live if row["kind"] == kind}
        assert mine.keys() == there[kind].keys(), kind
        different = [id for id, row in mine.items() if content(row) != told(kind, there[kind][id])]
        assert different == [], (kind, content(mine[different[0]]), told(kind, there[kind][different[0]]))
    await belongs_as_it_should(inventory, live)


def content(row: Row) -> dict[str, Any]:
    names = ("name", "region", "state", "size_slug", "tags", "attrs")
    return {name: row[name] for name in names}


async def belongs_as_it_should(inventory: Inventory, live: list[Row]) -> None:
    """Projects and tenants, from the provider's lists and our classification."""
    projects = {row["provider_id"]: row for row in await inventory.fetch("select * from cloud_projects")}
    by_id = {(row["kind"], row["provider_id"]): row for row in live}
    families = {ResourceKind.VOLUME: "volumes", ResourceKind.DATABASE: "databases", ResourceKind.DNS_ZONE: "domains"}
    for kind, family in families.items():
        for thing in await inventory.provider.things(family):
            row = by_id[kind, thing.id]
            assert row["project_id"] == projects[str(thing.project_id)]["id"], (kind, thing.id)
            if not row["part"]:
                assert row["tenant_id"] == projects[str(thing.project_id)]["tenant_id"], (kind, thing.id)
    for row in live:
        whole = by_id.get((row["parent_kind"], row["parent_provider_id"])) if row["part"] else None
        assert whole is None or row["tenant_id"] == whole["tenant_id"], row


async def is_what_the_topic_tells(inventory: Inventory) -> None:
    """Replayed from its beginning, the topic has the state of the table, but for what is nobody's business."""
    await inventory.until("select count(*) = 0 from outbox")
    ((events,),) = await inventory.fetch("select count(*) from cloud_resource_events")
    states: dict[str, Envelope] = {}
    for message in await inventory.published(events, RESOURCES, seconds=300):
        key = str(message.subject)
        assert key not in states or (message.sequence or 0) > (states[key].sequence or 0), "out of order"
        states[key] = message
    rows = {str(row["id"]): row for row in await inventory.resources()}
    assert states.keys() == rows.keys()
    for id, row in rows.items():
        state = states[id].data["resource"]
        assert meaning(state) == meaning(row), (meaning(state), meaning(row))


def meaning(state: Any) -> dict[str, Any]:
    """What is told of a resource, as far as a change of it is an event."""
    kind = KINDS[ResourceKind(state["kind"])]
    attrs = {name: value for name, value in state["attrs"].items() if name not in kind.meaningless}
    owners = {name: state[name] and str(state[name]) for name in ("project_id", "deployment_id", "tenant_id")}
    plain = {name: state[name] for name in ("name", "region", "state", "size_slug", "tags", "version")}
    return {**plain, **owners, "attrs": attrs, "gone": state["deleted_at"] is not None}
