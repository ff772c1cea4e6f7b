"""Whose a resource is: its deployment's, its cluster's, its project's, its tag's, its parent's; and attributed once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from contracts.inventory import ClassifyProject, LinkResource, UnlinkResource
from contracts.kinds import ResourceKind
from dev.digitalocean.control import TrueThing
from dev.digitalocean.faults import Fault
from tests.inventory.world import Inventory, Row

ALPHA, BETA, GAMMA, DELTA = (UUID(int=n) for n in range(0xA, 0xE))


async def one(inventory: Inventory, kind: str, provider_id: str) -> Row:
    (row,) = await inventory.resources(f"kind = '{kind}' and provider_id = '{provider_id}'")
    return row


async def state(inventory: Inventory, id: UUID) -> dict[str, Any]:
    """What the bus has been told last of a resource."""
    (events,) = await inventory.fetch("select count(*) as n from cloud_resource_events")
    told = [m for m in await inventory.published(events["n"]) if m.data["resource"]["id"] == str(id)]
    newest: dict[str, Any] = max((m.data["resource"] for m in told), key=lambda resource: resource["version"])
    return newest


async def classify(inventory: Inventory, provider_id: str, tenant: str | None) -> dict[str, Any]:
    (project,) = await inventory.fetch("select id from cloud_projects where provider_id = $1", provider_id)
    return await inventory.ok(ClassifyProject(project_id=project["id"], fields=["tenant_id"], tenant_id=tenant))


async def owners(inventory: Inventory, *kinds: str) -> dict[str, str | None]:
    return {row["kind"]: row["tenant_id"] for row in await inventory.resources() if row["kind"] in kinds}


async def history(inventory: Inventory, kind: str) -> list[tuple[str, set[str]]]:
    rows = await inventory.fetch(
        """
        select event_type, changes from cloud_resource_events e join cloud_resources r on r.id = e.resource_id
        where r.kind = $1 order by e.id
        """,
        kind,
    )
    return [(row["event_type"], set(row["changes"])) for row in rows]


async def test_a_resource_moved_between_projects_at_the_provider_moves_its_tenant(inventory: Inventory) -> None:
    acme = await inventory.provider.add_project("tenant-acme")
    globex = await inventory.provider.add_project("tenant-globex")
    database = await inventory.provider.add_thing("databases", project_id=acme)
    await inventory.sync()
    await classify(inventory, acme, "acme")
    await classify(inventory, globex, "globex")
    assert (await owners(inventory, "database")) == {"database": "acme"}

    await inventory.provider.change_thing("databases", database.id, project_id=globex)
    await inventory.sync()

    assert (await owners(inventory, "database")) == {"database": "globex"}
    assert (await history(inventory, "database"))[-1] == ("updated", {"project_id", "tenant_id"})


async def test_of_every_kind_that_projects_list_each_is_its_projects_tenants(inventory: Inventory) -> None:
    acme = await inventory.provider.add_project("tenant-acme")
    families = (
        "volumes", "domains", "buckets", "reserved_ips", "load_balancers", "databases", "kubernetes_clusters", "apps",
    )  # fmt: skip
    for family in families:
        await inventory.provider.add_thing(family, project_id=acme)
    await inventory.provider.add_droplets(1, project_id=acme)
    await inventory.sync()
    await classify(inventory, acme, "acme")
    rows = await inventory.resources()
    assert len(rows) == len(families) + 1
    assert {row["tenant_id"] for row in rows} == {"acme"}


async def test_a_tag_says_whose_a_resource_is_where_its_project_does_not(inventory: Inventory) -> None:
    project = await inventory.provider.add_project("mixed")
    volume = await inventory.provider.add_thing("volumes", tags=["tenant:acme", "web"], project_id=project)
    await inventory.sync()
    assert await owners(inventory, "volume") == {"volume": "acme"}
    assert await history(inventory, "volume") == [("discovered", set())]

    await classify(inventory, project, "globex")
    assert await owners(inventory, "volume") == {"volume": "globex"}
    await classify(inventory, project, None)
    assert await owners(inventory, "volume") == {"volume": "acme"}
    await inventory.provider.change_thing("volumes", volume.id, tags=["tenant:acme", "tenant:umbra"])
    await inventory.sync()
    assert await owners(inventory, "volume") == {"volume": None}, "two tags contradict each other"
    assert (await history(inventory, "volume"))[-1] == ("updated", {"tags", "tenant_id"})


async def test_a_snapshot_and_a_backup_are_whose_their_droplet_is(inventory: Inventory) -> None:
    acme = await inventory.provider.add_project("tenant-acme")
    globex = await inventory.provider.add_project("tenant-globex")
    (droplet,) = await inventory.provider.add_droplets(1, project_id=acme)
    await inventory.provider.add_thing("snapshots", resource_id=str(droplet.id))
    await inventory.provider.add_thing("backups", droplet_id=droplet.id)
    await inventory.sync()
    await classify(inventory, acme, "acme")
    await classify(inventory, globex, "globex")
    three = ("droplet", "snapshot", "droplet_backup")
    assert await owners(inventory, *three) == dict.fromkeys(three, "acme")

    await inventory.provider.change_droplet(droplet.id, project_id=globex)
    await inventory.sync()

    assert await owners(inventory, *three) == dict.fromkeys(three, "globex")
    for kind in three[1:]:
        assert (await history(inventory, kind))[-1] == ("updated", {"project_id", "tenant_id"})
    droplet_row, *others = await inventory.resources("kind in ('droplet', 'snapshot', 'droplet_backup')")
    assert {row["project_id"] for row in others} == {droplet_row["project_id"]}

    # It stays whose it was when its droplet is gone.
    await inventory.provider.delete_droplet(droplet.id)
    for _ in range(3):
        await inventory.sync()
    assert await owners(inventory, "snapshot") == {"snapshot": "globex"}


async def test_a_snapshot_is_discovered_as_whose_its_volume_is_however_slow_the_volumes_are(
    inventory: Inventory,
) -> None:
    acme = await inventory.provider.add_project("tenant-acme")
    await inventory.sync()
    await classify(inventory, acme, "acme")
    volume = await inventory.provider.add_thing("volumes", project_id=acme)
    await inventory.provider.add_thing("snapshots", resource_type="volume", resource_id=volume.id)
    await inventory.provider.arm(Fault(effect="slow", path="/v2/volumes", seconds=1))

    await inventory.sync()

    assert await history(inventory, "snapshot") == [("discovered", set())]
    assert await owners(inventory, "snapshot") == {"snapshot": "acme"}


async def cluster_of_acme(inventory: Inventory) -> tuple[TrueThing, Sequence[str]]:
    """A cluster in acme's project; its two workers, balancer and volume are in globex's. Gives it and their ids."""
    acme = await inventory.provider.add_project("tenant-acme")
    globex = await inventory.provider.add_project("tenant-globex")
    cluster = await inventory.provider.add_thing("kubernetes_clusters", nodes=2, project_id=acme)
    workers = [int(node["droplet_id"]) for node in cluster.row["node_pools"][0]["nodes"]]
    for worker in workers:
        await inventory.provider.change_droplet(worker, project_id=globex)
    balancer = await inventory.provider.add_thing("load_balancers", droplet_ids=workers, project_id=globex)
    tag = f"k8s:{cluster.id}"
    volume = await inventory.provider.add_thing("volumes", droplet_ids=workers[:1], tags=[tag], project_id=globex)
    await inventory.provider.add_thing("snapshots", resource_type="volume", resource_id=volume.id)
    await inventory.sync()
    await classify(inventory, acme, "acme")
    await classify(inventory, globex, "globex")
    return cluster, [*map(str, workers), balancer.id, volume.id]


async def test_what_a_cluster_made_is_attributed_once_and_with_the_cluster(inventory: Inventory) -> None:
    cluster, parts = await cluster_of_acme(inventory)

    rows = await inventory.resources()
    assert {row["kind"]: row["tenant_id"] for row in rows} == dict.fromkeys(
        ("kubernetes_cluster", "droplet", "load_balancer", "volume", "snapshot"), "acme"
    )
    assert {row["provider_id"] for row in rows if row["part"]} == set(parts)
    assert {(row["parent_kind"], row["parent_provider_id"]) for row in rows if row["part"]} == {
        ("kubernetes_cluster", cluster.id)
    }


async def test_a_clusters_link_is_its_parts_link(inventory: Inventory) -> None:
    cluster, parts = await cluster_of_acme(inventory)
    whole = await one(inventory, "kubernetes_cluster", cluster.id)

    await inventory.ok(LinkResource(resource_id=whole["id"], deployment_id=ALPHA, tenant_id="initech"))

    rows = await inventory.resources("kind <> 'snapshot'")
    assert {(row["deployment_id"], row["tenant_id"]) for row in rows} == {(ALPHA, "initech")}
    snapshot = (await inventory.resources("kind = 'snapshot'"))[0]
    assert (snapshot["deployment_id"], snapshot["tenant_id"]) == (None, "initech")
    events = await inventory.fetch("select count(*) from cloud_resource_events")
    told = [m for m in await inventory.published(events[0][0]) if m.type.endswith("resource-linked.v1")]
    links = [message.data["resource"]["links"] for message in told]
    assert len(links) == 1 + len(parts)
    assert all(link == links[0] and link[0]["deployment_id"] == str(ALPHA) for link in links)

    (refused,) = {
        (await inventory.ask(LinkResource(resource_id=row["id"], deployment_id=ALPHA))).code
        for row in await inventory.resources("part")
    }
    assert refused == "attributed_with_its_parent"

    # A worker that comes later is the deployment's from the beginning.
    pool = cluster.row["node_pools"][0]
    await inventory.provider.change_thing("kubernetes_clusters", cluster.id, node_pools=[{**pool, "count": 3}])
    await inventory.sync()
    assert {row["deployment_id"] for row in await inventory.resources("kind = 'droplet'")} == {ALPHA}
    assert (await history(inventory, "droplet"))[-1] == ("discovered", set())

    await inventory.ok(UnlinkResource(resource_id=whole["id"]))
    assert {(r["deployment_id"], r["tenant_id"]) for r in await inventory.resources()} == {(None, "acme")}


async def test_what_serves_a_cluster_is_given_to_it_also_when_its_workers_are_known_later(inventory: Inventory) -> None:
    cluster = await inventory.provider.add_thing("kubernetes_clusters", nodes=2)
    workers = [int(node["droplet_id"]) for node in cluster.row["node_pools"][0]["nodes"]]
    await inventory.provider.add_thing("load_balancers", droplet_ids=workers)
    await inventory.sync(ResourceKind.LOAD_BALANCER)
    assert [row["parent_kind"] for row in await inventory.resources("kind = 'load_balancer'")] == [None]

    await inventory.sync()
    await inventory.sync()

    (balancer,) = await inventory.resources("kind = 'load_balancer'")
    assert (balancer["parent_kind"], balancer["parent_provider_id"]) == ("kubernetes_cluster", cluster.id)
    assert (await history(inventory, "load_balancer"))[-1] == ("updated", {"parent"})


async def test_a_load_balancer_that_serves_others_too_is_no_clusters(inventory: Inventory) -> None:
    cluster = await inventory.provider.add_thing("kubernetes_clusters", nodes=1)
    (other,) = await inventory.provider.add_droplets(1)
    targets = [int(cluster.row["node_pools"][0]["nodes"][0]["droplet_id"]), other.id]
    await inventory.provider.add_thing("load_balancers", droplet_ids=targets)
    await inventory.sync()
    assert [row["parent_kind"] for row in await inventory.resources("kind = 'load_balancer'")] == [None]


async def balancer_of_cluster(inventory: Inventory, nodes: int = 2) -> tuple[TrueThing, TrueThing, list[int]]:
    """A cluster, a load balancer that serves its workers, and those; all known."""
    cluster = await inventory.provider.add_thing("kubernetes_clusters", nodes=nodes)
    workers = [int(node["droplet_id"]) for node in cluster.row["node_pools"][0]["nodes"]]
    balancer = await inventory.provider.add_thing("load_balancers", droplet_ids=workers)
    await inventory.sync()
    return cluster, balancer, workers


async def test_what_leaves_its_cluster_leaves_the_clusters_deployment(inventory: Inventory) -> None:
    cluster, balancer, workers = await balancer_of_cluster(inventory)
    whole = await one(inventory, "kubernetes_cluster", cluster.id)
    await inventory.ok(LinkResource(resource_id=whole["id"], deployment_id=ALPHA, tenant_id="acme"))
    assert (await one(inventory, "load_balancer", balancer.id))["deployment_id"] == ALPHA
    (other,) = await inventory.provider.add_droplets(1)

    await inventory.provider.change_thing("load_balancers", balancer.id, droplet_ids=[*workers, other.id])
    await inventory.sync()

    row = await one(inventory, "load_balancer", balancer.id)
    assert (row["part"], row["deployment_id"], row["tenant_id"]) == (False, None, None)
    fields = {"attrs.droplet_ids", "parent", "deployment_id", "tenant_id"}
    assert (await history(inventory, "load_balancer"))[-1] == ("updated", fields)
    (was,) = (await state(inventory, row["id"]))["links"]
    assert was["deployment_id"] == str(ALPHA)
    assert was["until"], "it was the deployment's until it left"
    left_at = datetime.fromisoformat(was["until"])

    # What is said later about the time before reaches it too.
    earlier = left_at - timedelta(seconds=0.1)
    await inventory.ok(LinkResource(resource_id=whole["id"], deployment_id=BETA, effective_from=earlier))
    links = (await state(inventory, row["id"]))["links"]
    assert [(link["deployment_id"], bool(link["until"])) for link in links] == [(str(ALPHA), True), (str(BETA), True)]
    assert (await history(inventory, "load_balancer"))[-1] == ("updated", set())


async def test_what_joins_a_cluster_has_its_links_from_then_on(inventory: Inventory) -> None:
    cluster, _, workers = await balancer_of_cluster(inventory)
    whole = await one(inventory, "kubernetes_cluster", cluster.id)
    volume = await inventory.provider.add_thing("volumes")
    await inventory.sync()
    long_ago = datetime.now(UTC) - timedelta(hours=9)
    await inventory.ok(LinkResource(resource_id=whole["id"], deployment_id=ALPHA, effective_from=long_ago))
    joined_after = datetime.now(UTC)

    tags = [f"k8s:{cluster.id}"]
    await inventory.provider.change_thing("volumes", volume.id, droplet_ids=workers[:1], tags=tags)
    await inventory.sync()

    row = await one(inventory, "volume", volume.id)
    assert row["deployment_id"] == ALPHA
    (link,) = (await state(inventory, row["id"]))["links"]
    assert joined_after < datetime.fromisoformat(link["since"])


async def test_what_a_cluster_that_is_gone_leaves_behind_is_nobodys_and_can_be_linked(inventory: Inventory) -> None:
    cluster, _ = await cluster_of_acme(inventory)
    whole = await one(inventory, "kubernetes_cluster", cluster.id)
    await inventory.ok(LinkResource(resource_id=whole["id"], deployment_id=ALPHA, tenant_id="acme"))
    (volume,) = await inventory.resources("kind = 'volume'")
    assert volume["deployment_id"] == ALPHA

    hidden = Fault(effect="omit", path="/v2/kubernetes/clusters", share=1)
    unknown = Fault(effect="status", path="/v2/kubernetes/clusters/*", status=404)
    faults = [await inventory.provider.arm(each) for each in (hidden, unknown)]
    await inventory.provider.change_thing("volumes", volume["provider_id"], droplet_ids=[])
    for _ in range(3):
        await inventory.sync()

    (volume,) = await inventory.resources("kind = 'volume'")
    assert (volume["deployment_id"], volume["tenant_id"]) == (None, "globex"), "it is in globex's project"
    assert (await history(inventory, "volume"))[-1] == ("unlinked", {"deployment_id", "tenant_id"})
    assert "volume" in {row["kind"] for row in await inventory.fetch("select kind from v1_all_orphans")}

    # It was all a mistake: the cluster is seen again, and has its parts again.
    for fault in faults:
        await inventory.provider.disarm(fault)
    await inventory.sync()
    (volume,) = await inventory.resources("kind = 'volume'")
    assert (volume["deployment_id"], volume["tenant_id"]) == (ALPHA, "acme")

    for each in (hidden, unknown):
        await inventory.provider.arm(each)
    for _ in range(3):
        await inventory.sync()
    linked = await inventory.ok(LinkResource(resource_id=volume["id"], deployment_id=BETA, tenant_id="initech"))
    assert (linked["resource"]["deployment_id"], linked["resource"]["tenant_id"]) == (str(BETA), "initech")
    owners_ = [link["deployment_id"] for link in linked["resource"]["links"]]
    assert owners_ == [str(ALPHA), str(ALPHA), str(BETA)], "and while the cluster was held to be gone, nobody's"


async def test_a_link_from_before_a_cluster_was_known_holds_until_it_is_ended(inventory: Inventory) -> None:
    cluster = await inventory.provider.add_thing("kubernetes_clusters", nodes=1)
    workers = [int(cluster.row["node_pools"][0]["nodes"][0]["droplet_id"])]
    balancer = await inventory.provider.add_thing("load_balancers", droplet_ids=workers)
    await inventory.sync(ResourceKind.LOAD_BALANCER)
    id = (await one(inventory, "load_balancer", balancer.id))["id"]
    await inventory.ok(LinkResource(resource_id=id, deployment_id=BETA, tenant_id="globex"))
    await inventory.sync()
    whole = await one(inventory, "kubernetes_cluster", cluster.id)
    await inventory.ok(LinkResource(resource_id=whole["id"], deployment_id=ALPHA, tenant_id="acme"))

    row = await one(inventory, "load_balancer", balancer.id)
    assert (row["part"], row["deployment_id"], row["tenant_id"]) == (True, BETA, "globex")

    ended = (await inventory.ok(UnlinkResource(resource_id=id)))["resource"]
    assert (ended["deployment_id"], ended["tenant_id"]) == (str(ALPHA), "acme")
    links = ended["links"]
    assert [link["deployment_id"] for link in links] == [str(BETA), str(ALPHA)]

    # From its own link's end on the cluster's past is its past.
    (since,) = [datetime.fromisoformat(link["since"]) for link in links if link["deployment_id"] == str(ALPHA)]
    await inventory.ok(LinkResource(resource_id=whole["id"], deployment_id=DELTA))
    told = len(await history(inventory, "load_balancer"))
    await inventory.ok(LinkResource(resource_id=whole["id"], deployment_id=GAMMA, effective_from=since))
    assert [what for what, _ in (await history(inventory, "load_balancer"))[told:]] == ["linked"]
    links = (await state(inventory, id))["links"]
    assert [link["deployment_id"] for link in links] == [str(each) for each in (BETA, GAMMA, DELTA)]


async def test_a_worker_that_is_not_known_yet_does_not_take_a_balancer_from_its_cluster(inventory: Inventory) -> None:
    _, balancer, workers = await balancer_of_cluster(inventory)
    for targets in ([*workers, 4711], [], workers):
        await inventory.provider.change_thing("load_balancers", balancer.id, droplet_ids=targets)
        await inventory.sync(ResourceKind.LOAD_BALANCER)
        assert (await one(inventory, "load_balancer", balancer.id))["part"], targets
