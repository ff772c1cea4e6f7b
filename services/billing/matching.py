"""Whose costs a line of an invoice are: what each product is charged for, and which resource a line means. Pure.

The file has names, as they were when it was billed; the invoice's items, where the provider gives them, have ids for
some products. An id is certain; a name is probable, and only where exactly one resource bears it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby, repeat
from struct import Struct
from typing import Any, Literal, NamedTuple, TypeAlias
from uuid import UUID

from contracts.billing import Unmatched
from contracts.kinds import ResourceKind
from services.billing.domain import cents
from services.billing.records import is_alike
from services.billing.statement import Batch, end_of, start_of

Told: TypeAlias = bytes | dict[bytes, bytes | None]
"""Which id an invoice's items tell of a line: the id, a NUL, and the times for which that is charged, in few bytes, for
there may be half a million. Where they tell several: the id by each time, and, by no time, of all; None where there are
several.
"""

_SAME = ("product", "group_description", "description")
_SPAN = Struct("!qq")
_NO_TIME = -(2**63)
_FEW = 16  # times; of more, each would take longer to add


Names: TypeAlias = Callable[[Sequence[bytes], Sequence[bytes]], list[bytes]]
"""The names of the resources that lines mean, of their groups and descriptions. (All in UTF-8, as a file has them.)"""


def _before_parentheses(group: Sequence[bytes], description: Sequence[bytes]) -> list[bytes]:
    """`web-01` of `web-01 (s-2vcpu-4gb)`. The last parentheses count: of a snapshot, the name may have some too."""
    return [text.rpartition(b" (")[0] or text for text in description]


def _after_hyphen(group: Sequence[bytes], description: Sequence[bytes]) -> list[bytes]:
    """`203.0.113.44` of `Unused Floating IP - 203.0.113.44`."""
    return [text.rpartition(b" - ")[2] for text in description]


def _group(group: Sequence[bytes], description: Sequence[bytes]) -> list[bytes]:
    """A cluster's name is the group's, where there is one."""
    return [name or other for name, other in zip(group, _before_parentheses(group, description), strict=True)]


@dataclass(frozen=True)
class Product:
    """What a product's lines are about.

    `kind`: what they are charged for. `of`: the kind of the resource that they are matched to; None: they mean no
    single one, for the reason in `otherwise`. `named`: the resources' names.
    """

    kind: ResourceKind | None = None
    of: ResourceKind | None = None
    otherwise: Unmatched = Unmatched.UNKNOWN_RESOURCE
    named: Names = _before_parentheses


def _of(kind: ResourceKind, named: Names = _before_parentheses) -> Product:
    return Product(kind, kind, named=named)


_BACKUPS = Product(ResourceKind.DROPLET_BACKUP, ResourceKind.DROPLET)  # their ids are the droplet's
_SNAPSHOTS = _of(ResourceKind.SNAPSHOT)
_ADDRESSES = _of(ResourceKind.RESERVED_IP, _after_hyphen)
_DATABASES = _of(ResourceKind.DATABASE, _group)
_SPACES = Product(ResourceKind.SPACES_BUCKET, otherwise=Unmatched.ACCOUNT_LEVEL)
_REGISTRY = Product(ResourceKind.CONTAINER_REGISTRY, otherwise=Unmatched.ACCOUNT_LEVEL)

# As seen in files of 2019 to 2025: an open set. What is not here is kept, and said to be unknown.
PRODUCTS: dict[str, Product] = {
    "Droplets": _of(ResourceKind.DROPLET),
    "GPU Droplets": _of(ResourceKind.DROPLET),
    "Droplet Backups": _BACKUPS,
    "Backups": _BACKUPS,
    "Droplet Snapshots": _SNAPSHOTS,
    "Volume Snapshots": _SNAPSHOTS,
    "Snapshots": _SNAPSHOTS,
    "Volumes": _of(ResourceKind.VOLUME),
    "Floating IPs": _ADDRESSES,
    "Reserved IPs": _ADDRESSES,
    "Load Balancers": _of(ResourceKind.LOAD_BALANCER),
    "Kubernetes Clusters": _of(ResourceKind.KUBERNETES_CLUSTER, _group),
    "Database Clusters": _DATABASES,
    "App Platform": _of(ResourceKind.APP),
    "Spaces Subscription": _SPACES,
    "Spaces": _SPACES,
    "Container Registry Subscription": _REGISTRY,
    "Container Registry": _REGISTRY,
    "Bandwidth": Product(otherwise=Unmatched.ACCOUNT_LEVEL),
    "Uptime Health Check": Product(otherwise=Unmatched.ACCOUNT_LEVEL),
    "Credits": Product(otherwise=Unmatched.CREDIT),
    "Taxes": Product(otherwise=Unmatched.TAX),
}
KINDS = frozenset(product.of for product in PRODUCTS.values() if product.of)
"""The kinds that lines are matched to."""

_FAMILIES = {"Managed Databases": _DATABASES}  # "Managed Databases: PostgreSQL"
_UNKNOWN = Product(otherwise=Unmatched.UNKNOWN_PRODUCT)


def product_of(name: str) -> Product:
    """What a product's lines are about."""
    return PRODUCTS.get(name) or _FAMILIES.get(name.partition(":")[0]) or _UNKNOWN


