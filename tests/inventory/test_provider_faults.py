"""The provider at its worst: nothing is deleted for it, nothing spins, and nothing else has to wait."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

import pytest

from contracts.inventory import LinkResource, SyncInventory
from contracts.kinds import ResourceKind
from dev.digitalocean.faults import Effect, Fault
from tests.inventory.world import Inventory, Row, numbers

DROPLET = ResourceKind.DROPLET


async def fleet(inventory: Inventory, count: int) -> None:
    await inventory.provider.reset(droplets=count)
    await inventory.sync()
    await inventory.provider.forget_requests()


async def statuses(inventory: Inventory) -> dict[int | None, int]:
    """How often the provider gave which answer."""
    counts: dict[int | None, int] = {}
    for entry in (await inventory.provider.requests("/v2/")).requests:
        counts[entry.status] = counts.get(entry.status, 0) + 1
    return counts


async def intact(inventory: Inventory, count: int) -> None:
    """Nobody was struck, and nothing happened to anybody."""
    rows = await inventory.resources("deleted_at is null and stale_strike_count = 0")
    assert len(rows) == count
    assert set(await inventory.events()) == {"discovered"}


@pytest.mark.parametrize("own_inventory", [{"do_rate_limit": 1.0}], indirect=True)
async def test_a_storm_of_429s_that_name_a_reset_in_the_past_is_waited_out(own_inventory: Inventory) -> None:
    inventory = own_inventory
    await fleet(inventory, 12)
    await inventory.provider.arm(Fault(effect="hourly", path="/v2/*", count=3))
    began = time.monotonic()

    result = await inventory.sync()

    assert numbers(result, "droplet", "seen", "struck", "complete") == [12, 0, True]
    found = await statuses(inventory)
    assert found[429] == 3
    assert time.monotonic() - began > 3  # each time a pause, a longer one, although the reset is an hour ago
    await intact(inventory, 12)


@pytest.mark.parametrize("own_inventory", [{"do_rate_limit": 1.0}], indirect=True)
async def test_a_limit_that_is_spent_puts_the_sync_off_for_as_long_as_it_says(own_inventory: Inventory) -> None:
    inventory = own_inventory
    await fleet(inventory, 12)
    await inventory.provider.arm(Fault(effect="burst", path="/v2/*", seconds=600))

    (sync,) = await inventory.send(SyncInventory())
    job = await put_off(inventory)

    assert 590 < (job["run_at"] - job["started_at"]).total_seconds() < 620
    (walk,) = await inventory.fetch("select * from syncs where command_id = $1", sync)
    assert (walk["status"], "429" in walk["doubts"][0]) == ("failed", True)
    await hurry(inventory)
    await put_off(inventory, times=2)
    assert (await statuses(inventory)) == {429: 1}  # asked to wait, it does not even ask
    await intact(inventory, 12)


async def put_off(inventory: Inventory, times: int = 1) -> Row:
    """The sync's job, once it is put off so many times."""
    query = "select * from jobs where put_offs = $1 and status = 'queued'"
    async with asyncio.timeout(60):
        while not (rows := await inventory.fetch(query, times)):
            await asyncio.sleep(0.05)
    return rows[0]


async def hurry(inventory: Inventory) -> None:
    """Let the jobs that were put off run now."""
    await inventory.fetch("update jobs set run_at = now() where status = 'queued'")


async def test_errors_and_cut_connections_are_tried_again(own_inventory: Inventory) -> None:
    inventory = own_inventory
    await fleet(inventory, 450)
    effects: tuple[Effect, ...] = ("status", "reset", "half_json")
    for page, effect in enumerate(effects, start=1):
        await inventory.provider.arm(Fault(effect=effect, path="/v2/droplets", page=page, count=1))

    result = await inventory.sync()

    assert numbers(result, "droplet", "seen", "complete") == [450, True]
    await intact(inventory, 450)


async def test_an_outage_of_one_list_puts_off_that_walk_alone(own_inventory: Inventory) -> None:
    inventory = own_inventory
    await fleet(inventory, 12)
    outage = await inventory.provider.arm(Fault(effect="status", path="/v2/projects", status=503))
    (sync,) = await inventory.send(SyncInventory())
    await put_off(inventory)
    (droplets,) = await inventory.fetch("select * from syncs where command_id = $1 and kind = 'droplet'", sync)
    assert droplets["status"] == "complete"

    await inventory.provider.disarm(outage)
    await inventory.provider.forget_requests()
    await hurry(inventory)
    result = (await inventory.outcome(sync)).result or {}

    assert (result["project"]["complete"], result["droplet"]["complete"]) == (True, True)
    assert not (await inventory.provider.requests("/v2/droplets")).requests


