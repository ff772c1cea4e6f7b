"""Quotes, kept up to date with what they are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import structlog

from contracts.catalog import PlanItem, ResourcePrice
from contracts.kinds import BillingKind
from contracts.money import Currency
from contracts.quotes import LimitReached, Quote, QuoteChanged
from contracts.times import month_after
from services.billing import quote_store
from services.billing.quote_store import Key, Row, Run
from services.billing.quoting import (
    Addon,
    Prices,
    Terms,
    Usage,
    is_trial,
    limits_reached,
    price_days,
    quote,
    total_of,
)
from shared.db import Connection
from shared.outcome import Outcome

log = structlog.get_logger(__name__)

_PAGE = 500
_PUT_OFF = timedelta(hours=1)
_BEGINNING, _END = date(1, 1, 1), date(9999, 12, 31)


@dataclass(frozen=True)
class Basis:
    """What the quote of a deployment's month is made of."""

    key: Key
    tenant_id: str
    terms: Terms
    addons: Sequence[Addon]
    usage: Usage
    prices: Prices
    trial: bool

    def quote(self, now: datetime) -> Quote:
        """The quote, as if nobody had made it before."""
        lines = quote(self.terms, self.addons, self.usage, self.prices, trial=self.trial)
        return Quote(
            deployment_id=self.key.deployment_id,
            tenant_id=self.tenant_id,
            period=self.key.period,
            currency=self.terms.currency,
            plan_code=self.terms.plan_code,
            plan_version_id=self.terms.version_id,
            plan_version=self.terms.number,
            lines=lines,
            total_cents=total_of(lines),
            quoted_at=now,
            version=1,
        )


def quote_of(row: Row) -> Quote:
    """A quote as others get it."""
    return Quote.model_validate({name: row[name] for name in Quote.model_fields})


async def requote(conn: Connection, now: datetime) -> Outcome | None:
    """Make some of the quotes again of which something is known otherwise, and tell those that changed."""
    keys = await quote_store.take_stale(conn, now, _PAGE)
    if not keys:
        return None
    made, failed = _made(await bases_of(conn, keys), now)
    if failed:
        await quote_store.mark_stale(conn, failed, now + _PUT_OFF)
    if not made:
        return Outcome()
    changed = await quote_store.upsert_quotes(conn, [quote for _, quote in made.values()])
    told = [
        QuoteChanged(
            quote=made[key][1].model_copy(update={"version": row["version"]}), before_cents=row["before_cents"]
        )
        for key, row in changed.items()
    ]
    return Outcome(events=[*told, *await _limits(conn, [made[key] for key in changed], now)])


def _made(bases: Sequence[Basis], now: datetime) -> tuple[dict[Key, tuple[Basis, Quote]], list[Key]]:
    """Quotes by their keys; and what cannot be quoted, which must not keep all others from being."""
    made, failed = {}, []
    for basis in bases:
        try:
            made[basis.key] = basis, basis.quote(now)
        except Exception as error:
            about = {"deployment_id": str(basis.key.deployment_id), "period": str(basis.key.period)}
            log.error("a quote cannot be made", error=f"{type(error).__name__}: {error}", **about)
            failed.append(basis.key)
    return made, failed


async def bases_of(conn: Connection, keys: Sequence[Key]) -> list[Basis]:
    """What quotes are made of. A month without a subscription has none; nor has one whose plan is not known yet."""
    rows = await quote_store.list_subscribed(conn, keys)
    versions = await quote_store.list_versions(conn, {row["plan_version_id"] for row in rows})
    terms = {version["id"]: terms_of(version) for version in versions}
    prices = await known_prices(conn)
    addons = _by_key(await quote_store.list_addons(conn, keys))
    usage = _by_key(await quote_store.sum_usage(conn, keys, runs_of(prices, keys)))
    return [
        Basis(
            key=(key := _key(row)),
            tenant_id=row["tenant_id"],
            terms=terms[row["plan_version_id"]],
            addons=[addon_of(addon) for addon in addons.get(key, ())],
            usage=usage_of(usage.get(key, ())),
            prices=prices,
            trial=is_trial(row["trial_ends_at"], key.period),
        )
        for row in rows
        if row["plan_version_id"] in terms
    ]


def terms_of(row: Row) -> Terms:
    """A plan's version."""
    items = [PlanItem.model_validate(item) for item in row["items"]]
    return Terms(
        plan_code=row["plan_code"],
        version_id=row["id"],
        number=row["number"],
        base_price_cents=row["base_price_cents"],
        currency=Currency(row["currency"]),
        items={item.resource_kind: item for item in items},
    )


async def known_prices(conn: Connection) -> Prices:
    """All prices of what no plan covers."""
    return {
        BillingKind(row["resource_kind"]): [ResourcePrice.model_validate(price) for price in row["prices"]]
        for row in await quote_store.list_prices(conn)
    }


def runs_of(prices: Prices, keys: Iterable[Key]) -> list[Run]:
    """Of kinds whose price changes within one of these months, the days on which one price holds."""
    months = {key.period for key in keys}
    runs = []
    for kind in prices:
        days = price_days(prices[kind])
        if any(month < day < month_after(month) for month in months for day in days):
            firsts = sorted({_BEGINNING, *days})
            runs += [Run(kind, since, until) for since, until in zip(firsts, [*firsts[1:], _END], strict=True)]
    return runs


def _key(row: Row) -> Key:
    return Key(row["deployment_id"], row["period"])


def _by_key(rows: Iterable[Row]) -> Mapping[Key, Sequence[Row]]:
    found: dict[Key, list[Row]] = {}
    for row in rows:
        found.setdefault(_key(row), []).append(row)
    return found


def addon_of(row: Row) -> Addon:
    """An addon, as it was attached or as the catalog has it."""
    return Addon(row["addon_id"], row["code"], BillingKind(row["resource_kind"]), row["qty"], row["price_cents"])


def usage_of(rows: Iterable[Row]) -> Usage:
    """What was used of each kind, of one month."""
    found: dict[BillingKind, dict[date, Any]] = {}
    for row in rows:
        found.setdefault(BillingKind(row["resource_kind"]), {})[row["since"]] = row["used"]
    return found


async def _limits(conn: Connection, quoted: Sequence[tuple[Basis, Quote]], now: datetime) -> list[LimitReached]:
    """What is to be told of limits: each once for a month."""
    reached = [
        (basis.key, basis.tenant_id, each)
        for basis, quote in quoted
        for each in limits_reached(basis.terms, quote.lines)
    ]
    new = await quote_store.insert_limits(conn, reached, now) if reached else set()
    return [
        LimitReached(
            deployment_id=key.deployment_id,
            tenant_id=tenant,
            period=key.period,
            resource_kind=each.resource_kind,
            limit=each.limit,
            at=each.at,
            used=each.used,
            reached_at=now,
        )
        for key, tenant, each in reached
        if (*key, each.resource_kind, each.limit) in new
    ]