class Candidate(NamedTuple):
    """A resource that a line may mean."""

    kind: str
    provider_id: str
    name: str
    id: UUID
    deleted: bool


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """What a line means. `kind`: what it is charged for.

    `provider_resource_id`: as the provider says. `resource_id`: of a resource, which may be gone; found by its id or by
    its name (`matched_by`). `unmatched`: why it means none that is there.
    """

    kind: ResourceKind | None
    provider_resource_id: str | None
    resource_id: UUID | None
    matched_by: Literal["id", "name"] | None
    unmatched: Unmatched | None


@dataclass
class Items:
    """The resources' ids that an invoice's items tell, by what the file says of the same line."""

    count: int = 0
    cents: int = 0
    _told: dict[str, dict[bytes, Told]] = field(default_factory=dict)

    def add(self, item: Mapping[str, Any]) -> None:
        """Take an item; any of its parts may be missing. Raises ValueError where its amount, times or id are none."""
        self.count += 1
        self.cents += cents(str(item.get("amount") or "0"))
        id = str(item.get("resource_id") or item.get("resource_uuid") or "")
        if not id:
            return
        if "\0" in id:
            raise ValueError(f"{id!r} is no id")
        product, group, description = (str(item.get(key) or "") for key in _SAME)
        start, end = start_of(str(item.get("start_time") or "")), end_of(str(item.get("end_time") or ""))
        of_product, line = self._told.setdefault(product, {}), _line(group.encode(), description.encode())
        of_product[line] = _with(of_product.get(line), id.encode(), _span(start, end))

    def of_product(self, product: str) -> Mapping[bytes, Told]:
        """What a product's items tell, by line."""
        return self._told.get(product, {})


def _line(group: bytes, description: bytes) -> bytes:
    """What tells a product's lines apart. (A line that has a NUL of its own is not taken.)"""
    return group + b"\0" + description


def _span(start: datetime | None, end: datetime | None) -> bytes:
    """In microseconds since 1970."""
    return _SPAN.pack(*(_NO_TIME if time is None else int(time.timestamp() * 1_000_000) for time in (start, end)))


def _with(told: Told | None, id: bytes, span: bytes) -> Told:
    """What is told of a line, and of one item more."""
    if told is None:
        return id + b"\0" + span
    if isinstance(told, bytes):
        before, _, spans = told.partition(b"\0")
        if before == id and len(spans) < _FEW * _SPAN.size:
            return told + span
        told = {}
        for at in range(0, len(spans), _SPAN.size):
            _tell(told, before, spans[at : at + _SPAN.size])
    _tell(told, id, span)
    return told


def _tell(by_span: dict[bytes, bytes | None], id: bytes, span: bytes) -> None:
    for key in (b"", span):
        by_span[key] = id if by_span.get(key, id) == id else None


