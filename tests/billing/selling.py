"""What others tell of terms and usage, as they would tell it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from contracts.catalog import (
    Addon,
    AddonCreated,
    Plan,
    PlanCreated,
    PlanItem,
    PlanVersion,
    ResourcePrice,
    ResourcePrices,
    ResourcePriceSet,
)
from contracts.kinds import BillingKind as Kind
from contracts.metering import DayOfUsage, UsageMetered
from contracts.subscriptions import Period, SubscribedAddon, Subscription, SubscriptionStarted
from contracts.times import midnight, month_after
from shared.ids import derived_id

SHOP, BLOG = derived_id("deployment", "shop"), derived_id("deployment", "blog")
LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)
MONTH = datetime.now(UTC).date().replace(day=1)
"""The current month."""


def version_id(code: str, number: int = 1) -> UUID:
    return derived_id("plan version", f"{code}-{number}")


def plan(code: str, base: int, *items: PlanItem, currency: str = "AUD", status: str = "active") -> PlanCreated:
    version = PlanVersion(
        id=version_id(code),
        number=1,
        status=status,
        base_price_cents=base,
        currency=currency,
        items=list(items),
        created_at=LONG_AGO,
        published_at=LONG_AGO,
        retired_at=None,
    )
    return PlanCreated(
        plan=Plan(id=derived_id("plan", code), code=code, name=code, versions=[version], created_at=LONG_AGO, version=1)
    )


def item(kind: Kind, included: int, unit: int = 1, price: int = 10, cap: int | None = None) -> PlanItem:
    return PlanItem(
        resource_kind=kind, included_qty=included, overage_unit=unit, overage_price_cents=price, hard_cap_qty=cap
    )


STUDIO = plan(
    "studio",
    5000,
    item(Kind.DROPLET_HOURS, 480, 24, 120, 1440),
    item(Kind.DNS_ZONES, 1, 1, 100),
    item(Kind.SNAPSHOT_GB_MONTH, 16, 1, 10),
)
PRO = plan("pro", 12_000, item(Kind.DROPLET_HOURS, 1440, 24, 100), item(Kind.SPACES_GB_MONTH, 250, 10, 30))


def addon(code: str, kind: Kind, qty: int, cents: int) -> AddonCreated:
    id = derived_id("addon", code)
    return AddonCreated(
        addon=Addon(
            id=id,
            code=code,
            name=code,
            resource_kind=kind,
            qty=qty,
            price_cents=cents,
            currency="AUD",
            created_at=LONG_AGO,
            version=1,
        )
    )


STORAGE = addon("storage_50gb", Kind.SPACES_GB_MONTH, 50, 750)
HOURS = addon("hours_240", Kind.DROPLET_HOURS, 240, 900)


def attached(
    told: AddonCreated, at: datetime = LONG_AGO, until: datetime | None = None, cents: int | None = None
) -> SubscribedAddon:
    each = told.addon
    return SubscribedAddon(
        addon_id=each.id,
        resource_kind=each.resource_kind,
        qty=each.qty,
        price_cents=each.price_cents if cents is None else cents,
        id=derived_id("attachment", f"{each.code} {at}"),
        code=each.code,
        currency=each.currency,
        attached_at=at,
        detached_at=until,
    )


def subscription(
    code: str = "studio",
    *addons: SubscribedAddon,
    deployment_id: UUID = SHOP,
    months: Sequence[tuple[date, str]] = (),
    version: int = 1,
    **more: Any,
) -> SubscriptionStarted:
    """A subscription. `months`: what each is bound to, by default the current one to this plan."""
    bound = months or [(MONTH, code)]
    periods = [
        Period(start=midnight(month), end=midnight(month_after(month)), plan_version_id=version_id(name))
        for month, name in bound
    ]
    state = {
        "id": derived_id("subscription", str(deployment_id)),
        "deployment_id": deployment_id,
        "tenant_id": "acme",
        "status": "active",
        "plan_code": code,
        "plan_version_id": version_id(code),
        "current_period_start": periods[0].start,
        "current_period_end": periods[0].end,
        "trial_ends_at": None,
        "cancel_at": None,
        "started_at": LONG_AGO,
        "ended_at": None,
        "addons": list(addons),
        "periods": periods,
        "version": version,
    }
    return SubscriptionStarted(subscription=Subscription.model_validate(state | more))


def usage(
    kind: Kind, day: int, qty: str, *, deployment_id: UUID = SHOP, month: date = MONTH, version: int = 1
) -> UsageMetered:
    """What was used on a day of a month."""
    told = DayOfUsage(
        deployment_id=deployment_id,
        tenant_id="acme",
        resource_kind=kind,
        day=month.replace(day=day),
        used=Decimal(qty),
        observations=1,
        version=version,
    )
    return UsageMetered(usage=told)


def prices(kind: Kind, *each: tuple[str, datetime], version: int = 1) -> ResourcePriceSet:
    told = [ResourcePrice(effective_from=at, unit_price_cents=Decimal(cents), currency="AUD") for cents, at in each]
    return ResourcePriceSet(resource_prices=ResourcePrices(resource_kind=kind, prices=told, version=version))
