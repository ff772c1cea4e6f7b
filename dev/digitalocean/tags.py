"""Tags: one opaque word on many resources. The first spelling counts, and a URL has to use it."""

from __future__ import annotations

import re

from dev.digitalocean.actions import lag_behind
from dev.digitalocean.family import Family, Row
from dev.digitalocean.http import Answer, Json, Request, Route, answer, no_content, not_found, unprocessable
from dev.digitalocean.paging import page
from dev.digitalocean.state import Droplet, Tag, World

NAME = re.compile(r"[a-zA-Z0-9_\-:]{1,255}")
COUNTED = {  # resource type -> its key in a tag's `resources`
    "droplet": "droplets", "image": "images", "volume": "volumes", "volume_snapshot": "volume_snapshots",
    "database": "databases",
}  # fmt: skip


def check_tag_name(name: str) -> str:
    """The name, or a 422."""
    if not NAME.fullmatch(name):
        raise unprocessable("Tag name can only contain letters, numbers, dashes, underscores and colons.")
    return name


def ensure_tag(world: World, name: str) -> Tag:
    """The tag of that name in any case, made if there is none."""
    check_tag_name(name)
    return world.tags.setdefault(name.lower(), Tag(name))


def attach(world: World, tag: Tag, resource_type: str, id: str, row: Row) -> None:
    """Put a tag on a resource; a second time does nothing."""
    if tag.name in row.tags:
        return
    limit = world.settings.tags_per_resource
    if limit and len(row.tags) >= limit:
        raise unprocessable(f"A resource can have no more than {limit} tags.")
    row.tags.append(tag.name)
    tag.members.setdefault(resource_type, {})[id] = None
    row.changed()


def detach(tag: Tag, resource_type: str, id: str, row: Row) -> None:
    """Take a tag off a resource."""
    if tag.name in row.tags:
        row.tags.remove(tag.name)
        tag.members.get(resource_type, {}).pop(id, None)
        row.changed()


def detach_all(world: World, resource_type: str, id: str, row: Row) -> None:
    """Take every tag off a resource, as when it goes."""
    for name in list(row.tags):
        detach(world.tags[name.lower()], resource_type, id, row)


def members(world: World, name: str, resource_type: str) -> list[str]:
    """The ids that carry a tag, spelled as it is; none where there is no such tag."""
    tag = world.tags.get(name.lower())
    return list(tag.members.get(resource_type, ())) if tag and tag.name == name else []


def body_of(request: Request, tag: Tag) -> Json:
    """A tag with the counts of what carries it."""
    counts: Json = {}
    last = ""
    for resource_type, key in COUNTED.items():
        ids = tag.members.get(resource_type, {})
        counts[key] = {"count": len(ids)}
        if ids:
            last = f"{request.base_url}/v2/{key}/{next(reversed(ids))}"
            counts[key]["last_tagged_uri"] = last
    total = sum(count["count"] for count in counts.values())
    return {"name": tag.name, "resources": {"count": total, "last_tagged_uri": last} | counts}


def _list_tags(world: World, request: Request) -> Answer:
    return page(request, "tags", list(world.tags.values()), lambda tag: body_of(request, tag))


def _get_tag(world: World, request: Request) -> Answer:
    return answer({"tag": body_of(request, _named(world, request))})


def _create_tag(world: World, request: Request) -> Answer:
    name = request.json().get("name")
    if not isinstance(name, str):
        raise unprocessable("Name is required.")
    return answer({"tag": body_of(request, ensure_tag(world, name))}, 201)


def _delete_tag(world: World, request: Request) -> Answer:
    tag = _named(world, request)
    for resource_type, ids in tag.members.items():
        for id in list(ids):
            row = world.families.find_by_type(world, resource_type, id)
            if row:
                detach(tag, resource_type, id, row)
    del world.tags[tag.name.lower()]
    return no_content()


def _tag_resources(world: World, request: Request) -> Answer:
    tag = _named(world, request)
    for resource_type, id, row in _resources(world, request):
        _lag_behind(world, row)
        attach(world, tag, resource_type, id, row)
    return no_content()


def _untag_resources(world: World, request: Request) -> Answer:
    tag = _named(world, request)
    for resource_type, id, row in _resources(world, request):
        _lag_behind(world, row)
        detach(tag, resource_type, id, row)
    return no_content()


def _lag_behind(world: World, row: Row) -> None:
    if isinstance(row, Droplet):
        lag_behind(world, row, {"tags": list(row.tags)})


def _named(world: World, request: Request) -> Tag:
    tag = world.tags.get(request.params["name"].lower())
    if tag is None or tag.name != request.params["name"]:
        raise not_found()
    return tag


def _resources(world: World, request: Request) -> list[tuple[str, str, Row]]:
    """What the body names, all of it there, so that nothing is tagged by halves."""
    asked = request.json().get("resources")
    if not isinstance(asked, list) or not all(isinstance(one, dict) for one in asked):
        raise unprocessable("Resources must be a list.")
    return [_resource(world, str(one.get("resource_type")), str(one.get("resource_id"))) for one in asked]


def _resource(world: World, resource_type: str, id: str) -> tuple[str, str, Row]:
    try:
        row = world.families.find_by_type(world, resource_type, id)
    except KeyError:
        raise unprocessable(f"{resource_type} is not a valid resource type.") from None
    if row is None:
        raise not_found()
    return resource_type, id, row


FAMILY = Family(
    name="tags",
    routes=(
        Route("GET", "/v2/tags", _list_tags),
        Route("POST", "/v2/tags", _create_tag),
        Route("GET", "/v2/tags/{name}", _get_tag),
        Route("DELETE", "/v2/tags/{name}", _delete_tag),
        Route("POST", "/v2/tags/{name}/resources", _tag_resources),
        Route("DELETE", "/v2/tags/{name}/resources", _untag_resources),
    ),
)
