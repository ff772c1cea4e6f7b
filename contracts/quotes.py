"""What the billing service tells of what deployments owe, and is asked about it: quotes, limits, exchange rates."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, Field, model_validator

from contracts import topics
from contracts.billing import COMMANDS
from contracts.catalog import Code
from contracts.deployments import Authority
from contracts.kinds import BillingKind
from contracts.message import Command, Contract, Event
from contracts.money import Currency, Quantity, Told, UnitPrice, Used

QUOTES = topics.events("billing", "quotes", "deployment id and period")
LIMITS = topics.events("billing", "limits", "deployment id, period, billing kind and limit")
FX_RATES = topics.events("billing", "fx-rates", "both currencies and the day")

REPORTED_IN = Currency.AUD
"""The currency that revenue and cost are compared in."""


def _first_of_month(day: date) -> date:
    if day.day != 1 or not 2000 <= day.year < 2100:
        raise ValueError("must be the first day of a month, between the years 2000 and 2100")
    return day


BillingPeriod = Annotated[date, AfterValidator(_first_of_month)]
"""A calendar month in UTC, by its first day."""


class Flag(StrEnum):
    """What is to be known of a line beside its amount. Stored and sent as its value."""

    BEYOND_CAP = "beyond_cap"
    NO_PRICE = "no_price"
    OTHER_CURRENCY = "other_currency"
    TRIAL = "trial"


Owed = Annotated[int, Field(ge=0, le=2**53 - 1)]
"""Cents that are owed; no more than JSON's readers take for a whole number: more is somebody's mistake."""


class QuoteLine(Contract):
    """One figure of a quote. What a type of line does not have is None.

    `base`: the plan's price for the period, whole. `usage`: what was used of a billing kind; beyond what is included it
    costs, by the plan in whole `overage_unit`s, or, of a kind that no plan item covers, by the unit at the price that
    held when the day of its use began, with a line for each such price. `addon`: the price of one for the period.
    Amounts are in cents of the quote's currency, each rounded half up.
    """

    type: Literal["base", "usage", "addon"]
    resource_kind: BillingKind | None = None
    amount_cents: Owed
    flags: list[Flag] = Field(
        default_factory=list,
        description="`beyond_cap`: more was used than the plan's hard cap allows, or than is included where that is "
        "more. `no_price`: used, but nobody has said what it costs; it counts for nothing. `other_currency`: so does "
        "what is priced in another currency. `trial`: the whole period is one.",
    )
    included: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="By the plan and by addons together."
    )
    used: Told | None = None
    used_rounded: str | None = Field(default=None, description="The same for people, with two decimals, half up.")
    overage: Told | None = Field(default=None, description="What was used beyond what is included.")
    overage_unit: Quantity | None = None
    overage_units: int | None = Field(default=None, description="So many begun units are beyond.")
    price_cents: Told | None = Field(
        default=None, description="Of the period, of each begun overage unit, or of a single unit."
    )
    price_since: datetime | None = Field(default=None, description="Which of a kind's prices it is.")
    hard_cap_qty: Quantity | None = None
    addon_id: UUID | None = None
    code: str | None = Field(default=None, description="The plan's, or the addon's.")
    qty: Quantity | None = Field(default=None, description="So much of the kind does the addon include.")
    how: str = Field(description="The same as a sentence, with how it was rounded.")


class Quote(Contract):
    """What a deployment owes for a month, as far as it is known: the sum of its lines.

    Of a month that is not over it is what is owed by now. It changes when usage is corrected, or the month's terms.
    """

    deployment_id: UUID
    tenant_id: str
    period: BillingPeriod
    currency: Currency
    plan_code: Code
    plan_version_id: UUID
    plan_version: int = Field(ge=1, description="The number of the plan's version.")
    lines: list[QuoteLine]
    total_cents: Owed
    quoted_at: datetime = Field(description="When it last changed.")
    version: int


def quote_key(deployment_id: UUID, period: date) -> str:
    """The key of a deployment's month."""
    return f"{deployment_id}:{period:%Y-%m}"


class QuoteEvent(Event):
    """Any event about a quote. Subscribe to this class to project quotes."""

    TOPIC: ClassVar[str] = QUOTES

    quote: Quote

    def key(self) -> str:
        return quote_key(self.quote.deployment_id, self.quote.period)

    def sequence(self) -> int:
        return self.quote.version

    def tenant(self) -> str | None:
        return self.quote.tenant_id


class QuoteChanged(QuoteEvent):
    """A deployment's first quote for a month, or another one."""

    TYPE: ClassVar[str] = "arcadia.billing.quote-changed.v1"

    before_cents: int | None = Field(description="The total before; None where there was none.")


class QuoteRepublished(QuoteEvent):
    """Nothing happened: the state is told again, for whoever rebuilds (`arcadia republish billing`)."""

    TYPE: ClassVar[str] = "arcadia.billing.quote-republished.v1"


