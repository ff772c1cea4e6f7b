"""The topics: what travels on them, how they are keyed, how long they keep it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal


@dataclass(frozen=True)
class Topic:
    """One Kafka topic.

    `compacted` topics keep the newest message of every key, until its service has it forgotten; the others forget after
    `retention`.
    `key` says in words what the key is.
    """

    name: str
    kind: Literal["commands", "events", "replies", "dead-letters"]
    key: str
    summary: str
    compacted: bool = False
    retention: timedelta = timedelta(days=14)


TOPICS: dict[str, Topic] = {}


def declare(topic: Topic) -> str:
    """Register a topic and give back its name, so that a message's `TOPIC` is its declaration."""
    if TOPICS.setdefault(topic.name, topic) != topic:
        raise ValueError(f"topic {topic.name} is declared twice, differently")
    return topic.name


def commands(service: str, key: str, retention: timedelta = timedelta(days=14)) -> str:
    """Declare the topic on which `service` takes its commands."""
    summary = f"What the {service} service is asked to do."
    return declare(Topic(f"arcadia.{service}.commands", "commands", key, summary, retention=retention))


def events(service: str, aggregates: str, key: str) -> str:
    """Declare a compacted topic that carries the full state of each of a service's `aggregates`."""
    summary = f"The state of all {aggregates}, told by the {service} service at every change."
    return declare(Topic(f"arcadia.{service}.{aggregates}", "events", key, summary, compacted=True))


def replies(service: str, retention: timedelta = timedelta(days=1)) -> str:
    """Declare the topic on which `service` awaits the answers to its commands."""
    summary = f"Answers to the commands that the {service} service sent."
    return declare(Topic(replies_to(service), "replies", "correlation id", summary, retention=retention))


def replies_to(service: str) -> str:
    """The name of the topic of answers to a service."""
    return f"arcadia.{service}.replies"


def dead_letters(service: str) -> str:
    """Declare the topic that announces what `service` could not handle."""
    summary = f"Messages that the {service} service gave up on; its table `dead_letters` holds them."
    return declare(Topic(f"arcadia.{service}.dead-letters", "dead-letters", "dead letter id", summary))
