"""What the deployments service is asked of its deployments' subscriptions, and what it tells of them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from contracts import topics
from contracts.deployments import COMMANDS, DeploymentCommand, Reason
from contracts.kinds import BillingKind
from contracts.message import Command, Contract, Event
from contracts.money import Cents, Currency, Quantity

SUBSCRIPTIONS = topics.events("deployments", "subscriptions", "subscription id")


class SubscriptionStatus(StrEnum):
    """`paused` while its deployment is; `cancelled` for good."""

    ACTIVE = "active"
    PAUSED = "paused"
    CANCELLED = "cancelled"


class AddonSummary(Contract):
    """An addon of a subscription, with quantity and price as they were when it was attached."""

    addon_id: UUID
    resource_kind: BillingKind
    qty: Quantity
    price_cents: Cents


class SubscriptionSummary(Contract):
    """A subscription as callers of the API get it."""

    id: UUID
    status: SubscriptionStatus
    plan_version_id: UUID
    current_period_start: datetime
    current_period_end: datetime = Field(description="When the next period begins.")
    trial_ends_at: datetime | None
    addons: list[AddonSummary]


class SubscribedAddon(AddonSummary):
    """An addon of a subscription. `detached_at` None: it is attached."""

    id: UUID
    code: str
    currency: Currency
    attached_at: datetime
    detached_at: datetime | None


class Period(Contract):
    """A period of a subscription: `start` belongs to it, `end` to the next.

    The version is the one that was bound when the period ended, or is now: a change of plan counts for all of it.
    """

    start: datetime
    end: datetime
    plan_version_id: UUID


class Subscription(Contract):
    """A deployment's subscription: the version of a plan that it is bound to, with its addons."""

    id: UUID
    deployment_id: UUID
    tenant_id: str
    status: SubscriptionStatus
    plan_code: str
    plan_version_id: UUID
    current_period_start: datetime
    current_period_end: datetime
    trial_ends_at: datetime | None
    cancel_at: datetime | None = Field(description="The end of the period with which it is to be cancelled.")
    started_at: datetime
    ended_at: datetime | None
    addons: list[SubscribedAddon] = Field(description="Those that were attached in a period of `periods`.")
    periods: list[Period] = Field(description="The current one, or the last of a cancelled one, and the one before it.")
    version: int


class Amounts(Contract):
    """A number before and after. None: there was, or will be, none."""

    old: int | None
    new: int | None


class ItemChange(Contract):
    """What changes in a billing kind. What stays as it is has the same `old` and `new`."""

    resource_kind: BillingKind
    included_qty: Amounts
    overage_unit: Amounts
    overage_price_cents: Amounts
    hard_cap_qty: Amounts


class PlanChange(Contract):
    """What a change from one version to another means. It counts for the whole of the current period."""

    from_plan_code: str
    from_version_id: UUID
    to_plan_code: str
    to_version_id: UUID
    currency: Currency
    base_price_cents: Amounts
    items: list[ItemChange] = Field(description="The kinds in which anything changes.")
    effective_from: datetime | None = Field(
        description="When the current period began. None where it is told for several subscriptions at once."
    )


class SubscriptionEvent(Event):
    """Any event about a subscription. Subscribe to this class to project subscriptions."""

    TOPIC: ClassVar[str] = SUBSCRIPTIONS

    subscription: Subscription
    reason: str | None = Field(default=None, description="Why: a word of this service's, or what somebody gave.")
    actor: str | None = Field(default=None, description="Whose doing it is; `scheduler`: the clock's.")

    def key(self) -> str:
        return str(self.subscription.id)

    def sequence(self) -> int:
        return self.subscription.version

    def tenant(self) -> str | None:
        return self.subscription.tenant_id


class SubscriptionStarted(SubscriptionEvent):
    """A deployment was subscribed to a plan."""

    TYPE: ClassVar[str] = "arcadia.deployments.subscription-started.v1"


class SubscriptionPlanChanged(SubscriptionEvent):
    """A subscription is bound to another version, of the same plan or another."""

    TYPE: ClassVar[str] = "arcadia.deployments.subscription-plan-changed.v1"

    change: PlanChange


class SubscriptionAddonAttached(SubscriptionEvent):
    """An addon was attached, at the price that it had in the catalog then."""

    TYPE: ClassVar[str] = "arcadia.deployments.subscription-addon-attached.v1"

    addon_id: UUID


class SubscriptionAddonDetached(SubscriptionEvent):
    """An addon was detached."""

    TYPE: ClassVar[str] = "arcadia.deployments.subscription-addon-detached.v1"

    addon_id: UUID


