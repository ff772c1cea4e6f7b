"""The rules, by themselves: whatever is there becomes what is wanted, and then nothing more is done."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.provider import operation_tag
from services.provider import domain
from services.provider.domain import Droplet, Known, Record

RECORDS = st.builds(Record, st.sampled_from(["192.0.2.1", "192.0.2.2", "192.0.2.3"]), st.sampled_from([30, 300]))
DROPLETS = st.builds(
    Droplet, st.sampled_from(["active", "off"]), st.sampled_from(["small", "big"]), st.sampled_from(["web-1", "Web-1"])
)
TAGS = st.lists(st.sampled_from(["web", "db", "env:prod", "acme"]), unique=True)


def apply(there: dict[str, Record], change: dict[str, Any], new: str) -> dict[str, Record]:
    if change["do"] == "delete":
        return {id: record for id, record in there.items() if id != change["id"]}
    return there | {change.get("id", new): Record(change["data"], change["ttl"])}


@given(st.lists(RECORDS, max_size=5), st.lists(RECORDS, max_size=5))
def test_records_become_what_is_wanted_in_as_few_writes_as_can_be(before: list[Record], wanted: list[Record]) -> None:
    there = {str(n): record for n, record in enumerate(before)}
    writes = 0
    while change := domain.next_change(there, wanted, "A"):
        then = apply(there, change, new=str(100 + writes))
        assert domain.change_shows(then, change | {"there": sorted(there)}, "A")
        assert not domain.change_shows(there, change | {"there": sorted(there)}, "A")
        assert then or not wanted or not there, "the name is never left without a record on the way"
        there, writes = then, writes + 1

    assert Counter(there.values()) == Counter(wanted)
    kept = (Counter(before) & Counter(wanted)).total()
    assert writes == max(len(before), len(wanted)) - kept


@given(st.lists(RECORDS, max_size=4), RECORDS)
def test_what_was_before_an_upsert_comes_back(before: list[Record], ours: Record) -> None:
    there = {str(n): record for n, record in enumerate(before)}
    for number, goal in enumerate(([ours], before)):
        while change := domain.next_change(there, goal, "A"):
            there = apply(there, change, new=str(100 * (number + 1) + len(there)))
    assert Counter(there.values()) == Counter(before)


@given(DROPLETS, DROPLETS)
def test_a_droplet_becomes_what_is_wanted_and_is_off_while_it_is_resized(now: Droplet, wanted: Droplet) -> None:
    actions = []
    while action := domain.next_action(now, wanted):
        actions.append(action["type"])
        assert not domain.shows(now, action)
        if action["type"] == "resize":
            assert now.status == "off"
            now = now._replace(size=action["size"])
        elif action["type"] == "rename":
            now = now._replace(name=action["name"])
        else:
            now = now._replace(status="off" if action["type"] == "power_off" else "active")
        assert domain.shows(now, action)
    assert now == wanted
    assert len(actions) == len(set(actions))


def test_a_resize_alone_switches_nothing() -> None:
    small, big = Droplet("active", "small", "web-1"), Droplet("active", "big", "web-1")

    action = domain.next_action(small, big, switches=False, disk=True)

    assert action == {"type": "resize", "size": "big", "disk": True}


@given(TAGS, TAGS, TAGS)
def test_tags_become_what_is_wanted_by_adds_and_then_removals(
    before: list[str], wanted: list[str], new: list[str]
) -> None:
    """Whatever the case, and whether the provider knows them or not."""
    there, spelled = set(before), dict.fromkeys(new)
    asked, done = [tag.upper() for tag in wanted], []
    while step := domain.next_tagging(sorted(there), asked, spelled):
        done.append(step["do"])
        assert domain.tagging_shows(there, step) == (step["do"] == "make")
        tag = step["tag"].lower()
        if step["do"] == "make":
            spelled[tag] = tag
        else:
            there = there | {tag} if step["do"] == "add" else there - {tag}
        assert domain.tagging_shows(there, step)

    assert there == set(wanted)
    assert [each for each in done if each != "make"] == sorted(each for each in done if each != "make")
    assert len(done) == len(set(before) ^ set(wanted)) + len((set(wanted) - set(before)) & set(new))


@pytest.mark.parametrize(
    ("networks", "address"),
    [
        ([], None),
        ([{"type": "private", "ip_address": "10.0.0.1"}], None),
        ([{"type": "private", "ip_address": "10.0.0.1"}, {"type": "public", "ip_address": "192.0.2.1"}], "192.0.2.1"),
        ([{"type": "public", "ip_address": "<nil>"}, {"type": "public", "ip_address": "192.0.2.1"}], "192.0.2.1"),
        ([{"type": "public", "ip_address": ""}, {"type": "public"}], None),
    ],
)
def test_the_public_address_is_chosen_by_its_type(networks: list[dict[str, str]], address: str | None) -> None:
    assert domain.public_address({"v4": networks}, "v4") == address


def test_an_action_is_ours_by_its_type_and_by_its_id() -> None:
    actions = [{"id": id, "type": type} for id, type in ((3, "power_off"), (7, "power_on"), (9, "power_off"))]

    assert domain.ours(actions, {"type": "power_off", "after": 3}) == actions[2]
    assert domain.ours(actions, {"type": "power_on", "after": 7}) is None


@given(st.uuids())
def test_an_operation_is_known_by_its_tag(id: UUID) -> None:
    assert domain.operation_of(["web", "op:mine", operation_tag(id)]) == id
    assert domain.operation_of(["web", "op:mine"]) is None


NOW = datetime(2026, 11, 27, tzinfo=UTC)
LONG_AGO, JUST_NOW = NOW - timedelta(hours=2), NOW - timedelta(minutes=2)


@pytest.mark.parametrize(
    ("operation", "born", "reason"),
    [
        (None, LONG_AGO, "unknown_operation"),
        (None, JUST_NOW, None),
        (Known("cancelled", False, None, LONG_AGO), JUST_NOW, "cancelled"),
        (Known("cancelled", True, None, LONG_AGO), JUST_NOW, "undone"),
        (Known("cancelled", True, None, JUST_NOW), LONG_AGO, None),
        (Known("refused", False, None, LONG_AGO), LONG_AGO, "refused"),
        (Known("done", False, 1, LONG_AGO), LONG_AGO, None),
        (Known("done", False, 2, LONG_AGO), LONG_AGO, "made_twice"),
        (Known("sent", False, None, LONG_AGO), LONG_AGO, None),
        (Known("pending", False, None, LONG_AGO), LONG_AGO, "pending"),
        (Known("pending", False, None, NOW), LONG_AGO, None),
    ],
)
def test_a_droplet_is_nobodys_when_its_operation_has_let_go_of_it_for_long(
    operation: Known | None, born: datetime, reason: str | None
) -> None:
    assert domain.why_orphan(1, born, operation, NOW - timedelta(hours=1)) == reason
