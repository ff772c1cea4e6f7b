"""What is exported: deterministic, complete, valid by its own standards, and without what only tests declare."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from contracts.export import asyncapi, documents, messages_on, product_topics, topics_table
from contracts.registry import messages

DOCUMENT = asyncapi()
EXAMPLES = [json.loads(file.read_text()) for file in sorted(Path("contracts/examples").glob("*.json"))]


def references(node: Any) -> Iterator[str]:
    """Every `$ref` below a node."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_another_process_exports_the_same_bytes() -> None:
    script = "import json; from contracts.export import documents; print(json.dumps(documents()))"
    environment = {"PYTHONHASHSEED": "1", "PYTHONPATH": "."}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True)

    assert json.loads(done.stdout) == documents()


def test_each_exported_schema_is_a_json_schema() -> None:
    schemas = {path: json.loads(text) for path, text in documents().items() if "/schemas/" in path}

    for path, schema in schemas.items():
        Draft202012Validator.check_schema(schema)
        assert schema["$id"] == f"/api/v1/contracts/schemas/{Path(path).name}"
    assert len(schemas) == len(messages()) + 1


def test_what_tests_declare_is_not_exported() -> None:
    import tests.ledger.messages  # noqa: F401

    assert not [path for path, text in documents().items() if "ledger" in path or "arcadia.ledger" in text]


def test_every_message_travels_on_some_topic() -> None:
    assert {cls for topic in product_topics() for cls in messages_on(topic)} == set(messages())


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        node = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
        assert node, reference


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["type"])
def test_a_message_is_valid_by_the_asyncapi_document(example: dict[str, Any]) -> None:
    payload = DOCUMENT["components"]["messages"][example["type"]]["payload"]
    validator = Draft202012Validator({**payload, "components": DOCUMENT["components"]})

    validator.validate(example)
    assert not validator.is_valid({**example, "type": "arcadia.other.thing.v1"})
    assert not validator.is_valid({**example, "data": "text"})


def test_each_topic_says_who_does_what_with_which_key() -> None:
    commands = DOCUMENT["operations"]["inventory.commands"]
    resources = DOCUMENT["channels"]["arcadia.inventory.resources"]

    assert commands["action"] == "receive"
    assert commands["reply"]["address"]["location"] == "$message.payload#/replyto"
    assert DOCUMENT["operations"]["inventory.resources"]["action"] == "send"
    assert resources["bindings"]["kafka"]["topicConfiguration"] == {"cleanup.policy": ["compact"]}
    linked = DOCUMENT["components"]["messages"]["arcadia.inventory.resource-linked.v1"]
    assert linked["bindings"]["kafka"]["key"]["description"] == "resource id"


def test_the_table_names_every_topic_and_message() -> None:
    table = topics_table()

    assert all(f"## `{topic.name}`" in table for topic in product_topics())
    assert all(f"| `{cls.TYPE}` |" in table for cls in messages())
