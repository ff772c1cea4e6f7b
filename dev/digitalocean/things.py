"""Families of which nothing more is known than their JSON: what all of them do alike, and what each declares.

A thing's JSON is as the API gives it. What refers to droplets is shown without those that are gone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import orjson

from dev.digitalocean.catalog import REGIONS
from dev.digitalocean.family import ByHand, Family
from dev.digitalocean.faults import twist_rows
from dev.digitalocean.http import Answer, Json, Request, Route, answer, no_content, not_found, unprocessable
from dev.digitalocean.paging import page
from dev.digitalocean.projects import assign, forget
from dev.digitalocean.state import Table, Thing, World
from dev.digitalocean.tags import attach, detach_all, ensure_tag

SECRET = "planted-5ecret"
"""Stands in all that nobody may ever see again, so that a test can look for it."""


def _placed_anywhere(_world: World, _thing: Thing, _before: Json) -> None:
    pass


def _goes_alone(_world: World, _thing: Thing) -> None:
    pass


@dataclass(frozen=True)
class Things:
    """What a family of things declares.

    `make` gives the JSON of a new one from what was asked for, with defaults; `shown` is how it is answered, where that
    depends on others; `placed` does to others what its coming or changing does (it gets the JSON as it was before,
    empty for a new one), `gone` what its going does.
    """

    name: str
    path: str
    single: str
    make: Callable[[World, Json], Json]
    identity: str = "id"
    urn: str = ""
    resource_type: str = ""
    paginated: bool = True
    shown: Callable[[World, Json], Json] | None = None
    placed: Callable[[World, Thing, Json], None] = _placed_anywhere
    gone: Callable[[World, Thing], None] = _goes_alone

    def family(self, *more: Route) -> Family:
        """Its list, one by its id, its deletion (`more` comes before those), and what a person can do by hand."""
        routes = (
            Route("GET", self.path, self._list),
            Route("GET", f"{self.path}/{{id}}", self._get),
            Route("DELETE", f"{self.path}/{{id}}", self._delete),
        )
        return Family(
            name=self.name,
            routes=(*more, *routes) if self.path else more,
            urn=self.urn,
            resource_type=self.resource_type,
            find=lambda world, id: self.table(world).rows.get(id),
            by_hand=ByHand(self._truth, self._create, self._change, self._remove, self._insert, self._remove_first),
        )

    def table(self, world: World) -> Table[str, Thing]:
        """The rows."""
        return world.things.setdefault(self.name, Table())

    def add(self, world: World, asked: Json) -> Thing:
        """A new one, in the project that `project_id` names or in the default one, with the tags of `tags`."""
        asked = dict(asked)
        project = asked.pop("project_id", None)
        tags = (asked.pop("tags", None) or []) if self.resource_type else []
        body = self.make(world, asked)
        thing = Thing(str(body[self.identity]), body, tags=body["tags"] if self._has_tags(body) else [])
        self.table(world).add(thing.id, thing)
        for tag in tags:
            self._tag(world, thing, tag)
        if self.urn:
            assign(world, world.projects[project] if project else world.default_project(), self.urn_of(thing))
        self.placed(world, thing, {})
        return thing

    def remove(self, world: World, thing: Thing) -> None:
        """Take one out of everything, at once."""
        self.gone(world, thing)
        if self.resource_type:
            detach_all(world, self.resource_type, thing.id, thing)
        forget(world, self.urn_of(thing))
        self.table(world).remove(thing.id)

    def urn_of(self, thing: Thing) -> str:
        """What the projects call it."""
        return f"do:{self.urn}:{thing.id}"

    def body_of(self, world: World, thing: Thing) -> object:
        """It as JSON, which is made once where it depends on nothing else."""
        if self.shown:
            return self.shown(world, thing.body)
        if thing.json is None:
            thing.json = orjson.dumps(thing.body)
        return orjson.Fragment(thing.json)

    def all_of(self, world: World, request: Request) -> Answer:
        """A page of the list, or all of it where it is not paginated: then there is no total and no link."""
        rows = list(self.table(world).rows.values())
        if self.paginated:
            return page(request, self.name, rows, partial(self.body_of, world))
        return answer({self.name: [self.body_of(world, row) for row in twist_rows(request, rows)]})

    def named(self, world: World, request: Request) -> Thing:
        """The one in the path."""
        return self._by_id(world, request.params["id"])

    def _by_id(self, world: World, id: str) -> Thing:
        thing = self.table(world).rows.get(id)
        if thing is None:
            raise not_found()
        return thing

    def _has_tags(self, body: Json) -> bool:
        return bool(self.resource_type) and isinstance(body.get("tags"), list)

    def _tag(self, world: World, thing: Thing, name: str) -> None:
        attach(world, ensure_tag(world, name), self.resource_type, thing.id, thing)

    def _list(self, world: World, request: Request) -> Answer:
        return self.all_of(world, request)

    def _get(self, world: World, request: Request) -> Answer:
        return answer({self.single: self.body_of(world, self.named(world, request))})

    def _delete(self, world: World, request: Request) -> Answer:
        self.remove(world, self.named(world, request))
        return no_content()

    def _truth(self, world: World) -> list[Json]:
        return [self._truth_of(world, thing) for thing in self.table(world).rows.values()]

    def _truth_of(self, world: World, thing: Thing) -> Json:
        project = world.project_of.get(self.urn_of(thing))
        body = self.shown(world, thing.body) if self.shown else thing.body
        return {"row": body, "id": thing.id, "project_id": project.id if project else None}

    def _create(self, world: World, _id: str, body: Json) -> Json:
        return self._truth_of(world, self.add(world, body))

    def _change(self, world: World, id: str, body: Json) -> Json:
        """Put any of its fields as they are asked, and its project and tags."""
        thing, body = self._by_id(world, id), dict(body)
        if "project_id" in body and self.urn:
            assign(world, world.projects[body.pop("project_id")], self.urn_of(thing))
        if "tags" in body and self.resource_type:
            detach_all(world, self.resource_type, thing.id, thing)
            for tag in body.pop("tags"):
                self._tag(world, thing, tag)
        before = dict(thing.body)
        thing.body |= body
        self.placed(world, thing, before)
        thing.changed()
        return self._truth_of(world, thing)

    def _remove(self, world: World, id: str, _body: Json) -> Json:
        self.remove(world, self._by_id(world, id))
        return {"id": id}

    def _insert(self, world: World, count: int) -> None:
        for _ in range(count):
            self.add(world, {})

    def _remove_first(self, world: World, count: int) -> None:
        for thing in list(self.table(world).rows.values())[:count]:
            self.remove(world, thing)


def region_of(slug: str) -> Json:
    """A region as it stands in a resource."""
    region = REGIONS.get(slug)
    if region is None:
        raise unprocessable(f"{slug} is not a region")
    body: Json = orjson.loads(region.json)
    return body
