"""The life of a resource of every kind: found, changed field by field, missed three times, and back again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from contracts.kinds import ResourceKind
from dev.digitalocean.control import Control
from dev.digitalocean.faults import Fault
from services.inventory.kinds import KINDS, Kind
from tests.inventory.changes import CHANGES, Change, Json
from tests.inventory.world import Inventory, numbers

kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)


@dataclass(frozen=True)
class Family:
    """A family at the stand-in, droplets like all others."""

    provider: Control
    name: str
    droplet: int

    async def add(self, **fields: Any) -> tuple[str, Json]:
        """One more; gives its id and its JSON."""
        if self.name == "droplets":
            (made,) = await self.provider.add_droplets(1)
            return str(made.id), {}
        if self.name == "backups":
            fields = {"droplet_id": self.droplet, **fields}
        thing = await self.provider.add_thing(self.name, **fields)
        return thing.id, thing.row

    async def change(self, id: str, row: Json, change: Change) -> None:
        """Change one."""
        fields = change(row, self.droplet) if callable(change) else change
        if self.name == "droplets":
            await self.provider.change_droplet(int(id), shown=fields)
        else:
            await self.provider.change_thing(self.name, id, **fields)


@pytest.fixture
async def family(inventory: Inventory, kind: Kind) -> Family:
    """A family at a provider that has a droplet, which is known already."""
    (droplet,) = await inventory.provider.add_droplets(1, name="bystander")
    await inventory.sync(ResourceKind.DROPLET)
    return Family(inventory.provider, CHANGES[kind.name].family, droplet.id)


async def told(inventory: Inventory, kind: Kind) -> list[tuple[str, str, set[str]]]:
    """What the history says of a kind, oldest first: which one, what, and the fields that changed."""
    rows = await inventory.fetch(
        """
        select r.provider_id, e.event_type, e.changes from cloud_resource_events e
        join cloud_resources r on r.id = e.resource_id
        where r.kind = $1 and r.name <> 'bystander' order by e.id
        """,
        kind.name,
    )
    return [(row["provider_id"], row["event_type"], set(row["changes"])) for row in rows]


@kinds
async def test_a_change_of_each_meaningful_field_is_an_event_of_just_that(
    inventory: Inventory, kind: Kind, family: Family
) -> None:
    changes = CHANGES[kind.name]
    made = [await family.add() for _ in changes.meaningful]
    discovered = numbers(await inventory.sync(kind.name), kind.name, "seen", "discovered", "complete")
    known = 1 if kind.name == ResourceKind.DROPLET else 0
    assert discovered == [len(made) + known, len(made), True]
    assert await told(inventory, kind) == [(id, "discovered", set()) for id, _ in made]
    assert numbers(await inventory.sync(kind.name), kind.name, "discovered", "updated", "tagged") == [0, 0, 0]

    for (id, row), change in zip(made, changes.meaningful.values(), strict=True):
        await family.change(id, row, change)
        if changes.noticed_by:
            await family.add(**changes.noticed_by(row))
    await inventory.sync(kind.name)

    expected = [
        (id, "tagged" if fields == ("tags",) else "updated", set(fields))
        for (id, _), fields in zip(made, changes.meaningful, strict=True)
    ]
    happened = (await told(inventory, kind))[len(made) :]
    assert sorted(each for each in happened if each[1] != "discovered") == sorted(expected)


@kinds
async def test_a_meaningless_change_is_kept_and_no_event(inventory: Inventory, kind: Kind, family: Family) -> None:
    changes = CHANGES[kind.name]
    id, row = await family.add()
    await inventory.sync(kind.name)
    (before,) = await inventory.resources(f"kind = '{kind.name}' and name <> 'bystander'")

    await family.change(id, row, changes.meaningless)
    await inventory.sync(kind.name)

    assert await told(inventory, kind) == [(id, "discovered", set())]
    (after,) = await inventory.resources(f"kind = '{kind.name}' and name <> 'bystander'")
    assert after["version"] == before["version"]
    assert {name for name in after["attrs"] if after["attrs"][name] != before["attrs"][name]} <= kind.meaningless
    assert before["fingerprint"] != after["fingerprint"] or not changes.meaningful or changes.noticed_by or kind.secrets


@kinds
async def test_three_strikes_and_back_again(inventory: Inventory, kind: Kind, family: Family) -> None:
    made = [(await family.add())[0] for _ in range(4)]
    await inventory.sync(kind.name)
    gone = made[-1]

    back = await _hide(inventory, kind, family, gone)
    for strikes in (1, 2):
        assert numbers(await inventory.sync(kind.name), kind.name, "struck", "deleted", "complete") == [1, 0, True]
        (row,) = await inventory.resources(f"kind = '{kind.name}' and provider_id = '{gone}'")
        assert (row["stale_strike_count"], row["deleted_at"]) == (strikes, None)
    assert numbers(await inventory.sync(kind.name), kind.name, "struck", "deleted") == [1, 1]
    await back()
    assert numbers(await inventory.sync(kind.name), kind.name, "restored", "discovered") == [1, 0]

    (row,) = await inventory.resources(f"kind = '{kind.name}' and provider_id = '{gone}'")
    assert (row["stale_strike_count"], row["deleted_at"]) == (0, None)
    happened = [what for id, what, _ in await told(inventory, kind) if id == gone]
    assert happened == ["discovered", "deleted", "restored"]


async def _hide(inventory: Inventory, kind: Kind, family: Family, id: str) -> Callable[[], Awaitable[object]]:
    """Let one vanish; gives what brings it back."""
    if family.name == "droplets":
        share = 1 / len((await inventory.provider.truth()).droplets)
        plain = Fault(effect="omit", path="/v2/droplets", query={"type": ""}, share=share)
        fault = await inventory.provider.arm(plain)
        return lambda: inventory.provider.disarm(fault)
    thing = next(thing for thing in await inventory.provider.things(family.name) if thing.id == id)
    await inventory.provider.delete_thing(family.name, id)
    fields = {
        name: value for name, value in thing.row.items() if name not in {"region", "droplet", "project_id", "tags"}
    }
    return lambda: inventory.provider.add_thing(family.name, **fields)
