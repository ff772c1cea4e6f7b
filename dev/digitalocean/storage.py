"""Volumes, snapshots, backups, Spaces buckets and container registries."""

from __future__ import annotations

from dev.digitalocean.clock import stamp
from dev.digitalocean.family import Family
from dev.digitalocean.http import Answer, Json, Problem, Request, Route, answer, no_content, not_found
from dev.digitalocean.paging import page
from dev.digitalocean.state import Droplet, Thing, World
from dev.digitalocean.things import Things, region_of


def _make_volume(world: World, asked: Json) -> Json:
    return {
        "id": world.new_uuid(),
        "name": f"volume-{world.new_ordinal():04d}",
        "droplet_ids": [],
        "description": "",
        "size_gigabytes": 10,
        "created_at": stamp(world.clock.now()),
        "region": region_of(asked.pop("region", "nyc3")),
        "filesystem_type": "ext4",
        "filesystem_label": "",
        "tags": [],
    } | asked


def _volume_placed(world: World, thing: Thing, before: Json) -> None:
    _detach(world, thing, before.get("droplet_ids", []))
    for droplet in _droplets(world, thing.body["droplet_ids"]):
        droplet.volume_ids = (*droplet.volume_ids, thing.id)
        droplet.changed()


def _volume_gone(world: World, thing: Thing) -> None:
    _detach(world, thing, thing.body["droplet_ids"])


def _detach(world: World, thing: Thing, droplet_ids: list[int]) -> None:
    for droplet in _droplets(world, droplet_ids):
        droplet.volume_ids = tuple(id for id in droplet.volume_ids if id != thing.id)
        droplet.changed()


def _droplets(world: World, ids: list[int]) -> list[Droplet]:
    return [droplet for id in ids if (droplet := world.droplets.rows.get(id))]


def with_droplets_that_are_there(world: World, body: Json) -> Json:
    """`droplet_ids` without those that were destroyed: deleting a droplet detaches."""
    ids = [id for id in body["droplet_ids"] if id in world.droplets.rows]
    return body if len(ids) == len(body["droplet_ids"]) else {**body, "droplet_ids": ids}


def _make_snapshot(world: World, asked: Json) -> Json:
    """Of a droplet its id is a number, of a volume a UUID; both as a text."""
    of_volume = asked.get("resource_type") == "volume"
    now = world.clock.now()
    return {
        "id": world.new_uuid() if of_volume else str(world.new_image_id()),
        "name": f"snapshot-{world.new_ordinal():04d}",
        "created_at": stamp(now),
        "regions": ["nyc3"],
        "min_disk_size": 10 if of_volume else 25,
        "size_gigabytes": 2.36,
        "resource_id": "1",
        "resource_type": "droplet",
        "tags": [],
    } | asked


def _make_backup(world: World, asked: Json) -> Json:
    """`droplet_id` is for us: the API lists backups under their droplet, and does not say it again."""
    return {
        "id": world.new_image_id(),
        "name": f"{world.new_ordinal():04d} {stamp(world.clock.now())[:10]}",
        "created_at": stamp(world.clock.now()),
        "regions": ["nyc3"],
        "min_disk_size": 25,
        "size_gigabytes": 3.14,
        "type": "backup",
        "droplet_id": 0,
    } | asked


def _backup_placed(world: World, thing: Thing, before: Json) -> None:
    for droplet in _droplets(world, [thing.body["droplet_id"]] if not before else []):
        droplet.backup_ids = (*droplet.backup_ids, thing.body["id"])
        droplet.changed()


def _backup_gone(world: World, thing: Thing) -> None:
    for droplet in _droplets(world, [thing.body["droplet_id"]]):
        droplet.backup_ids = tuple(id for id in droplet.backup_ids if id != thing.body["id"])
        droplet.changed()


def _list_backups(world: World, request: Request) -> Answer:
    droplet = _droplet(world, request)
    rows = [BACKUPS.table(world).rows[str(id)].body for id in droplet.backup_ids]
    return page(request, "backups", rows, _without_droplet)


