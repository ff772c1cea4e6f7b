"""Droplets: what they look like, how they come and go, and their lists."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

import orjson

from dev.digitalocean.actions import begin, check_idle, pending
from dev.digitalocean.catalog import disk_info
from dev.digitalocean.clock import stamp
from dev.digitalocean.http import Answer, Json, Request, Route, answer, no_content, not_found, unprocessable
from dev.digitalocean.paging import page
from dev.digitalocean.projects import forget
from dev.digitalocean.state import Droplet, World
from dev.digitalocean.tags import detach_all, members

# The documented pattern: its first character is optional, so that one character alone is a name.
_NAME = re.compile(r"[a-zA-Z0-9]?[a-z0-9A-Z.\-]*[a-z0-9A-Z]")
LONGEST_NAME = 255


def check_name(name: object) -> str:
    """The name, or a 422."""
    if not isinstance(name, str) or len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        raise unprocessable("Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)")
    return name


def body_of(world: World, droplet: Droplet) -> orjson.Fragment:
    """The droplet as JSON. Its own part is made once; image, size and region are shared by all who have them."""
    if droplet.json is None:
        droplet.json = orjson.dumps(_own(world, droplet))[:-1]
    size, image, region = droplet.size.json, droplet.image.json, droplet.region.json
    if droplet.shown:
        shared = {"image": orjson.Fragment(image), "size": orjson.Fragment(size), "region": orjson.Fragment(region)}
        return orjson.Fragment(orjson.dumps(_own(world, droplet) | shared | droplet.shown))
    return orjson.Fragment(
        b"".join((droplet.json, b',"image":', image, b',"size":', size, b',"region":', region, b"}"))
    )


def _own(world: World, droplet: Droplet) -> Json:
    backups = "backups" in droplet.features and droplet.status != "new"
    body: Json = {
        "id": droplet.id,
        "name": droplet.name,
        "memory": droplet.size.memory,
        "vcpus": droplet.size.vcpus,
        "disk": droplet.disk,
        "disk_info": disk_info(droplet.disk),
        "locked": world.settings.locked_during_events and droplet.event is not None,
        "status": droplet.status,
        "kernel": None,
        "created_at": stamp(droplet.created_at),
        "features": droplet.features,
        "backup_ids": droplet.backup_ids,
        "next_backup_window": _backup_window(droplet) if backups else None,
        "snapshot_ids": droplet.snapshot_ids,
        "volume_ids": droplet.volume_ids,
        "size_slug": droplet.size.slug,
        "networks": _networks(droplet),
        "tags": droplet.tags,
        "vpc_uuid": droplet.vpc_uuid,
    }
    if droplet.size.gpu:
        body["gpu_info"] = droplet.size.gpu.body()
    return body


def _backup_window(droplet: Droplet) -> Json:
    day = 86_400
    begins = droplet.created_at - droplet.created_at % day + 7 * day
    return {"start": stamp(begins), "end": stamp(begins + 23 * 3600)}


def _networks(droplet: Droplet) -> Json:
    """Empty until it is up. The private address often comes first; its gateway has been seen as the text `<nil>`."""
    if droplet.status == "new" or not droplet.networked:
        return {"v4": [], "v6": []}
    low, middle, high = droplet.ordinal & 255, droplet.ordinal >> 8 & 255, droplet.ordinal >> 16 & 255
    gateway = "<nil>" if droplet.ordinal % 3 else f"10.{116 + high}.0.1"
    v4 = [_address(f"10.{116 + high}.{middle}.{low}", "255.255.240.0", gateway, "private")]
    if droplet.public:
        # 198.18.0.0/15 is set aside for benchmarks: nobody's address.
        ip = f"198.{18 + high % 2}.{middle}.{low}"
        v4.append(_address(ip, "255.255.255.0", f"198.{18 + high % 2}.{middle}.1", "public"))
    if droplet.ordinal % 4 == 0:
        v4.reverse()
    return {"v4": v4, "v6": [_v6(droplet)] if "ipv6" in droplet.features else []}


def _address(ip: str, netmask: str | int, gateway: str, type: str) -> Json:
    return {"ip_address": ip, "netmask": netmask, "gateway": gateway, "type": type}


def _v6(droplet: Droplet) -> Json:
    return _address(f"2001:db8::{droplet.ordinal:x}", 64, "2001:db8::1", "public")


def named(world: World, request: Request) -> Droplet:
    """The droplet in the path; 404 where it cannot be read, or not yet."""
    found = find(world, request.params["id"])
    if found is None or not found.readable:
        raise not_found()
    return found


def written_to(world: World, request: Request) -> Droplet:
    """The droplet in the path, for a write; by a fault it has an event that nobody can see."""
    droplet = named(world, request)
    if request.has_fault("pending_event"):
        raise pending()
    return droplet


def find(world: World, id: str) -> Droplet | None:
    """The droplet with this id, whatever can be read of it."""
    return world.droplets.rows.get(int(id)) if id.isdecimal() else None


def listed(world: World, *, gpus: bool = False) -> Sequence[Droplet]:
    """What a plain list shows, or what `type=gpus` does: never both."""
    name = "gpus" if gpus else "droplets"
    rows = world.droplets.listing(name, lambda row: row.listed and (row.size.gpu is not None) is gpus)
    return rows[::-1] if world.settings.newest_first else rows


def tagged(world: World, tag: str) -> list[Droplet]:
    """The droplets that carry a tag, as far as lists know it. GPU droplets are left out here too."""
    ids = sorted(int(id) for id in members(world, tag, "droplet"))
    rows = [world.droplets.rows[id] for id in ids]
    return [row for row in rows if row.listed and row.tag_listed and row.size.gpu is None]


def _list_droplets(world: World, request: Request) -> Answer:
    query = request.query
    tag, name, kind = query.get("tag_name"), query.get("name"), query.get("type")
    if tag and (name or kind):
        raise unprocessable("tag_name cannot be combined with name or type.")
    if kind not in (None, "droplets", "gpus"):
        raise unprocessable("type must be droplets or gpus.")
    rows = tagged(world, tag) if tag else listed(world, gpus=kind == "gpus")
    if name:
        rows = [row for row in rows if row.name.lower() == name.lower()]
    return page(request, "droplets", rows, lambda row: body_of(world, row))


def _get_droplet(world: World, request: Request) -> Answer:
    return answer({"droplet": body_of(world, named(world, request))})


def _delete_droplet(world: World, request: Request) -> Answer:
    """It goes by and by; again, while it goes, changes nothing. During an action that is refused, or waits for it."""
    droplet = written_to(world, request)
    if world.settings.refuse_delete_during_event and not droplet.leaving:
        check_idle(droplet)
    _destroy_when_idle(world, droplet, fails=request.has_fault("action_errors"))
    return no_content()


def _delete_by_tag(world: World, request: Request) -> Answer:
    """Takes everything with the tag, says nothing of what that was, and is content with nothing."""
    tag = request.query.get("tag_name")
    if not tag:
        raise unprocessable("tag_name is required.")
    for id in members(world, tag, "droplet"):
        _destroy_when_idle(world, world.droplets.rows[int(id)])
    return no_content()


def _destroy_when_idle(world: World, droplet: Droplet, *, fails: bool = False) -> None:
    """Destroy a droplet now, or as soon as the action that is running has ended."""
    if droplet.event is not None and not droplet.leaving:
        world.later(1, partial(_destroy_when_idle, world, droplet, fails=fails))
    elif not droplet.leaving:
        _destroy(world, droplet, fails=fails)


def _destroy(world: World, droplet: Droplet, *, fails: bool) -> None:
    """Until the lag is over a droplet can be read as it was. A deletion that fails leaves it for good (api-v2#104)."""
    error = partial(_stay, droplet) if fails else None
    begin(world, droplet, "destroy", world.settings.delete_lag, effect=partial(vanish, world, droplet), error=error)
    droplet.leaving = True


def _stay(droplet: Droplet) -> None:
    droplet.leaving = False


def vanish(world: World, droplet: Droplet) -> None:
    """Take a droplet out of everything, at once."""
    droplet.leaving, droplet.event = True, None
    detach_all(world, "droplet", str(droplet.id), droplet)
    forget(world, droplet.urn)
    world.droplets.remove(droplet.id)


ROUTES = (
    Route("GET", "/v2/droplets", _list_droplets),
    Route("DELETE", "/v2/droplets", _delete_by_tag),
    Route("GET", "/v2/droplets/{id}", _get_droplet),
    Route("DELETE", "/v2/droplets/{id}", _delete_droplet),
)
