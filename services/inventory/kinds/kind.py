"""What a kind of resource declares, and how its rows are read."""

from __future__ import annotations

import hashlib
import inspect
import re
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import orjson

from contracts.inventory import Parent
from contracts.kinds import UNTOLD, BillingKind, ResourceKind
from contracts.money import whole_cents
from services.inventory.domain import Seen
from services.inventory.steps import Walking
from shared.digitalocean import DigitalOcean, Walk, redact

Row: TypeAlias = dict[str, Any]


class Cadence(IntEnum):
    """How much a kind's walk costs. A sync of everything takes the quick ones first."""

    FAST = 1
    FULL = 2
    SLOW = 3


class Pages(Protocol):
    """What a walk gives: rows by the page, and afterwards whether anything can have been missed."""

    def __aiter__(self) -> AsyncGenerator[list[Row], None]: ...

    @property
    def complete(self) -> bool: ...

    @property
    def doubts(self) -> list[str]: ...

    @property
    def blank(self) -> bool: ...


@dataclass(frozen=True)
class Listed:
    """The provider lists the kind."""

    pages: Callable[[DigitalOcean], Walk]


@dataclass(frozen=True)
class Told:
    """Another walk tells of the kind: `after` is its name, and a sync takes it first."""

    after: str
    pages: Callable[[Walking], Pages]


@dataclass(frozen=True)
class Kind:
    """Where a kind is listed, and what of it is kept.

    source           shows all there are
    read             gives one by its id, and raises `NotFound`; None: the provider has no way to
    identity         the field of a row that is its id
    seen             takes from a row what is kept; where something that it needs is not there, it raises KeyError,
                     TypeError, ValueError, AttributeError or ArithmeticError
    urn_types        the kind's names in the projects' lists; without one it is in no project but its parent's
    tagged           whether the provider has tags for it
    feeds            what usage is counted of it
    secrets          taken out of a row, at any depth, before anything else is done with it
    has_parts        it makes other resources, which are attributed with it
    serves_droplets  its `attrs.droplet_ids` are those that it is for
    taken_of         what its resources are taken of: a sync walks that before
    """

    name: ResourceKind
    cadence: Cadence
    source: Listed | Told
    read: Callable[[DigitalOcean, str], Awaitable[Row]] | None
    identity: str
    seen: Callable[[Row], Seen]
    urn_types: tuple[str, ...]
    tagged: bool
    feeds: tuple[BillingKind, ...] = ()
    secrets: frozenset[str] = frozenset()
    has_parts: bool = False
    serves_droplets: bool = False
    taken_of: tuple[ResourceKind, ...] = ()

    @property
    def meaningless(self) -> frozenset[str]:
        """The parts of attrs that are kept fresh without an event: `UNTOLD`, which others must know too."""
        return UNTOLD[self.name]

    def id_of(self, row: Row) -> str:
        """The provider's id of a row. It is a number for some kinds."""
        return str(row[self.identity])

    def cleaned(self, row: Row) -> Row:
        """The row without the kind's secrets."""
        return _without(row, self.secrets) if self.secrets else row

    def observe(self, row: Row) -> Seen | str:
        """What is kept of a clean row; a sentence where it cannot be read, which quotes nothing of the row."""
        try:
            seen = self.seen(row)
        except KeyError as error:
            return f"{self.name} {self.id_of(row)} cannot be read: it has no {error}"
        except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
            return f"{self.name} {self.id_of(row)} cannot be read: {type(error).__name__} in {_where(error)}"
        return replace(seen, attrs=redact(seen.attrs))


def _without(row: Mapping[str, Any], secrets: frozenset[str]) -> Row:
    return {name: _within(value, secrets) for name, value in row.items() if name not in secrets}


def _within(value: Any, secrets: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return _without(value, secrets)
    return [_within(each, secrets) for each in value] if isinstance(value, list) else value


def _where(error: BaseException) -> str:
    """The line of the declaration that could not be followed: what the row says there may be a secret."""
    line = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(line.filename).name}, line {line.lineno}"


def fingerprint(row: Row) -> bytes:
    """A digest of a row: while it is the same, and this code, nothing has changed that anybody could see."""
    return hashlib.blake2b(_EDITION + orjson.dumps(row), digest_size=16).digest()


_READERS = (*sorted(Path(__file__).parent.glob("*.py")), Path(inspect.getfile(redact)))
_EDITION = hashlib.blake2b(b"".join(file.read_bytes() for file in _READERS), digest_size=16).digest()


def listed(route: str, key: str, *, identity: str = "id", paginated: bool = True) -> Listed:
    """A list of the provider's, whose rows are under `key`."""
    return Listed(lambda do: do.walk(route, key, identity=identity, paginated=paginated))


def single(route: str, key: str) -> Callable[[DigitalOcean, str], Awaitable[Row]]:
    """The reading of one by its id, which stands for `{id}` in the route."""

    async def read(do: DigitalOcean, provider_id: str) -> Row:
        return await do.single(key, route, id=provider_id)

    return read


def cents(dollars: float | Decimal, quantity: float = 1) -> int:
    """A price in cents: so many dollars for each, half a cent rounded up."""
    return whole_cents(Decimal(str(dollars)) * Decimal(str(quantity)) * 100)


def cluster_of(tags: Iterable[str]) -> Parent | None:
    """The Kubernetes cluster that made a resource: DOKS puts the tag `k8s:<uuid>` on what it makes."""
    clusters = sorted(found[1] for tag in tags if (found := _CLUSTER_TAG.fullmatch(tag)))
    return Parent(kind=ResourceKind.KUBERNETES_CLUSTER, provider_id=clusters[0]) if clusters else None


_CLUSTER_TAG = re.compile(r"k8s:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