def _list_snapshots_of(world: World, request: Request) -> Answer:
    """Under a droplet, snapshots have another shape: the id is a number, and there is no resource."""
    droplet = _droplet(world, request)
    rows = [
        thing.body for thing in SNAPSHOTS.table(world).rows.values() if thing.body["resource_id"] == str(droplet.id)
    ]
    return page(request, "snapshots", rows, _without_resource)


def _droplet(world: World, request: Request) -> Droplet:
    found = world.droplets.rows.get(int(request.params["id"])) if request.params["id"].isdecimal() else None
    if found is None or not found.readable:
        raise not_found()
    return found


def _without_droplet(row: Json) -> Json:
    return {name: value for name, value in row.items() if name != "droplet_id"}


def _without_resource(row: Json) -> Json:
    kept = {name: value for name, value in row.items() if name not in ("resource_id", "resource_type", "tags")}
    return {**kept, "id": int(row["id"]), "type": "snapshot"}


def _make_bucket(world: World, asked: Json) -> Json:
    return {"name": f"bucket-{world.new_ordinal():04d}", **asked}


def _make_registry(world: World, asked: Json) -> Json:
    now = stamp(world.clock.now())
    tier = {
        "name": "Basic",
        "slug": "basic",
        "included_repositories": 5,
        "included_storage_bytes": 5 * 2**30,
        "allow_storage_overage": True,
        "included_bandwidth_bytes": 5 * 2**30,
        "monthly_price_in_cents": 500,
        "storage_overage_price_in_cents": 2,
    }
    return {
        "name": f"registry-{world.new_ordinal():04d}",
        "created_at": now,
        "region": "fra1",
        "storage_usage_bytes": 29_393_920,
        "storage_usage_bytes_updated_at": f"{now[:-1]}.442049222Z",
        "subscription": {"tier": tier, "created_at": now, "updated_at": now},
    } | asked


def _list_registries(world: World, request: Request) -> Answer:
    if not world.settings.several_registries:
        raise not_found()
    return REGISTRIES.all_of(world, request)


def _get_registries(world: World, request: Request) -> Answer:
    if not world.settings.several_registries:
        raise not_found()
    return answer({"registry": REGISTRIES.body_of(world, REGISTRIES.named(world, request))})


def _get_registry(world: World, _request: Request) -> Answer:
    """The deprecated route, of the time when an account had one."""
    rows = list(REGISTRIES.table(world).rows.values())
    if len(rows) > 1:
        raise Problem(412, "precondition_failed", "this account has several registries: use /v2/registries")
    if not rows:
        raise not_found()
    return answer({"registry": REGISTRIES.body_of(world, rows[0])})


def _delete_registry(world: World, request: Request) -> Answer:
    REGISTRIES.remove(world, REGISTRIES.named(world, request))
    return no_content()


VOLUMES = Things(
    "volumes", "/v2/volumes", "volume", _make_volume, urn="volume", resource_type="volume",
    shown=with_droplets_that_are_there, placed=_volume_placed, gone=_volume_gone,
)  # fmt: skip
SNAPSHOTS = Things("snapshots", "/v2/snapshots", "snapshot", _make_snapshot, resource_type="volume_snapshot")
BACKUPS = Things("backups", "", "backup", _make_backup, placed=_backup_placed, gone=_backup_gone)
BUCKETS = Things("buckets", "", "bucket", _make_bucket, identity="name", urn="space")
REGISTRIES = Things("registries", "", "registry", _make_registry, identity="name", paginated=False)

FAMILIES: tuple[Family, ...] = (
    VOLUMES.family(),
    SNAPSHOTS.family(),
    BACKUPS.family(
        Route("GET", "/v2/droplets/{id}/backups", _list_backups),
        Route("GET", "/v2/droplets/{id}/snapshots", _list_snapshots_of),
    ),
    BUCKETS.family(),
    REGISTRIES.family(
        Route("GET", "/v2/registries", _list_registries),
        Route("GET", "/v2/registries/{id}", _get_registries),
        Route("DELETE", "/v2/registries/{id}", _delete_registry),
        Route("GET", "/v2/registry", _get_registry),
    ),
)
