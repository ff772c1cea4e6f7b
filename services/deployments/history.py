"""What happened to a subscription is written into its history and told on the bus, in the same transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from contracts.subscriptions import (
    PlanChange,
    SubscriptionAddonAttached,
    SubscriptionAddonDetached,
    SubscriptionCancellationRequested,
    SubscriptionCancellationWithdrawn,
    SubscriptionCancelled,
    SubscriptionEvent,
    SubscriptionPaused,
    SubscriptionPeriodOpened,
    SubscriptionPlanChanged,
    SubscriptionResumed,
    SubscriptionStarted,
    SubscriptionTrialEnded,
)
from services.deployments import subscription_store
from shared.db import Connection

EVENT_TYPES: Mapping[type[SubscriptionEvent], str] = {
    SubscriptionStarted: "started",
    SubscriptionPlanChanged: "plan_changed",
    SubscriptionAddonAttached: "addon_attached",
    SubscriptionAddonDetached: "addon_detached",
    SubscriptionPeriodOpened: "period_opened",
    SubscriptionTrialEnded: "trial_ended",
    SubscriptionPaused: "paused",
    SubscriptionResumed: "resumed",
    SubscriptionCancellationRequested: "cancellation_requested",
    SubscriptionCancellationWithdrawn: "cancellation_withdrawn",
    SubscriptionCancelled: "cancelled",
}
"""The value of `subscription_events.event_type` for each event."""

Said: TypeAlias = Mapping[str, PlanChange | UUID]
"""What an event says beside the subscription's state, by field."""


async def record(
    conn: Connection,
    event: type[SubscriptionEvent],
    subscription_ids: Sequence[UUID],
    now: datetime,
    *,
    actors: Sequence[str | None],
    said: Sequence[Said] = (),
    reasons: Sequence[str | None] = (),
) -> list[SubscriptionEvent]:
    """Append to the history of subscriptions that have changed; gives the events to be sent.

    `actors`, `said` and `reasons`: for each, in the same order.
    """
    if not subscription_ids:
        return []
    states = await subscription_store.list_states(conn, subscription_ids)
    said, reasons = said or [{}] * len(states), reasons or [None] * len(states)
    await subscription_store.insert_events(
        conn, EVENT_TYPES[event], states, said, reasons=reasons, actors=actors, now=now
    )
    return [
        event(subscription=state, reason=reason, actor=actor, **each)
        for state, reason, actor, each in zip(states, reasons, actors, said, strict=True)
    ]
