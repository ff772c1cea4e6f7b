"""What a person does to droplets at the provider's console: at once, without an action or a lag."""

from __future__ import annotations

from dev.digitalocean.catalog import SIZES
from dev.digitalocean.droplet_create import Order, add_droplet, read_order
from dev.digitalocean.droplets import check_name, find, listed, vanish
from dev.digitalocean.family import ByHand
from dev.digitalocean.http import Json, not_found, unprocessable
from dev.digitalocean.projects import assign
from dev.digitalocean.state import Droplet, World
from dev.digitalocean.tags import attach, detach_all, ensure_tag

DEFAULTS = {"name": "by-hand-01", "size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64", "region": "nyc3"}


def truth(world: World) -> list[Json]:
    """Every droplet that there is, GPU droplets too, whatever lists show of it."""
    return [truth_of(world, droplet) for droplet in world.droplets.rows.values() if not droplet.leaving]


def truth_of(world: World, droplet: Droplet) -> Json:
    """The fields of a droplet that a person would look at."""
    return {
        "id": droplet.id,
        "name": droplet.name,
        "status": droplet.status,
        "size": droplet.size.slug,
        "region": droplet.region.slug,
        "image": droplet.image.slug,
        "tags": droplet.tags,
        "project_id": world.project_of[droplet.urn].id,
        "gpu": droplet.size.gpu is not None,
        "hidden": not (droplet.listed and droplet.tag_listed and droplet.readable),
    }


def create(world: World, _id: str, body: Json) -> Json:
    """An active droplet, from what the API would take; every field has a default."""
    order = read_order(world, {**DEFAULTS, **body})
    return truth_of(world, _add_active(world, order, order.names[0]))


def change(world: World, id: str, body: Json) -> Json:
    """Set any of name, status, size, tags and project_id; `shown` sets what its JSON shows, whatever it is."""
    droplet = _named(world, id)
    for name, value in body.items():
        if name not in CHANGES:
            raise unprocessable(f"{name} cannot be changed by hand; these can: {', '.join(CHANGES)}")
        CHANGES[name](world, droplet, value)
    droplet.changed()
    world.droplets.relist()
    return truth_of(world, droplet)


def delete(world: World, id: str, _body: Json) -> Json:
    """The droplet is gone, without a lag."""
    vanish(world, _named(world, id))
    return {"id": int(id)}


def insert(world: World, count: int) -> None:
    """New droplets, which lists show at once: at their end, or at their beginning under `newest_first`."""
    order = read_order(world, DEFAULTS | {"name": "inserted"})
    for _ in range(count):
        _add_active(world, order, "inserted")


def remove(world: World, count: int) -> None:
    """The first droplets of the plain list are gone, so that the rows behind them move up."""
    for droplet in list(listed(world)[:count]):
        vanish(world, droplet)


def _add_active(world: World, order: Order, name: str) -> Droplet:
    droplet = add_droplet(world, order, name)
    droplet.status = "active"
    return droplet


def _named(world: World, id: str) -> Droplet:
    droplet = find(world, id)
    if droplet is None:
        raise not_found()
    return droplet


def _set_name(_world: World, droplet: Droplet, value: object) -> None:
    droplet.name = check_name(value)


def _set_status(_world: World, droplet: Droplet, value: object) -> None:
    if value not in ("active", "off"):
        raise unprocessable("status must be active or off")
    droplet.status = str(value)


def _set_size(_world: World, droplet: Droplet, value: object) -> None:
    if value not in SIZES:
        raise unprocessable(f"{value} is not a size")
    droplet.size = SIZES[str(value)]  # memory and processors alone, as the console offers it first: it can go back


def _set_tags(world: World, droplet: Droplet, value: object) -> None:
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise unprocessable("tags must be a list of names")
    tags = [ensure_tag(world, tag) for tag in value]
    detach_all(world, "droplet", str(droplet.id), droplet)
    for tag in tags:
        attach(world, tag, "droplet", str(droplet.id), droplet)


def _set_project(world: World, droplet: Droplet, value: object) -> None:
    if value not in world.projects:
        raise unprocessable(f"{value} is no project's id")
    assign(world, world.projects[str(value)], droplet.urn)


def _set_shown(_world: World, droplet: Droplet, value: object) -> None:
    if not isinstance(value, dict):
        raise unprocessable("shown must be an object")
    droplet.shown = value


CHANGES = {
    "name": _set_name,
    "status": _set_status,
    "size": _set_size,
    "tags": _set_tags,
    "project_id": _set_project,
    "shown": _set_shown,
}

BY_HAND = ByHand(truth, create, change, delete, insert, remove)
