"""What the catalog is asked, and what it tells: plans with their versions, addons, and prices of what no plan covers.

The catalog belongs to the deployments service.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field, ValidationInfo, field_validator

from contracts import topics
from contracts.deployments import COMMANDS
from contracts.kinds import BillingKind
from contracts.message import Command, Contract, Event
from contracts.money import Cents, Currency, Quantity, UnitPrice

PLANS = topics.events("deployments", "plans", "plan id")
ADDONS = topics.events("deployments", "addons", "addon id")
RESOURCE_PRICES = topics.events("deployments", "resource-prices", "billing kind")

Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$", examples=["studio"])]
"""The name by which callers choose a plan or an addon. It never changes."""

Label = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]

_ALL = "catalog"  # one key: what is done to the catalog is done in the order in which it was asked for


class VersionStatus(StrEnum):
    """`draft`: not on sale yet. `active`: what a new subscriber gets. `retired`: its subscribers keep it."""

    DRAFT = "draft"
    ACTIVE = "active"
    RETIRED = "retired"


class PlanItem(Contract):
    """What a plan includes of a billing kind in a period, and what happens beyond it."""

    resource_kind: BillingKind
    included_qty: Quantity
    overage_unit: Annotated[Quantity, Field(ge=1)] = Field(
        default=1, description="Overage is sold in whole multiples of so many units."
    )
    overage_price_cents: Cents = Field(default=0, description="For each `overage_unit`.")
    hard_cap_qty: Quantity | None = Field(default=None, description="Beyond this, use is flagged. None: no limit.")

    @field_validator("hard_cap_qty")
    @classmethod
    def _not_below_what_is_included(cls, cap: int | None, info: ValidationInfo) -> int | None:
        included = info.data.get("included_qty", 0)
        if cap is not None and cap < included:
            raise ValueError(f"must not be below included_qty, which is {included}")
        return cap


def _each_kind_once(items: list[PlanItem]) -> list[PlanItem]:
    kinds = [item.resource_kind for item in items]
    if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        raise ValueError(f"names {', '.join(twice)} more than once")
    return items


PlanItems = Annotated[list[PlanItem], AfterValidator(_each_kind_once)]


class PlanVersion(Contract):
    """A plan's terms. Once published they never change: raising a price is publishing another version."""

    id: UUID
    number: int = Field(ge=1, description="1, 2, 3, ... within the plan.")
    status: VersionStatus
    base_price_cents: Cents = Field(description="For each period, whole: it is never divided by days.")
    currency: Currency
    items: list[PlanItem]
    created_at: datetime
    published_at: datetime | None
    retired_at: datetime | None


class Plan(Contract):
    """A plan with all its versions, the oldest first. At most one of them is active."""

    id: UUID
    code: Code
    name: str
    versions: list[PlanVersion]
    created_at: datetime
    version: int


class Addon(Contract):
    """What can be bought beside a plan: so many units of a billing kind for each period."""

    id: UUID
    code: Code
    name: str
    resource_kind: BillingKind
    qty: Quantity
    price_cents: Cents
    currency: Currency
    created_at: datetime
    version: int


class ResourcePrice(Contract):
    """The price of a unit from a time on, until the next one begins."""

    effective_from: datetime
    unit_price_cents: UnitPrice
    currency: Currency


class ResourcePrices(Contract):
    """All prices that a billing kind ever had or will have where no plan covers it, the oldest first."""

    resource_kind: BillingKind
    prices: list[ResourcePrice]
    version: int


class PlanEvent(Event):
    """Any event about a plan. Subscribe to this class to project plans."""

    TOPIC: ClassVar[str] = PLANS

    plan: Plan

    def key(self) -> str:
        return str(self.plan.id)

    def sequence(self) -> int:
        return self.plan.version


class PlanCreated(PlanEvent):
    """A plan was named. It is not on sale before a version of it is published."""

    TYPE: ClassVar[str] = "arcadia.deployments.plan-created.v1"


class PlanVersionDrafted(PlanEvent):
    """Terms were written down for a plan. They bind nobody yet."""

    TYPE: ClassVar[str] = "arcadia.deployments.plan-version-drafted.v1"

    plan_version_id: UUID


class PlanVersionPublished(PlanEvent):
    """A version went on sale, and the one before it, if any, was retired. Nobody who is subscribed is repriced."""

    TYPE: ClassVar[str] = "arcadia.deployments.plan-version-published.v1"

    plan_version_id: UUID
    retired_version_id: UUID | None = None


