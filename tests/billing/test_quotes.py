"""Quotes follow what they are made of, whatever comes first; previews tell what will be quoted."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.catalog import AddonEvent, PlanEvent, ResourcePriceEvent
from contracts.kinds import BillingKind as Kind
from contracts.message import Command, Event
from contracts.metering import UsageEvent
from contracts.money import MOST_CENTS, MOST_UNITS
from contracts.quotes import FxRateSet, LimitReached, QuoteChanged, QuoteEvent, SetFxRate
from contracts.subscriptions import SubscriptionEvent
from contracts.times import midnight
from services.billing import quote_store, terms, upkeep
from services.billing.quote_store import Key
from services.billing.quotes import requote
from shared.db import Connection
from shared.ids import uuid7
from shared.outcome import Meta, Received
from tests.billing.selling import (
    BLOG,
    HOURS,
    LONG_AGO,
    MONTH,
    PRO,
    SHOP,
    STORAGE,
    STUDIO,
    addon,
    attached,
    item,
    plan,
    prices,
    subscription,
    usage,
)
from tests.billing.world import Billing

LAST_MONTH = (MONTH - timedelta(days=1)).replace(day=1)


async def quoted(billing: Billing, count: int = 1) -> list[Any]:
    """All quotes, when nothing is to be made again and so many are there."""
    await billing.until("count(*) >= $1 from quotes", count)
    await billing.until("not exists (select from stale_quotes)")
    return await billing.fetch("select * from quotes order by deployment_id, period")


async def test_what_is_used_is_quoted_and_told(billing: Billing) -> None:
    await billing.tell(STUDIO, STORAGE, subscription("studio", attached(STORAGE)))
    (row,) = await quoted(billing)
    assert (row["deployment_id"], row["period"], row["tenant_id"], row["total_cents"]) == (SHOP, MONTH, "acme", 5750)

    await billing.tell(
        usage(Kind.DROPLET_HOURS, 1, "48"),
        usage(Kind.DROPLET_HOURS, 2, "450"),
        usage(Kind.SNAPSHOT_GB_MONTH, 1, "16.000000001"),
    )
    await billing.until("total_cents = $1 from quotes", 5000 + 120 + 10 + 750)
    (row,) = await quoted(billing)
    events = await billing.told(QuoteChanged)
    assert [each.quote.version for each in events] == [*range(events[0].quote.version, row["version"] + 1)]
    last = events[-1].quote
    assert (last.total_cents, sum(line.amount_cents for line in last.lines)) == (5880, 5880)
    assert {line.resource_kind: line.used for line in last.lines if line.type == "usage"} == {
        Kind.DROPLET_HOURS: Decimal(498),
        Kind.DNS_ZONES: Decimal(0),
        Kind.SNAPSHOT_GB_MONTH: Decimal("16.000000001"),
    }


async def test_the_same_again_changes_nothing(billing: Billing) -> None:
    news = [STUDIO, subscription(), usage(Kind.DROPLET_HOURS, 1, "500")]
    await billing.tell(*news)
    await billing.until("total_cents = 5120 from quotes")
    before = await quoted(billing)
    await billing.tell(*news, usage(Kind.DROPLET_HOURS, 1, "500", version=2))
    await billing.until("max(version) = 2 from usage_days")
    assert await quoted(billing) == before


async def test_a_correction_is_quoted(billing: Billing) -> None:
    await billing.tell(STUDIO, subscription(), usage(Kind.DROPLET_HOURS, 1, "528", version=2))
    await billing.until("total_cents = 5240 from quotes")
    await billing.tell(usage(Kind.DROPLET_HOURS, 1, "481", version=3), usage(Kind.DROPLET_HOURS, 1, "9000", version=1))
    await billing.until("total_cents = 5120 from quotes")
    (*_, last) = await billing.told(QuoteChanged)
    assert (last.before_cents, last.quote.total_cents) == (5240, 5120)


def history() -> list[Event]:
    """Two months of two deployments."""
    return [
        STUDIO,
        PRO,
        prices(Kind.LLM_TOKENS, ("0.5", LONG_AGO)),
        prices(Kind.LLM_TOKENS, ("0.5", LONG_AGO), ("0.75", midnight(MONTH.replace(day=3))), version=2),
        subscription("studio", months=[(LAST_MONTH, "studio")]),
        subscription(
            "studio", attached(HOURS, midnight(MONTH)), months=[(MONTH, "studio"), (LAST_MONTH, "studio")], version=2
        ),
        subscription(
            "pro", attached(HOURS, midnight(MONTH)), months=[(MONTH, "pro"), (LAST_MONTH, "studio")], version=3
        ),
        subscription("studio", deployment_id=BLOG, trial_ends_at=midnight(MONTH.replace(day=20))),
        *(usage(Kind.DROPLET_HOURS, day, "48.5", month=month) for day in (1, 2, 9) for month in (LAST_MONTH, MONTH)),
        usage(Kind.DROPLET_HOURS, 9, "600", month=LAST_MONTH, version=2),
        *(usage(Kind.LLM_TOKENS, day, "333", deployment_id=BLOG) for day in (1, 2, 3, 4)),
        usage(Kind.LLM_TOKENS, 4, "1001", deployment_id=BLOG, version=2),
        usage(Kind.BACKUP_GB_MONTH, 4, "1.5", deployment_id=BLOG),
    ]


async def handed(conn: Connection, event: Event) -> None:
    """One event is handled, as the runtime has it handled."""
    meta = Meta(uuid7(), datetime.now(UTC))
    match event:
        case ResourcePriceEvent():
            await terms.on_resource_price(event, conn, meta)
        case PlanEvent():
            await terms.on_plan([Received(event, meta)], conn)
        case AddonEvent():
            await terms.on_addon([Received(event, meta)], conn)
        case SubscriptionEvent():
            await terms.on_subscription([Received(event, meta)], conn)
        case UsageEvent():
            await terms.on_usage([Received(event, meta)], conn)


async def hand(billing: Billing, event: Event) -> None:
    """Hand one event to its handler, in a transaction of its own."""
    async with billing.db.transaction() as conn:
        await handed(conn, event)


HISTORY = history()


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.permutations([*range(len(HISTORY))] * 2), st.sets(st.integers(0, 2 * len(HISTORY)), max_size=8))
async def test_no_order_of_events_matters(shared_billing: Billing, order: list[int], quoted_after: set[int]) -> None:
    """Nor how often each comes, nor when quotes are made meanwhile. (Of one key, the newest state may come first.)"""
    await shared_billing.begin_anew()
    for place, number in enumerate(order):
        await hand(shared_billing, HISTORY[number])
        if place in quoted_after:
            async with shared_billing.db.transaction() as conn:
                await requote(conn, datetime.now(UTC))
    rows = await quoted(shared_billing, 3)
    assert (
        await shared_billing.fetch(
            """
        select deployment_id, date_trunc('month', day)::date, resource_kind, sum(used) from usage_days group by 1, 2, 3
        except select * from usage_months
        """
        )
        == []
    )
    assert {(row["deployment_id"], row["period"]): row["total_cents"] for row in rows} == {
        (SHOP, LAST_MONTH): 5000 + 120 * 10,  # 697 hours, 480 included
        (SHOP, MONTH): 12_000 + 900,
        (BLOG, MONTH): 5000 + 333 + 1001,  # 666 at 0.5, 1334 at 0.75
    }


async def test_a_plan_may_come_last(billing: Billing) -> None:
    await billing.tell(subscription(), usage(Kind.DROPLET_HOURS, 1, "500"))
    await billing.until("exists (select from subscriptions) and exists (select from usage_days)")
    await billing.until("not exists (select from stale_quotes)")
    await billing.tell(STUDIO)
    (row,) = await quoted(billing)
    assert row["total_cents"] == 5120


async def test_a_price_that_changes_counts_for_all_days_that_it_held(billing: Billing) -> None:
    tokens = Kind.LLM_TOKENS
    await billing.tell(STUDIO, subscription(months=[(MONTH, "studio"), (LAST_MONTH, "studio")]))
    await billing.tell(usage(tokens, 1, "100", month=LAST_MONTH), usage(tokens, 1, "100"))
    await billing.tell(prices(tokens, ("1", LONG_AGO), ("2", midnight(MONTH))))
    await billing.until("sum(total_cents) = 10300 from quotes")
    await billing.tell(prices(tokens, ("3", LONG_AGO), ("5", midnight(MONTH)), version=2))
    await billing.until("sum(total_cents) = 10800 from quotes")


async def test_news_that_is_not_committed_yet_is_not_forgotten(billing: Billing) -> None:
    """Whoever quotes while it is under way has not seen it."""
    await billing.tell(STUDIO, subscription())
    await quoted(billing)
    key = Key(SHOP, MONTH)
    async with billing.db.transaction() as slow:
        async with billing.db.transaction() as conn:
            await quote_store.mark_stale(conn, [key], datetime.now(UTC))
        news: list[Received[UsageEvent]] = [
            Received(usage(Kind.DROPLET_HOURS, 1, "481"), Meta(uuid7(), datetime.now(UTC)))
        ]
        held = asyncio.create_task(terms.on_usage(news, slow))
        await held
        await asyncio.sleep(1.5)  # the service quotes meanwhile
    await billing.until("total_cents = 5120 from quotes", seconds=10)


async def test_limits_are_told_once_for_each_month(billing: Billing) -> None:
    await billing.tell(
        STUDIO, subscription(months=[(MONTH, "studio"), (LAST_MONTH, "studio")]), usage(Kind.DROPLET_HOURS, 1, "400")
    )
    await billing.until("count(*) = 1 from limits_reached")
    await billing.tell(usage(Kind.DROPLET_HOURS, 1, "0", version=2))
    await billing.until("lines -> 1 ->> 'used' = '0' from quotes where period = $1", MONTH)
    await billing.tell(
        usage(Kind.DROPLET_HOURS, 1, "1440", version=3), usage(Kind.DROPLET_HOURS, 1, "480", month=LAST_MONTH)
    )
    await billing.until("count(*) = 5 from limits_reached")
    await quoted(billing)
    events = await billing.told(LimitReached)
    assert sorted((each.period, each.limit, each.at, each.used) for each in events) == sorted(
        [
            (MONTH, "soft_80", 480, Decimal(400)),
            (MONTH, "soft_100", 480, Decimal(1440)),
            (MONTH, "hard_cap", 1440, Decimal(1440)),
            (LAST_MONTH, "soft_80", 480, Decimal(480)),
            (LAST_MONTH, "soft_100", 480, Decimal(480)),
        ]
    )


async def test_a_rate_holds_from_its_day_and_what_was_said_before_is_kept(billing: Billing) -> None:
    def rate(value: str, day: date = MONTH) -> Command:
        return SetFxRate(from_currency="USD", to_currency="AUD", effective_from=day, rate=Decimal(value))

    first, same, other, repeated = [await billing.ask(rate(value)) for value in ("1.5", "1.5", "1.55", "1.55")]
    assert (first.result, other.result) == (same.result, repeated.result)
    assert ((other.result or {})["fx_rate"]["rate"], (other.result or {})["fx_rate"]["version"]) == ("1.55", 2)
    rows = await billing.fetch("select rate, actor from fx_rates order by version")
    assert [tuple(row) for row in rows] == [(Decimal("1.5"), billing.CALLER), (Decimal("1.55"), billing.CALLER)]
    assert [tuple(row) for row in await billing.fetch("select rate, version from v1_all_fx_rates")] == [
        (Decimal("1.55"), 2)
    ]
    assert [(each.fx_rate.rate, each.before) for each in await billing.told(FxRateSet)] == [
        (Decimal("1.5"), None),
        (Decimal("1.55"), Decimal("1.5")),
    ]


async def test_quotes_and_rates_are_told_again(billing: Billing) -> None:
    await billing.tell(STUDIO, *(subscription(deployment_id=id) for id in (SHOP, BLOG)))
    rows = await quoted(billing, 2)
    await billing.ask(SetFxRate(from_currency="USD", to_currency="AUD", effective_from=MONTH, rate=Decimal("1.5")))
    async with billing.db.transaction() as conn:
        again = [event async for page in upkeep.republish_quotes(conn) for event in page]
        rates = [event async for page in upkeep.republish_fx_rates(conn) for event in page]
    assert [each.quote.deployment_id for each in again if isinstance(each, QuoteEvent)] == [
        row["deployment_id"] for row in rows
    ]
    assert [each.fx_rate.rate for each in rates if isinstance(each, FxRateSet)] == [Decimal("1.5")]


async def test_what_is_past_its_retention_is_let_go(billing: Billing) -> None:
    long_ago = date(MONTH.year - 8, MONTH.month, 1)
    await billing.tell(STUDIO, subscription(), usage(Kind.DROPLET_HOURS, 1, "400"))
    await quoted(billing)
    await billing.until("exists (select from limits_reached)")
    await billing.fetch("update limits_reached set period = $1", long_ago)
    await billing.fetch("update quotes set period = $1", long_ago)
    await billing.fetch("update usage_days set day = $1", long_ago)
    await billing.fetch("update usage_months set period = $1", long_ago)
    async with billing.db.transaction() as conn:
        gone = await upkeep.drop_old_quotes(conn, datetime.now(UTC))
        assert await upkeep.drop_old_quotes(conn, datetime.now(UTC)) is None
    assert gone is not None
    month = f"{long_ago:%Y-%m}"
    assert [each.key for each in gone.events] == [f"{SHOP}:{month}", f"{SHOP}:{month}:droplet_hours:soft_80"]
    for table in ("quotes", "usage_days", "usage_months"):
        assert await billing.fetch(f"select from {table}") == []


async def test_a_month_whose_days_are_not_kept_is_not_quoted_again(billing: Billing) -> None:
    old = (MONTH - timedelta(days=830)).replace(day=1)
    both = [(MONTH, "studio"), (old, "studio")]
    await billing.tell(subscription(months=both))
    await billing.until("count(*) = 2 from subscription_periods")
    await billing.fetch("insert into usage_days values ($1, $2, 'droplet_hours', 9000, 1, 1)", SHOP, old)
    await billing.tell(STUDIO, prices(Kind.DROPLET_HOURS, ("1", LONG_AGO - timedelta(days=900))))
    await billing.until("exists (select from resource_prices)")
    (row,) = await quoted(billing)
    assert row["period"] == MONTH


@pytest.mark.parametrize("late", ["usage", "subscription"])
async def test_who_tells_of_prices_or_plans_waits_for_whom_that_concerns(billing: Billing, late: str) -> None:
    """What is being written meanwhile is quoted by the new ones too, though it is made while they are not known."""
    before: list[Event] = [prices(Kind.LLM_TOKENS, ("1", LONG_AGO))]
    slow_news: Event = subscription()
    news: Event = STUDIO
    if late == "usage":
        before, slow_news = [*before, STUDIO, subscription()], usage(Kind.LLM_TOKENS, 1, "100")
        news = prices(Kind.LLM_TOKENS, ("2", LONG_AGO), version=2)
    for event in before:
        await hand(billing, event)
    async with billing.db.transaction() as slow:
        received: Any = [Received(slow_news, Meta(uuid7(), datetime.now(UTC)))]
        await (terms.on_usage if late == "usage" else terms.on_subscription)(received, slow)
        waiting = asyncio.create_task(hand(billing, news))
        await asyncio.sleep(0.3)
        assert not waiting.done()
    await waiting
    await billing.until("max(total_cents) = $1 from quotes", 5200 if late == "usage" else 5000, seconds=10)


async def test_terms_may_go_to_all_bounds(billing: Billing) -> None:
    vast = plan("vast", MOST_CENTS, item(Kind.LLM_TOKENS, MOST_UNITS, MOST_UNITS, MOST_CENTS, MOST_UNITS))
    more = addon("more", Kind.LLM_TOKENS, MOST_UNITS, MOST_CENTS)
    await billing.tell(vast, subscription("vast", attached(more)), usage(Kind.LLM_TOKENS, 1, f"{MOST_UNITS * 2}.5"))
    await billing.until("total_cents = $1 from quotes", MOST_CENTS * 3)
    assert len(await billing.fetch("select from limits_reached")) == 3


async def test_one_that_cannot_be_quoted_keeps_no_other_from_being(billing: Billing) -> None:
    """Somebody has used more than there is money for."""
    await billing.tell(STUDIO, subscription(), subscription(deployment_id=BLOG))
    await quoted(billing, 2)
    absurd = usage(Kind.DROPLET_HOURS, 1, "9" * 30 + ".5")
    await billing.tell(absurd, usage(Kind.DROPLET_HOURS, 1, "1501", deployment_id=BLOG))
    await billing.until("min(since) > now() + interval '50 minutes' from stale_quotes")
    rows = await billing.fetch("select total_cents > 5000 as more from quotes where deployment_id = $1", BLOG)
    assert [row["more"] for row in rows] == [True]
    await billing.tell(usage(Kind.DROPLET_HOURS, 1, "1", version=2))
    await billing.until("not exists (select from stale_quotes)")


async def test_an_addon_that_is_not_told_any_more_counts_no_more(billing: Billing) -> None:
    """It was detached while nobody listened, before the first month that is told."""
    await billing.tell(STUDIO, subscription("studio", attached(STORAGE), months=[(LAST_MONTH, "studio")]))
    await billing.until("total_cents = 5750 from quotes")
    await billing.tell(subscription("studio", months=[(MONTH, "studio")], version=5))
    rows = await quoted(billing, 2)
    assert [(row["period"], row["total_cents"]) for row in rows] == [(LAST_MONTH, 5750), (MONTH, 5000)]
