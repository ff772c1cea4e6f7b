"""The golden examples: each is read as it stands, comes out again as it went in, and none is missing or edited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from contracts.export import ENVELOPE, documents
from contracts.golden import broken_examples, edited_examples
from contracts.registry import messages

EXAMPLES = {file.name: file.read_text() for file in Path("contracts/examples").glob("*.json")}
EXPORTED = documents()
LINKED = "arcadia.inventory.resource-linked.v1.json"


def problems_with(name: str, text: str | None) -> list[str]:
    """What is said when one file is replaced, added or (None) removed."""
    texts = {**EXAMPLES, name: text}
    return [str(problem) for problem in broken_examples({n: t for n, t in texts.items() if t is not None})]


def changed(name: str, **attributes: Any) -> str:
    """An example with other attributes; None removes one."""
    envelope = json.loads(EXAMPLES[name]) | attributes
    return json.dumps({key: value for key, value in envelope.items() if value is not None})


def with_data(name: str, **fields: Any) -> str:
    """An example with other fields in its data."""
    return changed(name, data=json.loads(EXAMPLES[name])["data"] | fields)


def test_the_examples_hold() -> None:
    assert broken_examples(EXAMPLES) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_valid_by_the_exported_schemas(name: str) -> None:
    example = json.loads(EXAMPLES[name])
    data_schema = EXPORTED[f"contracts/schemas/{Path(example['dataschema']).name}"]
    for instance, schema in (
        (example, EXPORTED[f"contracts/schemas/{ENVELOPE}.json"]),
        (example["data"], data_schema),
    ):
        validator = Draft202012Validator(json.loads(schema), format_checker=Draft202012Validator.FORMAT_CHECKER)
        validator.validate(instance)


def test_a_message_without_an_example_is_named() -> None:
    (problem,) = problems_with(LINKED, None)

    assert problem.startswith("arcadia.inventory.resource-linked.v1: has no example")


def test_an_example_of_no_message_is_named() -> None:
    name = "arcadia.inventory.resource-painted.v1.json"
    (problem,) = problems_with(name, changed(LINKED, type=name.removesuffix(".json")))

    assert "no message of type arcadia.inventory.resource-painted.v1 is declared" in problem


def test_an_example_under_another_name_is_named() -> None:
    (problem,) = problems_with("arcadia.inventory.resource-painted.v1.json", EXAMPLES[LINKED])

    assert "shows a arcadia.inventory.resource-linked.v1" in problem


def test_a_second_example_of_a_message_is_welcome() -> None:
    assert problems_with(LINKED.replace(".json", ".2.json"), EXAMPLES[LINKED]) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no envelope"),
        (changed(LINKED, subject=None), "is no envelope: subject: Field required"),
        (changed(LINKED, subject="somebody else"), "subject is 'somebody else'; from the message follows"),
        (changed(LINKED, sequence=99), "sequence is 99; from the message follows 2"),
        (changed(LINKED, tenantid="other"), "tenantid is 'other'; from the message follows 'acme'"),
        (changed(LINKED, unheard="of"), "envelope.unheard is lost"),
        (changed(LINKED, data={}), "can no longer be read: resource: Field required"),
        (with_data(LINKED, colour="red"), "data.colour is lost when it is read"),
        (with_data(LINKED, changes={"x": {"old": 1, "new": 2, "by": 3}}), "data.changes.x.by is lost"),
    ],
)
def test_an_example_that_does_not_come_out_as_it_went_in_is_named(text: str, words: str) -> None:
    (problem,) = problems_with(LINKED, text)

    assert problem.startswith(f"contracts/examples/{LINKED}: {words}")


def test_an_example_is_never_edited_nor_removed() -> None:
    now = {**EXAMPLES, LINKED: changed(LINKED, actor="somebody")}
    assert [problem.what for problem in edited_examples(EXAMPLES, now)] == ["was edited"]

    del now[LINKED]
    assert [problem.what for problem in edited_examples(EXAMPLES, now)] == ["was removed"]

    assert edited_examples(EXAMPLES, {**EXAMPLES, "another.v1.json": "{}"}) == []


def test_every_example_shows_every_field() -> None:
    shown: dict[str, set[str]] = {}
    for envelope in map(json.loads, EXAMPLES.values()):  # a later field is shown by a type's later example
        shown.setdefault(envelope["type"], set()).update(envelope["data"])

    assert {cls.TYPE: set(cls.model_fields) - shown[cls.TYPE] for cls in messages()} == {
        cls.TYPE: set() for cls in messages()
    }
