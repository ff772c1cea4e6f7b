"""What is owed for a month, by a pure function: more use never costs less, and no order of anything matters."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.catalog import PlanItem, ResourcePrice
from contracts.kinds import BillingKind as Kind
from contracts.money import Currency
from contracts.quotes import Flag, Limit, QuoteLine
from services.billing.quote_store import Key
from services.billing.quotes import runs_of
from services.billing.quoting import Addon, Prices, Terms, Usage, is_trial, limits_reached, price_days, quote, total_of
from shared.ids import derived_id

MAY = date(2026, 5, 1)
STORAGE = Addon(derived_id("addon", "storage"), "storage_50gb", Kind.SPACES_GB_MONTH, 50, 750)


def terms(*items: PlanItem, base: int = 5000) -> Terms:
    kinds = {item.resource_kind: item for item in items}
    return Terms("studio", UUID(int=1), 1, base, Currency.AUD, kinds)


def item(
    kind: Kind = Kind.DROPLET_HOURS, included: int = 480, unit: int = 24, price: int = 120, **more: Any
) -> PlanItem:
    return PlanItem(
        resource_kind=kind,
        included_qty=included,
        overage_unit=unit,
        overage_price_cents=price,
        hard_cap_qty=more.get("cap"),
    )


def price(cents: str, since: str = "2026-01-01T00:00:00+00:00", currency: Currency = Currency.AUD) -> ResourcePrice:
    at = datetime.fromisoformat(since)
    return ResourcePrice(effective_from=at, unit_price_cents=Decimal(cents), currency=currency)


def used(kind: Kind, *by_day: str) -> Usage:
    """So much on the first, the second, ... of May."""
    return {kind: {MAY + timedelta(days=n): Decimal(qty) for n, qty in enumerate(by_day)}}


def of_kind(lines: list[QuoteLine], kind: Kind) -> list[tuple[Any, ...]]:
    return [
        (line.included, line.used, line.overage, line.amount_cents, line.flags)
        for line in lines
        if line.type == "usage" and line.resource_kind == kind
    ]


def test_what_is_within_the_allowance_costs_the_base_alone() -> None:
    lines = quote(terms(item(), item(Kind.DNS_ZONES, 1)), [], used(Kind.DROPLET_HOURS, "240", "240"), {})
    assert total_of(lines) == 5000
    assert [line.type for line in lines] == ["base", "usage", "usage"]
    assert of_kind(lines, Kind.DROPLET_HOURS) == [(480, 480, 0, 0, [])]
    assert of_kind(lines, Kind.DNS_ZONES) == [(1, 0, 0, 0, [])]


@pytest.mark.parametrize(
    ("qty", "units"), [("480", 0), ("480.000000001", 1), ("504", 1), ("504.000000001", 2), ("1000", 22)]
)
def test_overage_is_sold_in_whole_units(qty: str, units: int) -> None:
    (_, line) = quote(terms(item()), [], used(Kind.DROPLET_HOURS, qty), {})
    assert (line.overage_units, line.amount_cents) == (units, units * 120)


def test_addons_add_to_the_allowance_and_cost_their_price_once() -> None:
    plan = terms(item(Kind.SPACES_GB_MONTH, 20, 10, 30))
    lines = quote(plan, [STORAGE], used(Kind.SPACES_GB_MONTH, "70", "10.5"), {})
    assert of_kind(lines, Kind.SPACES_GB_MONTH) == [(70, Decimal("80.5"), Decimal("10.5"), 60, [])]
    assert [(line.code, line.qty, line.amount_cents) for line in lines if line.type == "addon"] == [
        ("storage_50gb", 50, 750)
    ]
    assert total_of(lines) == 5000 + 60 + 750


@pytest.mark.parametrize(("qty", "flags"), [("600", []), ("600.5", [Flag.BEYOND_CAP])])
def test_what_is_beyond_the_hard_cap_is_flagged(qty: str, flags: list[Flag]) -> None:
    (_, line) = quote(terms(item(cap=600)), [], used(Kind.DROPLET_HOURS, qty), {})
    assert line.flags == flags


def test_what_addons_include_is_never_beyond_a_cap() -> None:
    plan = terms(item(Kind.SPACES_GB_MONTH, 20, cap=40))
    assert of_kind(quote(plan, [STORAGE], used(Kind.SPACES_GB_MONTH, "70"), {}), Kind.SPACES_GB_MONTH)[0][4] == []
    assert of_kind(quote(plan, [STORAGE], used(Kind.SPACES_GB_MONTH, "71"), {}), Kind.SPACES_GB_MONTH)[0][4] == [
        Flag.BEYOND_CAP
    ]


def test_what_no_plan_item_covers_is_priced_by_the_unit() -> None:
    prices = {Kind.LLM_TOKENS: [price("0.0021")]}
    (_, line) = quote(terms(), [], used(Kind.LLM_TOKENS, "1000", "500"), prices)
    assert (line.amount_cents, line.price_cents, line.price_since) == (
        3,
        Decimal("0.0021"),
        prices[Kind.LLM_TOKENS][0].effective_from,
    )
    assert line.how.endswith("1500 at 0.0021 cents each (since 2026-01-01 00:00 UTC) is 3.15, rounded half up to 3")


def test_half_a_cent_is_rounded_up_once_per_line() -> None:
    prices = {Kind.LLM_TOKENS: [price("0.5")], Kind.BANDWIDTH_GB: [price("0.5")]}
    usage = {**used(Kind.LLM_TOKENS, "0.5", "0.5"), **used(Kind.BANDWIDTH_GB, "1")}
    assert [line.amount_cents for line in quote(terms(), [], usage, prices)] == [5000, 1, 1]


def test_a_price_holds_for_the_days_that_begin_while_it_does() -> None:
    """What addons include is used up first."""
    prices = {Kind.SPACES_GB_MONTH: [price("2"), price("10", "2026-05-02T00:00:01+00:00")]}
    lines = quote(terms(), [STORAGE], used(Kind.SPACES_GB_MONTH, "30", "30", "5"), prices)
    assert of_kind(lines, Kind.SPACES_GB_MONTH) == [(50, 60, 10, 20, []), (50, 5, 5, 50, [])]


@pytest.mark.parametrize(
    ("prices", "flag"), [([], Flag.NO_PRICE), ([price("5", currency=Currency.USD)], Flag.OTHER_CURRENCY)]
)
def test_what_has_no_price_here_is_shown_and_flagged(prices: list[ResourcePrice], flag: Flag) -> None:
    (_, line) = quote(terms(), [], used(Kind.BACKUP_GB_MONTH, "3"), {Kind.BACKUP_GB_MONTH: prices})
    assert (line.used, line.amount_cents, line.flags) == (Decimal(3), 0, [flag])
    assert of_kind(quote(terms(), [], used(Kind.BACKUP_GB_MONTH, "0"), {}), Kind.BACKUP_GB_MONTH) == []
    covered = quote(terms(), [STORAGE], used(Kind.SPACES_GB_MONTH, "50"), {Kind.SPACES_GB_MONTH: prices})
    assert of_kind(covered, Kind.SPACES_GB_MONTH) == [(50, 50, 0, 0, [])]


def test_a_month_of_trial_has_no_base() -> None:
    (base,) = quote(terms(), [], {}, {}, trial=True)
    assert (base.amount_cents, base.flags) == (0, [Flag.TRIAL])
    assert is_trial(datetime(2026, 6, 1, tzinfo=UTC), MAY)
    assert not is_trial(datetime(2026, 5, 31, 23, 59, tzinfo=UTC), MAY)
    assert not is_trial(None, MAY)


@pytest.mark.parametrize(
    ("qty", "limits"),
    [
        ("383.9", []),
        ("384", [Limit.SOFT_80]),
        ("480", [Limit.SOFT_80, Limit.SOFT_100]),
        ("600", [Limit.SOFT_80, Limit.SOFT_100, Limit.HARD_CAP]),
    ],
)
def test_limits_are_reached_at_80_and_100_per_cent_and_at_the_cap(qty: str, limits: list[Limit]) -> None:
    plan = terms(item(cap=600))
    reached = list(limits_reached(plan, quote(plan, [], used(Kind.DROPLET_HOURS, qty), {})))
    assert [each.limit for each in reached] == limits


def test_where_nothing_is_included_there_is_no_soft_limit() -> None:
    plan = terms(item(included=0, cap=10))
    assert list(limits_reached(plan, quote(plan, [], used(Kind.DROPLET_HOURS, "5"), {}))) == []
    assert list(limits_reached(plan, quote(plan, [], {}, {}))) == []


_QTY = st.decimals(min_value=0, max_value=2000, places=3)
_DAYS = st.dates(date(2026, 5, 1), date(2026, 5, 31))
_USAGE = st.dictionaries(st.sampled_from(Kind), st.dictionaries(_DAYS, _QTY, max_size=5), max_size=4)
_ITEMS = st.dictionaries(
    st.sampled_from(Kind),
    st.builds(
        lambda included, unit, cents, more: (included, unit, cents, included + more),
        st.integers(0, 1000),
        st.integers(1, 50),
        st.integers(0, 500),
        st.integers(0, 500),
    ),
)
_TERMS = st.builds(
    lambda items, base: terms(
        *(item(kind, included, unit, cents, cap=cap) for kind, (included, unit, cents, cap) in items.items()), base=base
    ),
    _ITEMS,
    st.integers(0, 20_000),
)
_ADDONS = st.lists(
    st.builds(
        lambda n, kind, qty, cents: Addon(UUID(int=n), f"addon_{n}", kind, qty, cents),
        st.integers(1, 9),
        st.sampled_from(Kind),
        st.integers(0, 500),
        st.integers(0, 5000),
    ),
    max_size=3,
    unique_by=lambda addon: addon.code,
)
_PRICES = st.dictionaries(
    st.sampled_from(Kind),
    st.lists(
        st.builds(
            ResourcePrice,
            effective_from=st.integers(-150, 800).map(
                lambda hours: datetime(2026, 5, 1, tzinfo=UTC) + timedelta(hours=hours)
            ),
            unit_price_cents=st.decimals(min_value=0, max_value=100, places=4),
            currency=st.sampled_from([Currency.AUD, Currency.AUD, Currency.USD]),
        ),
        max_size=3,
        unique_by=lambda each: each.effective_from,
    ).map(lambda each: sorted(each, key=lambda one: one.effective_from)),
)


@given(_TERMS, _ADDONS, _USAGE, _PRICES, st.booleans())
def test_a_quote_is_the_sum_of_its_lines_and_each_is_explained(
    plan: Terms, addons: list[Addon], usage: Usage, prices: Prices, trial: bool
) -> None:
    lines = quote(plan, addons, usage, prices, trial=trial)
    assert total_of(lines) == sum(line.amount_cents for line in lines)
    assert all(line.how and line.amount_cents >= 0 for line in lines)
    totals: dict[Kind, Decimal] = {}
    for line in lines:
        if line.type == "usage" and line.resource_kind:
            totals[line.resource_kind] = totals.get(line.resource_kind, Decimal(0)) + (line.used or 0)
    assert {kind: qty for kind, qty in totals.items() if qty} == {
        kind: total for kind, days in usage.items() if (total := sum(days.values(), Decimal(0)))
    }


@given(_TERMS, _ADDONS, _USAGE, _PRICES, st.tuples(st.sampled_from(Kind), _DAYS, _QTY))
def test_more_use_never_costs_less(
    plan: Terms, addons: list[Addon], usage: Usage, prices: Prices, added: tuple[Kind, date, Decimal]
) -> None:
    kind, day, qty = added
    less = total_of(quote(plan, addons, usage, prices))
    days = usage.get(kind, {})
    more = {**usage, kind: {**days, day: days.get(day, Decimal(0)) + qty}}
    assert total_of(quote(plan, addons, more, prices)) >= less


@given(_TERMS, _ADDONS, _USAGE, _PRICES, st.randoms(use_true_random=False))
def test_no_order_of_anything_matters(
    plan: Terms, addons: list[Addon], usage: Usage, prices: Prices, random: Any
) -> None:
    def shuffled(mapping: Mapping[Any, Any]) -> dict[Any, Any]:
        keys = list(mapping)
        random.shuffle(keys)
        return {key: mapping[key] for key in keys}

    others = list(addons)
    random.shuffle(others)
    again = {kind: shuffled(days) for kind, days in shuffled(usage).items()}
    assert quote(plan, others, again, shuffled(prices)) == quote(plan, addons, usage, prices)


@given(_TERMS, _ADDONS, _USAGE, _PRICES)
def test_days_of_one_price_may_be_added_up_before(
    plan: Terms, addons: list[Addon], usage: Usage, prices: Prices
) -> None:
    """As the database does."""
    runs = runs_of(prices, [Key(UUID(int=1), MAY)])
    in_runs = {run.resource_kind for run in runs}
    added = {kind: {MAY: sum(days.values(), Decimal(0))} for kind, days in usage.items() if kind not in in_runs}
    for run in runs:
        for day, qty in usage.get(Kind(run.resource_kind), {}).items():
            if run.since <= day < run.until:
                days = added.setdefault(Kind(run.resource_kind), {})
                first = max(run.since, MAY)
                days[first] = days.get(first, Decimal(0)) + qty
    assert quote(plan, addons, added, prices) == quote(plan, addons, usage, prices)


def test_a_price_counts_from_its_first_whole_day_on() -> None:
    prices = [
        price("1", "2026-05-02T00:00:00+00:00"),
        price("2", "2026-05-03T02:00:00+02:00"),
        price("3", "2026-05-04T00:00:01+00:00"),
    ]
    assert price_days(prices) == [date(2026, 5, 2), date(2026, 5, 3), date(2026, 5, 5)]
