"""What accrues, and when: shares of months, accounts of resources, and where two of them differ."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.inventory import LinkInterval, PowerInterval, Resource, SizeInterval
from contracts.kinds import BillingKind, ResourceKind
from contracts.metering import Granularity
from contracts.times import previous_month
from services.inventory.kinds import KINDS as INVENTORY
from services.metering.domain import (
    KINDS,
    Segment,
    days_in_month,
    difference,
    segments_of,
    slots_of,
    with_told,
)
from shared.ids import derived_id

A, B = derived_id("deployment", "a"), derived_id("deployment", "b")
JUNE = datetime(2026, 6, 1, tzinfo=UTC)


def at(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 6, day, hour, tzinfo=UTC)


def resource(
    kind: ResourceKind = ResourceKind.DROPLET,
    *,
    links: Sequence[tuple[UUID, datetime, datetime | None]] = ((A, JUNE, None),),
    power: Sequence[tuple[str | None, datetime, datetime | None]] = (("active", JUNE, None),),
    sizes: Sequence[tuple[float | None, datetime, datetime | None]] = (),
) -> Resource:
    return Resource(
        id=derived_id("resource", "1"),
        kind=kind,
        provider="digitalocean",
        provider_id="1",
        name="one",
        region=None,
        state=None,
        size_slug=None,
        tags=[],
        attrs={},
        project_id=None,
        tenant_id=None,
        deployment_id=None,
        links=[LinkInterval(deployment_id=id, since=since, until=until) for id, since, until in links],
        power=[PowerInterval(state=state, since=since, until=until) for state, since, until in power],
        sizes=[SizeInterval(size_slug=None, size_gb=size, since=since, until=until) for size, since, until in sizes],
        first_seen_at=JUNE,
        last_seen_at=JUNE,
        deleted_at=None,
        version=1,
    )


def test_what_the_inventory_says_to_feed_usage_is_metered() -> None:
    assert {(kind.name, fed) for kind in INVENTORY.values() for fed in kind.feeds} == {*KINDS.items()}


@pytest.mark.parametrize(("month", "days"), [((2027, 2), 28), ((2028, 2), 29), ((2026, 4), 30), ((2026, 12), 31)])
def test_a_month_has_its_days(month: tuple[int, int], days: int) -> None:
    assert days_in_month(date(*month, days)) == days


@pytest.mark.parametrize(("granularity", "hours"), [(Granularity.DAILY, [24]), (Granularity.HOURLY, [1] * 24)])
def test_droplets_are_counted_by_the_hour(granularity: Granularity, hours: list[int]) -> None:
    slots = slots_of(BillingKind.DROPLET_HOURS, granularity, date(2026, 6, 30))
    assert [slot.hours for slot in slots] == hours


def test_a_droplet_counts_while_it_is_on_and_nobodys_time_does_not() -> None:
    told = resource(
        links=[(A, at(2), at(5)), (B, at(5), at(9))],
        power=[("active", JUNE, at(3)), ("off", at(3), at(4)), ("active", at(4), at(7))],
    )
    assert segments_of(told, JUNE) == [
        Segment(at(2), at(3), A, Decimal(1)),
        Segment(at(3), at(4), A, Decimal(0)),
        Segment(at(4), at(5), A, Decimal(1)),
        Segment(at(5), at(7), B, Decimal(1)),  # then it is gone
    ]


def test_what_has_a_size_counts_by_it_and_not_before_it_is_known() -> None:
    told = resource(ResourceKind.SNAPSHOT, sizes=[(None, JUNE, at(2)), (2.5, at(2), at(3)), (0.1, at(3), None)])
    assert segments_of(told, JUNE) == [
        Segment(JUNE, at(2), A, None),
        Segment(at(2), at(3), A, Decimal("2.5")),
        Segment(at(3), None, A, Decimal("0.1")),
    ]


@pytest.mark.parametrize(
    ("created", "begins"), [(None, at(2)), ("2026-05-01T00:00:00Z", at(2)), (f"{at(4):%Y-%m-%dT%H:%M:%SZ}", at(4))]
)
def test_what_is_linked_from_before_it_was_seen_counts_as_it_was_seen_first(
    created: str | None, begins: datetime
) -> None:
    told = resource(links=[(A, at(2), None)], power=[("active", at(6), at(8)), ("off", at(8), None)])
    seen = told.model_copy(update={"first_seen_at": at(6), "attrs": {"created_at": created} if created else {}})
    assert segments_of(seen, JUNE) == [
        Segment(begins, at(8), A, Decimal(1)),
        Segment(at(8), None, A, Decimal(0)),
    ]


def test_what_changes_nothing_that_counts_is_one_and_what_is_not_metered_none() -> None:
    states = [("active", JUNE, at(2)), ("new", at(2), None)]
    assert segments_of(resource(ResourceKind.DNS_ZONE, power=states), JUNE) == [Segment(JUNE, None, A, Decimal(1))]
    assert segments_of(resource(ResourceKind.VOLUME), JUNE) == []


def test_a_newer_state_tells_all_of_its_time_and_what_was_before_stays() -> None:
    known = [Segment(at(1), at(3), A, Decimal(1)), Segment(at(3), None, B, Decimal(1))]
    assert with_told(known, [Segment(at(5), None, A, Decimal(1))], at(5)) == [
        Segment(at(1), at(3), A, Decimal(1)),
        Segment(at(3), at(5), B, Decimal(1)),
        Segment(at(5), None, A, Decimal(1)),
    ]
    assert with_told(known, [Segment(at(5), at(6), B, Decimal(1))], at(5))[1:] == [Segment(at(3), at(6), B, Decimal(1))]
    assert with_told(known, [], at(2)) == [Segment(at(1), at(2), A, Decimal(1))]


def test_the_month_before() -> None:
    assert previous_month(datetime(2026, 1, 31, 12, tzinfo=UTC)) == datetime(2025, 12, 1, tzinfo=UTC)
    assert previous_month(datetime(2028, 3, 1, tzinfo=UTC)) == datetime(2028, 2, 1, tzinfo=UTC)


HOURS = st.integers(0, 48)


@st.composite
def accounts(draw: st.DrawFn) -> list[Segment]:
    """An account of a resource in a few hours: what of it is nobody's is left out."""
    times = sorted(draw(st.sets(HOURS, max_size=6)))
    bounds = [*(JUNE + timedelta(hours=n) for n in times), None]
    found = []
    for since, until in itertools.pairwise(bounds):
        assert since is not None
        who = draw(st.sampled_from([A, B, None]))
        if who:
            found.append(Segment(since, until, who, Decimal(draw(st.integers(0, 1)))))
    return found


def holding(account: Sequence[Segment], hour: int) -> object:
    moment = JUNE + timedelta(hours=hour, minutes=30)
    return [(each.deployment_id, each.amount) for each in account if each.holds_at(moment)]


@given(accounts(), accounts())
def test_accounts_differ_within_what_is_said_and_nowhere_else(one: list[Segment], other: list[Segment]) -> None:
    differing = [hour for hour in range(60) if holding(one, hour) != holding(other, hour)]
    span = difference(one, other)
    if not differing:
        assert span is None
        return
    assert span is not None
    assert span.since == JUNE + timedelta(hours=differing[0])
    assert span.until == (None if differing[-1] == 59 else JUNE + timedelta(hours=differing[-1] + 1))


@given(accounts(), accounts(), HOURS)
def test_a_told_account_replaces_the_known_one_from_its_beginning_on(
    known: list[Segment], newer: list[Segment], hour: int
) -> None:
    begin = JUNE + timedelta(hours=hour)
    told = with_told([], [each for each in newer if each.since >= begin], begin)
    merged = with_told(known, told, begin)
    for each in range(60):
        assert holding(merged, each) == holding(known if each < hour else told, each)
    assert all(one.until is not None and one.until <= next.since for one, next in itertools.pairwise(merged))
