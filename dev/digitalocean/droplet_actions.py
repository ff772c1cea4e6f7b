"""What can be done to a droplet: each type of action, its checks and its effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from dev.digitalocean.actions import begin, body_of, check_idle
from dev.digitalocean.actions import named as named_action
from dev.digitalocean.catalog import SIZES
from dev.digitalocean.droplet_create import find_image
from dev.digitalocean.droplets import check_name, named, written_to
from dev.digitalocean.http import Answer, Json, Request, Route, answer, not_found, unprocessable
from dev.digitalocean.paging import page
from dev.digitalocean.state import Action, Droplet, World
from dev.digitalocean.storage import SNAPSHOTS
from dev.digitalocean.tags import members

Check = Callable[[World, Droplet, Json], None]


@dataclass(frozen=True)
class Kind:
    """A type of action: how long it takes at the provider, what is refused, what it does at its end.

    `by_tag` marks those that can be done to all droplets with a tag; `disk_seconds` is added for each GB of the disk
    where the disk is to grow.
    """

    seconds: float
    check: Check
    effect: Check
    by_tag: bool = False
    disk_seconds: float = 0

    def duration(self, body: Json) -> float:
        """How long what the body asks for takes."""
        return self.seconds + (self.disk_seconds * SIZES[body["size"]].disk if body.get("disk") else 0)


def _anyway(_world: World, _droplet: Droplet, _body: Json) -> None:
    """No condition, or no effect."""


def _check_on(_world: World, droplet: Droplet, _body: Json) -> None:
    if droplet.status == "active":
        raise unprocessable("Droplet is already powered on")


def _check_off(_world: World, droplet: Droplet, _body: Json) -> None:
    if droplet.status == "off":
        raise unprocessable("Droplet is already powered off")


def _turn_on(_world: World, droplet: Droplet, _body: Json) -> None:
    droplet.status = "active"


def _turn_off(_world: World, droplet: Droplet, _body: Json) -> None:
    droplet.status = "off"


def _check_resize(_world: World, droplet: Droplet, body: Json) -> None:
    size = SIZES.get(str(body.get("size")))
    if size is None or droplet.region.slug not in size.regions:
        raise unprocessable("You specified an invalid size for Droplet resize.")
    if droplet.status != "off":
        raise unprocessable("Droplet must be powered off before it can be resized.")
    if size.disk < droplet.disk:
        raise unprocessable("Size can not decrease size of Droplet's disk image")


def _resize(_world: World, droplet: Droplet, body: Json) -> None:
    """Memory and processors always, the disk only when asked, for it never shrinks again. It does not power on."""
    droplet.size = SIZES[body["size"]]
    if body.get("disk"):
        droplet.disk = droplet.size.disk


def _check_rename(_world: World, _droplet: Droplet, body: Json) -> None:
    check_name(body.get("name"))


def _rename(_world: World, droplet: Droplet, body: Json) -> None:
    droplet.name = body["name"]


def _snapshot(world: World, droplet: Droplet, body: Json) -> None:
    """One that outlives the droplet."""
    id = world.new_image_id()
    droplet.snapshot_ids += (id,)
    named = {"name": str(body["name"])} if body.get("name") else {}
    place = {"regions": [droplet.region.slug], "min_disk_size": droplet.disk, "resource_id": str(droplet.id)}
    SNAPSHOTS.add(world, {"id": str(id), **place, **named})


def _add(feature: str) -> Check:
    def effect(_world: World, droplet: Droplet, _body: Json) -> None:
        if feature not in droplet.features:
            droplet.features += (feature,)

    return effect


def _drop(feature: str) -> Check:
    def effect(_world: World, droplet: Droplet, _body: Json) -> None:
        droplet.features = tuple(one for one in droplet.features if one != feature)

    return effect


def _check_backups(_world: World, droplet: Droplet, _body: Json) -> None:
    if "backups" not in droplet.features:
        raise unprocessable("Backups are not enabled for this Droplet.")


def _check_rebuild(_world: World, _droplet: Droplet, body: Json) -> None:
    if find_image(body.get("image")) is None:
        raise unprocessable("You specified an invalid image for Droplet rebuild.")


def _rebuild(_world: World, droplet: Droplet, body: Json) -> None:
    droplet.image = find_image(body.get("image")) or droplet.image
    droplet.status = "active"


def _check_restore(_world: World, droplet: Droplet, body: Json) -> None:
    if body.get("image") not in droplet.snapshot_ids:
        raise unprocessable("You specified an invalid image for Droplet restore.")


KINDS = {
    "power_on": Kind(5, _check_on, _turn_on, by_tag=True),
    "power_off": Kind(5, _check_off, _turn_off, by_tag=True),
    # Succeeds on a droplet that is off.
    "shutdown": Kind(15, _anyway, _turn_off, by_tag=True),
    "reboot": Kind(20, _anyway, _turn_on),
    "power_cycle": Kind(10, _anyway, _turn_on, by_tag=True),
    "resize": Kind(60, _check_resize, _resize, disk_seconds=0.25),
    "rename": Kind(2, _check_rename, _rename),
    "snapshot": Kind(120, _anyway, _snapshot, by_tag=True),
    "enable_backups": Kind(3, _anyway, _add("backups"), by_tag=True),
    "disable_backups": Kind(3, _check_backups, _drop("backups"), by_tag=True),
    "change_backup_policy": Kind(3, _check_backups, _anyway),
    "enable_ipv6": Kind(5, _anyway, _add("ipv6"), by_tag=True),
    "password_reset": Kind(30, _anyway, _anyway),
    "rebuild": Kind(60, _check_rebuild, _rebuild),
    "restore": Kind(60, _check_restore, _turn_on),
}


def start(world: World, request: Request, droplet: Droplet, body: Json) -> Action:
    """Start what the body asks for, after its checks."""
    kind = KINDS.get(str(body.get("type")))
    if kind is None:
        raise unprocessable("You specified an invalid action type.")
    check_idle(droplet)
    kind.check(world, droplet, body)
    error = _nothing if request.has_fault("action_errors") else None
    effect = _nothing if request.has_fault("no_effect") else partial(kind.effect, world, droplet, body)
    return begin(world, droplet, body["type"], kind.duration(body), effect=effect, error=error)


def _nothing() -> None:
    """What an action does that has errored, or a shutdown that the guest ignores."""


def _post_action(world: World, request: Request) -> Answer:
    droplet = written_to(world, request)
    return answer({"action": body_of(start(world, request, droplet, request.json()))}, 201)


def _post_action_by_tag(world: World, request: Request) -> Answer:
    """The same for every droplet with a tag: all of them, or none."""
    body = request.json()
    kind = KINDS.get(str(body.get("type")))
    if kind is None or not kind.by_tag:
        raise unprocessable("You specified an invalid action type.")
    rows = [world.droplets.rows[int(id)] for id in members(world, request.query.get("tag_name", ""), "droplet")]
    if any(row.event is not None or row.leaving for row in rows):
        raise unprocessable("there are currently blocking events processing for one or more of the droplets")
    for row in rows:
        kind.check(world, row, body)
    return answer({"actions": [body_of(start(world, request, row, body)) for row in rows]}, 201)


def _list_actions(world: World, request: Request) -> Answer:
    droplet = named(world, request)
    return page(request, "actions", world.actions_of.get(droplet.id, [])[::-1], body_of)


def _get_action(world: World, request: Request) -> Answer:
    action = named_action(world, request.params["action"])
    if str(action.resource_id) != request.params["id"]:
        raise not_found()
    return answer({"action": body_of(action)})


ROUTES = (
    Route("POST", "/v2/droplets/actions", _post_action_by_tag),
    Route("GET", "/v2/droplets/{id}/actions", _list_actions),
    Route("POST", "/v2/droplets/{id}/actions", _post_action),
    Route("GET", "/v2/droplets/{id}/actions/{action}", _get_action),
)
