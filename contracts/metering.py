"""What the metering service is asked, and what it tells: how much each deployment used, day by day."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, ClassVar, Self
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from contracts import topics
from contracts.kinds import REPORTED_KINDS, BillingKind
from contracts.message import Command, Contract, Event
from contracts.money import MOST_UNITS, Used

# Kept for the current and the previous month: what was reported in them is known from here alone.
COMMANDS = topics.commands("metering", "the day, the billing kind, or the tenant of reports", timedelta(days=63))
CONFIGS = topics.events("metering", "configs", "billing kind and day")
USAGE = topics.events("metering", "usage", "deployment id, billing kind and day")
topics.dead_letters("metering")


MOST_DAYS = 400


class Granularity(StrEnum):
    """How finely a kind is observed: once at the end of each day, or of each hour, in UTC."""

    DAILY = "daily"
    HOURLY = "hourly"


class DayOfUsage(Contract):
    """What a deployment used of a billing kind on one day, in UTC: the sum of all observations.

    `used` is 0 where what was observed first was corrected to nothing.
    """

    deployment_id: UUID
    tenant_id: str | None = Field(description="The deployment's tenant; None while that is not known.")
    resource_kind: BillingKind
    day: date
    used: Used
    observations: int = Field(ge=0, description="So many are summed up.")
    version: int


def key_of(day: date, deployment_id: UUID, resource_kind: str) -> str:
    """The key of a deployment's day of a kind."""
    return f"{deployment_id}:{resource_kind}:{day}"


class UsageEvent(Event):
    """Any event about a day of usage. Subscribe to this class to project usage."""

    TOPIC: ClassVar[str] = USAGE

    usage: DayOfUsage

    def key(self) -> str:
        return key_of(self.usage.day, self.usage.deployment_id, self.usage.resource_kind)

    def sequence(self) -> int:
        return self.usage.version

    def tenant(self) -> str | None:
        return self.usage.tenant_id


class UsageMetered(UsageEvent):
    """A deployment's use of a kind on a day is known, or was corrected."""

    TYPE: ClassVar[str] = "arcadia.metering.usage-metered.v1"


class UsageRepublished(UsageEvent):
    """Nothing happened: the state is told again, for whoever rebuilds (`arcadia republish metering`)."""

    TYPE: ClassVar[str] = "arcadia.metering.usage-republished.v1"


class MeterDay(Command):
    """Observe what every attributed resource was on a day that is over (UTC).

    It begins when all is known that was on the bus about resources when the command came. Done again, it corrects what
    is known otherwise since, and keeps what was observed before. Result: `day`, `observations` (so many there are),
    `added`, `corrected`, `withdrawn`, and `unmeasured` (resources whose size nobody knows yet). Refused with
    `day_not_over`, or `day_forgotten` where it is past the retention.
    """

    TYPE: ClassVar[str] = "arcadia.metering.meter-day.v1"
    TOPIC: ClassVar[str] = COMMANDS

    day: date

    def key(self) -> str:
        return self.day.isoformat()


class MeterDays(Command):
    """Have all days metered from `since` on, until and without `until`, each by a `MeterDay` of its own.

    Result: `days` (so many were asked for). Refused with `day_not_over` where `until` is later than today (UTC).
    """

    TYPE: ClassVar[str] = "arcadia.metering.meter-days.v1"
    TOPIC: ClassVar[str] = COMMANDS

    since: date
    until: date

    def key(self) -> str:
        return self.since.isoformat()

    @model_validator(mode="after")
    def _of_some_days(self) -> Self:
        if not timedelta(0) < self.until - self.since <= timedelta(days=MOST_DAYS):
            raise ValueError(f"`until` must be after `since`, and by {MOST_DAYS} days at most")
        return self


class MeteringConfig(Contract):
    """How finely a kind is observed from a day on, until the next such day, and for how long that is kept."""

    resource_kind: BillingKind
    effective_from: date
    granularity: Granularity
    retention_days: int
    actor: str | None
    set_at: datetime
    version: int


class MeteringConfigSet(Event):
    """An operator has said how finely a kind is observed."""

    TYPE: ClassVar[str] = "arcadia.metering.metering-config-set.v1"
    TOPIC: ClassVar[str] = CONFIGS

    metering_config: MeteringConfig

    def key(self) -> str:
        return f"{self.metering_config.resource_kind}:{self.metering_config.effective_from}"

    def sequence(self) -> int:
        return self.metering_config.version


class MeteringConfigRepublished(MeteringConfigSet):
    """Nothing happened: the state is told again, for whoever rebuilds (`arcadia republish metering`)."""

    TYPE: ClassVar[str] = "arcadia.metering.metering-config-republished.v1"


class SetMeteringConfig(Command):
    """Say how finely a kind is observed, and for how long that is kept, from a day on (default: today, UTC).

    Result: `config`. Refused with `day_metered` where that day, or a later one, is metered already, and with
    `kind_is_reported` where what is reported, which counts by the day, is to be observed otherwise.
    """

    TYPE: ClassVar[str] = "arcadia.metering.set-metering-config.v1"
    TOPIC: ClassVar[str] = COMMANDS

    resource_kind: BillingKind
    granularity: Granularity
    retention_days: Annotated[int, Field(ge=62, le=36_500)] = Field(
        description="The current and the previous month stay in any case: 62 at least."
    )
    effective_from: date | None = None

    def key(self) -> str:
        return self.resource_kind


MOST_REPORTS = 500


def _reported(kind: BillingKind) -> BillingKind:
    if kind not in REPORTED_KINDS:
        raise ValueError(f"is metered from resources; reported are {', '.join(sorted(REPORTED_KINDS))}")
    return kind


def _of_these_times(time: datetime) -> datetime:
    if not 2000 <= time.year < 2100:
        raise ValueError("must be between the years 2000 and 2100")
    return time


Moment = Annotated[AwareDatetime, AfterValidator(_of_these_times)]
"""When something was used."""

ReportId = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
"""The reporter's name for a report, for good: the same one again is the same report."""


class UsageReport(Contract):
    """That a deployment used something which no resource shows.

    With `corrects`, what an earlier report said is put right: its quantity becomes this one's. The earlier one is kept,
    and so is each correction.
    """

    id: ReportId
    deployment_id: UUID
    resource_kind: Annotated[BillingKind, AfterValidator(_reported)]
    quantity: Annotated[Used, Field(lt=MOST_UNITS)]
    occurred_at: Moment = Field(description="It counts for the day (UTC) of this time.")
    corrects: ReportId | None = Field(default=None, description="The id of the first report about it.")


class RecordUsage(Command):
    """Take in reports of a tenant's usage, each once, however often it comes. Never refused as a whole.

    Result: `accepted`, `duplicates` (known already, word for word: nothing happens), and `rejected`, a list of `id`,
    `code` and more: `conflict` (the id is known with another content), `forbidden` (another tenant's deployment),
    `too_late` (before the beginning of the previous month), `in_the_future`, `original_unknown` and
    `original_differs` (of a correction: deployment, kind and day are the original's).
    """

    TYPE: ClassVar[str] = "arcadia.metering.record-usage.v1"
    TOPIC: ClassVar[str] = COMMANDS

    tenant_id: str
    reports: Annotated[list[UsageReport], Field(min_length=1, max_length=MOST_REPORTS)]

    def key(self) -> str:
        return self.tenant_id  # a correction must not pass what it corrects