class _Known(NamedTuple):
    """What is known of a product."""

    product: Product
    told: Mapping[bytes, Told]
    by_name: Mapping[bytes, Match]
    otherwise: Match


class Matcher:
    """Matches the lines of one invoice to resources."""

    def __init__(self, candidates: Iterable[Candidate], items: Items) -> None:
        self._items = items
        self._by_id: dict[tuple[str, str], Candidate] = {}
        self._by_name: dict[str, dict[bytes, list[Candidate]]] = {}
        for candidate in candidates:
            self._by_id[candidate.kind, candidate.provider_id] = candidate
            name = candidate.name.lower().encode()
            self._by_name.setdefault(candidate.kind, {}).setdefault(name, []).append(candidate)
        self._matches_of: dict[Product, dict[bytes, Match]] = {}
        self._known: dict[bytes, _Known] = {}

    def match(self, batch: Batch[Any]) -> list[Match]:
        """What each line means."""
        product, *of_lines = batch[1:6]
        if is_alike(product):
            return self._matches(product[0], *of_lines)
        matches: list[Match] = []
        for name, lines in groupby(product):  # product by product, as they come
            part = slice(len(matches), len(matches) + len(list(lines)))
            matches += self._matches(name, *(column[part] for column in of_lines))
        return matches

    def _matches(
        self,
        name: bytes,
        group: Sequence[bytes],
        description: Sequence[bytes],
        start: Sequence[bytes],
        end: Sequence[bytes],
    ) -> list[Match]:
        """What lines of one product mean."""
        product, told, by_name, otherwise = self._known.get(name) or self._learn(name)
        names = _lower(product.named(group, description))
        if not told:
            return list(map(by_name.get, names, repeat(otherwise)))
        matches = []
        lines = map(_line, group, description)
        for line, called, starts, ends in zip(lines, names, start, end, strict=True):
            ids = told.get(line)
            if ids:  # then nothing else of that name is meant
                matches.append(self._meant(product, _id_of(ids, starts, ends)))
            else:
                matches.append(by_name.get(called, otherwise))
        return matches

    def _learn(self, as_written: bytes) -> _Known:
        name = as_written.decode()
        product = product_of(name)
        if product not in self._matches_of:
            bearers = self._by_name.get(product.of, {}) if product.of else {}
            self._matches_of[product] = {name: _named(product, those) for name, those in bearers.items()}
        told = self._items.of_product(name) if product.of else {}
        otherwise = Match(product.kind, None, None, None, product.otherwise)
        known = self._known[as_written] = _Known(product, told, self._matches_of[product], otherwise)
        return known

    def _meant(self, product: Product, id: str | None) -> Match:
        if id is None:
            return Match(product.kind, None, None, None, Unmatched.AMBIGUOUS_NAME)
        resource = self._by_id.get((product.of or "", id))
        if resource is None:
            return Match(product.kind, id, None, None, Unmatched.UNKNOWN_RESOURCE)
        return _match(product, resource, "id")


def _lower(names: list[bytes]) -> list[bytes]:
    together = b"".join(names)
    if not together.isascii():
        return [name.decode().lower().encode() for name in names]
    return names if together.islower() else [name.lower() for name in names]


def _id_of(told: Told, start: bytes, end: bytes) -> str | None:
    """The one id that a line can mean; None where it can be of several. (Some follow one another under one name.)"""
    if isinstance(told, bytes):
        id: bytes | None = told.partition(b"\0")[0]
    else:
        id = told[b""] or told.get(_span(start_of(start.decode()), end_of(end.decode())))
    return id.decode() if id else None


def _named(product: Product, bearers: Sequence[Candidate]) -> Match:
    """The one that is there; else the one that is gone."""
    those = [bearer for bearer in bearers if not bearer.deleted] or bearers
    if len(those) > 1:
        return Match(product.kind, None, None, None, Unmatched.AMBIGUOUS_NAME)
    return _match(product, those[0], "name")


def _match(product: Product, resource: Candidate, by: Literal["id", "name"]) -> Match:
    reason = Unmatched.DELETED_RESOURCE if resource.deleted else None
    return Match(product.kind, resource.provider_id, resource.id, by, reason)
