"""What is missing: three strikes, apart in time; incomplete walks; and more missing than can be true."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from contracts.inventory import DecideHeldSync, RegisterResource, SyncInventory
from contracts.kinds import ResourceKind
from dev.digitalocean.faults import Effect, Fault
from services.inventory.sync_store import Sync, strike_approved, strike_missing
from tests.inventory.world import Inventory, numbers

DROPLET, CLUSTER = ResourceKind.DROPLET, ResourceKind.KUBERNETES_CLUSTER
HALF_AN_HOUR_APART = pytest.mark.parametrize("own_inventory", [{"inventory_strike_minutes": 30.0}], indirect=True)
ONLY_PLAIN = {"type": ""}  # not the second list, of droplets with GPUs


async def strikes(inventory: Inventory) -> list[int]:
    return [row["stale_strike_count"] for row in await inventory.resources()]


async def fleet(inventory: Inventory, count: int) -> list[int]:
    """So many droplets, synced; gives their ids in the provider's order."""
    await inventory.provider.reset(droplets=count)
    await inventory.sync(DROPLET)
    return [droplet.id for droplet in (await inventory.provider.truth()).droplets]


async def remove(inventory: Inventory, *droplets: int) -> None:
    for droplet in droplets:
        await inventory.provider.delete_droplet(droplet)


async def hide_half(inventory: Inventory) -> None:
    await inventory.provider.arm(Fault(effect="omit", path="/v2/droplets", query=ONLY_PLAIN, share=0.5))


@HALF_AN_HOUR_APART
async def test_three_syncs_that_queued_up_during_downtime_are_one_strike(own_inventory: Inventory) -> None:
    inventory = own_inventory
    gone, *_ = await fleet(inventory, 4)
    await remove(inventory, gone)

    ids = await inventory.send(*[SyncInventory()] * 3)
    for id in ids:
        assert (await inventory.outcome(id)).status == "ok"

    assert sorted(await strikes(inventory)) == [0, 0, 0, 1]
    assert not await inventory.resources("deleted_at is not null")


@HALF_AN_HOUR_APART
async def test_strikes_half_an_hour_apart_count(own_inventory: Inventory) -> None:
    inventory = own_inventory
    gone, *_ = await fleet(inventory, 4)
    await remove(inventory, gone)
    await inventory.sync(DROPLET)
    for minutes, count in ((29, 1), (31, 2), (29, 2), (31, 3)):
        ago = timedelta(minutes=minutes)
        await inventory.fetch(
            "update cloud_resources set last_strike_at = now() - $1::interval where last_strike_at < now()", ago
        )
        result = await inventory.sync(DROPLET)
        assert max(await strikes(inventory)) == count
    assert result["droplet"]["deleted"] == 1


async def test_a_sighting_between_strikes_begins_the_count_anew(inventory: Inventory) -> None:
    await fleet(inventory, 4)
    for _ in range(3):
        hidden = await inventory.provider.arm(Fault(effect="omit", path="/v2/droplets", query=ONLY_PLAIN, share=0.25))
        await inventory.sync(DROPLET)
        await inventory.sync(DROPLET)
        assert max(await strikes(inventory)) == 2
        await inventory.provider.disarm(hidden)
        await inventory.sync(DROPLET)
        assert max(await strikes(inventory)) == 0
    assert await inventory.events() == ["discovered"] * 4


@pytest.mark.parametrize("effect", ["short_page", "total", "no_meta"])
async def test_an_incomplete_walk_counts_for_nothing(inventory: Inventory, effect: Effect) -> None:
    gone, *_ = await fleet(inventory, 4)
    await remove(inventory, gone)
    await inventory.provider.arm(Fault(effect=effect, path="/v2/droplets", query=ONLY_PLAIN, rows=1))

    for _ in range(4):
        result = await inventory.sync(DROPLET)
        assert numbers(result, "droplet", "struck", "deleted", "complete") == [0, 0, False]

    assert await strikes(inventory) == [0] * 4
    (sync, *_) = await inventory.fetch("select * from syncs order by started_at desc")
    assert sync["status"] == "incomplete"
    assert sync["doubts"]


async def test_a_small_fleet_may_shrink_but_not_go_as_a_whole_unheld(inventory: Inventory) -> None:
    ids = await fleet(inventory, 4)
    await remove(inventory, *ids[:3])
    for _ in range(3):
        await inventory.sync(DROPLET)
    assert await inventory.events() == ["discovered"] * 4 + ["deleted"] * 3


async def test_a_kind_that_vanishes_as_a_whole_is_held_however_small(inventory: Inventory) -> None:
    ids = await fleet(inventory, 4)
    await remove(inventory, *ids)
    for _ in range(4):
        result = await inventory.sync(DROPLET)
        assert numbers(result, "droplet", "struck", "held") == [0, 4]
    assert await inventory.events() == ["discovered"] * 4


