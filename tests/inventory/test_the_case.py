"""The case of the requirements, on the bus and in the tables: five droplets, then four, then five."""

from __future__ import annotations

from contracts.inventory import PROJECTS
from dev.digitalocean.faults import Fault
from tests.inventory.world import Inventory, numbers


async def test_five_droplets_become_five_resources_with_an_event_each_and_the_project(inventory: Inventory) -> None:
    await inventory.provider.reset(droplets=5, projects=2)

    result = await inventory.sync()

    assert numbers(result, "droplet", "seen", "discovered", "updated", "complete") == [5, 5, 0, True]
    truth = await inventory.provider.truth()
    resources = await inventory.resources()
    assert [(r["provider_id"], r["name"]) for r in resources] == sorted((str(d.id), d.name) for d in truth.droplets)
    assert await inventory.events() == ["discovered"] * 5
    projects = await inventory.fetch("select provider_id, name, id from cloud_projects")
    assert {p["name"] for p in projects} == {p.name for p in truth.projects} >= {"arcadia", "skyai-internal"}
    by_provider = {p["provider_id"]: p["id"] for p in projects}
    assert {r["provider_id"]: r["project_id"] for r in resources} == {
        str(d.id): by_provider[d.project_id] for d in truth.droplets
    }
    assert {m.type for m in await inventory.published(5)} == {"arcadia.inventory.resource-discovered.v1"}
    assert {m.type for m in await inventory.published(3, PROJECTS)} == {"arcadia.inventory.project-discovered.v1"}


async def test_a_second_sync_writes_no_event(inventory: Inventory) -> None:
    await inventory.provider.reset(droplets=5, projects=2)
    await inventory.sync()
    before = await inventory.resources()

    result = await inventory.sync()

    assert numbers(result, "droplet", "seen", "discovered", "updated", "struck") == [5, 0, 0, 0]
    assert numbers(result, "project", "seen", "discovered", "updated") == [3, 0, 0]
    after = await inventory.resources()
    assert [r["version"] for r in after] == [r["version"] for r in before] == [1] * 5
    assert all(a["last_seen_at"] > b["last_seen_at"] for a, b in zip(after, before, strict=True))
    assert await inventory.events() == ["discovered"] * 5


async def test_a_removed_droplet_is_tombstoned_by_the_third_sync_and_restored_when_it_is_back(
    inventory: Inventory,
) -> None:
    await inventory.provider.reset(droplets=5, projects=2)
    await inventory.sync()
    removed = (await inventory.resources())[-1]
    where = f"id = '{removed['id']}'"
    # The stand-in never gives an id twice: so the droplet is hidden, from every list, and shown again.
    hidden = await inventory.provider.arm(Fault(effect="omit", path="/v2/*", share=0.2))

    for strike in (1, 2):
        result = await inventory.sync()
        assert numbers(result, "droplet", "seen", "struck", "deleted") == [4, 1, 0]
        (resource,) = await inventory.resources(where)
        assert (resource["stale_strike_count"], resource["deleted_at"]) == (strike, None)
    result = await inventory.sync()
    assert numbers(result, "droplet", "seen", "struck", "deleted") == [4, 1, 1]
    (resource,) = await inventory.resources(where)
    assert resource["deleted_at"] is not None
    assert await inventory.events() == ["discovered"] * 5 + ["deleted"]

    await inventory.provider.disarm(hidden)
    result = await inventory.sync()
    assert numbers(result, "droplet", "seen", "restored", "discovered", "updated") == [5, 1, 0, 0]
    (resource,) = await inventory.resources(where)
    assert (resource["deleted_at"], resource["stale_strike_count"], resource["version"]) == (None, 0, 3)
    assert await inventory.events() == ["discovered"] * 5 + ["deleted", "restored"]
    told = [m for m in await inventory.published(7) if m.subject == str(removed["id"])]
    assert [m.type.split(".")[2] for m in told] == ["resource-discovered", "resource-deleted", "resource-restored"]
    assert [m.sequence for m in told] == [1, 2, 3]