async def test_while_the_provider_is_away_nothing_spins_and_other_commands_are_handled(
    own_inventory: Inventory,
) -> None:
    inventory = own_inventory
    await fleet(inventory, 3)
    (resource, *_) = await inventory.resources()
    await inventory.provider.arm(Fault(effect="status", path="/v2/*", status=503))
    began = time.monotonic()
    await inventory.send(SyncInventory(), SyncInventory(kind=DROPLET))

    for _ in range(5):
        await inventory.ok(LinkResource(resource_id=resource["id"], deployment_id=uuid4(), tenant_id="acme"))
        await asyncio.sleep(0.2)

    elapsed = time.monotonic() - began
    assert elapsed < 8
    assert sum((await statuses(inventory)).values()) < 4 * elapsed + 4
    assert len(await inventory.resources("stale_strike_count = 0 and deleted_at is null")) == 3


async def test_a_wrong_token_is_said_at_once_and_not_tried_for_ever(own_inventory: Inventory) -> None:
    inventory = own_inventory
    await fleet(inventory, 3)
    await inventory.provider.set(refused_tokens=["dop_v1_of_the_stand_in"])

    refused = await inventory.ask(SyncInventory())

    assert (refused.status, refused.code) == ("refused", "provider_denied_access")
    assert "401" in str(refused.detail)
    assert "dop_v1" not in str(refused.detail)
    assert await statuses(inventory) == {401: 1}
    await intact(inventory, 3)


async def test_pages_that_change_while_they_are_walked_cost_nobody_a_strike(own_inventory: Inventory) -> None:
    inventory = own_inventory
    await fleet(inventory, 900)
    for page in (1, 2, 3, 4):
        await inventory.provider.arm(Fault(effect="remove", path="/v2/droplets", page=page, rows=3, count=1))
        await inventory.provider.arm(Fault(effect="insert", path="/v2/droplets", page=page, rows=2, count=1))

    await inventory.sync()

    there = {str(droplet.id) for droplet in (await inventory.provider.truth()).droplets}
    struck = await inventory.resources("stale_strike_count > 0")
    assert not there & {row["provider_id"] for row in struck}
    await inventory.provider.disarm()
    for _ in range(3):
        await inventory.sync()
    assert {row["provider_id"] for row in await inventory.resources("deleted_at is null")} == there


async def test_a_walk_whose_worker_lost_its_lease_counts_no_more(own_inventory: Inventory) -> None:
    """As after a freeze: another worker has begun the job anew when the first one wakes up."""
    inventory = own_inventory
    await fleet(inventory, 4)
    await inventory.provider.arm(Fault(effect="slow", path="/v2/droplets", seconds=3, count=1))
    (sync,) = await inventory.send(SyncInventory(kind=DROPLET))
    async with asyncio.timeout(10):
        while not await inventory.fetch("select from syncs where command_id = $1", sync):
            await asyncio.sleep(0.05)
    await inventory.provider.delete_droplet((await inventory.provider.truth()).droplets[0].id)

    await inventory.fetch(
        "update jobs set leased_until = now() - interval '1 second', holder = uuidv7() where id = $1", sync
    )
    result = (await inventory.outcome(sync)).result or {}
    await asyncio.sleep(3)

    assert numbers(result, "droplet", "seen", "struck") == [3, 1]
    assert sum(row["stale_strike_count"] for row in await inventory.resources()) == 1
    walks = await inventory.fetch("select status from syncs where command_id = $1 order by started_at", sync)
    assert [walk["status"] for walk in walks] == ["superseded", "complete"]


async def test_a_newer_walk_of_the_same_kind_makes_the_older_one_count_no_more(own_inventory: Inventory) -> None:
    inventory = own_inventory
    await fleet(inventory, 4)
    await inventory.provider.delete_droplet((await inventory.provider.truth()).droplets[0].id)
    await inventory.provider.arm(Fault(effect="slow", path="/v2/droplets", seconds=2, count=1))
    (older,) = await inventory.send(SyncInventory())
    async with asyncio.timeout(10):
        while not await inventory.fetch("select from syncs where command_id = $1 and kind = 'droplet'", older):
            await asyncio.sleep(0.05)

    newer = await inventory.sync(DROPLET)
    result = (await inventory.outcome(older)).result or {}

    assert numbers(newer, "droplet", "struck", "complete") == [1, True]
    assert result["droplet"] == {"complete": False, "superseded": True}
    assert sum(row["stale_strike_count"] for row in await inventory.resources()) == 1
