"""The golden examples: one whole envelope per message and version, which stands for all that were ever sent.

Each must be read by today's code and come out again as it went in. They are never edited.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from contracts import registry
from contracts.compat import Problem, remedy
from contracts.export import ENVELOPE
from contracts.message import TYPE_PATTERN, Envelope, Event, Message, schema_path

Json = Any


def broken_examples(examples: Mapping[str, str]) -> list[Problem]:
    """What is wrong with the golden examples, texts by file name: each must be read as it stands, none be missing."""
    problems = []
    for name, text in sorted(examples.items()):
        try:
            _check_example(name, text)
        except _Unfit as unfit:
            problems.append(Problem(f"contracts/examples/{name}", str(unfit), unfit.remedy))
    shown = {_without_number(name) for name in examples}
    for cls in registry.messages():
        if cls.TYPE not in shown:
            missing = f"Add contracts/examples/{cls.TYPE}.json: a whole envelope with realistic values."
            problems.append(Problem(cls.TYPE, "has no example", missing))
    return problems


def edited_examples(old: Mapping[str, str], new: Mapping[str, str]) -> list[Problem]:
    """Which examples were changed or removed: they stand for the messages that are out there, which never change."""
    instead = "Restore it; a new field or case is shown by another file, <type>.2.json."
    return [
        Problem(f"contracts/examples/{name}", "was " + ("edited" if name in new else "removed"), instead)
        for name in sorted(old)
        if new.get(name) != old[name]
    ]


class _Unfit(Exception):
    """An example that does not hold."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


def _check_example(name: str, text: str) -> None:
    """Raises `_Unfit` where the example is not read, or not written again as it is."""
    envelope = _read_envelope(text)
    if _without_number(name) != envelope.type:
        raise _Unfit(f"shows a {envelope.type}", f"Name it {envelope.type}.json.")
    try:
        cls = registry.message_class(envelope.type)
        message = cls.model_validate(envelope.data)
        newest = message.upcast()
    except registry.UnknownType:
        raise _Unfit(f"no message of type {envelope.type} is declared", remedy(envelope.type)) from None
    except ValidationError as error:
        raise _Unfit(f"can no longer be read: {_first(error)}", remedy(envelope.type)) from None
    _check_newest(newest)
    for wrong in (*_changed(envelope.data, message.model_dump(mode="json"), "data"), *_incoherent(envelope, message)):
        raise _Unfit(wrong, remedy(envelope.type))


def _read_envelope(text: str) -> Envelope:
    try:
        envelope = Envelope.model_validate_json(text)
    except ValidationError as error:
        raise _Unfit(f"is no envelope: {_first(error)}", remedy(ENVELOPE)) from None
    written = json.loads(envelope.model_dump_json(exclude_none=True))
    for change in _changed(json.loads(text), written, "envelope"):
        raise _Unfit(change, remedy(ENVELOPE))
    return envelope


def _check_newest(message: Message) -> None:
    """After `upcast` a message must be of its newest version."""
    match = TYPE_PATTERN.match(message.TYPE)
    if match is None:
        return
    newer = f"arcadia.{match['service']}.{match['name']}.v{int(match['version']) + 1}"
    if any(newer == cls.TYPE for cls in registry.messages()):
        instead = f"Override `upcast` in {type(message).__name__}: it gives the message as {newer}."
        raise _Unfit(f"is read as {message.TYPE}, which is not the newest", instead)


def _changed(example: Json, written: Json, path: str) -> Iterator[str]:
    """What is not the same after reading and writing. Fields that the example does not know may be added."""
    if isinstance(example, dict) and isinstance(written, dict):
        for name, value in example.items():
            if name in written:
                yield from _changed(value, written[name], f"{path}.{name}")
            else:
                yield f"{path}.{name} is lost when it is read"
    elif isinstance(example, list) and isinstance(written, list) and len(example) == len(written):
        for number, (before, after) in enumerate(zip(example, written, strict=True)):
            yield from _changed(before, after, f"{path}[{number}]")
    elif example != written or type(example) is not type(written):
        yield f"{path} is {json.dumps(example)}, and {json.dumps(written)} when written again"


def _incoherent(envelope: Envelope, message: Message) -> Iterator[str]:
    """Attributes of the envelope that do not follow from the message."""
    expected: dict[str, object] = {"subject": message.key(), "dataschema": schema_path(message.TYPE)}
    if isinstance(message, Event):
        expected |= {"sequence": message.sequence(), "tenantid": message.tenant()}
    for name, value in expected.items():
        if getattr(envelope, name) != value:
            yield f"{name} is {getattr(envelope, name)!r}; from the message follows {value!r}"


def _without_number(name: str) -> str:
    """The type in an example's file name: `<type>.json`, or `<type>.2.json` for one more."""
    stem = name.removesuffix(".json")
    head, _, tail = stem.rpartition(".")
    return head if tail.isdigit() else stem


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
