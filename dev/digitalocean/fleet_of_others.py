"""What else an agency has beside its droplets, in numbers that follow from theirs."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from dev.digitalocean.domains import DOMAINS
from dev.digitalocean.network import FIREWALLS, LOAD_BALANCERS, RESERVED_IPS, VPCS
from dev.digitalocean.platforms import APPS, CLUSTERS, DATABASES
from dev.digitalocean.state import Droplet, Project, World
from dev.digitalocean.storage import BACKUPS, BUCKETS, REGISTRIES, SNAPSHOTS, VOLUMES

Make = Callable[[World, Random, Project, Droplet], None]
"""Makes one for a project, near one of its droplets where it belongs to a droplet."""


def add_others(world: World, rng: Random, projects: list[Project]) -> None:
    """`others` for each hundred droplets, and the VPCs that the droplets are in."""
    droplets = list(world.droplets.rows.values())
    count = len(droplets) * world.settings.others // 100
    if not count:
        return
    for slug, id in world.vpcs.items():
        VPCS.add(world, {"id": id, "name": f"default-{slug}", "region": slug, "default": True})
    for make, share in SHARES.items():
        for _ in range(max(1, round(count * share))):
            droplet = rng.choice(droplets)
            make(world, rng, world.project_of[droplet.urn], droplet)
    REGISTRIES.add(world, {"name": "arcadia"})


def _volume(world: World, rng: Random, project: Project, droplet: Droplet) -> None:
    """One in eight is attached to nothing."""
    attached = [droplet.id] if rng.random() < 0.875 else []
    asked = {
        "name": f"data-{world.new_ordinal():05d}",
        "size_gigabytes": rng.choice((10, 20, 50, 100, 250)),
        "region": droplet.region.slug,
        "droplet_ids": attached,
        "project_id": project.id,
        "tags": droplet.tags[:1],
    }
    VOLUMES.add(world, asked)


def _snapshot(world: World, rng: Random, _project: Project, droplet: Droplet) -> None:
    """One in six is of a droplet that is gone."""
    gone = rng.random() < 1 / 6
    asked = {
        "name": f"{droplet.name}-{world.new_ordinal():05d}",
        "regions": [droplet.region.slug],
        "min_disk_size": droplet.disk,
        "size_gigabytes": round(rng.uniform(1, 40), 2),
        "resource_id": str(droplet.id - 1_000_000_000 if gone else droplet.id).removeprefix("-"),
    }
    SNAPSHOTS.add(world, asked)


def _backup(world: World, rng: Random, _project: Project, droplet: Droplet) -> None:
    asked = {
        "droplet_id": droplet.id,
        "name": f"{droplet.name} 2026-05-{rng.randint(1, 11):02d}",
        "regions": [droplet.region.slug],
        "min_disk_size": droplet.disk,
        "size_gigabytes": round(rng.uniform(1, 40), 2),
    }
    BACKUPS.add(world, asked)


def _domain(world: World, _rng: Random, project: Project, _droplet: Droplet) -> None:
    tenant = project.name.removeprefix("tenant-")
    DOMAINS.add(world, {"name": f"{tenant}-{world.new_ordinal():05d}.example", "project_id": project.id})


def _bucket(world: World, _rng: Random, project: Project, _droplet: Droplet) -> None:
    tenant = project.name.removeprefix("tenant-")
    BUCKETS.add(world, {"name": f"{tenant}-assets-{world.new_ordinal():05d}", "project_id": project.id})


def _reserved_ip(world: World, rng: Random, project: Project, droplet: Droplet) -> None:
    assigned = droplet.id if rng.random() < 0.8 else None
    RESERVED_IPS.add(world, {"region": droplet.region.slug, "droplet_id": assigned, "project_id": project.id})


def _load_balancer(world: World, rng: Random, project: Project, droplet: Droplet) -> None:
    asked = {
        "region": droplet.region.slug,
        "droplet_ids": [droplet.id],
        "size_unit": rng.choice((1, 1, 2)),
        "vpc_uuid": droplet.vpc_uuid,
        "project_id": project.id,
    }
    LOAD_BALANCERS.add(world, asked)


def _database(world: World, rng: Random, project: Project, droplet: Droplet) -> None:
    engine, version = rng.choice((("pg", "17"), ("mysql", "8"), ("valkey", "8")))
    asked = {
        "engine": engine,
        "version": version,
        "region": droplet.region.slug,
        "private_network_uuid": droplet.vpc_uuid,
        "project_id": project.id,
        "rules": [{"type": "droplet", "value": str(droplet.id), "uuid": world.new_uuid()}],
    }
    DATABASES.add(world, asked)


def _cluster(world: World, rng: Random, project: Project, droplet: Droplet) -> None:
    """With two or three workers, a load balancer before them, and a volume on one: only the volume has the tag."""
    asked = {"region": droplet.region.slug, "nodes": rng.choice((2, 3)), "project_id": project.id}
    cluster = CLUSTERS.add(world, asked)
    workers = [int(node["droplet_id"]) for node in cluster.body["node_pools"][0]["nodes"]]
    LOAD_BALANCERS.add(world, {"name": f"a{world.rng.getrandbits(124):031x}", "droplet_ids": workers})
    volume = {"name": f"pvc-{world.new_uuid()}", "droplet_ids": workers[:1], "tags": [f"k8s:{cluster.id}"]}
    VOLUMES.add(world, volume | {"region": droplet.region.slug})


def _vpc(world: World, _rng: Random, project: Project, droplet: Droplet) -> None:
    VPCS.add(world, {"name": f"{project.name}-{world.new_ordinal():05d}", "region": droplet.region.slug})


def _firewall(world: World, _rng: Random, project: Project, droplet: Droplet) -> None:
    FIREWALLS.add(world, {"name": f"{project.name}-{world.new_ordinal():05d}", "droplet_ids": [droplet.id]})


def _app(world: World, _rng: Random, project: Project, _droplet: Droplet) -> None:
    APPS.add(world, {"project_id": project.id})


SHARES: dict[Make, float] = {
    _backup: 0.26,
    _volume: 0.18,
    _snapshot: 0.20,
    _domain: 0.12,
    _reserved_ip: 0.05,
    _bucket: 0.05,
    _load_balancer: 0.03,
    _database: 0.03,
    _firewall: 0.03,
    _app: 0.02,
    _vpc: 0.02,
    _cluster: 0.01,
}
