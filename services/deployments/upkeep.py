"""Telling everything again when asked.

Nothing here is ever forgotten: what a deployment was, and on which terms, explains its bills for good.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from contracts.catalog import AddonRepublished, PlanRepublished, ResourcePricesRepublished
from contracts.deployments import DeploymentRepublished
from contracts.kinds import BillingKind
from contracts.message import Event
from contracts.subscriptions import SubscriptionRepublished
from services.deployments import catalog_store, store, subscription_store
from services.deployments.lifecycle import state_of
from services.deployments.store import BEFORE_ALL
from shared.db import Connection

PAGE = 500


async def republish_plans(conn: Connection) -> AsyncIterator[Sequence[Event]]:
    """Every plan's state, in pages. Nobody changes one between its being read and its being in the outbox."""
    after = BEFORE_ALL
    while ids := await catalog_store.lock_plans_after(conn, after, PAGE):
        yield [PlanRepublished(plan=plan) for plan in await catalog_store.list_plans(conn, ids)]
        after = ids[-1]


async def republish_addons(conn: Connection) -> AsyncIterator[Sequence[Event]]:
    """Every addon's state, in pages."""
    after = BEFORE_ALL
    while addons := await catalog_store.lock_addons_after(conn, after, PAGE):
        yield [AddonRepublished(addon=addon) for addon in addons]
        after = addons[-1].id


async def republish_resource_prices(conn: Connection) -> AsyncIterator[Sequence[Event]]:
    """The prices of every billing kind that has any, at once."""
    for kind in sorted(BillingKind):
        await catalog_store.lock_prices(conn, kind)
    prices = await catalog_store.list_resource_prices(conn, list(BillingKind))
    if prices:
        yield [ResourcePricesRepublished(resource_prices=each) for each in prices]


async def republish_deployments(conn: Connection) -> AsyncIterator[Sequence[Event]]:
    """Every deployment's state, in pages. Nobody changes one between its being read and its being in the outbox."""
    after = BEFORE_ALL
    while rows := await store.lock_deployments_after(conn, after, PAGE):
        yield [DeploymentRepublished(deployment=state_of(row)) for row in rows]
        after = rows[-1]["id"]


async def republish_subscriptions(conn: Connection) -> AsyncIterator[Sequence[Event]]:
    """Every subscription's state, in pages. Nobody changes one between its being read and its being in the outbox."""
    after = BEFORE_ALL
    while ids := await subscription_store.lock_subscriptions_after(conn, after, PAGE):
        yield [SubscriptionRepublished(subscription=state) for state in await subscription_store.list_states(conn, ids)]
        after = ids[-1]
