"""A message as a line: what a person wants to know of it, and nothing that a terminal would obey."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from cli.errors import Failed
from cli.lines import Seen, gist, short_id, short_type
from cli.tail import Wanted, milliseconds

NOW = datetime(2026, 5, 12, 9, 15, tzinfo=UTC)
INVENTORY = "arcadia.inventory."


@dataclass(frozen=True)
class Record:
    """A Kafka record, as far as a line needs it."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int = 3
    offset: int = 41
    timestamp: int = int(NOW.timestamp() * 1000)


def seen(topic: str, key: bytes | None, value: bytes | None, prefix: str = "") -> Seen:
    return Seen.of(cast("Any", Record(prefix + topic, key, value)), prefix)


def example(name: str, **attributes: Any) -> Seen:
    """A golden example as it was found on its topic."""
    envelope = json.loads(Path(f"contracts/examples/arcadia.{name}.v1.json").read_text()) | attributes
    return seen("arcadia.inventory.resources", envelope["subject"].encode(), json.dumps(envelope).encode())


GISTS = {
    "inventory.resource-updated": "web-1.acme.example, state active → off, size_slug s-2vcpu-4gb → s-4vcpu-8gb",
    "inventory.resource-tagged": 'web-1.acme.example, tags ["acme","web"] → ["acme","canary","web"]',
    "inventory.resource-linked": "web-1.acme.example, deployment_id - → …7ddf743f",
    "inventory.resource-deleted": "reason=missing from 3 complete syncs",
    "inventory.project-discovered": "acme-production",
    "inventory.sync-inventory": "kind=droplet",
    "inventory.decide-held-sync": "approve=false",
    "drift.drift-detected": "shop.acme, size_slug s-1vcpu-1gb ≠ s-2vcpu-2gb open",
    "drift.surge-grew": "50000 × droplet.name",
    "runtime.reply": "link-resource refused resource_not_found",
    "runtime.dead-lettered": "bug: arcadia.inventory.sync-inventory.v1: KeyError: 'slug'",
}


@pytest.mark.parametrize("name", GISTS)
def test_a_line_says_what_happened(name: str) -> None:
    assert GISTS[name] in example(name).line().plain


def test_a_line_says_when_where_what_about_whom_and_by_whom() -> None:
    line = example("inventory.resource-linked").line().plain

    moment = NOW.astimezone()
    assert line.split()[:6] == [
        f"{moment:%H:%M:%S}.000", "inventory.resources", "resource-linked", "…7f4a7c15", "acme", "jo@platform.example"
    ]  # fmt: skip


@pytest.mark.parametrize("name", sorted(Path("contracts/examples").glob("*.json")), ids=lambda file: file.stem)
def test_every_message_has_some_words(name: Path) -> None:
    data = json.loads(name.read_text())["data"]
    assert gist(data) or not any(data.values())  # a command that says nothing more is told by its type


def test_a_tombstone_and_what_nobody_can_read_have_lines_too() -> None:
    assert "tombstone" in seen("arcadia.inventory.resources", b"k", None).line().plain
    assert "unreadable" in seen("arcadia.inventory.resources", b"k", b"{").line().plain
    assert "partition 3, offset 41" in seen("arcadia.inventory.resources", None, b"\xff").line().plain


def test_a_terminal_is_not_at_the_mercy_of_a_name() -> None:
    hostile = example("inventory.resource-linked", actor="\x1b]0;owned\x07", tenantid="a\nb")
    hostile_key = seen("arcadia.inventory.resources", b"\x1b[2J", b"{")

    for line in (hostile.line().plain, hostile_key.line().plain):
        assert line.isprintable()


def test_json_is_the_envelope_or_where_the_record_stands() -> None:
    linked = example("inventory.resource-linked")

    assert json.loads(linked.json()) == json.loads(linked.raw or b"")
    assert json.loads(seen("t", b"k", None).json()) == {
        "tombstone": True, "topic": "t", "partition": 3, "offset": 41, "key": "k"
    }  # fmt: skip
    assert json.loads(seen("t", b"k", b"{").json())["unreadable"] is True


def test_a_topics_prefix_is_not_shown() -> None:
    assert seen("arcadia.inventory.resources", b"k", None, prefix="staging.").topic == "arcadia.inventory.resources"


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (Wanted(), True),
        (Wanted(type="linked"), True),
        (Wanted(type="resource-*"), True),
        (Wanted(type="arcadia.inventory.resource-linked.v1"), True),
        (Wanted(type="link"), True),
        (Wanted(type="link*"), False),
        (Wanted(type="project"), False),
        (Wanted(tenant="acme"), True),
        (Wanted(tenant="ac*"), True),
        (Wanted(tenant="ac"), False),
        (Wanted(subject="7f4a7c15"), True),
        (Wanted(subject="*7f4a7c1"), False),
        (Wanted(correlation="019e2f4a"), True),
        (Wanted(correlation="0000"), False),
        (Wanted(type="linked", tenant="other"), False),
    ],
    ids=str,
)
def test_a_filter_takes_a_part_or_a_glob(wanted: Wanted, fits: bool) -> None:
    assert wanted.includes(example("inventory.resource-linked")) is fits


def test_a_tombstone_belongs_to_no_tenant() -> None:
    tombstone = seen("arcadia.inventory.resources", b"7f4a7c15", None)

    assert Wanted(subject="7f4a", type="tombstone").includes(tombstone)
    assert not Wanted(tenant="*").includes(tombstone)
    assert not Wanted(correlation="0").includes(tombstone)


def test_topics_are_chosen_by_part_or_glob() -> None:
    assert Wanted("*inventory.commands").topics() == Wanted("inventory.comm").topics() == [f"{INVENTORY}commands"]
    with pytest.raises(Failed, match="no topic fits 'nothing'"):
        Wanted("nothing").topics()


@pytest.mark.parametrize(
    ("since", "moment"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("10m", NOW - timedelta(minutes=10)),
        ("2h", NOW - timedelta(hours=2)),
        ("1d", NOW - timedelta(days=1)),
        ("2026-05-12T07:00:00Z", datetime(2026, 5, 12, 7, tzinfo=UTC)),
        ("2026-05-12T07:00:00+10:00", datetime(2026, 5, 11, 21, tzinfo=UTC)),
        ("2026-05-12T07:00", datetime(2026, 5, 12, 7).astimezone()),
    ],
)
def test_since_is_a_while_ago_or_a_time(since: str, moment: datetime) -> None:
    assert milliseconds(since, NOW) == int(moment.timestamp() * 1000)


@pytest.mark.parametrize("since", ["tomorrow", "10", "10x", "-5m", "99999999999d", ""])
def test_since_that_is_no_time_is_refused_in_words(since: str) -> None:
    with pytest.raises(Failed, match="is no time"):
        milliseconds(since, NOW)


def test_only_a_later_version_is_said() -> None:
    assert short_type("arcadia.shop.order-placed.v1") == "order-placed"
    assert short_type("arcadia.shop.order-placed.v2") == "order-placed.v2"
    assert short_id("019e2f4a-6c00-7000-8000-39b97f4a7c15") == "…7f4a7c15"
    assert short_id("droplet") == "droplet"
