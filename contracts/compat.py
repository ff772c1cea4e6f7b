"""The compatibility gate: may this code meet messages, producers and consumers that were there before it?

During a deployment old and new code run side by side, and compacted topics keep old messages for good. So both must
hold: new code reads every old message, old code reads every new one. The rule that follows is short: within a version
only optional fields are added. Anything else is a new version beside the old, with an `upcast`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts.export import ENVELOPE
from contracts.message import TYPE_PATTERN

Json = Any

_ABSENT = object()
# What a schema says to people only.
_ANNOTATIONS = frozenset({"title", "description", "examples", "deprecated", "$schema", "$id", "$defs", "$ref"})
_COMPARED_APART = frozenset({"properties", "required", "enum", "const", "anyOf", "oneOf", "items", "type"})


@dataclass(frozen=True)
class Problem:
    """What is wrong with a message's contract: its type, what is wrong, and what to do."""

    subject: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.what}\n    {self.remedy}"


def broken_schemas(old: Mapping[str, Json], new: Mapping[str, Json]) -> list[Problem]:
    """What the new schemas break for those who rely on the old ones; both by message type."""
    problems = []
    for name in sorted(old):
        if name not in new:
            changes = ["the message is gone: what is left of it on the topics could no longer be read"]
        else:
            changes = list(_Comparison(old[name], new[name]).run())
        problems += [Problem(name, change, remedy(name)) for change in changes]
    return problems


def remedy(name: str) -> str:
    """What to do about a change of the message type, or of the envelope, that cannot be made in place."""
    if name == ENVELOPE:
        return "The envelope has no versions: only optional attributes may be added to it."
    match = TYPE_PATTERN.match(name)
    if match is None:
        return "Restore it."
    version = int(match["version"])
    newer = f"arcadia.{match['service']}.{match['name']}.v{version + 1}"
    return f"Leave v{version} as it was; declare {newer} beside it and give v{version} an `upcast` (docs/how-to.md)."


@dataclass
class _Comparison:
    """One message's schema before and after."""

    old: Json
    new: Json
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def run(self) -> Iterator[str]:
        """The changes that break somebody, in words."""
        yield from self._schemas(self.old, self.new, "data")

    def _schemas(self, old: Json, new: Json, path: str) -> Iterator[str]:
        references = (old.get("$ref"), new.get("$ref"))
        if None not in references:
            if references in self._seen:
                return
            self._seen.add(references)
        old, new = _resolved(old, self.old), _resolved(new, self.new)
        kinds = _kinds(old, self.old), _kinds(new, self.new)
        if kinds[0] != kinds[1]:
            yield f"{path} was {' or '.join(kinds[0])}, is {' or '.join(kinds[1])}"
            return
        yield from self._alternatives(old, new, path)
        yield from _values(old, new, path)
        yield from self._properties(old, new, path)
        if "items" in old and "items" in new:
            yield from self._schemas(old["items"], new["items"], f"{path}[]")
        yield from self._keywords(old, new, path)

    def _alternatives(self, old: Json, new: Json, path: str) -> Iterator[str]:
        pairs = zip(_alternatives(old, self.old), _alternatives(new, self.new), strict=True)
        for before, after in pairs:
            yield from self._schemas(before, after, path)

    def _properties(self, old: Json, new: Json, path: str) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        demanded, demands = set(old.get("required", ())), set(new.get("required", ()))
        for name in before:
            if name not in after:
                yield f"{path}.{name} is gone: who reads it finds nothing"
            else:
                yield from self._schemas(before[name], after[name], f"{path}.{name}")
        for name in after:
            if name not in before and name in demands:
                yield f"{path}.{name} is new and required: messages sent until now do not have it"
            elif name in before and name in demands - demanded:
                yield f"{path}.{name} is required now: messages sent until now may lack it"
            elif name in demanded - demands:
                yield f"{path}.{name} is no longer required: older code cannot do without it"

    def _keywords(self, old: Json, new: Json, path: str) -> Iterator[str]:
        for keyword in sorted({*old, *new} - _ANNOTATIONS - _COMPARED_APART):
            before, after = old.get(keyword, _ABSENT), new.get(keyword, _ABSENT)
            if isinstance(before, dict) and isinstance(after, dict) and keyword == "additionalProperties":
                yield from self._schemas(before, after, f"{path}.*")
            elif before != after and not (keyword == "default" and _ABSENT in (before, after)):
                yield f"{path}: `{keyword}` {_was(before)}, {_is(after)}"


def _values(old: Json, new: Json, path: str) -> Iterator[str]:
    """Changes of an enumeration."""
    before, after = _enumerated(old), _enumerated(new)
    for value in before:
        if value not in after:
            yield f"{path} lost the value {value!r}: messages that carry it can no longer be read"
    for value in after:
        if value not in before:
            yield f"{path} gained the value {value!r}: older code cannot read it"


def _enumerated(schema: Json) -> list[Json]:
    return [schema["const"]] if "const" in schema else schema.get("enum", [])


def _resolved(schema: Json, root: Json) -> Json:
    """The schema with what it refers to; what stands beside the reference wins."""
    while "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        schema = root.get("$defs", {})[name] | {key: value for key, value in schema.items() if key != "$ref"}
    return schema


def _alternatives(schema: Json, root: Json) -> list[Json]:
    found = schema.get("anyOf") or schema.get("oneOf") or []
    return sorted(found, key=lambda one: _kinds(_resolved(one, root), root))


def _kinds(schema: Json, root: Json) -> list[str]:
    """What a value may be, in words that two versions of a schema share."""
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if alternatives:
        return sorted(kind for one in alternatives for kind in _kinds(_resolved(one, root), root))
    kind = schema.get("type") or ("anything" if not _enumerated(schema) else "one of a list")
    return [kind] if isinstance(kind, str) else sorted(kind)


def _was(value: object) -> str:
    return "was not there" if value is _ABSENT else f"was {json.dumps(value)}"


def _is(value: object) -> str:
    return "is not there any more" if value is _ABSENT else f"is {json.dumps(value)}"