class SubscriptionPeriodOpened(SubscriptionEvent):
    """A period ended and the next one began. After downtime each missed period is told, one by one."""

    TYPE: ClassVar[str] = "arcadia.deployments.subscription-period-opened.v1"


class SubscriptionTrialEnded(SubscriptionEvent):
    """A trial is over."""

    TYPE: ClassVar[str] = "arcadia.deployments.subscription-trial-ended.v1"


class SubscriptionPaused(SubscriptionEvent):
    """A subscription is paused, with its deployment. Its periods go on."""

    TYPE: ClassVar[str] = "arcadia.deployments.subscription-paused.v1"


class SubscriptionResumed(SubscriptionEvent):
    """A subscription is paused no more, nor is its deployment."""

    TYPE: ClassVar[str] = "arcadia.deployments.subscription-resumed.v1"


class SubscriptionCancellationRequested(SubscriptionEvent):
    """A subscription is to be cancelled with the end of its period."""

    TYPE: ClassVar[str] = "arcadia.deployments.subscription-cancellation-requested.v1"


class SubscriptionCancellationWithdrawn(SubscriptionEvent):
    """A subscription that was to be cancelled goes on."""

    TYPE: ClassVar[str] = "arcadia.deployments.subscription-cancellation-withdrawn.v1"


class SubscriptionCancelled(SubscriptionEvent):
    """A subscription is over, and with it its deployment's life."""

    TYPE: ClassVar[str] = "arcadia.deployments.subscription-cancelled.v1"


class SubscriptionRepublished(SubscriptionEvent):
    """Nothing happened: the state is told again, for whoever rebuilds (`arcadia republish deployments`)."""

    TYPE: ClassVar[str] = "arcadia.deployments.subscription-republished.v1"


class Subscribe(DeploymentCommand):
    """Subscribe a deployment to a plan's active version, with addons.

    Refused with `plan_or_version_not_found`, `subscription_exists`, `deployment_ended`, `addon_not_found` or
    `currency_mismatch`; then nothing is done at all.
    """

    TYPE: ClassVar[str] = "arcadia.deployments.subscribe.v1"

    plan_code: str = Field(max_length=255)
    addons: list[str] = Field(default_factory=list, max_length=100, description="Codes, each once.")
    trial_ends_at: AwareDatetime | None = Field(
        default=None, description="Operators only. None: there is no trial, and one of the deployment's ends."
    )


class AttachAddon(DeploymentCommand):
    """Attach an addon to a deployment's subscription, at today's price.

    Refused with `subscription_not_found`, `subscription_cancelled`, `addon_not_found`, `addon_attached` or
    `currency_mismatch`.
    """

    TYPE: ClassVar[str] = "arcadia.deployments.attach-addon.v1"

    code: str = Field(max_length=255)


class DetachAddon(DeploymentCommand):
    """Detach an addon. Refused with `subscription_not_found`, `subscription_cancelled` or `addon_not_attached`."""

    TYPE: ClassVar[str] = "arcadia.deployments.detach-addon.v1"

    addon_id: UUID


class ChangePlanVersion(DeploymentCommand):
    """Bind a subscription to a plan's active version, or to that version; with `dry_run` only tell what that means.

    One of the two is given. Refused with `subscription_not_found`, `subscription_cancelled`,
    `plan_or_version_not_found`, `version_not_active` (a tenant may take active versions only) or `currency_mismatch`.
    """

    TYPE: ClassVar[str] = "arcadia.deployments.change-plan-version.v1"

    plan_code: str | None = Field(default=None, max_length=255)
    plan_version_id: UUID | None = None
    dry_run: bool = False


class CancelSubscription(DeploymentCommand):
    """Cancel a subscription and with it the deployment: now, or with the end of the period.

    Refused with `subscription_not_found`, `subscription_cancelled`, or as a transition to `cancelled` would be.
    """

    TYPE: ClassVar[str] = "arcadia.deployments.cancel-subscription.v1"

    at: Literal["now", "period_end"]
    reason: Reason | None = None


class UncancelSubscription(DeploymentCommand):
    """Let a subscription go on that was to be cancelled with the end of its period.

    Refused with `subscription_not_found`, `subscription_cancelled` or `not_to_be_cancelled`.
    """

    TYPE: ClassVar[str] = "arcadia.deployments.uncancel-subscription.v1"


class RollPeriods(Command):
    """Open every period that has begun by a time, end the trials and apply the cancellations that are due by then."""

    TYPE: ClassVar[str] = "arcadia.deployments.roll-periods.v1"
    TOPIC: ClassVar[str] = COMMANDS

    until: AwareDatetime

    def key(self) -> str:
        return "periods"
