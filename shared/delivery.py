"""A record as it was delivered: where it came from, and what could be read of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import NamedTuple
from uuid import UUID

from contracts.message import Envelope, Event, Message, Reply
from shared.bus import Record
from shared.ids import derived_id
from shared.wire import Unreadable, decode


@cache  # a metaclass's `isinstance`, once a message, would be felt
def _is_known_by_itself(kind: type[Message]) -> bool:
    """An event that comes again is known by its `sequence`, a reply by whoever no longer waits for it."""
    return issubclass(kind, Event | Reply)


class Origin(NamedTuple):
    """Where a record stands in Kafka."""

    topic: str
    partition: int
    offset: int


@dataclass(eq=False)  # made for every record: a frozen one takes four times as long
class Delivery:
    """One record. Either `envelope` and `message` are there, or `unreadable` says why not."""

    origin: Origin
    key: str
    raw: bytes
    envelope: Envelope | None
    message: Message | None
    unreadable: Unreadable | None = None
    guarded: Envelope | None = field(init=False, default=None)
    """The envelope whose id the inbox claims, so that it is handled once: a command's."""

    def __post_init__(self) -> None:
        unread_command = self.message is None and self.origin.topic.endswith(".commands")
        if unread_command or (self.message is not None and not _is_known_by_itself(type(self.message))):
            self.guarded = self.envelope

    @classmethod
    def of(cls, origin: Origin, key: str, raw: bytes) -> Delivery:
        """Read a record's value."""
        try:
            envelope, message = decode(raw)
        except Unreadable as error:
            return cls(origin, key, raw, error.envelope, None, error)
        return cls(origin, key, raw, envelope, message)

    @property
    def line(self) -> tuple[str, str]:
        """What stays in order: the records of one key in one topic."""
        return self.origin.topic, self.key

    @cached_property
    def dead_letter_id(self) -> UUID:
        """The same however often the record is delivered; the content guards against a topic that was made anew."""
        origin = self.origin
        return derived_id("dead-letter", origin.topic, origin.partition, origin.offset, self.raw.hex())

    @property
    def known(self) -> tuple[Envelope, Message]:
        """Envelope and message of a readable record."""
        if self.envelope is None or self.message is None:
            raise ValueError(f"{self.origin} is not readable")
        return self.envelope, self.message


def delivered(record: Record) -> Delivery | None:
    """The delivery of a Kafka record; None for a tombstone, which says nothing beyond its key."""
    if record.value is None:
        return None
    # No text column takes a NUL. Keys that become alike by this wait for one another at worst.
    key = record.key.decode(errors="replace").replace("\0", "\ufffd") if record.key else ""
    return Delivery.of(Origin(record.topic, record.partition, record.offset), key, record.value)
