"""The shares of a month are those that metering writes: PostgreSQL's arithmetic, over the periods of `slots_of`."""

from __future__ import annotations

import calendar
import itertools
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.kinds import BillingKind
from contracts.metering import Granularity
from services.metering.domain import Slot, slots_of
from tests.metering.world import Metering


async def shares(metering: Metering, amount: Decimal, slots: Sequence[Slot]) -> list[Decimal]:
    rows = await metering.fetch(
        "select share($1, nth, parts) from unnest($2::int[], $3::int[]) s(nth, parts)",
        amount,
        [slot.nth for slot in slots],
        [slot.parts for slot in slots],
    )
    return [row[0] for row in rows]


def month(first: date, granularity: Granularity) -> list[Slot]:
    """All periods of a month."""
    length = calendar.monthrange(first.year, first.month)[1]
    days = [first.replace(day=n) for n in range(1, length + 1)]
    return [slot for day in days for slot in slots_of(BillingKind.SNAPSHOT_GB_MONTH, granularity, day)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    amount=st.decimals(0, 1_000_000, places=9, allow_nan=False),
    day=st.dates(date(2019, 1, 1), date(2040, 12, 31)),
    granularity=st.sampled_from(Granularity),
)
async def test_the_shares_of_every_month_add_up_to_the_whole(
    metering: Metering, amount: Decimal, day: date, granularity: Granularity
) -> None:
    first = day.replace(day=1)
    slots = month(first, granularity)
    found = await shares(metering, amount, slots)
    assert sum(found) == amount
    assert all(each >= 0 for each in found)
    assert slots[0].start == datetime(first.year, first.month, 1, tzinfo=UTC)
    assert all(one.end == next.start for one, next in itertools.pairwise(slots))
    assert slots[-1].end == slots[0].start + timedelta(days=calendar.monthrange(first.year, first.month)[1])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(amount=st.decimals(0, 1_000_000, places=9, allow_nan=False), switched=st.integers(1, 30))
async def test_a_month_within_which_hours_take_the_place_of_days_adds_up_too(
    metering: Metering, amount: Decimal, switched: int
) -> None:
    first = date(2026, 5, 1)
    daily = [slot for slot in month(first, Granularity.DAILY) if slot.start.day <= switched]
    hourly = [slot for slot in month(first, Granularity.HOURLY) if slot.start.day > switched]
    found = await shares(metering, amount, [*daily, *hourly])
    assert sum(found) == amount


@pytest.mark.parametrize(("year", "days"), [(2027, 28), (2028, 29)])
async def test_a_leap_year_has_a_day_more_to_share(metering: Metering, year: int, days: int) -> None:
    found = await shares(metering, Decimal(1), month(date(year, 2, 1), Granularity.DAILY))
    assert (len(found), sum(found)) == (days, 1)