class PlanRepublished(PlanEvent):
    """Nothing happened: the state is told again, for whoever rebuilds (`arcadia republish deployments`)."""

    TYPE: ClassVar[str] = "arcadia.deployments.plan-republished.v1"


class AddonEvent(Event):
    """Any event about an addon. Subscribe to this class to project addons."""

    TOPIC: ClassVar[str] = ADDONS

    addon: Addon

    def key(self) -> str:
        return str(self.addon.id)

    def sequence(self) -> int:
        return self.addon.version


class AddonCreated(AddonEvent):
    """An addon went on sale."""

    TYPE: ClassVar[str] = "arcadia.deployments.addon-created.v1"


class AddonRepublished(AddonEvent):
    """Nothing happened: the state is told again, for whoever rebuilds (`arcadia republish deployments`)."""

    TYPE: ClassVar[str] = "arcadia.deployments.addon-republished.v1"


class ResourcePriceEvent(Event):
    """Any event about the prices of a billing kind. Subscribe to this class to project prices."""

    TOPIC: ClassVar[str] = RESOURCE_PRICES

    resource_prices: ResourcePrices

    def key(self) -> str:
        return self.resource_prices.resource_kind

    def sequence(self) -> int:
        return self.resource_prices.version


class ResourcePriceSet(ResourcePriceEvent):
    """A billing kind got a price from a time on."""

    TYPE: ClassVar[str] = "arcadia.deployments.resource-price-set.v1"


class ResourcePricesRepublished(ResourcePriceEvent):
    """Nothing happened: the state is told again, for whoever rebuilds (`arcadia republish deployments`)."""

    TYPE: ClassVar[str] = "arcadia.deployments.resource-prices-republished.v1"


class CatalogCommand(Command):
    """Something that operators ask of the catalog."""

    TOPIC: ClassVar[str] = COMMANDS

    def key(self) -> str:
        return _ALL


class CreatePlan(CatalogCommand):
    """Name a plan. Refused with `plan_exists` where the code is taken."""

    TYPE: ClassVar[str] = "arcadia.deployments.create-plan.v1"

    code: Code
    name: Label


class DraftPlanVersion(CatalogCommand):
    """Write down terms for a plan. Refused with `plan_not_found`."""

    TYPE: ClassVar[str] = "arcadia.deployments.draft-plan-version.v1"

    plan_code: Code
    base_price_cents: Cents
    currency: Currency
    items: PlanItems


class PublishPlanVersion(CatalogCommand):
    """Put a draft on sale and retire the version before it.

    One that is active already stays so, and nothing is told. Refused with `version_not_found`, or `version_retired`.
    """

    TYPE: ClassVar[str] = "arcadia.deployments.publish-plan-version.v1"

    plan_version_id: UUID


class CreateAddon(CatalogCommand):
    """Put an addon on sale. Refused with `addon_exists` where the code is taken."""

    TYPE: ClassVar[str] = "arcadia.deployments.create-addon.v1"

    code: Code
    name: Label
    resource_kind: BillingKind
    qty: Annotated[Quantity, Field(ge=1)]
    price_cents: Cents
    currency: Currency


class SetResourcePrice(CatalogCommand):
    """Say what a unit of a kind costs from a time on (default: now), where no plan covers it.

    Refused with `price_exists` where another price begins at that very time.
    """

    TYPE: ClassVar[str] = "arcadia.deployments.set-resource-price.v1"

    resource_kind: BillingKind
    unit_price_cents: UnitPrice
    currency: Currency
    effective_from: AwareDatetime | None = None


class MigrateSubscriptions(CatalogCommand):
    """Move all who are still on a retired version of a plan to its active one; with `dry_run` only tell what it means.

    It counts for the period that is running, as every change of a plan does. Refused with `plan_not_found`,
    `no_active_version`, `version_not_active` or `currency_mismatch`.
    """

    TYPE: ClassVar[str] = "arcadia.deployments.migrate-subscriptions.v1"

    plan_code: Code
    from_version_id: UUID | None = Field(default=None, description="Those of this version alone. None: of all retired.")
    to_version_id: UUID | None = Field(
        default=None, description="The version that the dry run spoke of: to no other that was published since."
    )
    dry_run: bool = False
