"""The inventory's rules, without any server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.times import previous_month
from services.inventory.domain import (
    Happening,
    Known,
    Link,
    Moment,
    PartTime,
    Period,
    Seen,
    differences,
    intervals,
    is_implausible,
    judge,
    link_at,
    periods,
    urn_parts,
    with_inherited,
    with_link,
)

WEB = Seen(
    provider_id="1",
    name="web",
    region="nyc3",
    state="active",
    size_slug="s-1vcpu-1gb",
    tags=["a", "b"],
    attrs={"vcpus": 1, "window": "monday"},
)
MEANINGLESS = frozenset({"window"})

values = st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=5)
seen = st.builds(
    Seen,
    provider_id=st.just("1"),
    name=st.text(max_size=5),
    region=st.none() | st.sampled_from(["nyc3", "fra1"]),
    state=st.none() | st.sampled_from(["active", "off"]),
    size_slug=st.none() | st.sampled_from(["small", "large"]),
    tags=st.lists(st.sampled_from("abc"), unique=True).map(sorted),
    attrs=st.dictionaries(st.sampled_from(["vcpus", "window", "image"]), values | st.lists(values, max_size=2)),
)


def test_what_is_new_is_discovered() -> None:
    assert judge(None, WEB, MEANINGLESS).happening is Happening.DISCOVERED


@pytest.mark.parametrize(
    ("change", "happening", "fields"),
    [
        ({"name": "api"}, Happening.UPDATED, {"name"}),
        ({"region": "fra1"}, Happening.UPDATED, {"region"}),
        ({"state": "off"}, Happening.UPDATED, {"state"}),
        ({"size_slug": None}, Happening.UPDATED, {"size_slug"}),
        ({"tags": ["a"]}, Happening.TAGGED, {"tags"}),
        ({"tags": ["b", "a"]}, None, set()),
        ({"tags": ["a"], "name": "api"}, Happening.UPDATED, {"name", "tags"}),
        ({"attrs": {"vcpus": 2, "window": "monday"}}, Happening.UPDATED, {"attrs.vcpus"}),
        ({"attrs": {"window": "monday"}}, Happening.UPDATED, {"attrs.vcpus"}),
        ({"attrs": {"vcpus": 1, "window": "friday"}}, None, set()),
    ],
)
def test_a_change_is_what_its_fields_make_it(
    change: dict[str, Any], happening: Happening | None, fields: set[str]
) -> None:
    verdict = judge(Known(WEB), replace(WEB, **change), MEANINGLESS)
    assert verdict.happening is happening
    assert verdict.changes.keys() == fields


def test_a_tombstoned_resource_that_is_seen_is_restored_with_what_changed_meanwhile() -> None:
    verdict = judge(Known(WEB, deleted=True), replace(WEB, name="api"), MEANINGLESS)
    assert (verdict.happening, set(verdict.changes)) == (Happening.RESTORED, {"name"})
    assert judge(Known(WEB, deleted=True), WEB, MEANINGLESS).happening is Happening.RESTORED


@given(seen, seen)
def test_the_changes_lead_from_the_old_state_to_the_new_one_and_back(old: Seen, new: Seen) -> None:
    there, back = differences(old, new, MEANINGLESS), differences(new, old, MEANINGLESS)
    assert {name: (change.new, change.old) for name, change in there.items()} == {
        name: (change.old, change.new) for name, change in back.items()
    }
    attrs = {**old.attrs, **{name.removeprefix("attrs."): c.new for name, c in there.items() if "." in name}}
    fields = {name: change.new for name, change in there.items() if "." not in name}
    assert not differences(replace(old, attrs=attrs, **fields), new, MEANINGLESS)


@pytest.mark.parametrize(
    ("missing", "known", "held"),
    [(0, 0, False), (1, 1, False), (1, 5, False), (4, 5, False), (4, 4, True), (5, 5, True), (5, 24, True),
     (5, 25, False), (200, 1000, False), (201, 1000, True), (500, 1000, True)],
)  # fmt: skip
def test_more_than_a_fifth_or_all_of_a_kind_do_not_vanish_at_once(missing: int, known: int, held: bool) -> None:
    assert is_implausible(missing, known) is held


START = datetime(2026, 1, 1, tzinfo=UTC)
links = st.lists(
    st.builds(
        Link,
        since=st.integers(0, 50).map(lambda day: START + timedelta(days=day)),
        deployment_id=st.none() | st.integers(1, 2).map(lambda n: UUID(int=n)),
    ),
    unique_by=lambda link: link.since,
    max_size=8,
).map(lambda found: sorted(found, key=lambda link: link.since))


@given(links, st.integers(-5, 60))
def test_at_any_time_the_intervals_tell_the_same_as_the_links(found: list[Link], day: int) -> None:
    time = START + timedelta(days=day)
    holding = [i for i in intervals(found, START) if i.since <= time and (i.until is None or time < i.until)]
    link = link_at(found, time)
    assert [i.deployment_id for i in holding] == ([link.deployment_id] if link and link.deployment_id else [])


@given(links, st.integers(0, 50))
def test_intervals_are_in_order_apart_and_end_after_the_time_asked_for(found: list[Link], day: int) -> None:
    since = START + timedelta(days=day)
    told = intervals(found, since)
    assert all(i.until is None or i.until > since for i in told)
    for first, second in pairwise(told):
        assert first.until is not None
        assert first.until <= second.since
        assert first.until < second.since or first.deployment_id != second.deployment_id


@given(links, links, st.integers(-5, 60))
def test_a_new_link_holds_until_the_next_one_that_was_known(found: list[Link], new: list[Link], day: int) -> None:
    time = START + timedelta(days=day)
    for link in new:
        before, found = found, with_link(found, link)
        until = min((other.since for other in before if other.since > link.since), default=None)
        holds = link.since <= time and (until is None or time < until)
        assert owner_at(found, time) == (link.owner if holds else owner_at(before, time))


def owner_at(found: list[Link], time: datetime) -> tuple[UUID | None, str | None] | None:
    link = link_at(found, time)
    return link.owner if link else None


@given(links)
def test_no_link_repeats_what_the_one_before_it_says(new: list[Link]) -> None:
    found: list[Link] = []
    for link in reversed(new):
        found = with_link(found, link)
        assert found == sorted(found, key=lambda each: each.since)
        assert all(first.owner != second.owner for first, second in pairwise(found))


pasts = st.lists(
    st.tuples(st.integers(1, 50), st.sampled_from(["on", "off", "resize", "delete", "restore"])),
    unique_by=lambda each: each[0],
    max_size=10,
).map(sorted)


@given(pasts, st.integers(0, 60))
def test_the_periods_told_of_a_field_are_what_it_has_been_through(acts: list[tuple[int, str]], day: int) -> None:
    """A resource is led through its life, and what it was on a day is looked up in what its history tells."""
    power, there = "on", True
    past: list[Moment] = []
    then: str | None = None
    for at, act in [*acts, (99, "end")]:
        if at > day and then is None:
            then = power if there else "gone"
        if act in {"on", "off"} and there and act != power:
            past.append(Moment(START + timedelta(days=at), "updated", {"state": power}))
            power = act
        elif act == "resize" and there:
            past.append(Moment(START + timedelta(days=at), "updated", {"size_slug": "any"}))
        elif act == "delete" and there:
            past.append(Moment(START + timedelta(days=at), "deleted", {}))
            there = False
        elif act == "restore" and not there:
            past.append(Moment(START + timedelta(days=at), "restored", {}))
            there = True

    told = periods(past, "state", power, there, START)

    time = START + timedelta(days=day)
    found = [each.value for each in told if each.since <= time and (each.until is None or time < each.until)]
    assert found == ([] if then == "gone" else [then])
    assert all(first.until is not None and first.until <= second.since for first, second in pairwise(told))
    assert all(first.until != second.since or first.value != second.value for first, second in pairwise(told))


def test_what_changed_while_a_resource_was_gone_holds_from_its_return() -> None:
    gone, back = (START + timedelta(days=n) for n in (3, 5))
    past = [Moment(gone, "deleted", {}), Moment(back, "restored", {"state": "active"})]
    assert periods(past, "state", "off", True, START) == [Period("active", START, gone), Period("off", back, None)]


@pytest.mark.parametrize(
    ("now", "month"), [("2026-11-21", "2026-10-01"), ("2026-01-31", "2025-12-01"), ("2024-03-31", "2024-02-01")]
)
def test_a_state_tells_of_links_since_the_month_before_this_one(now: str, month: str) -> None:
    at = datetime.fromisoformat(f"{now}T13:14:15.16+00:00")
    assert previous_month(at) == datetime.fromisoformat(f"{month}T00:00:00+00:00")


@pytest.mark.parametrize(
    ("urn", "parts"),
    [("do:droplet:123", ("droplet", "123")), ("do:domain:a.example", ("domain", "a.example")), ("do:droplet", None),
     ("do:droplet:", None), ("", None), ("aws:droplet:123", None), ("do:app:a:b", ("app", "a:b"))],
)  # fmt: skip
def test_a_urn_is_a_type_and_an_id(urn: str, parts: tuple[str, str] | None) -> None:
    assert urn_parts(urn) == parts


def _day(n: int) -> datetime:
    return datetime(2026, 5, n, tzinfo=UTC)


NOBODY, ALPHA, BETA, GAMMA = None, UUID(int=1), UUID(int=2), UUID(int=3)
WHOLE = [Link(_day(1), ALPHA), Link(_day(20), BETA)]


@pytest.mark.parametrize(
    ("own", "times", "expected"),
    [
        ({}, [(3, None)], {3: ALPHA, 20: BETA}),
        ({}, [(3, 15)], {3: ALPHA, 15: NOBODY}),
        ({}, [(3, 5), (10, 25)], {3: ALPHA, 5: NOBODY, 10: ALPHA, 20: BETA, 25: NOBODY}),
        ({5: GAMMA}, [(3, None)], {3: ALPHA, 5: GAMMA}),
        ({5: GAMMA, 10: NOBODY}, [(3, None)], {3: ALPHA, 5: GAMMA, 10: ALPHA, 20: BETA}),
        ({2: GAMMA, 4: NOBODY}, [(8, 12)], {2: GAMMA, 4: NOBODY, 8: ALPHA, 12: NOBODY}),
        ({25: GAMMA}, [(3, 22)], {3: ALPHA, 20: BETA, 22: NOBODY, 25: GAMMA}),
        ({5: GAMMA, 10: NOBODY}, [], {5: GAMMA, 10: NOBODY}),
    ],
)
def test_a_parts_links_are_its_own_and_else_those_of_its_whole_while_it_is_a_part(
    own: dict[int, UUID | None], times: list[tuple[int, int | None]], expected: dict[int, UUID | None]
) -> None:
    parts = [PartTime(_day(since), _day(until) if until else None, WHOLE) for since, until in times]
    found = with_inherited([Link(_day(n), owner) for n, owner in own.items()], parts)
    assert {link.since.day: link.deployment_id for link in found} == expected


def test_a_part_of_two_wholes_one_after_the_other_has_the_links_of_each_in_its_time() -> None:
    other = [Link(_day(1), GAMMA)]
    parts = [PartTime(_day(2), _day(9), WHOLE), PartTime(_day(9), None, other)]
    assert with_inherited([], parts) == [Link(_day(2), ALPHA), Link(_day(9), GAMMA)]