class Limit(StrEnum):
    """Up to where use may go. `soft_80` and `soft_100`: 80 and 100 % of what is included; `hard_cap`: the plan's."""

    SOFT_80 = "soft_80"
    SOFT_100 = "soft_100"
    HARD_CAP = "hard_cap"


def limit_key(deployment_id: UUID, period: date, resource_kind: str, limit: str) -> str:
    """The key of a limit of a deployment's month."""
    return f"{quote_key(deployment_id, period)}:{resource_kind}:{limit}"


class LimitReached(Event):
    """A deployment's use of a kind has reached a limit: told once for each month, whatever is corrected afterwards."""

    TYPE: ClassVar[str] = "arcadia.billing.limit-reached.v1"
    TOPIC: ClassVar[str] = LIMITS

    deployment_id: UUID
    tenant_id: str
    period: BillingPeriod
    resource_kind: BillingKind
    limit: Limit
    at: Annotated[int, Field(ge=0)] = Field(description="What 100 %, or the cap, is.")
    used: Used
    reached_at: datetime

    def key(self) -> str:
        return limit_key(self.deployment_id, self.period, self.resource_kind, self.limit)

    def sequence(self) -> int:
        return 1

    def tenant(self) -> str | None:
        return self.tenant_id


class FxRate(Contract):
    """What one unit of `from_currency` is in `to_currency`, from a day (UTC) on until the next rate begins."""

    from_currency: Currency
    to_currency: Currency
    effective_from: date
    rate: Annotated[UnitPrice, Field(gt=0)]
    actor: str | None
    set_at: datetime
    version: int


class FxRateSet(Event):
    """An operator has said what a currency is worth."""

    TYPE: ClassVar[str] = "arcadia.billing.fx-rate-set.v1"
    TOPIC: ClassVar[str] = FX_RATES

    fx_rate: FxRate
    before: UnitPrice | None = Field(default=None, description="What that day's rate was said to be before.")

    def key(self) -> str:
        return f"{self.fx_rate.from_currency}:{self.fx_rate.to_currency}:{self.fx_rate.effective_from}"

    def sequence(self) -> int:
        return self.fx_rate.version


class FxRateRepublished(FxRateSet):
    """Nothing happened: the state is told again, for whoever rebuilds (`arcadia republish billing`)."""

    TYPE: ClassVar[str] = "arcadia.billing.fx-rate-republished.v1"


class SetFxRate(Command):
    """Say what a currency is worth in the one that margins are told in, from a day on.

    Of a day that has a rate, it becomes this one. Result: `fx_rate`.
    """

    TYPE: ClassVar[str] = "arcadia.billing.set-fx-rate.v1"
    TOPIC: ClassVar[str] = COMMANDS

    from_currency: Currency
    to_currency: Currency = REPORTED_IN
    effective_from: Annotated[date, Field(ge=date(2000, 1, 1), lt=date(2100, 1, 1))]
    rate: Annotated[UnitPrice, Field(gt=Decimal(0))]

    def key(self) -> str:
        return f"{self.from_currency}:{self.to_currency}"

    @model_validator(mode="after")
    def _of_two(self) -> Self:
        if self.from_currency == self.to_currency or self.to_currency != REPORTED_IN:
            raise ValueError(f"a rate is of another currency, in {REPORTED_IN}")
        return self


class PreviewQuote(Command):
    """Tell what a deployment would owe for its current month with another plan or other addons. Nothing changes.

    Without a plan the subscription's version stays. An addon that is detached still counts for the month in which it
    was attached. Result: `quote` (as it would be), `now` (as it is; null without a subscription), `difference_cents`,
    and `next_month_cents` (what a whole month costs then, before any usage). Refused with `not_found`, `forbidden`,
    `subscription_not_found` (then a plan is needed), `subscription_cancelled`, `plan_or_version_not_found`,
    `version_not_active`, `addon_not_found`, `addon_attached`, `addon_not_attached` or `currency_mismatch`.
    """

    TYPE: ClassVar[str] = "arcadia.billing.preview-quote.v1"
    TOPIC: ClassVar[str] = COMMANDS

    deployment_id: UUID
    authority: Authority
    plan_code: str | None = Field(default=None, max_length=255)
    plan_version_id: UUID | None = None
    attach: list[str] = Field(default_factory=list, max_length=100, description="Codes of addons, each once.")
    detach: list[UUID] = Field(default_factory=list, max_length=100, description="Ids of addons, each once.")

    def key(self) -> str:
        return str(self.deployment_id)

    @model_validator(mode="after")
    def _clear(self) -> Self:
        if self.plan_code and self.plan_version_id:
            raise ValueError("a plan's active version is meant, or that version, not both")
        if len(set(self.attach)) < len(self.attach) or len(set(self.detach)) < len(self.detach):
            raise ValueError("an addon is named more than once")
        return self
