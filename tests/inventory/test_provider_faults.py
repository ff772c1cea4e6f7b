"""The provider at its worst: nothing is deleted for it, nothing spins, and nothing else has to wait."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID, uuid4

import httpx
import pytest

from contracts.inventory import LinkResource, SyncInventory
from contracts.kinds import ResourceKind
from dev.digitalocean.faults import Effect, Fault
from dev.digitalocean.running import RunningStandIn
from services.inventory import store, walks
from services.inventory.kinds import KINDS
from shared.config import Settings
from shared.db import Connection
from shared.jobs import JobRun
from shared.outcome import Meta, Outcome
from tests.inventory.world import Inventory, Passing, Row, at_the_stand_in, numbers, service_with, world

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

    (sync,) = await inventory.send(SyncInventory(), expires=within(hours=1))
    job = await put_off(inventory)

    assert 590 < (job["run_at"] - job["started_at"]).total_seconds() < 620
    (walk,) = await inventory.fetch("select * from syncs where command_id = $1 and kind = 'project'", sync)
    assert (walk["status"], "429" in walk["doubts"][0]) == ("failed", True)
    await hurry(inventory)
    await put_off(inventory, times=2)
    assert (await statuses(inventory)) == {429: 1}  # asked to wait, it does not even ask
    await intact(inventory, 12)


def within(**time: float) -> datetime:
    """A time from now on."""
    return datetime.now(UTC) + timedelta(**time)


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
    (sync,) = await inventory.send(SyncInventory(), expires=within(hours=1))
    await put_off(inventory)
    (droplets,) = await inventory.fetch("select * from syncs where command_id = $1 and kind = 'droplet'", sync)
    assert droplets["status"] == "complete"

    await inventory.provider.disarm(outage)
    await inventory.provider.forget_requests()
    await hurry(inventory)
    result = (await inventory.outcome(sync)).result or {}

    assert (result["project"]["complete"], result["droplet"]["complete"]) == (True, True)
    assert not (await inventory.provider.requests("/v2/droplets")).requests


async def test_a_sync_that_is_put_off_amid_the_projects_lists_goes_on_from_there(hasty_inventory: Inventory) -> None:
    inventory = hasty_inventory
    await fleet(inventory, 12)
    for n in range(4):
        await inventory.provider.add_project(f"tenant-{n}")
    await inventory.sync()
    first, _, third, *_ = lists = sorted(
        f"/v2/projects/{row['provider_id']}/resources" for row in await inventory.fetch("select * from cloud_projects")
    )
    for path in (third, "/v2/droplets"):
        await inventory.provider.arm(Fault(effect="status", path=path, status=503))
    (sync,) = await inventory.send(SyncInventory(), expires=within(hours=1))
    await put_off(inventory)
    await inventory.provider.disarm()
    await inventory.provider.forget_requests()
    await hurry(inventory)

    result = (await inventory.outcome(sync)).result or {}

    assert result.keys() == {"project", *KINDS}
    assert result["project"]["complete"] is True
    asked = {entry.path for entry in (await inventory.provider.requests("/v2/projects/")).requests}
    assert asked == set(lists[2:])
    assert first not in asked


async def test_a_doubt_from_before_a_sync_was_put_off_still_counts_after_it(hasty_inventory: Inventory) -> None:
    inventory = hasty_inventory
    await fleet(inventory, 12)
    await inventory.sync()
    ((default,),) = await inventory.fetch("select provider_id from cloud_projects where is_default")
    last = ""
    for n in count():  # until one comes after it: lists are walked in the order of ids
        if (last := await inventory.provider.add_project(f"tenant-{n}")) > default:
            break
    await inventory.provider.arm(Fault(effect="short_page", path=f"/v2/projects/{default}/resources", rows=1))
    for path in (f"/v2/projects/{last}/resources", "/v2/droplets"):
        await inventory.provider.arm(Fault(effect="status", path=path, status=503))
    (sync,) = await inventory.send(SyncInventory(), expires=within(hours=1))
    await put_off(inventory)
    await inventory.provider.disarm()
    await hurry(inventory)

    result = (await inventory.outcome(sync)).result or {}

    assert (result["project"]["complete"], result["droplet"]["complete"]) == (False, True)
    (walk,) = await inventory.fetch("select * from syncs where kind = 'project' order by id desc limit 1")
    assert (walk["status"], len(walk["doubts"])) == ("incomplete", 1)


async def test_a_projects_list_that_is_not_shown_whole_makes_the_walk_incomplete(inventory: Inventory) -> None:
    await fleet(inventory, 12)
    await inventory.provider.arm(Fault(effect="short_page", path="/v2/projects/*/resources", rows=1))
    result = await inventory.sync()
    assert (result["project"]["complete"], result["droplet"]["complete"]) == (False, True)
    (walk,) = await inventory.fetch("select * from syncs where kind = 'project' order by id desc limit 1")
    assert walk["status"] == "incomplete"
    assert "resources" in walk["doubts"][0]


async def test_a_sync_whose_next_slot_has_come_says_what_failed_and_makes_way(hasty_inventory: Inventory) -> None:
    inventory = hasty_inventory
    await fleet(inventory, 12)
    outage = await inventory.provider.arm(Fault(effect="status", path="/v2/projects", status=503))
    (first,) = await inventory.send(SyncInventory(), expires=within(seconds=4))
    (second,) = await inventory.send(SyncInventory(), expires=within(hours=1))

    result = (await inventory.outcome(first)).result or {}

    assert numbers(result, "droplet", "seen", "complete") == [12, True]
    assert result["project"]["complete"] is False
    assert "503" in result["project"]["error"]
    await put_off(inventory)  # the second: it was begun, and is put off for the projects alone
    (droplets,) = await inventory.fetch("select * from syncs where command_id = $1 and kind = 'droplet'", second)
    assert droplets["status"] == "complete"
    await inventory.provider.disarm(outage)
    await hurry(inventory)
    result = (await inventory.outcome(second)).result or {}
    assert (result["project"]["complete"], result["droplet"]["complete"]) == (True, True)


async def test_no_slot_lapses_unheard_while_the_provider_is_away_for_long(hasty_inventory: Inventory) -> None:
    inventory = hasty_inventory
    await fleet(inventory, 3)
    await inventory.provider.arm(Fault(effect="status", path="/v2/*", status=503))
    slots = [(await inventory.send(SyncInventory(), expires=within(seconds=4 * n)))[0] for n in (1, 3)]

    for slot in slots:
        outcome = await inventory.outcome(slot)
        assert outcome.status == "ok"
        for kind in ("project", "droplet"):
            assert "503" in (outcome.result or {})[kind]["error"]

    walks = await inventory.fetch("select distinct status from syncs where command_id = any($1::uuid[])", slots)
    assert [walk["status"] for walk in walks] == ["failed"]
    await intact(inventory, 3)


async def test_of_a_provider_that_is_away_altogether_not_every_list_is_asked(hasty_inventory: Inventory) -> None:
    inventory = hasty_inventory
    await fleet(inventory, 3)
    await inventory.provider.arm(Fault(effect="status", path="/v2/*", status=503))
    await inventory.provider.forget_requests()

    result = await inventory.sync()

    asked = {entry.path for entry in (await inventory.provider.requests("/v2/")).requests}
    assert asked == {"/v2/projects", "/v2/account"}
    assert {name for name, walk in result.items() if "503" in walk["error"]} == {"project", *KINDS}
    await intact(inventory, 3)


async def test_what_a_failed_walk_would_have_told_of_is_walked_when_it_is(hasty_inventory: Inventory) -> None:
    inventory = hasty_inventory
    (droplet,) = await inventory.provider.add_droplets(1)
    await inventory.provider.add_thing("backups", droplet_id=droplet.id)
    await inventory.provider.arm(Fault(effect="status", path="/v2/droplets", status=503))
    (sync,) = await inventory.send(SyncInventory(), expires=within(hours=1))
    await put_off(inventory)
    await inventory.provider.disarm()
    await hurry(inventory)

    result = (await inventory.outcome(sync)).result or {}

    assert numbers(result, "droplet_backup", "discovered", "complete") == [1, True]


async def test_a_sync_without_an_end_says_at_once_what_failed(hasty_inventory: Inventory) -> None:
    inventory = hasty_inventory
    await fleet(inventory, 3)
    await inventory.provider.arm(Fault(effect="status", path="/v2/droplets", status=503))
    result = await inventory.sync()
    assert (result["project"]["complete"], result["droplet"]["complete"]) == (True, False)
    assert not await inventory.fetch("select from jobs where put_offs > 0")


async def test_a_list_that_our_token_may_not_see_keeps_nobody_from_the_others(hasty_inventory: Inventory) -> None:
    inventory = hasty_inventory
    await fleet(inventory, 3)
    await inventory.provider.arm(Fault(effect="status", path="/v2/projects", status=403))
    (sync,) = await inventory.send(SyncInventory(), expires=within(hours=1))
    result = (await inventory.outcome(sync)).result or {}
    assert "403" in result["project"]["error"]
    assert numbers(result, "droplet", "seen", "complete") == [3, True]


async def test_while_the_provider_is_away_nothing_spins_and_other_commands_are_handled(
    own_inventory: Inventory,
) -> None:
    inventory = own_inventory
    await fleet(inventory, 3)
    (resource, *_) = await inventory.resources()
    await inventory.provider.arm(Fault(effect="status", path="/v2/*", status=503))
    began = time.monotonic()
    await inventory.send(SyncInventory(), SyncInventory(kind=DROPLET), expires=within(hours=1))

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


async def test_an_older_walk_that_goes_on_does_not_overwrite_what_a_newer_one_saw(
    settings: Settings, provider: RunningStandIn
) -> None:
    arrived, may_go_on = asyncio.Event(), asyncio.Event()

    async def through(request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        if request.url.path == "/v2/droplets" and not arrived.is_set():
            arrived.set()
            await may_go_on.wait()
        return answer

    held_up = service_with(transport=Passing(through))
    fitting = at_the_stand_in(settings, provider.url)
    async with provider.control() as control, world(fitting, control, held_up) as inventory:
        (droplet,) = await inventory.provider.add_droplets(1, name="old")
        (older,) = await inventory.send(SyncInventory())
        await asyncio.wait_for(arrived.wait(), 10)
        await inventory.provider.change_droplet(droplet.id, name="new")
        await inventory.sync(DROPLET)
        newest = await inventory.resources()

        may_go_on.set()
        result = (await inventory.outcome(older)).result or {}

        assert result["droplet"] == {"complete": False, "superseded": True}
        assert newest[0]["name"] == "new"
        assert await inventory.resources() == newest


class InOneGo:
    """Runs the steps of a job without a job, each open for a while before it is committed."""

    def __init__(self, inventory: Inventory) -> None:
        self._db = inventory.db

    def run(self) -> JobRun[object]:
        return JobRun(Meta(uuid4(), datetime.now(UTC)), None, None, self, None)  # type: ignore[arg-type]

    async def apply(self, _: object, work: object, meta: Meta, __: object) -> Outcome:
        async with self._db.transaction() as conn:
            outcome = await work(conn, meta)  # type: ignore[operator]
            await asyncio.sleep(0.2)
        return outcome  # type: ignore[no-any-return]


async def test_of_two_walks_that_begin_in_the_same_instant_one_counts(inventory: Inventory) -> None:
    async def begin() -> UUID:
        async with walks.walking(InOneGo(inventory).run(), "droplet", {}) as walk:  # type: ignore[arg-type]
            return walk.sync.id

    one, other = await asyncio.gather(begin(), begin())

    rows = await inventory.fetch("select id, status from syncs")
    assert {row["id"] for row in rows} == {one, other}
    assert sorted(row["status"] for row in rows) == ["running", "superseded"]


async def test_a_sighting_from_before_the_last_one_does_not_turn_the_clock_back(inventory: Inventory) -> None:
    await inventory.provider.reset(droplets=1)
    await inventory.sync()
    (before,) = await inventory.resources()
    an_hour_ago = before["last_seen_at"] - timedelta(hours=1)

    async def touch(conn: Connection) -> set[str]:
        ids, prints = [before["provider_id"]], [before["fingerprint"]]
        return await store.touch_unchanged(conn, "droplet", ids, prints, an_hour_ago)

    async with inventory.db.transaction() as conn:
        assert await touch(conn) == {before["provider_id"]}
    assert await inventory.resources() == [before]
