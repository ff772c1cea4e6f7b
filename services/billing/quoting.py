"""What is owed for a month: one pure function, for quotes, for previews, and for what margin sums up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal, localcontext
from typing import NamedTuple, TypeAlias
from uuid import UUID

from contracts.catalog import PlanItem, ResourcePrice
from contracts.kinds import BillingKind
from contracts.money import Currency, plain, whole_cents
from contracts.quotes import Flag, Limit, QuoteLine
from contracts.times import midnight, month_after

Usage: TypeAlias = Mapping[BillingKind, Mapping[date, Decimal]]
"""What was used of each kind by day; days on which the same price holds may be added up under the first of them."""

Prices: TypeAlias = Mapping[BillingKind, Sequence[ResourcePrice]]
"""Of each kind all prices where no plan covers it, the oldest first."""

_NONE = Decimal(0)
_PRECISION = 80  # nothing is rounded but where it is said: sums of what is reported have no largest


@dataclass(frozen=True)
class Terms:
    """A version of a plan: what the base price is, and what it includes."""

    plan_code: str
    version_id: UUID
    number: int
    base_price_cents: int
    currency: Currency
    items: Mapping[BillingKind, PlanItem]


@dataclass(frozen=True)
class Addon:
    """An addon as it was attached: so much more of a kind, at a price for each period."""

    addon_id: UUID
    code: str
    resource_kind: BillingKind
    qty: int
    price_cents: int


class Included(NamedTuple):
    """How much of a kind costs nothing more, and by what."""

    plan: int
    addons: int

    @property
    def all(self) -> int:
        """By both together."""
        return self.plan + self.addons


def quote(
    terms: Terms, addons: Sequence[Addon], usage: Usage, prices: Prices, *, trial: bool = False
) -> list[QuoteLine]:
    """The lines of what is owed for a period; their sum is the total. `trial`: the whole period is one.

    Nothing is divided by days: a plan counts for the whole period, and so does an addon that was attached in any part
    of it. More usage never costs less, and it does not matter in which order it came.
    """
    with localcontext() as context:
        context.prec = _PRECISION
        return _lines(terms, addons, usage, prices, trial=trial)


def _lines(terms: Terms, addons: Sequence[Addon], usage: Usage, prices: Prices, *, trial: bool) -> list[QuoteLine]:
    lines = [_base(terms, trial)]
    added = {kind: sum(addon.qty for addon in addons if addon.resource_kind == kind) for kind in BillingKind}
    for kind in BillingKind:
        used = {day: qty for day, qty in sorted(usage.get(kind, {}).items()) if qty}
        if item := terms.items.get(kind):
            lines.append(_covered(item, Included(item.included_qty, added[kind]), sum(used.values(), _NONE)))
        else:
            lines += _uncovered(kind, Included(0, added[kind]), used, prices.get(kind, ()), terms.currency)
    return [*lines, *(_addon(addon) for addon in sorted(addons, key=lambda addon: addon.code))]


def total_of(lines: Sequence[QuoteLine]) -> int:
    """What lines add up to, in cents."""
    return sum(line.amount_cents for line in lines)


def _base(terms: Terms, trial: bool) -> QuoteLine:
    what = f"{terms.plan_code}, version {terms.number}"
    return QuoteLine(
        type="base",
        code=terms.plan_code,
        price_cents=Decimal(terms.base_price_cents),
        amount_cents=0 if trial else terms.base_price_cents,
        flags=[Flag.TRIAL] if trial else [],
        how=f"{what}: nothing, for the whole period is a trial" if trial else f"{what}: the price of a whole period",
    )


def _covered(item: PlanItem, included: Included, used: Decimal) -> QuoteLine:
    overage = max(used - included.all, _NONE)
    units = int((overage / item.overage_unit).to_integral_value(ROUND_CEILING)) if overage else 0
    cap = cap_of(item, included)
    how = _within(included, used)
    if overage:
        each = f"{item.overage_unit}, {item.overage_price_cents} cents each"
        how = f"{plain(overage)} beyond {_of(included)}: {units} begun unit{'s' * (units != 1)} of {each}"
    return QuoteLine(
        type="usage",
        resource_kind=item.resource_kind,
        included=included.all,
        used=used,
        used_rounded=_rounded(used),
        overage=overage,
        overage_unit=item.overage_unit,
        overage_units=units,
        price_cents=Decimal(item.overage_price_cents),
        hard_cap_qty=item.hard_cap_qty,
        amount_cents=units * item.overage_price_cents,
        flags=[Flag.BEYOND_CAP] if cap is not None and used > cap else [],
        how=how,
    )


def _rounded(used: Decimal) -> str:
    return f"{used.quantize(Decimal('0.01'), ROUND_HALF_UP):f}"


def _within(included: Included, used: Decimal) -> str:
    return f"{plain(used)} used of {_of(included)}: nothing beyond"


def _of(included: Included) -> str:
    if included.addons:
        return f"{included.all} included ({included.plan} by the plan, {included.addons} by addons)"
    return f"{included.all} included"


def cap_of(item: PlanItem, included: Included) -> int | None:
    """Beyond what use is flagged: the plan's hard cap, but never less than what is included; None: nothing is."""
    return None if item.hard_cap_qty is None else max(item.hard_cap_qty, included.all)


