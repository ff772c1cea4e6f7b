"""Messages to bytes and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import ValidationError

from contracts.message import Envelope, Message
from contracts.registry import UnknownType, message_class
from contracts.runtime import Reason

CONTENT_TYPE = b"application/cloudevents+json; charset=UTF-8"
MAX_MESSAGE_BYTES = 4 * 1024 * 1024

_LONGEST_ATTRIBUTE = 2000
_NUL_ESCAPED = b"\\u0000"
_NUL = "text with the character U+0000, which PostgreSQL cannot keep"


@dataclass
class Unreadable(Exception):
    """A record that is no message of ours. `envelope` is there where at least that could be read."""

    reason: Reason
    detail: str
    envelope: Envelope | None = None


def encode(envelope: Envelope) -> bytes:
    """The envelope as structured CloudEvents JSON; attributes that are None are left out.

    Raises ValueError for what Kafka would not take or no receiver could read.
    """
    attributes = {name: value for name, value in vars(envelope).items() if value is not None}
    raw = orjson.dumps(attributes, default=str, option=orjson.OPT_UTC_Z)  # str: asyncpg's subclass of UUID
    what = f"{envelope.type} for {envelope.subject[:100]!r}"
    if len(raw) > MAX_MESSAGE_BYTES:
        raise ValueError(f"{what} takes {len(raw)} bytes; a message may take {MAX_MESSAGE_BYTES}")
    if holds_nul(raw, attributes):
        raise ValueError(f"{what} holds {_NUL}")
    return raw


def decode(raw: bytes) -> tuple[Envelope, Message]:
    """Read a record's value, up to the newest version of its message. Raises `Unreadable`."""
    try:
        envelope = Envelope.model_validate_json(raw)
    except ValidationError as error:
        raise Unreadable("undecodable", describe(error)) from None
    if len(raw) > _LONGEST_ATTRIBUTE:
        _refuse_long(envelope)
    if _NUL_ESCAPED in raw:
        _refuse_nul(envelope)
    try:
        return envelope, message_class(envelope.type).model_validate(envelope.data).upcast()
    except UnknownType as error:
        raise Unreadable("unknown_type", str(error), envelope) from None
    except ValidationError as error:
        raise Unreadable("invalid", describe(error), envelope) from None
    except Exception as error:  # a validator or an upcast that fails is as final as a field of the wrong type
        raise Unreadable("invalid", f"{type(error).__name__}: {error}", envelope) from error


def holds_nul(raw: bytes, value: Any) -> bool:
    """Whether a value holds U+0000, in a text or a key. `raw` is its JSON: a look at that first costs nothing."""
    return _NUL_ESCAPED in raw and _holds_nul(value)


def _refuse_long(envelope: Envelope) -> None:
    """What is said about a message repeats its attributes, and must fit into a message itself."""
    for name, value in envelope:
        if isinstance(value, str) and len(value) > _LONGEST_ATTRIBUTE:
            raise Unreadable("undecodable", f"{name} is longer than {_LONGEST_ATTRIBUTE} characters")


def _refuse_nul(envelope: Envelope) -> None:
    if _holds_nul([value for name, value in envelope if name != "data"]):
        raise Unreadable("undecodable", _NUL)
    if _holds_nul(envelope.data):
        raise Unreadable("invalid", _NUL, envelope)


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_holds_nul(key) or _holds_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(map(_holds_nul, value))


def describe(error: ValidationError) -> str:
    """A validation error in one line, without the values: they may be secrets."""
    return "; ".join(
        f"{'.'.join(map(str, e['loc'])) or 'message'}: {e['msg']}" for e in error.errors(include_input=False)
    )