@pytest.mark.parametrize(
    ("status", "doubt"),
    [
        (None, "nothing is listed, but the provider knows the only one by its id"),
        (403, "nothing is listed, and the only one known may not be asked for"),
        (404, None),
    ],
)
async def test_an_empty_list_is_not_believed_of_the_only_one_that_is_known_by_its_id(
    inventory: Inventory, status: int | None, doubt: str | None
) -> None:
    """So a token answers that lost the kind's scope."""
    await inventory.provider.add_thing("kubernetes_clusters", nodes=0)
    await inventory.sync(CLUSTER)
    await inventory.provider.arm(Fault(effect="omit", path="/v2/kubernetes/clusters", share=1))
    if status:
        await inventory.provider.arm(Fault(effect="status", path="/v2/kubernetes/clusters/*", status=status))

    believed = doubt is None
    assert numbers(await inventory.sync(CLUSTER), CLUSTER, "struck", "complete") == [int(believed), believed]

    (walk,) = await inventory.fetch("select * from syncs order by started_at desc limit 1")
    assert walk["doubts"][0].startswith(doubt) if doubt else not walk["doubts"], walk["doubts"]


async def test_half_of_a_kind_vanishing_is_held_for_as_long_as_nobody_decides(inventory: Inventory) -> None:
    await fleet(inventory, 20)
    await hide_half(inventory)
    for _ in range(4):
        result = await inventory.sync(DROPLET)
        assert numbers(result, "droplet", "held", "struck", "deleted", "complete") == [10, 0, 0, True]

    assert await strikes(inventory) == [0] * 20
    held = await inventory.fetch("select * from v1_all_held_syncs order by held_at")
    assert [row["status"] for row in held] == ["superseded"] * 3 + ["open"]
    missing = await inventory.resources("last_seen_at < (select max(last_seen_at) from cloud_resources)")
    assert (held[-1]["known"], held[-1]["missing"]) == (20, 10)
    assert set(held[-1]["resource_ids"]) == {row["id"] for row in missing}


async def held_sync(inventory: Inventory) -> UUID:
    (row,) = await inventory.fetch("select id from held_syncs where status = 'open'")
    return UUID(str(row["id"]))


async def test_an_approved_sync_strikes_and_lets_later_ones_strike(inventory: Inventory) -> None:
    await fleet(inventory, 20)
    await hide_half(inventory)
    await inventory.sync(DROPLET)

    result = await inventory.ok(DecideHeldSync(held_sync_id=await held_sync(inventory), approve=True))
    assert (result["struck"], result["deleted"], result["held_sync"]["status"]) == (10, 0, "approved")
    assert sorted(await strikes(inventory)) == [0] * 10 + [1] * 10
    result = await inventory.sync(DROPLET)
    assert numbers(result, "droplet", "held", "struck", "deleted") == [0, 10, 0]
    result = await inventory.sync(DROPLET)
    assert numbers(result, "droplet", "held", "struck", "deleted") == [0, 10, 10]
    assert await inventory.events() == ["discovered"] * 20 + ["deleted"] * 10
    (decided,) = await inventory.fetch("select decided_by from held_syncs where status = 'approved'")
    assert decided["decided_by"] == "olga@example.com"


async def test_what_an_approval_was_not_about_is_held_again(inventory: Inventory) -> None:
    ids = await fleet(inventory, 40)
    await remove(inventory, *ids[:10])
    await inventory.sync(DROPLET)
    await inventory.ok(DecideHeldSync(held_sync_id=await held_sync(inventory), approve=True))
    await remove(inventory, *ids[10:20])

    result = await inventory.sync(DROPLET)

    assert numbers(result, "droplet", "held", "struck") == [20, 0]


async def test_an_approval_strikes_nobody_who_was_seen_meanwhile(inventory: Inventory) -> None:
    await fleet(inventory, 20)
    await hide_half(inventory)
    await inventory.sync(DROPLET)
    seen, *_ = await inventory.resources("last_seen_at < (select max(last_seen_at) from cloud_resources)")
    await inventory.ok(RegisterResource(kind=DROPLET, provider_id=seen["provider_id"]))

    result = await inventory.ok(DecideHeldSync(held_sync_id=await held_sync(inventory), approve=True))

    assert result["struck"] == 9
    (seen,) = await inventory.resources(f"id = '{seen['id']}'")
    assert (seen["stale_strike_count"], seen["vanish_approved"]) == (0, False)


async def test_what_is_approved_to_be_gone_does_not_make_a_second_vanishing_look_small(inventory: Inventory) -> None:
    ids = await fleet(inventory, 40)
    await remove(inventory, *ids[:20])
    await inventory.sync(DROPLET)
    await inventory.ok(DecideHeldSync(held_sync_id=await held_sync(inventory), approve=True))
    await remove(inventory, *ids[20:26])  # 6 of the 20 that are left

    result = await inventory.sync(DROPLET)

    assert numbers(result, "droplet", "held", "struck") == [26, 0]
    (held,) = await inventory.fetch("select known, missing from held_syncs where status = 'open'")
    assert (held["known"], held["missing"]) == (40, 26)