class _Run(NamedTuple):
    """What was used while one price held, and how much of what addons include was left then."""

    used: Decimal
    left: Decimal
    price: ResourcePrice | None

    @property
    def overage(self) -> Decimal:
        """So much of it is to be paid for."""
        return max(self.used - self.left, _NONE)


def _uncovered(
    kind: BillingKind, included: Included, used: Mapping[date, Decimal], prices: Sequence[ResourcePrice], ours: Currency
) -> Iterator[QuoteLine]:
    """A line for each price that held when something was used; what addons include is used up first."""
    left = Decimal(included.all)
    for price, qty in _by_price(used, prices):
        run = _Run(qty, left, price)
        counts = price is not None and price.currency == ours
        exact = run.overage * price.unit_price_cents if price and counts else _NONE
        yield QuoteLine(
            type="usage",
            resource_kind=kind,
            included=included.all,
            used=qty,
            used_rounded=_rounded(qty),
            overage=run.overage,
            price_cents=price.unit_price_cents if price else None,
            price_since=price.effective_from if price else None,
            amount_cents=whole_cents(exact),
            flags=_unpriced(price, ours) if run.overage else [],
            how=_how(run, exact, ours),
        )
        left = max(left - qty, _NONE)


def _by_price(
    used: Mapping[date, Decimal], prices: Sequence[ResourcePrice]
) -> list[tuple[ResourcePrice | None, Decimal]]:
    """What was used while each price held, the oldest first."""
    runs: list[tuple[ResourcePrice | None, Decimal]] = []
    for day, qty in used.items():
        price = price_on(prices, day)
        if runs and runs[-1][0] == price:
            runs[-1] = price, runs[-1][1] + qty
        else:
            runs.append((price, qty))
    return runs


def price_on(prices: Sequence[ResourcePrice], day: date) -> ResourcePrice | None:
    """The price that holds when a day (UTC) begins; None before the first."""
    held = [price for price in prices if price.effective_from <= midnight(day)]
    return held[-1] if held else None


def price_days(prices: Sequence[ResourcePrice]) -> list[date]:
    """The days with which a price's first whole day begins."""
    days = []
    for price in prices:
        since = price.effective_from.astimezone(UTC)
        days.append(since.date() if midnight(since.date()) == since else since.date() + timedelta(days=1))
    return days


def _unpriced(price: ResourcePrice | None, ours: Currency) -> list[Flag]:
    if price is None:
        return [Flag.NO_PRICE]
    return [] if price.currency == ours else [Flag.OTHER_CURRENCY]


def _how(run: _Run, exact: Decimal, ours: Currency) -> str:
    what, price = f"{plain(run.used)} of what no plan item covers", run.price
    if run.left:
        what += f", {plain(min(run.left, run.used))} of it included by addons"
    if not run.overage:
        return what
    if price is None:
        return f"{what}: nobody has said what it costs"
    each = f"{plain(price.unit_price_cents)} cents each (since {price.effective_from:%Y-%m-%d %H:%M} UTC)"
    if price.currency != ours:
        return f"{what}: {each}, in {price.currency}, which the quote, in {ours}, does not count"
    return f"{what}: {plain(run.overage)} at {each} is {plain(exact)}, rounded half up to {whole_cents(exact)}"


def _addon(addon: Addon) -> QuoteLine:
    return QuoteLine(
        type="addon",
        resource_kind=addon.resource_kind,
        addon_id=addon.addon_id,
        code=addon.code,
        qty=addon.qty,
        price_cents=Decimal(addon.price_cents),
        amount_cents=addon.price_cents,
        how=f"{addon.code}: the price at which it was attached, for a whole period",
    )


class Reached(NamedTuple):
    """A limit that use has reached, and what 100 % of it, or the cap, is."""

    resource_kind: BillingKind
    limit: Limit
    at: int
    used: Decimal


def limits_reached(terms: Terms, lines: Sequence[QuoteLine]) -> Iterator[Reached]:
    """The limits that the use of kinds has reached; where nothing is included, there is no soft one."""
    for line in lines:
        if line.resource_kind is None or (item := terms.items.get(line.resource_kind)) is None or line.used is None:
            continue
        included = line.included or 0
        for limit, share in ((Limit.SOFT_80, 80), (Limit.SOFT_100, 100)):
            if included and line.used * 100 >= included * share:
                yield Reached(item.resource_kind, limit, included, line.used)
        cap = cap_of(item, Included(included, 0))
        if cap is not None and line.used >= cap and line.used:
            yield Reached(item.resource_kind, Limit.HARD_CAP, cap, line.used)


def is_trial(trial_ends_at: datetime | None, period: date) -> bool:
    """Whether the whole of a month is a trial."""
    return trial_ends_at is not None and trial_ends_at >= midnight(month_after(period))
