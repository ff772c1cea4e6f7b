"""Messages to bytes and back."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from pydantic import ValidationError

from contracts.message import Envelope, Message
from contracts.registry import UnknownType, message_class
from contracts.runtime import Reason

CONTENT_TYPE = b"application/cloudevents+json; charset=UTF-8"


@dataclass(frozen=True)
class Unreadable(Exception):
    """A record that is no message of ours. `envelope` is there where at least that could be read."""

    reason: Reason
    detail: str
    envelope: Envelope | None = None


def encode(envelope: Envelope) -> bytes:
    """The envelope as structured CloudEvents JSON; attributes that are None are left out."""
    attributes = {name: value for name, value in envelope if value is not None}
    return orjson.dumps(attributes, default=str, option=orjson.OPT_UTC_Z)  # str: asyncpg's subclass of UUID


def decode(raw: bytes) -> tuple[Envelope, Message]:
    """Read a record's value, up to the newest version of its message. Raises `Unreadable`."""
    try:
        envelope = Envelope.model_validate_json(raw)
    except ValidationError as error:
        raise Unreadable("undecodable", describe(error)) from None
    try:
        message = message_class(envelope.type).model_validate(envelope.data)
    except UnknownType as error:
        raise Unreadable("unknown_type", str(error), envelope) from None
    except ValidationError as error:
        raise Unreadable("invalid", describe(error), envelope) from None
    return envelope, message.upcast()


def describe(error: ValidationError) -> str:
    """A validation error in one line, without the values: they may be secrets."""
    return "; ".join(
        f"{'.'.join(map(str, e['loc'])) or 'message'}: {e['msg']}" for e in error.errors(include_input=False)
    )
