"""The contracts as documents for those who do not use this code: JSON Schemas, AsyncAPI, the table of topics.

Everything follows from the classes and topics, so the same contracts give the same bytes. `arcadia contracts export`
writes the files, the gateway serves them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from contracts import registry
from contracts.message import Command, Envelope, Message, Reply, schema_path
from contracts.runtime import DeadLettered
from contracts.topics import Topic

ENVELOPE = "envelope"
"""The name under which the envelope's schema stands among those of the messages' data."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_CONTENT_TYPE = "application/cloudevents+json"
_COMPONENTS = "#/components/schemas/{model}"

Json = dict[str, Any]


def documents() -> dict[str, str]:
    """Every exported file's text by its path from the repository's root."""
    schemas = {f"contracts/schemas/{name}.json": _text(schema) for name, schema in _schemas()}
    return {**schemas, "contracts/asyncapi.json": _text(asyncapi()), "docs/topics.md": topics_table()}


def kind_of(cls: type[Message]) -> Literal["command", "event", "reply"]:
    """What sort of message a class is."""
    if issubclass(cls, Command):
        return "command"
    return "reply" if issubclass(cls, Reply) else "event"


def message_schema(cls: type[Message]) -> Json:
    """The JSON Schema of a message's `data`, with where it travels beside it."""
    return {
        "$schema": _DIALECT,
        "$id": schema_path(cls.TYPE),
        **cls.model_json_schema(),
        "x-kind": kind_of(cls),
        "x-topic": cls.TOPIC,
    }


def envelope_schema() -> Json:
    """The JSON Schema of the envelope: what stands around every message's `data`."""
    schema = Envelope.model_json_schema()
    # The class fills these in by itself; on the wire they are always there, as CloudEvents asks.
    required = [*schema["required"], "specversion", "datacontenttype"]
    return {"$schema": _DIALECT, "$id": schema_path(ENVELOPE), **schema, "required": sorted(required)}


def product_topics() -> list[Topic]:
    """The topics of the product's services, by name. (Tests declare topics of their own; those are left out.)"""
    names = {cls.TYPE for cls in registry.messages()} | {Reply.TOPIC}
    services = {_service(name) for name in names}
    return [topic for topic in registry.topics() if _service(topic.name) in services]


def messages_on(topic: Topic) -> list[type[Message]]:
    """What travels on a topic."""
    if topic.kind == "dead-letters":
        return [DeadLettered]
    its_own = [cls for cls in registry.messages() if topic.name == cls.TOPIC and cls is not Reply]
    return [Reply, *its_own] if topic.kind == "replies" else its_own


def asyncapi() -> Json:
    """The AsyncAPI 3.0 document of all topics, as their owners see them."""
    topics, (schemas, references) = product_topics(), _components()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Arcadia Cloud",
            "version": "1",
            "description": "Messages are CloudEvents 1.0 in structured JSON. Each type carries its version; "
            "within a version only optional fields are ever added.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _CONTENT_TYPE,
        "channels": {topic.name: _channel(topic) for topic in topics} | {"replyto": _reply_channel()},
        "operations": {_operation_name(topic): _operation(topic) for topic in topics},
        "components": {
            "messages": {cls.TYPE: _message(cls, references) for cls in registry.messages()},
            "schemas": schemas,
        },
    }


def topics_table() -> str:
    """The topics and messages as a page for people."""
    lines = [
        "# Topics and messages",
        "",
        "Generated from `contracts/` by `make contracts`; do not edit. What a message looks like on the wire:",
        "`contracts/examples/<type>.json`. What is promised about it: `contracts/schemas/<type>.json`.",
        "",
        "| topic | key | keeps |",
        "|---|---|---|",
        *(f"| `{topic.name}` | {topic.key} | {_keeps(topic)} |" for topic in product_topics()),
        "",
    ]
    for topic in product_topics():
        lines += [f"## `{topic.name}`", "", topic.summary, "", "| type | |", "|---|---|"]
        lines += [f"| `{cls.TYPE}` | {_summary(cls)} |" for cls in messages_on(topic)] + [""]
    return "\n".join(lines[:-1]) + "\n"


