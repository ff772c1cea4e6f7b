"""All messages and topics in one place. Importing this module declares everything there is."""

from __future__ import annotations

from contracts import (
    billing,
    catalog,
    deployments,
    drift,
    inventory,
    metering,
    provider,
    quotes,
    runtime,
    sagas,
    subscriptions,
)
from contracts.message import MESSAGES, Message
from contracts.topics import TOPICS, Topic

__all__ = ["MODULES", "UnknownType", "message_class", "messages", "topics"]

MODULES = (runtime, inventory, deployments, subscriptions, catalog, sagas, provider, billing, quotes, metering, drift)
"""One module per service (three of deployments, two of billing), and the runtime's own. New ones are added here."""

_PACKAGE = "contracts."


class UnknownType(LookupError):
    """No class is known for a message's type."""


def messages() -> list[type[Message]]:
    """Every message class of the product, by type. (Tests declare messages of their own; those are left out.)"""
    known = (cls for cls in MESSAGES.values() if cls.__module__.startswith(_PACKAGE))
    return sorted(known, key=lambda cls: cls.TYPE)


def topics() -> list[Topic]:
    """Every topic, by name."""
    return sorted(TOPICS.values(), key=lambda topic: topic.name)


def message_class(message_type: str) -> type[Message]:
    """The class for a type. Raises `UnknownType`."""
    try:
        return MESSAGES[message_type]
    except KeyError:
        raise UnknownType(
            f"no message of type {message_type!r} is known; is this code older than the sender's?"
        ) from None
