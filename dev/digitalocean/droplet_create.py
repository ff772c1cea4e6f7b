"""How a droplet is asked for, and what happens from `new` to `active`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from dev.digitalocean.actions import begin
from dev.digitalocean.catalog import IMAGES, IMAGES_BY_ID, REGIONS, SIZES, Image, Region, Size
from dev.digitalocean.droplets import body_of, check_name, vanish
from dev.digitalocean.http import Answer, Json, Request, Route, answer, unprocessable
from dev.digitalocean.projects import assign
from dev.digitalocean.state import Action, Droplet, Project, World
from dev.digitalocean.tags import attach, check_tag_name, ensure_tag

MOST_NAMES = 10
MOST_USER_DATA = 64 * 1024


@dataclass(frozen=True)
class Order:
    """What one request asks for, checked."""

    names: tuple[str, ...]
    size: Size
    image: Image
    region: Region
    tags: tuple[str, ...]
    features: tuple[str, ...]
    public: bool
    vpc_uuid: str
    project: Project
    fails: bool


def _create(world: World, request: Request) -> Answer:
    """202, and one action for each droplet; the names are not unique and nothing recognizes a repeated request."""
    body = request.json()
    order = read_order(world, body, fails=request.has_fault("placement_fails"))
    made = [launch(world, order, name) for name in order.names]
    actions = [_action_link(request, action) for _, action in made]
    rows = [body_of(world, droplet) for droplet, _ in made]
    if "names" in body:
        return answer({"droplets": rows, "links": {"actions": actions}}, 202)
    return answer({"droplet": rows[0], "links": {"actions": actions}}, 202)


def launch(world: World, order: Order, name: str) -> tuple[Droplet, Action]:
    """A new droplet and the action that makes it, with the provider's lags."""
    lags = world.settings
    droplet = add_droplet(world, order, name)
    for tag in droplet.tags:
        world.created.setdefault(tag, []).append(droplet.id)
    droplet.listed = lags.list_lag == 0
    droplet.tag_listed = lags.list_lag + lags.tag_lag == 0
    droplet.readable = lags.read_lag == 0
    droplet.networked = lags.networks_lag == 0
    error = partial(vanish, world, droplet) if order.fails else None
    action = begin(world, droplet, "create", lags.create_seconds, effect=partial(_activate, droplet), error=error)
    world.later(lags.list_lag, partial(_reveal, world, droplet, "listed"))
    world.later(lags.list_lag + lags.tag_lag, partial(_reveal, world, droplet, "tag_listed"))
    world.later(lags.read_lag, partial(_reveal, world, droplet, "readable"))
    world.later(lags.create_seconds + lags.networks_lag, partial(_reveal, world, droplet, "networked"))
    return droplet, action


def add_droplet(world: World, order: Order, name: str) -> Droplet:
    """A droplet that is still `new`, in its project and with its tags."""
    droplet = Droplet(
        id=world.new_droplet_id(),
        ordinal=world.new_ordinal(),
        name=name,
        size=order.size,
        image=order.image,
        region=order.region,
        created_at=world.clock.now(),
        vpc_uuid=order.vpc_uuid,
        disk=order.size.disk,
        features=order.features,
        public=order.public,
    )
    for tag in order.tags:
        attach(world, ensure_tag(world, tag), "droplet", str(droplet.id), droplet)
    assign(world, order.project, droplet.urn)
    return world.droplets.add(droplet.id, droplet)


def _activate(droplet: Droplet) -> None:
    droplet.status = "active"


def _reveal(world: World, droplet: Droplet, what: str) -> None:
    setattr(droplet, what, True)
    droplet.changed()
    world.droplets.relist()


def _action_link(request: Request, action: Action) -> Json:
    return {"id": action.id, "rel": "create", "href": f"{request.base_url}/v2/actions/{action.id}"}


def read_order(world: World, body: Json, *, fails: bool = False) -> Order:
    """The request's body, or the first thing that is wrong with it."""
    names = _names(body)
    image = find_image(body.get("image"))
    size = SIZES.get(str(body.get("size")))
    if image is None:
        raise unprocessable("You specified an invalid image for Droplet creation.")
    if size is None:
        raise unprocessable("You specified an invalid size for Droplet creation.")
    _check_room(world, len(names), size, image)
    region = _region(body.get("region"), size)
    user_data = _user_data(body)
    return Order(
        names=names,
        size=size,
        image=image,
        region=region,
        tags=_tags(world, body),
        features=_features(body),
        public=bool(body.get("public_networking", True)),
        vpc_uuid=str(body.get("vpc_uuid") or world.default_vpc(region)),
        project=_project(world, body),
        fails=fails or _breaks_placement(user_data),
    )


def find_image(asked: object) -> Image | None:
    """An image by its slug or id."""
    return IMAGES_BY_ID.get(asked) if isinstance(asked, int) else IMAGES.get(str(asked))


def _names(body: Json) -> tuple[str, ...]:
    if "names" not in body:
        return (check_name(body.get("name")),)
    names = body["names"]
    if not isinstance(names, list) or not 1 <= len(names) <= MOST_NAMES:
        raise unprocessable(f"names must be a list of 1 to {MOST_NAMES} names.")
    return tuple(check_name(name) for name in names)


def _check_room(world: World, count: int, size: Size, image: Image) -> None:
    if len(world.droplets.rows) + count > world.settings.droplet_limit:
        raise unprocessable("creating this/these droplet(s) will exceed your droplet limit")
    if image.min_disk > size.disk:
        raise unprocessable("The image you specified is too large for the size of this Droplet.")


def _region(asked: object, size: Size) -> Region:
    """The region with this slug, or the first that begins with it, or any: open, and with the size on offer."""
    wanted = asked if isinstance(asked, str) else ""
    found = [region for slug, region in REGIONS.items() if slug.startswith(wanted)]
    if not found:
        raise unprocessable("You specified an invalid region for Droplet creation.")
    offering = [region for region in found if region.available and region.slug in size.regions]
    if not offering:
        raise unprocessable("Size is not available in this region.")
    return offering[0]


def _user_data(body: Json) -> str:
    """Taken, never given back."""
    user_data = body.get("user_data") or ""
    if not isinstance(user_data, str) or len(user_data.encode()) > MOST_USER_DATA:
        raise unprocessable("User data cannot be longer than 64 KiB.")
    return user_data


def _breaks_placement(user_data: str) -> bool:
    """An emoji is accepted at first; then the action errs and the droplet is gone (terraform#767)."""
    return any(ord(character) > 0xFFFF for character in user_data)


def _features(body: Json) -> tuple[str, ...]:
    asked = [name for name in ("backups", "ipv6", "monitoring") if body.get(name)]
    return (*asked, "droplet_agent", "private_networking")


def _tags(world: World, body: Json) -> tuple[str, ...]:
    tags = body.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise unprocessable("tags must be a list of names.")
    limit = world.settings.tags_per_resource
    if limit and len(tags) > limit:
        raise unprocessable(f"A resource can have no more than {limit} tags.")
    return tuple(check_tag_name(tag) for tag in tags)


def _project(world: World, body: Json) -> Project:
    asked = body.get("project_id")
    if asked is None:
        return world.default_project()
    project = world.projects.get(str(asked))
    if project is None:
        raise unprocessable("project_id names no project.")
    return project


ROUTES = (Route("POST", "/v2/droplets", _create),)