def _text(document: Json) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _schemas() -> Iterable[tuple[str, Json]]:
    yield ENVELOPE, envelope_schema()
    for cls in registry.messages():
        yield cls.TYPE, message_schema(cls)


def _service(name: str) -> str:
    """The service in a topic's or a type's name."""
    return name.split(".")[1]


def _channel(topic: Topic) -> Json:
    keeping = (
        {"cleanup.policy": ["compact"]}
        if topic.compacted
        else {"cleanup.policy": ["delete"], "retention.ms": int(topic.retention.total_seconds() * 1000)}
    )
    return {
        "address": topic.name,
        "summary": topic.summary,
        "description": f"Key: {topic.key}. Kept: {_keeps(topic)}.",
        "messages": {cls.TYPE: _reference("messages", cls.TYPE) for cls in messages_on(topic)},
        "bindings": {"kafka": {"topic": topic.name, "topicConfiguration": keeping, "bindingVersion": "0.5.0"}},
    }


def _reply_channel() -> Json:
    """AsyncAPI's way of saying that a reply goes where the command says."""
    return {
        "address": None,
        "summary": "The topic that a command names in `replyto`.",
        "messages": {Reply.TYPE: _reference("messages", Reply.TYPE)},
    }


def _operation_name(topic: Topic) -> str:
    return topic.name.removeprefix("arcadia.")


def _operation(topic: Topic) -> Json:
    """What the topic's owner does with it: it receives its commands and the replies to its own, and sends the rest."""
    owner = _service(topic.name)
    receives = topic.kind in ("commands", "replies")
    operation: Json = {
        "action": "receive" if receives else "send",
        "channel": {"$ref": f"#/channels/{topic.name}"},
        "title": f"{owner} {'receives' if receives else 'sends'} {topic.kind}",
        "tags": [{"name": owner}],
    }
    if topic.kind == "commands":
        operation["reply"] = {
            "address": {"location": "$message.payload#/replyto", "description": "Without it nobody is answered."},
            "channel": {"$ref": "#/channels/replyto"},
        }
    return operation


def _message(cls: type[Message], references: Mapping[type[BaseModel], Json]) -> Json:
    narrowed = {
        "type": "object",
        "properties": {
            "type": {"const": cls.TYPE},
            "dataschema": {"const": schema_path(cls.TYPE)},
            "data": references[cls],
        },
    }
    key = next((topic.key for topic in product_topics() if cls in messages_on(topic)), "")
    return {
        "name": cls.TYPE,
        "title": cls.__name__,
        "summary": _summary(cls),
        "contentType": _CONTENT_TYPE,
        "payload": {"allOf": [references[Envelope], narrowed]},
        "bindings": {"kafka": {"key": {"type": "string", "description": key}, "bindingVersion": "0.5.0"}},
    }


def _components() -> tuple[Json, dict[type[BaseModel], Json]]:
    """The schemas of the envelope and of all data, with what they share once; and the reference to each."""
    mode: JsonSchemaMode = "validation"
    classes: list[type[BaseModel]] = [Envelope, *registry.messages()]
    found, document = models_json_schema([(cls, mode) for cls in classes], ref_template=_COMPONENTS)
    schemas: Json = document["$defs"]
    schemas[Envelope.__name__]["required"] = envelope_schema()["required"]
    references = {cls: reference for (cls, _), reference in found.items() if issubclass(cls, BaseModel)}
    return dict(sorted(schemas.items())), references


def _reference(section: str, name: str) -> Json:
    return {"$ref": f"#/components/{section}/{name}"}


def _keeps(topic: Topic) -> str:
    if topic.compacted:
        return "the newest message of every key, until its service has it forgotten"
    return "a day" if topic.retention.days == 1 else f"{topic.retention.days} days"


def _summary(cls: type[Message]) -> str:
    """The first paragraph of the class's docstring."""
    return " ".join((cls.__doc__ or "").split("\n\n")[0].split())
