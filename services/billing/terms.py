"""What others tell that quotes are made of: kept, and the quotes that it changes are marked to be made again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from contracts.catalog import AddonEvent, PlanEvent, ResourcePrice, ResourcePriceEvent
from contracts.metering import UsageEvent
from contracts.subscriptions import SubscribedAddon, Subscription, SubscriptionEvent
from services.billing import quote_store, terms_store
from services.billing.quote_store import Key
from services.billing.quoting import price_days
from shared.db import Connection
from shared.outcome import Meta, Received

USAGE_KEPT = timedelta(days=800)
"""Older days are not kept: the quotes that were made of them stay as they are."""


async def on_plan(events: Sequence[Received[PlanEvent]], conn: Connection) -> None:
    """Keep the terms of plans; who is bound to terms that were not known so, is quoted by them."""
    changed = await terms_store.project_plans(conn, [event.message.plan for event in events])
    if changed:
        now = events[0].meta.now
        await quote_store.mark_stale(conn, await terms_store.list_bound(conn, changed, first_kept(now)), now)


async def on_addon(events: Sequence[Received[AddonEvent]], conn: Connection) -> None:
    """Keep what addons there are: previews tell what one would cost."""
    await terms_store.project_addons(conn, [event.message.addon for event in events])


async def on_resource_price(event: ResourcePriceEvent, conn: Connection, meta: Meta) -> None:
    """Keep a kind's prices; what was used since the first that is new or gone is quoted again."""
    told = event.resource_prices
    before = await terms_store.project_prices(conn, told)
    if before is None:
        return
    known = [ResourcePrice.model_validate(price) for price in before]
    if changed := [price for price in (*known, *told.prices) if (price in known) != (price in told.prices)]:
        since = max(min(price_days(changed)), first_kept(meta.now))
        await quote_store.mark_stale(conn, await terms_store.list_used_since(conn, told.resource_kind, since), meta.now)


async def on_subscription(events: Sequence[Received[SubscriptionEvent]], conn: Connection) -> None:
    """Keep what deployments are subscribed to, each month for good; those of which that is news are quoted again."""
    told = sorted((event.message.subscription for event in events), key=lambda each: each.version)
    before = await terms_store.project_subscriptions(conn, told)
    # Every state counts, not the newest alone: each tells of two months, and there may be more between them.
    news = [each for each in told if each.id in before and each.version > before[each.id]]
    if not news:
        return
    periods = {
        Key(each.deployment_id, period.start.astimezone(UTC).date()): (each.id, period.plan_version_id, each.version)
        for each in news
        for period in each.periods
    }
    await terms_store.project_periods(conn, periods)
    attached: dict[UUID, tuple[Subscription, SubscribedAddon]] = {
        addon.id: (each, addon) for each in news for addon in each.addons
    }
    if attached:
        await terms_store.project_attached(conn, attached)
    await terms_store.mark_detached(conn, news)
    now = events[0].meta.now
    await quote_store.mark_stale(conn, [key for key in periods if key.period >= first_kept(now)], now)


async def on_usage(events: Sequence[Received[UsageEvent]], conn: Connection) -> None:
    """Keep what was used; the months of which that is news are quoted again."""
    kept = first_kept(events[0].meta.now)
    days = [usage for event in events if (usage := event.message.usage).day >= kept]
    if days and (keys := await terms_store.project_usage(conn, days)):
        await quote_store.mark_stale(conn, keys, events[0].meta.now)


def first_kept(now: datetime) -> date:
    """The first day of usage that is kept: that of a month, for of half a month there is no quote."""
    return (now - USAGE_KEPT).astimezone(UTC).date().replace(day=1)
