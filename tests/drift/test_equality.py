"""When two values count as equal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.drift.domain import canonical, canonical_fields, loosely_equal

EQUAL: list[tuple[Any, Any]] = [
    ("s-1vcpu-1gb", "s-1vcpu-1gb"),
    (2, "2"),
    (2, 2.0),
    (25.5, "25.5"),
    (-0.0, 0),
    (10**30, str(10**30)),
    (1e22, 10**22),
    (True, "true"),
    (False, "false"),
    (None, None),
    (["a", "b"], ["b", "a"]),
    (["a", "a", "b"], ["b", "a"]),
    ([1, "2"], ["1", 2]),
    ([], []),
    ([{"a": 1}, {"b": 2}], [{"b": "2"}, {"a": "1"}]),
    ({"a": 1, "b": None}, {"a": "1"}),
    ({}, {"b": None}),
    ({"a": {"b": [2, 1]}}, {"a": {"b": ["1", "2"]}}),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ("Zo\u00eb", "Zoe\u0308"),
    ({"Zo\u00eb": 1}, {"Zoe\u0308": 1}),
    ("\U0001f680", "\U0001f680"),
    ("", ""),
]
DIFFERENT: list[tuple[Any, Any]] = [
    ("s-1vcpu-1gb", "s-2vcpu-2gb"),
    ("a", "A"),
    (2, 3),
    (1, True),
    (0, False),
    (0, None),
    (0, ""),
    ("", None),
    ("null", None),
    ("15.1", "15.10"),
    ("1e3", 1000),
    ([], None),
    ({}, None),
    ({}, []),
    ([], ""),
    (["a"], "a"),
    ('["a"]', ["a"]),
    ('{"a":"1"}', {"a": 1}),
    (["a", "b"], ["a"]),
    ([["a"], "b"], ["a", "b"]),
    ({"a": 1}, {"a": 1, "b": 2}),
    ({"a": 1}, {"b": 1}),
    ({"a": {"b": 1}}, {"a": {"b": 2}}),
    ("stra\u00dfe", "strasse"),
]

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_these_count_as_equal(one: Any, other: Any) -> None:
    assert loosely_equal(one, other)
    assert loosely_equal(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_these_do_not(one: Any, other: Any) -> None:
    assert not loosely_equal(one, other)
    assert not loosely_equal(other, one)


@given(VALUES)
def test_every_value_is_equal_to_itself_also_after_a_journey_as_json(value: Any) -> None:
    assert loosely_equal(value, value)
    assert loosely_equal(value, json.loads(json.dumps(value)))


@given(VALUES, VALUES)
def test_it_is_the_same_both_ways_and_never_for_null_alone(one: Any, other: Any) -> None:
    assert loosely_equal(one, other) is loosely_equal(other, one)
    assert loosely_equal(one, None) is (one is None)
    assert loosely_equal([one, other], [other, one, one])
    assert loosely_equal({"a": one, "b": other}, {"b": other, "a": one, "c": None})
    assert loosely_equal({"a": one}, {"a": other}) is loosely_equal(one, other)


@given(VALUES)
def test_a_list_of_one_is_not_that_one(value: Any) -> None:
    assert not loosely_equal([value], value)
    assert not loosely_equal({"a": value}, value)


def test_a_field_that_is_null_is_as_one_that_is_not_there() -> None:
    assert canonical_fields({"a": None, "b": 1}) == canonical_fields({"b": "1"}) == {"b": '"1"'}
    assert canonical(None) is None
