"""Envelopes on the wire, identifiers and settings."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

import orjson
import pytest
from asyncpg.pgproto.pgproto import UUID as PgUUID
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError, field_validator

from contracts.message import Command, Envelope, Message
from shared.config import Settings
from shared.ids import derived_id, uuid7
from shared.inbox import Recorded
from shared.wire import MAX_MESSAGE_BYTES, Unreadable, decode, encode
from tests.runtime.probe import COMMANDS, Poke, envelope_of

TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"))
WORDS = st.none() | TEXT.filter(bool)
TIMES = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
ENVELOPES = st.builds(
    lambda name, note, number, **attributes: Envelope.of(Poke(name=name, note=note, number=number), **attributes),
    name=TEXT,
    note=TEXT,
    number=st.integers(-(2**63), 2**63 - 1),
    id=st.uuids(),
    source=TEXT.filter(bool),
    time=TIMES,
    tenantid=WORDS,
    actor=WORDS,
    replyto=WORDS,
    traceparent=WORDS,
    correlationid=st.none() | st.uuids(),
    causationid=st.none() | st.uuids(),
    expires=st.none() | TIMES,
    sequence=st.none() | st.integers(0, 2**62),
)


class Odd(Command):
    """A message whose code has bugs of its own."""

    TYPE: ClassVar[str] = "arcadia.probe.odd.v1"
    TOPIC: ClassVar[str] = COMMANDS

    text: str

    @field_validator("text")
    @classmethod
    def _buggy(cls, text: str) -> str:
        if text == "validator":
            raise RuntimeError("the validator has a bug")
        return text

    def upcast(self) -> Message:
        if self.text == "upcast":
            raise KeyError("the upcast has a bug")
        return self


@settings(max_examples=40)
@given(ENVELOPES)
def test_what_is_encoded_is_decoded_as_it_was(envelope: Envelope) -> None:
    again, message = decode(encode(envelope))
    assert again == envelope
    assert message == Poke(**envelope.data)


@settings(max_examples=40)
@given(ENVELOPES)
def test_on_the_wire_it_is_a_cloud_event(envelope: Envelope) -> None:
    written = orjson.loads(encode(envelope))
    assert {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data"} <= {
        *written
    }
    assert written["specversion"] == "1.0"
    assert all(name.isalnum() and name.islower() for name in written)
    assert None not in written.values()
    assert datetime.fromisoformat(written["time"]) == envelope.time


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary())
def test_arbitrary_bytes_are_read_or_unreadable(raw: bytes) -> None:
    _read(raw)


@settings(max_examples=100)
@given(
    ENVELOPES, st.dictionaries(st.sampled_from([*Envelope.model_fields, "x"]), JSON, max_size=3), st.binary(max_size=3)
)
def test_damaged_envelopes_are_read_or_unreadable(envelope: Envelope, changes: dict[str, Any], noise: bytes) -> None:
    written = orjson.loads(encode(envelope)) | changes
    try:
        raw = orjson.dumps(written)
    except TypeError:  # integers that orjson does not write
        raw = repr(written).encode(errors="replace")
    _read(raw)
    _read(raw[: len(raw) // 2] + noise + raw[len(raw) // 2 :])


def _read(raw: bytes) -> None:
    try:
        envelope, message = decode(raw)
    except Unreadable:
        return
    assert decode(encode(envelope)) == (envelope, message)


@pytest.mark.parametrize("bug", ["validator", "upcast"])
def test_a_bug_in_a_contract_is_the_messages_end_and_not_its_batchs(bug: str) -> None:
    envelope = envelope_of(Poke(name="odd")).model_copy(update={"type": Odd.TYPE, "data": {"text": bug}})
    with pytest.raises(Unreadable) as caught:
        decode(encode(envelope))
    assert (caught.value.reason, caught.value.envelope) == ("invalid", envelope)
    assert bug in caught.value.detail


def test_what_nobody_could_read_is_not_sent() -> None:
    with pytest.raises(ValueError, match=r"arcadia\.probe\.poke\.v1 for 'a' takes \d+ bytes"):
        encode(envelope_of(Poke(name="a", note="x" * MAX_MESSAGE_BYTES)))
    with pytest.raises(ValueError, match=r"U\+0000"):
        encode(envelope_of(Poke(name="a", note="\0")))
    encode(envelope_of(Poke(name="a", note=r"the text \u0000 is not the character")))
    decode(encode(envelope_of(Poke(name="a", note=r"the text \u0000 is not the character"))))


def test_an_outcome_that_cannot_be_kept_cannot_be_made() -> None:
    for unkeepable in ({"a": "\0"}, {"a": {"\0": 1}}, {"a": object()}, {"a": "\ud800"}):
        with pytest.raises((ValueError, TypeError)):
            Recorded("ok", unkeepable)
    assert Recorded("ok", {"a": r"\u0000", "id": PgUUID(str(uuid7()))})


def test_new_ids_are_version_7_and_in_order_of_time() -> None:
    before = time.time_ns() // 1_000_000
    ids = []
    for _ in range(20):
        ids.append(uuid7())
        time.sleep(0.0011)
    after = time.time_ns() // 1_000_000
    assert ids == sorted(ids)
    assert all((id.version, id.variant) == (7, "specified in RFC 4122") for id in ids)
    assert all(before <= id.int >> 80 <= after for id in ids)
    assert len({uuid7() for _ in range(10_000)}) == 10_000


def test_derived_ids_are_the_same_for_ever_and_differ_where_the_parts_do() -> None:
    assert derived_id("slot", "SyncInventory", 7) == UUID("1d669767-40c4-5fda-97f7-b4a6476473e4")
    assert derived_id("a", "bc") != derived_id("ab", "c")
    assert derived_id("a").version == 5


GOOD = {"DATABASE_URL": "postgresql://admin:s3cret@localhost/arcadia", "KAFKA_BOOTSTRAP_SERVERS": "a:1, b:2"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", None),
        ("DATABASE_URL", "s3cret, but no URL"),
        ("DATABASE_URL", "mysql://admin:s3cret@localhost/arcadia"),
        ("DATABASE_URL", "postgresql:///arcadia?password=s3cret"),
        ("KAFKA_BOOTSTRAP_SERVERS", ""),
        ("KAFKA_PARTITIONS", "many"),
        ("KAFKA_PREFIX", "no spaces"),
        ("DEAD_LETTER_LIMIT", "0"),
        ("LOG_LEVEL", "LOUD"),
        ("KAFKA_SECURITY", "NONE"),
    ],
)
def test_a_bad_setting_is_named_and_never_told(monkeypatch: pytest.MonkeyPatch, name: str, value: str | None) -> None:
    for key, text in {**GOOD, name: value}.items():
        monkeypatch.delenv(key, raising=False)
        if text is not None:
            monkeypatch.setenv(key, text)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert [error["loc"][0] for error in caught.value.errors()] == [name.lower()]
    assert "s3cret" not in str(caught.value)


def test_settings_are_read_and_secrets_stay_out_of_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, text in GOOD.items():
        monkeypatch.setenv(key, text)
    read = Settings()
    assert read.kafka_bootstrap_servers == ["a:1", "b:2"]
    assert read.role_url("probe") == "postgresql://probe:s3cret@localhost/arcadia"
    assert "s3cret" not in repr(read)
