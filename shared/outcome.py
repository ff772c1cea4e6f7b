"""What goes into a handler beside the message, and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from contracts.message import Command, Event, Message

M = TypeVar("M", bound=Message)


@dataclass(slots=True)  # made for every message: a frozen one takes four times as long
class Meta:
    """What a handler may know about the message beside its data.

    `now` is the time at which its handling began, `sent_at` that of its envelope.
    """

    message_id: UUID
    now: datetime
    tenant_id: str | None = None
    actor: str | None = None
    correlation_id: UUID | None = None
    traceparent: str | None = None
    reply_to: str | None = None
    expires: datetime | None = None
    sent_at: datetime | None = None


@dataclass(frozen=True)
class Send:
    """A command to be sent. `id`: a derived one where sending it twice must be the same as once; default: a new one."""

    command: Command
    id: UUID | None = None
    reply_to: str | None = None
    expires: datetime | None = None
    tenant_id: str | None = None
    actor: str | None = None
    correlation_id: UUID | None = None


@dataclass(frozen=True)
class Tombstone:
    """An event topic's key that is to be forgotten."""

    topic: str
    key: str


@dataclass(frozen=True)
class Outcome:
    """What a handler decided. `result` answers the command; the rest goes out with the same transaction.

    `pending` means that the final answer follows (the handler started something that will answer later).
    """

    result: dict[str, Any] | None = None
    events: Sequence[Event | Tombstone] = ()
    commands: Sequence[Send] = ()
    pending: bool = False


class Refused(Exception):
    """A command is refused for a reason of the business: the caller gets `code` and `detail`, nothing is changed."""

    def __init__(self, code: str, **detail: Any) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail


@dataclass(slots=True)
class Received(Generic[M]):
    """A message with its meta, as batch handlers get it."""

    message: M
    meta: Meta
