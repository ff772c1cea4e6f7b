"""How fresh each kind is, and what nobody owns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from contracts.inventory import LinkResource
from contracts.kinds import ResourceKind
from dev.digitalocean.faults import Fault
from services.inventory.metrics import STATUSES, tell_coverage
from tests.inventory.world import Inventory

DROPLET, VOLUME = ResourceKind.DROPLET, ResourceKind.VOLUME


async def coverage(inventory: Inventory, kind: str) -> Any:
    (row,) = await inventory.fetch("select * from v1_all_coverage where kind = $1", kind)
    return row


async def test_a_kind_that_was_walked_completely_is_fresh_for_two_hours(inventory: Inventory) -> None:
    await inventory.provider.add_droplets(3)
    began = datetime.now(UTC)
    await inventory.sync()
    row = await coverage(inventory, DROPLET)
    assert (row["status"], row["resources"], row["last_status"], row["doubts"]) == ("fresh", 3, "complete", [])
    assert began <= row["complete_at"] <= datetime.now(UTC)
    assert (await coverage(inventory, "project"))["resources"] == 2

    await inventory.fetch("update syncs set started_at = started_at - interval '119 minutes'")
    assert (await coverage(inventory, DROPLET))["status"] == "fresh"
    await inventory.fetch("update syncs set started_at = started_at - interval '2 minutes'")
    assert (await coverage(inventory, DROPLET))["status"] == "stale"


async def test_a_kind_whose_last_walk_failed_is_failing_and_tells_why(hasty_inventory: Inventory) -> None:
    inventory = hasty_inventory
    await inventory.sync()
    complete_at = (await coverage(inventory, VOLUME))["complete_at"]
    await inventory.provider.arm(Fault(effect="status", path="/v2/volumes", status=503))
    await inventory.sync()
    row = await coverage(inventory, VOLUME)
    assert (row["status"], row["last_status"], row["complete_at"]) == ("failing", "failed", complete_at)
    assert "503" in row["doubts"][0]
    await inventory.provider.disarm()
    await inventory.sync()
    assert (await coverage(inventory, VOLUME))["status"] == "fresh"


async def test_a_kind_that_was_never_seen_whole_and_fails_is_failing(hasty_inventory: Inventory) -> None:
    inventory = hasty_inventory
    await inventory.provider.arm(Fault(effect="no_meta", path="/v2/volumes"))
    await inventory.provider.add_thing("volumes")
    await inventory.sync()
    row = await coverage(inventory, VOLUME)
    assert (row["status"], row["complete_at"], row["last_status"]) == ("failing", None, "incomplete")


async def test_a_held_kind_names_what_is_to_be_decided(inventory: Inventory) -> None:
    droplets = await inventory.provider.add_droplets(3)
    await inventory.sync(DROPLET)
    for droplet in droplets:
        await inventory.provider.delete_droplet(droplet.id)
    await inventory.sync(DROPLET)
    row = await coverage(inventory, DROPLET)
    (held,) = await inventory.fetch("select id from held_syncs where status = 'open'")
    assert (row["status"], row["held_sync_id"], row["last_status"]) == ("held", held["id"], "held")


async def test_an_account_that_never_had_an_app_is_no_worry(inventory: Inventory) -> None:
    """Its list is an empty object without a total: that proves nothing, and there is nothing to prove."""
    await inventory.sync()
    assert (await coverage(inventory, "app"))["status"] == "fresh"
    app = await inventory.provider.add_thing("apps")
    await inventory.sync()
    await inventory.provider.delete_thing("apps", app.id)
    await inventory.sync()
    row = await coverage(inventory, "app")
    assert (row["status"], row["resources"]) == ("failing", 1)
    assert "no answer says how many rows there are" in row["doubts"][0]


async def test_the_metrics_say_the_same(inventory: Inventory) -> None:
    await inventory.provider.add_droplets(2)
    await inventory.sync()
    async with inventory.db.transaction() as conn:
        await tell_coverage(conn, datetime.now(UTC))

    def sample(name: str, **labels: str) -> float | None:
        return REGISTRY.get_sample_value(f"arcadia_inventory_{name}", {"kind": "droplet", **labels})

    assert sample("resources") == 2
    complete_at = (await coverage(inventory, DROPLET))["complete_at"]
    assert sample("complete_walk_timestamp_seconds") == pytest.approx(complete_at.timestamp())
    assert [status for status in STATUSES if sample("status", status=status)] == ["fresh"]


async def orphans(inventory: Inventory) -> dict[str, tuple[str, int | None]]:
    rows = await inventory.fetch("select * from v1_all_orphans")
    return {row["provider_id"]: (row["reason"], row["monthly_usd_cents"]) for row in rows}


async def test_what_is_of_no_use_to_anything_is_an_orphan_with_its_price(inventory: Inventory) -> None:
    (droplet,) = await inventory.provider.add_droplets(1)
    used = [
        await inventory.provider.add_thing("volumes", droplet_ids=[droplet.id]),
        await inventory.provider.add_thing("reserved_ips", droplet_id=droplet.id),
        await inventory.provider.add_thing("snapshots", resource_id=str(droplet.id)),
    ]
    volume = await inventory.provider.add_thing("volumes", size_gigabytes=50)
    ip = await inventory.provider.add_thing("reserved_ips")
    snapshot = await inventory.provider.add_thing("snapshots", resource_id="4711", size_gigabytes=10.5)
    of_volume = await inventory.provider.add_thing("snapshots", resource_type="volume", resource_id="gone")
    await inventory.sync()
    await inventory.sync()  # only this one's walk of droplets could show what the snapshots are of

    assert await orphans(inventory) == {
        volume.id: ("attached to no droplet", 500),
        ip.id: ("assigned to no droplet", 500),
        snapshot.id: ("its droplet is gone", 63),
        of_volume.id: ("its volume is gone", 14),
    }
    assert not {thing.id for thing in used} & (await orphans(inventory)).keys()


async def test_a_snapshots_droplet_is_not_gone_before_a_walk_could_have_shown_it(inventory: Inventory) -> None:
    (droplet,) = await inventory.provider.add_droplets(1)
    await inventory.provider.add_thing("snapshots", resource_id=str(droplet.id))
    await inventory.sync(ResourceKind.SNAPSHOT)
    assert await orphans(inventory) == {}
    await inventory.sync()
    assert await orphans(inventory) == {}


async def test_the_snapshot_of_a_droplet_that_is_tombstoned_is_an_orphan(inventory: Inventory) -> None:
    (droplet, *_) = await inventory.provider.add_droplets(3)
    snapshot = await inventory.provider.add_thing("snapshots", resource_id=str(droplet.id))
    await inventory.sync()
    await inventory.provider.delete_droplet(droplet.id)
    await inventory.sync()
    await inventory.sync()
    assert await orphans(inventory) == {}, "it is missing only"
    await inventory.sync()
    assert (await orphans(inventory)).keys() == {snapshot.id}


async def test_what_belongs_to_a_deployment_is_no_orphan(inventory: Inventory) -> None:
    await inventory.provider.add_thing("volumes")
    await inventory.sync()
    (row,) = await inventory.resources()
    assert len(await orphans(inventory)) == 1
    since = datetime.now(UTC) - timedelta(days=1)
    await inventory.ok(LinkResource(resource_id=row["id"], deployment_id=UUID(int=1), effective_from=since))
    assert await orphans(inventory) == {}


async def test_a_volume_of_a_cluster_is_an_orphan_only_when_the_cluster_is_gone(inventory: Inventory) -> None:
    clusters = [await inventory.provider.add_thing("kubernetes_clusters") for _ in range(3)]
    await inventory.provider.add_thing("volumes", tags=[f"k8s:{clusters[0].id}"])
    await inventory.sync()
    assert await orphans(inventory) == {}
    await inventory.provider.delete_thing("kubernetes_clusters", clusters[0].id)
    for _ in range(3):
        await inventory.sync()
    assert [reason for reason, _ in (await orphans(inventory)).values()] == ["attached to no droplet"]
