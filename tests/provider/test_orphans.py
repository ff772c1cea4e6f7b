"""Droplets that an operation made and does not have: told of, and destroyed where that is asked and safe."""

from __future__ import annotations

from contracts.provider import SweepOrphans, operation_tag
from dev.digitalocean.faults import Fault
from shared.ids import uuid7
from tests.provider.world import Provisioning, create, undo


async def age(provisioning: Provisioning) -> None:
    """Let hours pass in the ledger."""
    await provisioning.db.pool.execute("update operations set updated_at = updated_at - interval '2 hours'")


async def test_droplets_that_nobody_has_are_told_of_and_destroyed_where_asked(provisioning: Provisioning) -> None:
    kept, cancelled, unknown = create(), create(), uuid7()
    made = (await provisioning.ok(kept))["droplet_id"]
    await provisioning.ok(undo(cancelled.operation_id))
    (left,) = await provisioning.provider.add_droplets(
        1, tags=[operation_tag(cancelled.operation_id)], size="s-1vcpu-1gb"
    )
    (twin,) = await provisioning.provider.add_droplets(1, tags=[operation_tag(kept.operation_id)])
    (anothers,) = await provisioning.provider.add_droplets(1, tags=[operation_tag(unknown)])
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


async def left_behind(provisioning: Provisioning, count: int) -> list[int]:
    """Droplets of an operation that was undone long ago."""
    cancelled = create()
    await provisioning.ok(undo(cancelled.operation_id))
    left = await provisioning.provider.add_droplets(count, tags=[operation_tag(cancelled.operation_id)])
    await age(provisioning)
    return sorted(droplet.id for droplet in left)


async def test_an_orphan_that_the_provider_does_not_destroy_is_told_of_with_the_reason(
    provisioning: Provisioning,
) -> None:
    refused, other = await left_behind(provisioning, 2)
    await provisioning.provider.arm(
        Fault(effect="status", status=422, message="it is protected", method="DELETE", path=f"/v2/droplets/{refused}")
    )

    swept = await provisioning.ok(SweepOrphans(destroy=True))

    rows = {row["droplet_id"]: row for row in swept["orphans"]}
    assert (rows[refused]["destroyed"], rows[other]["destroyed"]) == (False, True)
    assert "it is protected" in rows[refused]["error"]
    assert rows[other]["error"] is None


async def test_a_sweep_that_is_put_off_half_way_tells_of_all_that_it_destroyed(provisioning: Provisioning) -> None:
    first, second = await left_behind(provisioning, 2)
    await provisioning.provider.arm(
        Fault(effect="status", status=503, method="DELETE", path=f"/v2/droplets/{second}", count=1)
    )

    swept = await provisioning.ok(SweepOrphans(destroy=True))

    assert {row["droplet_id"]: row["destroyed"] for row in swept["orphans"]} == {first: True, second: True}
    assert await provisioning.droplets() == []


async def test_what_may_still_be_under_way_is_left_alone(provisioning: Provisioning) -> None:
    cancelled = create()
    await provisioning.ok(undo(cancelled.operation_id))
    (left,) = await provisioning.provider.add_droplets(1, tags=[operation_tag(cancelled.operation_id)])

    assert (await provisioning.ok(SweepOrphans(destroy=True)))["orphans"] == []
    assert [droplet.id for droplet in await provisioning.droplets()] == [left.id]