async def test_strikes_are_given_some_at_a_go_and_one_to_each(inventory: Inventory) -> None:
    ids = await fleet(inventory, 12)
    await remove(inventory, *ids[:3])
    now = datetime.now(UTC)
    sync = Sync(uuid4(), "droplet", now)
    pages: list[list[UUID]] = [[UUID(int=0)]]
    async with inventory.db.transaction() as conn:
        while pages[-1]:
            at = now + timedelta(seconds=1)
            pages.append(await strike_missing(conn, sync, timedelta(0), at, after=pages[-1][-1], limit=5))
    assert [len(page) for page in pages] == [1, 5, 5, 2, 0]
    assert await strikes(inventory) == [1] * 12


async def test_an_approval_whose_job_is_done_again_gives_nobody_a_second_strike(inventory: Inventory) -> None:
    await fleet(inventory, 20)
    await hide_half(inventory)
    await inventory.sync(DROPLET)
    held = await held_sync(inventory)
    await inventory.ok(DecideHeldSync(held_sync_id=held, approve=True))

    async with inventory.db.transaction() as conn:
        again = await strike_approved(conn, held, timedelta(0), after=UUID(int=0), limit=4)

    assert [row["struck"] for row in again] == [False] * 4
    assert sorted(await strikes(inventory)) == [0] * 10 + [1] * 10


async def test_a_rejected_sync_strikes_nobody_and_the_next_is_held_again(inventory: Inventory) -> None:
    await fleet(inventory, 20)
    await hide_half(inventory)
    await inventory.sync(DROPLET)
    rejected = await held_sync(inventory)

    result = await inventory.ok(DecideHeldSync(held_sync_id=rejected, approve=False))
    assert (result["struck"], result["held_sync"]["status"]) == (0, "rejected")
    result = await inventory.sync(DROPLET)
    assert numbers(result, "droplet", "held", "struck") == [10, 0]
    assert await held_sync(inventory) != rejected


async def test_a_held_sync_is_decided_once(inventory: Inventory) -> None:
    await fleet(inventory, 20)
    await hide_half(inventory)
    await inventory.sync(DROPLET)
    decide = DecideHeldSync(held_sync_id=await held_sync(inventory), approve=False)
    await inventory.ok(decide)

    again = await inventory.ask(decide.model_copy(update={"approve": True}))
    unknown = await inventory.ask(DecideHeldSync(held_sync_id=uuid4(), approve=True))

    assert (again.status, again.code, again.detail) == ("refused", "already_decided", {"decision": "rejected"})
    assert (unknown.status, unknown.code) == ("refused", "not_found")


async def test_when_all_are_back_the_question_has_answered_itself(inventory: Inventory) -> None:
    await fleet(inventory, 20)
    await hide_half(inventory)
    await inventory.sync(DROPLET)
    open_one = await held_sync(inventory)
    await inventory.provider.disarm()

    await inventory.sync(DROPLET)

    refused = await inventory.ask(DecideHeldSync(held_sync_id=open_one, approve=True))
    assert (refused.code, refused.detail) == ("already_decided", {"decision": "superseded"})


async def test_what_is_first_seen_while_a_walk_is_under_way_is_not_missing_from_it(inventory: Inventory) -> None:
    await fleet(inventory, 3)
    await inventory.provider.arm(Fault(effect="slow", path="/v2/droplets", query={"type": "gpus"}, seconds=2))
    await inventory.provider.forget_requests()
    (sync,) = await inventory.send(SyncInventory(kind=DROPLET))
    await until_walking(inventory)
    (late,) = await inventory.provider.add_droplets(1)
    await inventory.ok(RegisterResource(kind=DROPLET, provider_id=str(late.id)))

    result = (await inventory.outcome(sync)).result or {}

    assert numbers(result, "droplet", "seen", "struck", "complete") == [3, 0, True]
    assert await strikes(inventory) == [0] * 4


async def until_walking(inventory: Inventory) -> None:
    """Wait until a walk has asked for its last page."""
    async with asyncio.timeout(10):
        while not any(entry.query.get("type") for entry in (await inventory.provider.requests()).requests):
            await asyncio.sleep(0.05)


async def test_backups_of_droplets_whose_strikes_are_held_are_not_struck(inventory: Inventory) -> None:
    ids = await fleet(inventory, 20)
    for id in ids:
        await inventory.provider.add_thing("backups", droplet_id=id)
    for id in ids[:5] * 4:
        await inventory.provider.add_thing("backups", droplet_id=id)
    await inventory.sync()
    await inventory.provider.arm(Fault(effect="omit", path="/v2/droplets", query=ONLY_PLAIN, share=0.3))

    result = await inventory.sync()

    assert numbers(result, "droplet", "held") == [6]
    assert numbers(result, "droplet_backup", "struck", "held", "complete") == [0, 0, False]
    assert {row["stale_strike_count"] for row in await inventory.resources()} == {0}
