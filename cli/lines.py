"""A message as one line for a person: when, on which topic, what, about whom, by whom, and what changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from pydantic import ValidationError
from rich.text import Text

from contracts.message import TYPE_PATTERN, Envelope

if TYPE_CHECKING:
    from shared.bus import Record

_STYLES = {"commands": "cyan", "replies": "magenta", "dead-letters": "bold red"}
_GIST_LENGTH = 160
# What names the thing whose state an event carries, the first that it has.
_NAMES = ("name", "slug", "plan_code", "resource_kind", "from_currency", "period", "provider", "resource_id", "id")
_VALUE_LENGTH = 40


@dataclass(frozen=True)
class Seen:
    """A record as it was found. Without an envelope it is a tombstone (`raw` is None), or nobody can read it."""

    topic: str
    partition: int
    offset: int
    key: str
    at: datetime
    raw: bytes | None
    envelope: Envelope | None

    @classmethod
    def of(cls, record: Record, prefix: str = "") -> Seen:
        """Read a Kafka record; `prefix` is what this environment's topics begin with."""
        key = record.key.decode(errors="backslashreplace") if record.key else ""
        at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
        topic = record.topic.removeprefix(prefix)
        return cls(topic, record.partition, record.offset, key, at, record.value, _envelope(record.value))

    @property
    def type(self) -> str:
        """The message's type; what stands in for it where there is none."""
        if self.envelope is not None:
            return self.envelope.type
        return "tombstone" if self.raw is None else "unreadable"

    def json(self) -> bytes:
        """The envelope as one line of JSON; where there is none, what is known of the record."""
        if self.envelope is not None and self.raw is not None:
            return orjson.dumps(orjson.loads(self.raw))
        origin = {"topic": self.topic, "partition": self.partition, "offset": self.offset, "key": self.key}
        return orjson.dumps({self.type: True, **origin})

    def line(self) -> Text:
        """The line, coloured by what kind of topic it came from."""
        kind = self.topic.rpartition(".")[2]
        style = _STYLES.get(kind, "green") if self.envelope else "yellow"
        line = Text(no_wrap=True)
        line.append(f"{self.at.astimezone():%H:%M:%S}.{self.at.microsecond // 1000:03} ", "dim")
        line.append(f"{short_topic(self.topic):<26} ", "dim")
        line.append(f"{short_type(self.type):<24} ", style)
        line.append(f"{short_id(printable(self.key)):<10} ")
        if self.envelope is not None:
            line.append(f"{printable(self.envelope.tenantid or '-'):<10} ", "blue")
            line.append(f"{printable(self.envelope.actor or '-'):<12} ", "dim")
        line.append(self._gist())
        line.rstrip()
        return line

    def _gist(self) -> str:
        if self.envelope is not None:
            return _shortened(printable(gist(self.envelope.data)), _GIST_LENGTH)
        origin = f"partition {self.partition}, offset {self.offset}"
        return "the key is forgotten" if self.raw is None else f"{len(self.raw)} bytes that are no envelope, {origin}"


def gist(data: Mapping[str, Any]) -> str:
    """What a message says, in a few words: from the shape of its data, so that any message has some."""
    if "command_type" in data:
        return _reply(data)
    if "dead_letter_id" in data:
        return f"{data.get('reason')}: {data.get('message_type')}: {data.get('detail')}"
    return ", ".join([*_aggregates(data), *_changes(data), *_plain_fields(data)])


def short_topic(topic: str) -> str:
    """`arcadia.inventory.resources` -> `inventory.resources`."""
    return topic.removeprefix("arcadia.")


def short_type(message_type: str) -> str:
    """`arcadia.inventory.resource-linked.v1` -> `resource-linked`; a later version stays visible."""
    match = TYPE_PATTERN.match(message_type)
    if match is None:
        return printable(message_type)
    return match["name"] if match["version"] == "1" else f"{match['name']}.v{match['version']}"


def short_id(text: str) -> str:
    """The end of a UUID, where it is random; anything else as it is."""
    try:
        UUID(text)
    except ValueError:
        return text
    return f"…{text[-8:]}"


def _envelope(raw: bytes | None) -> Envelope | None:
    if raw is None:
        return None
    try:
        return Envelope.model_validate_json(raw)
    except ValidationError:
        return None


def _reply(data: Mapping[str, Any]) -> str:
    said = data.get("code") or data.get("result") or ""
    detail = data.get("detail") or ""
    parts = (short_type(str(data["command_type"])), data.get("status"), _value(said), _value(detail))
    return " ".join(str(part) for part in parts if part)


def _aggregates(data: Mapping[str, Any]) -> Iterator[str]:
    """The things whose state an event carries, by name."""
    for value in data.values():
        if isinstance(value, dict):
            names = (value.get(field) for field in _NAMES)
            if name := next(filter(None, names), None):
                yield short_id(str(name))
            yield from _amount(value)
            yield from _difference(value)
            yield from _errors(value)


def _amount(state: Mapping[str, Any]) -> Iterator[str]:
    """The first of its amounts, where its currency stands beside it."""
    cents = next((value for name, value in state.items() if name.endswith("_cents") and isinstance(value, int)), None)
    if cents is not None and state.get("currency"):
        yield f"{Decimal(cents) / 100:.2f} {state['currency']}"


def _difference(state: Mapping[str, Any]) -> Iterator[str]:
    """Where what is differs from what was asked for: in one resource, or in very many alike."""
    if {"field", "desired", "live"} <= state.keys():
        yield f"{state['field']} {_value(state['desired'])} ≠ {_value(state['live'])} {state.get('status')}"
    elif {"field", "drifts"} <= state.keys():
        yield f"{state['drifts']} × {state.get('kind')}.{state['field']}"


def _errors(state: Mapping[str, Any]) -> Iterator[str]:
    for name, error in state.items():
        if name.endswith("error") and error:
            yield f"{name} {_value(error.get('reason') or error if isinstance(error, dict) else error)}"


def _changes(data: Mapping[str, Any]) -> Iterator[str]:
    changes = data.get("changes")
    for name, change in (changes if isinstance(changes, dict) else {}).items():
        if isinstance(change, dict) and {"old", "new"} <= change.keys():
            yield f"{name} {_value(change['old'])} → {_value(change['new'])}"
        elif isinstance(change, int) and change:
            yield f"{name} {change}"


def _plain_fields(data: Mapping[str, Any]) -> Iterator[str]:
    for name, value in data.items():
        if value not in (None, [], {}) and name != "changes" and not isinstance(value, dict):
            yield f"{name}={_value(value)}"


def _value(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return _shortened(short_id(value), _VALUE_LENGTH)
    return _shortened(orjson.dumps(value).decode(), _VALUE_LENGTH)


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def printable(text: str) -> str:
    """Without control characters: names are chosen by tenants, and a terminal obeys escape sequences."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def said(value: object) -> str:
    """A value on one line, whole."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}Z"
    return str(value) if isinstance(value, str | UUID) else orjson.dumps(value, default=str).decode()
