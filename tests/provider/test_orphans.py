"""Droplets that an operation made and does not have: told of, and destroyed where that is asked and safe."""

from __future__ import annotations

from contracts.provider import SweepOrphans
from services.provider.domain import tag_of
from shared.ids import uuid7
from tests.provider.world import Provisioning, create, undo


async def age(provisioning: Provisioning) -> None:
    """Let hours pass in the ledger."""
    await provisioning.db.pool.execute("update operations set updated_at = updated_at - interval '2 hours'")


async def test_droplets_that_nobody_has_are_told_of_and_destroyed_where_asked(provisioning: Provisioning) -> None:
    kept, cancelled, unknown = create(), create(), uuid7()
    made = (await provisioning.ok(kept))["droplet_id"]
    await provisioning.ok(undo(cancelled.operation_id))
    (left,) = await provisioning.provider.add_droplets(1, tags=[tag_of(cancelled.operation_id)], size="s-1vcpu-1gb")
    (twin,) = await provisioning.provider.add_droplets(1, tags=[tag_of(kept.operation_id)])
    (anothers,) = await provisioning.provider.add_droplets(1, tags=[tag_of(unknown)])
    await provisioning.provider.add_droplets(1, tags=["op:not-an-id", "web"])
    await age(provisioning)

    told = await provisioning.ok(SweepOrphans())

    found = {each["droplet_id"]: (each["reason"], each["destroyed"]) for each in told["orphans"]}
    assert found == {
        left.id: ("undone", False),
        twin.id: ("made_twice", False),
        anothers.id: ("unknown_operation", False),
    }
    (row,) = [each for each in told["orphans"] if each["droplet_id"] == left.id]
    assert (row["name"], row["operation_id"], row["monthly_cents"]) == (left.name, str(cancelled.operation_id), 600)
    assert told["complete"] is True
    assert len(await provisioning.droplets()) == 5

    swept = await provisioning.ok(SweepOrphans(destroy=True))

    assert {each["droplet_id"] for each in swept["orphans"] if each["destroyed"]} == {left.id, twin.id}
    there = {droplet.id for droplet in await provisioning.droplets()}
    assert {made, anothers.id} <= there
    assert not {left.id, twin.id} & there


async def test_what_may_still_be_under_way_is_left_alone(provisioning: Provisioning) -> None:
    cancelled = create()
    await provisioning.ok(undo(cancelled.operation_id))
    (left,) = await provisioning.provider.add_droplets(1, tags=[tag_of(cancelled.operation_id)])

    assert (await provisioning.ok(SweepOrphans(destroy=True)))["orphans"] == []
    assert [droplet.id for droplet in await provisioning.droplets()] == [left.id]
