"""What one family of resources declares, so that adding a family is adding a module and one line in `families.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from dev.digitalocean.http import Json, Route

if TYPE_CHECKING:
    from dev.digitalocean.state import World


class Row(Protocol):
    """A resource, as far as projects and tags are concerned."""

    tags: list[str]

    def changed(self) -> None:
        """Forget what was made of the row's fields."""


Change = Callable[["World", str, Json], Json]


@dataclass(frozen=True)
class ByHand:
    """What `/_control/<family>` does, at once and without a trace in the API.

    `create`, `change` and `delete` take the row's id ("" for `create`) and the body, and return what they did. `insert`
    and `remove` are for faults that change a list while it is walked: so many rows at its end, or from its beginning.
    """

    truth: Callable[[World], list[Json]]
    create: Change
    change: Change
    delete: Change
    insert: Callable[[World, int], None]
    remove: Callable[[World, int], None]


@dataclass(frozen=True)
class Family:
    """One family.

    `name` is its plural, as in paths and answers. `urn` is its word in `do:<urn>:<id>` where it can be in a project,
    `resource_type` its word in the tags API where it can be tagged; `find` gets such a row by the id in its text form.
    """

    name: str
    routes: tuple[Route, ...]
    urn: str = ""
    resource_type: str = ""
    find: Callable[[World, str], Row | None] | None = None
    by_hand: ByHand | None = None


class Families:
    """The families by what others call them."""

    def __init__(self, families: Iterable[Family]) -> None:
        self.all = tuple(families)
        self.routes = tuple(route for family in self.all for route in family.routes)
        self._by_urn = {family.urn: family for family in self.all if family.urn}
        self._by_type = {family.resource_type: family for family in self.all if family.resource_type}
        self._by_name = {family.name: family for family in self.all}

    def named(self, name: str) -> Family | None:
        """The family with this plural name."""
        return self._by_name.get(name)

    def of(self, route: Route) -> Family:
        """The family that a route belongs to."""
        return next(family for family in self.all if route in family.routes)

    def find_by_urn(self, world: World, urn: str) -> Row | None:
        """What a `do:<family>:<id>` names."""
        scheme, _, rest = urn.partition(":")
        word, _, id = rest.partition(":")
        family = self._by_urn.get(word) if scheme == "do" else None
        return family.find(world, id) if family and family.find else None

    def find_by_type(self, world: World, resource_type: str, id: str) -> Row | None:
        """What the tags API names; an unknown type is a KeyError."""
        family = self._by_type[resource_type]
        return family.find(world, id) if family.find else None
