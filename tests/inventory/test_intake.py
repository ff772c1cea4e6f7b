"""What is seen of droplets, and what of it is worth telling."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest

from contracts.inventory import RegisterResource
from contracts.kinds import ResourceKind
from dev.digitalocean.faults import Fault
from dev.digitalocean.running import RunningStandIn
from services.inventory import store
from services.inventory.intake import take_in
from services.inventory.kinds import KINDS, Kind
from shared.config import Settings
from shared.digitalocean import DigitalOcean, TokenResolver
from shared.ids import uuid7
from shared.outcome import Meta
from tests.inventory.changes import CHANGES
from tests.inventory.world import Inventory, Passing, at_the_stand_in, numbers, service_with, world

DROPLET = ResourceKind.DROPLET


async def last_event(inventory: Inventory) -> tuple[str, dict[str, Any]]:
    (row, *_) = await inventory.fetch("select event_type, changes from cloud_resource_events order by id desc limit 1")
    return row["event_type"], row["changes"]


@pytest.mark.parametrize(
    ("by_hand", "event", "fields"),
    [
        ({"name": "renamed"}, "updated", {"name"}),
        ({"status": "off"}, "updated", {"state"}),
        ({"size": "s-2vcpu-4gb"}, "updated", {"size_slug", "attrs.vcpus", "attrs.memory_mb"}),
        ({"tags": ["one", "two"]}, "tagged", {"tags"}),
    ],
)
async def test_a_meaningful_change_is_one_event(
    inventory: Inventory, by_hand: dict[str, Any], event: str, fields: set[str]
) -> None:
    (droplet, *_) = await inventory.provider.add_droplets(3, size="s-1vcpu-1gb")
    await inventory.sync(DROPLET)
    await inventory.provider.change_droplet(droplet.id, **by_hand)

    result = await inventory.sync(DROPLET)

    happening, changes = await last_event(inventory)
    assert (happening, changes.keys() & fields) == (event, fields)
    assert result["droplet"][event] == 1
    assert await inventory.events() == ["discovered"] * 3 + [event]
    assert [row["version"] for row in await inventory.resources()] == [2, 1, 1]
    assert (await inventory.sync(DROPLET))["droplet"][event] == 0


async def test_a_gpu_droplet_is_a_droplet(inventory: Inventory) -> None:
    await inventory.provider.reset(droplets=2, gpus=1)
    assert numbers(await inventory.sync(DROPLET), "droplet", "seen", "complete") == [3, True]
    (gpu,) = await inventory.resources("attrs ->> 'gpu' is not null")
    assert gpu["kind"] == "droplet"


async def test_one_resource_can_be_taken_in_before_a_sync_sees_it(inventory: Inventory) -> None:
    (droplet,) = await inventory.provider.add_droplets(1, name="fresh")
    command = RegisterResource(kind=DROPLET, provider_id=str(droplet.id))

    first = (await inventory.ok(command))["resource"]
    again = (await inventory.ok(command))["resource"]

    assert (first["name"], first["version"], again["version"], again["id"]) == ("fresh", 1, 1, first["id"])
    assert await inventory.events() == ["discovered"]


async def test_what_was_read_before_it_was_seen_otherwise_is_not_stored_over_that(inventory: Inventory) -> None:
    (droplet,) = await inventory.provider.add_droplets(1)
    tokens = TokenResolver(os.environ, 0)
    async with DigitalOcean(tokens, "sync", base_url=inventory.settings.do_api_url) as do:
        read_at = datetime.now(UTC)
        row = await do.single("droplet", "/v2/droplets/{id}", id=droplet.id)
    await inventory.provider.change_droplet(droplet.id, status="off")
    await inventory.ok(RegisterResource(kind=DROPLET, provider_id=str(droplet.id)))

    async with inventory.db.transaction() as conn:
        await store.take_turn(conn)
        taken = await take_in(conn, KINDS[DROPLET], [row], read_at, Meta(uuid7(), datetime.now(UTC)))

    assert not taken.events
    assert [row["state"] for row in await inventory.resources()] == ["off"]


async def test_what_is_not_at_the_provider_is_refused(inventory: Inventory) -> None:
    nowhere = await inventory.ask(RegisterResource(kind=DROPLET, provider_id="1"))
    assert (nowhere.status, nowhere.code) == ("refused", "not_found_at_provider")


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
async def test_one_of_each_kind_is_registered_by_its_id(inventory: Inventory, kind: Kind) -> None:
    """But for those that the provider does not show one by one."""
    family = CHANGES[kind.name].family
    if kind.name == DROPLET:
        id = str((await inventory.provider.add_droplets(1))[0].id)
    else:
        id = (await inventory.provider.add_thing(family)).id
    recorded = await inventory.ask(RegisterResource(kind=kind.name, provider_id=id))
    if kind.read is None:
        assert (recorded.status, recorded.code) == ("refused", "not_registered_alone")
    else:
        assert (recorded.result or {})["resource"]["provider_id"] == id


async def test_what_the_provider_will_not_look_for_is_refused(inventory: Inventory) -> None:
    await inventory.provider.arm(Fault(effect="status", path="/v2/droplets/*", status=422))
    refused = await inventory.ask(RegisterResource(kind=DROPLET, provider_id="no-number"))
    assert (refused.status, refused.code) == ("refused", "provider_refused")
    assert "422" in str(refused.detail)


@asynccontextmanager
async def seen_bent(
    settings: Settings, provider: RunningStandIn, bend: Callable[[dict[str, Any]], None]
) -> AsyncIterator[Inventory]:
    """The service and an empty provider, whose droplets it sees bent."""

    async def through(_: httpx.Request, answer: httpx.Response) -> httpx.Response:
        body = orjson.loads(answer.content)
        for row in body.get("droplets", ()):
            bend(row)
        headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
        return httpx.Response(answer.status_code, headers=headers, content=orjson.dumps(body))

    bent = service_with(transport=Passing(through))
    async with provider.control() as control, world(at_the_stand_in(settings, provider.url), control, bent) as there:
        yield there


async def test_a_row_that_cannot_be_read_hides_no_other_and_nobody_is_struck_for_it(
    settings: Settings, provider: RunningStandIn
) -> None:
    broken: set[int] = set()

    def bend(row: dict[str, Any]) -> None:
        if row["id"] in broken:
            row["region"] = None

    async with seen_bent(settings, provider, bend) as inventory:
        droplets = await inventory.provider.add_droplets(3)
        await inventory.sync(DROPLET)
        broken.add(droplets[0].id)
        await inventory.provider.change_droplet(droplets[1].id, name="renamed")
        await inventory.provider.delete_droplet(droplets[2].id)

        result = await inventory.sync(DROPLET)

        assert numbers(result, "droplet", "seen", "updated", "struck", "complete") == [2, 1, 0, False]
        (walk, *_) = await inventory.fetch("select status, doubts from syncs order by id desc limit 1")
        assert walk["status"] == "incomplete"
        (doubt,) = walk["doubts"]
        assert doubt.startswith(f"droplet {droplets[0].id} cannot be read: TypeError in compute.py, line ")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("next_backup_window", {"start": "2026-05-13T00:00:00Z", "end": "2026-05-13T23:00:00Z"}),
        ("backup_ids", [1, 2]),
        ("snapshot_ids", [3]),
    ],
)
async def test_a_meaningless_change_is_kept_without_an_event(
    settings: Settings, provider: RunningStandIn, field: str, value: object
) -> None:
    bends: dict[str, object] = {}
    async with seen_bent(settings, provider, lambda row: row.update(bends)) as inventory:
        await inventory.provider.add_droplets(2)
        await inventory.sync(DROPLET)
        bends[field] = value

        await inventory.sync(DROPLET)

        rows = await inventory.resources()
        assert [(row["version"], row["attrs"][field]) for row in rows] == [(1, value)] * 2
        assert await inventory.events() == ["discovered"] * 2


async def test_another_order_of_addresses_tags_or_features_is_no_change(
    settings: Settings, provider: RunningStandIn
) -> None:
    turned = False

    def bend(row: dict[str, Any]) -> None:
        if turned:
            for rows in (row["networks"]["v4"], row["tags"], row["features"]):
                rows.reverse()

    async with seen_bent(settings, provider, bend) as inventory:
        await inventory.provider.add_droplets(2, tags=["a", "b", "c"])
        await inventory.sync(DROPLET)
        before = await inventory.fetch("select version, tags, attrs from cloud_resources order by id")
        turned = True
        result = await inventory.sync(DROPLET)
        assert numbers(result, "droplet", "seen", "updated", "tagged") == [2, 0, 0]
        assert await inventory.fetch("select version, tags, attrs from cloud_resources order by id") == before


async def test_secrets_are_taken_out_of_what_is_kept_and_told(settings: Settings, provider: RunningStandIn) -> None:
    secret = "postgres://doadmin:hunter2@db.example.com/app"

    def bend(row: dict[str, Any]) -> None:
        row["vpc_uuid"] = secret

    async with seen_bent(settings, provider, bend) as inventory:
        await inventory.provider.add_droplets(1)
        await inventory.sync(DROPLET)
        (message,) = await inventory.published(1)
        (row,) = await inventory.resources()
        assert "db.example.com" in row["attrs"]["vpc_uuid"]
        assert "hunter2" not in f"{row} {message}"
        assert (await inventory.sync(DROPLET))["droplet"]["updated"] == 0


async def test_the_only_registry_of_an_account_of_old_is_registered_by_its_name(inventory: Inventory) -> None:
    await inventory.provider.set(several_registries=False)
    registry = await inventory.provider.add_thing("registries")
    command = RegisterResource(kind=ResourceKind.CONTAINER_REGISTRY, provider_id=registry.id)
    assert (await inventory.ok(command))["resource"]["name"] == registry.id
    another = await inventory.ask(command.model_copy(update={"provider_id": "another"}))
    assert another.code == "not_found_at_provider"
    await inventory.provider.set(several_registries=True)
    await inventory.provider.add_thing("registries")
    assert (await inventory.ask(command.model_copy(update={"provider_id": "third"}))).code == "not_found_at_provider"
