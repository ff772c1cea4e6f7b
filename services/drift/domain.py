"""The rules: when two values count as equal, what a drift means, and what a spec is made of. Pure."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID

from contracts.drift import EXISTS
from contracts.inventory import Resource
from contracts.kinds import ResourceKind
from contracts.provider import OPERATION_TAG

Json: TypeAlias = Mapping[str, Any]

MANY = 25
"""So many drifts of one kind and field within an hour have one cause: together they are a surge."""


def canonical(value: Any) -> str | None:
    """The text in which all values that count as equal are the same; None for null.

    Scalars are strings: 2, 2.0 and "2" are equal, true and "true". Lists are sets. Within objects, null and missing are
    equal. Text is compared in Unicode's composed form (NFC), and by case.
    """
    return None if value is None else _written(_plain(value))


def _plain(value: Any) -> Any:
    """A value of strings, nulls, sorted lists and objects without nulls."""
    match value:
        case Mapping():
            return {_plain(name): plain for name, each in value.items() if (plain := _plain(each)) is not None}
        case [*_]:
            by_text = {_written(plain): plain for plain in map(_plain, value)}
            return [by_text[text] for text in sorted(by_text)]
        case None:
            return None
        case _:
            return _scalar(value)


def _scalar(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float() | Decimal():
            return _number(value)
        case _:
            return unicodedata.normalize("NFC", str(value))


def _number(value: float | Decimal) -> str:
    text = format(Decimal(repr(value)) if isinstance(value, float) else value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _written(plain: Any) -> str:
    return json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def loosely_equal(one: Any, other: Any) -> bool:
    """Whether two values count as equal: see `canonical`."""
    return canonical(one) == canonical(other)


def canonical_fields(fields: Json) -> dict[str, str]:
    """The canonical text of each field that is not null.

    Tags are compared without case: the provider takes two that differ in nothing else for one, and spells it as whoever
    made it did (doctl#333). Those of operations are the provider's ledger's business.
    """
    texts = {name: canonical(value) for name, value in fields.items()}
    if isinstance(tags := fields.get("tags"), list):
        texts["tags"] = canonical([str(tag).lower() for tag in tags if not str(tag).startswith(OPERATION_TAG)])
    return {name: text for name, text in texts.items() if text is not None}


_COLUMNS = {
    "kind",
    "provider_id",
    "name",
    "region",
    "state",
    "size_slug",
    "tags",
    "project_id",
    "tenant_id",
    "deployment_id",
}
_OF_OPERATION = re.compile(f"{OPERATION_TAG}[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}")


def live_fields(resource: Resource) -> dict[str, Any]:
    """What was seen of a resource, by field: its columns, then those of its attrs that are called like none."""
    columns = resource.model_dump(mode="json", include=_COLUMNS)
    return resource.attrs | columns | {EXISTS: resource.deleted_at is None}


def is_made(resource: Resource) -> bool:
    """Whether an operation of ours has made a resource, or a cluster has."""
    by_cluster = resource.parent is not None and resource.parent.kind is ResourceKind.KUBERNETES_CLUSTER
    return by_cluster or any(map(_OF_OPERATION.fullmatch, resource.tags))


@dataclass(frozen=True)
class Spec:
    """What a resource is to be, and who said so: a run of a saga, or else an actor.

    `said`: when each field was said last; nothing is heeded that was said before `replaced_at`.
    """

    resource_id: UUID
    fields: Json
    version: int
    saga_id: UUID | None
    actor: str | None
    recorded_at: datetime
    replaced_at: datetime | None
    said: Mapping[str, datetime]
    seen_version: int
    retired_at: datetime | None


@dataclass(frozen=True)
class Said:
    """What a run has left of a resource, as of its end; `fields` None: it is to be no more."""

    resource_id: UUID
    fields: Json | None
    at: datetime
    saga_id: UUID
    version: int


def with_said(spec: Spec, said: Said) -> Spec:
    """A spec after what a run has left. Runs may be heard of in any order: each field is as was said last.

    What a run has destroyed stays so, whatever other runs had said of it; but for what an operator says after that.
    """
    if spec.retired_at is not None or (spec.replaced_at is not None and spec.replaced_at >= said.at):
        return spec
    if said.fields is None:
        return replace(spec, version=spec.version + 1, saga_id=said.saga_id, actor=None, retired_at=said.at)
    news = {name: value for name, value in said.fields.items() if name not in spec.said or spec.said[name] < said.at}
    fields = {**spec.fields, **news}
    changes = canonical_fields(fields) != canonical_fields(spec.fields) or fields.keys() != spec.fields.keys()
    spec = replace(
        spec,
        fields=fields,
        said={**spec.said, **dict.fromkeys(news, said.at)},
        seen_version=max(spec.seen_version, said.version),
    )
    if not changes:
        return spec
    recorded_at = max(spec.recorded_at, said.at)
    return replace(spec, version=spec.version + 1, saga_id=said.saga_id, actor=None, recorded_at=recorded_at)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


_GIVABLE: Mapping[str, Callable[[Any], bool]] = {
    "size_slug": _is_text,
    "name": _is_text,
    "tags": lambda value: isinstance(value, list) and all(map(_is_text, value)),
    "state": lambda value: value in {"active", "off"},
}
"""What a saga can change of a droplet, and the values that it can be given."""


def why_not_revertible(kind: str, field: str, desired: Any) -> str | None:
    """Why a saga cannot bring a field back; None where it can."""
    if field == EXISTS:
        return "What is gone cannot be brought back: accept that, and provision anew."
    if kind != ResourceKind.DROPLET:
        return f"Sagas change droplets alone: change the {kind} at the provider, or accept what it is."
    if field not in _GIVABLE:
        return f"A droplet's {field} cannot be changed: accept what it is, or replace the droplet."
    if not _GIVABLE[field](desired):
        return f"A droplet cannot be given this {field}: {json.dumps(desired, ensure_ascii=False)}."
    return None


@dataclass(frozen=True)
class Finding:
    """A field that is not as it is to be."""

    resource_id: UUID
    kind: str
    field: str
    desired: Any
    live: Any
    spec_version: int


@dataclass(frozen=True)
class Open:
    """A drift that is open: what it says, as canonical texts."""

    id: UUID
    desired: str | None
    live: str | None


@dataclass(frozen=True)
class Judged:
    """What comparing has shown: drifts to be opened, those whose values are others now, and those that are over."""

    new: Sequence[Finding]
    changed: Mapping[UUID, Finding]
    over: Sequence[UUID]


def judge(found: Sequence[Finding], known: Mapping[tuple[UUID, str], Open]) -> Judged:
    """What findings mean beside the drifts that are open of the same resources, by resource and field."""
    by_key = {(each.resource_id, each.field): each for each in found}
    changed = {
        known[key].id: each
        for key, each in by_key.items()
        if key in known and (canonical(each.desired), canonical(each.live)) != (known[key].desired, known[key].live)
    }
    return Judged(
        new=[each for key, each in by_key.items() if key not in known],
        changed=changed,
        over=[each.id for key, each in known.items() if key not in by_key],
    )
