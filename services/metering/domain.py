"""What accrues of a resource, and when: pure rules of metering."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple, TypeVar
from uuid import UUID

from contracts.inventory import LinkInterval, PowerInterval, Resource, SizeInterval, created_at
from contracts.kinds import BillingKind, ResourceKind
from contracts.metering import Granularity
from contracts.times import midnight, month_after

KINDS: Mapping[ResourceKind, BillingKind] = {
    ResourceKind.DROPLET: BillingKind.DROPLET_HOURS,
    ResourceKind.SPACES_BUCKET: BillingKind.SPACES_GB_MONTH,
    ResourceKind.SNAPSHOT: BillingKind.SNAPSHOT_GB_MONTH,
    ResourceKind.DROPLET_BACKUP: BillingKind.BACKUP_GB_MONTH,
    ResourceKind.DNS_ZONE: BillingKind.DNS_ZONES,
}
"""What is counted of which resources. The other kinds are not metered."""

BY_THE_HOUR = frozenset({BillingKind.DROPLET_HOURS})
"""What accrues by the hour. All else accrues by the month, day by day."""

RETENTION_DAYS = 400
_ON = "active"
_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
_PLACES = Decimal("1e-9")


@dataclass(frozen=True)
class Segment:
    """Whose a resource was from `since` on, until `until` (None: still), and how much of it there was.

    `amount`: what accrues in an hour, of a kind that is counted by the hour; else in a whole month. None where nobody
    knows how large it was.
    """

    since: datetime
    until: datetime | None
    deployment_id: UUID
    amount: Decimal | None

    def holds_at(self, time: datetime) -> bool:
        """Whether it tells of a moment."""
        return self.since <= time and (self.until is None or time < self.until)


_Interval = TypeVar("_Interval", LinkInterval, PowerInterval, SizeInterval)


def segments_of(resource: Resource, begin: datetime) -> list[Segment]:
    """What a resource's state tells of the time from `begin` on, oldest first; what is continuous is one.

    A link may begin before the resource was first seen: until then it counts as it was seen first, since its creation.
    """
    kind = KINDS.get(resource.kind)
    if kind is None:
        return []
    found: list[Segment] = []
    for since, until in _between(resource, begin):
        at = max(since, resource.first_seen_at) if _existed(resource, since) else since
        link, power = _holding(resource.links, since), _holding(resource.power, at)
        if link is None or power is None:
            continue
        amount = _amount(kind, power, _holding(resource.sizes, at))
        segment = Segment(since, until, link.deployment_id, amount)
        found = [*found[:-1], *_joined(found[-1], segment)] if found else [segment]
    return found


def _existed(resource: Resource, at: datetime) -> bool:
    """Whether a resource was there before it was seen: if the provider does not deny it, who linked it knows."""
    created = created_at(resource.attrs)
    return created is None or created <= at


def _between(resource: Resource, begin: datetime) -> Iterator[tuple[datetime, datetime | None]]:
    """The times, from `begin` on, within which nothing changes."""
    told: Sequence[LinkInterval | PowerInterval | SizeInterval] = [*resource.links, *resource.power, *resource.sizes]
    changes = {time for each in told for time in (each.since, each.until) if time} | {resource.first_seen_at}
    if created := created_at(resource.attrs):
        changes.add(created)
    times = [begin, *sorted(time for time in changes if time > begin)]
    yield from zip(times, [*times[1:], None], strict=True)


def _holding(intervals: Sequence[_Interval], at: datetime) -> _Interval | None:
    return next((each for each in intervals if each.since <= at and (each.until is None or at < each.until)), None)


def _amount(kind: BillingKind, power: PowerInterval, size: SizeInterval | None) -> Decimal | None:
    match kind:
        case BillingKind.DROPLET_HOURS:
            return Decimal(power.state == _ON)
        case BillingKind.DNS_ZONES:
            return Decimal(1)
        case _:
            return None if size is None or size.size_gb is None else Decimal(str(size.size_gb)).quantize(_PLACES)


def _joined(one: Segment, next: Segment) -> list[Segment]:
    """Two that follow one another, or the one that they are."""
    if one.until == next.since and (one.deployment_id, one.amount) == (next.deployment_id, next.amount):
        return [Segment(one.since, next.until, one.deployment_id, one.amount)]
    return [one, next]


def with_told(known: Sequence[Segment], told: Sequence[Segment], begin: datetime) -> list[Segment]:
    """What is known of a resource, where a newer state has told all of the time from `begin` on."""
    found: list[Segment] = []
    for each in known:
        if each.since < begin:
            until = begin if each.until is None or each.until > begin else each.until
            found.append(Segment(each.since, until, each.deployment_id, each.amount))
    if found and told:
        return [*found[:-1], *_joined(found[-1], told[0]), *told[1:]]
    return [*found, *told]


class Span(NamedTuple):
    """From `since` (included) until `until`; None: without an end."""

    since: datetime
    until: datetime | None


def difference(one: Sequence[Segment], other: Sequence[Segment]) -> Span | None:
    """The time within which two accounts of a resource differ; None where they do nowhere."""
    found: Span | None = None
    times = sorted({time for each in (*one, *other) for time in (each.since, each.until) if time})
    for since, until in zip(times, [*times[1:], None], strict=False):  # (where there are no times, there is a None)
        if _account(one, since) != _account(other, since):
            found = Span(found.since if found else since, until)
    return found


def _account(segments: Sequence[Segment], at: datetime) -> tuple[UUID, Decimal | None] | None:
    holding = next((each for each in segments if each.holds_at(at)), None)
    return (holding.deployment_id, holding.amount) if holding else None


class Slot(NamedTuple):
    """A period for which a kind is observed, at its end.

    What accrues by the hour, accrues `hours` times; else it is the `nth` of `parts` equal parts of the month.
    """

    resource_kind: BillingKind
    granularity: Granularity
    start: datetime
    end: datetime
    hours: int | None
    nth: int
    parts: int


def slots_of(kind: BillingKind, granularity: Granularity, day: date) -> list[Slot]:
    """The periods of a day for which a kind is observed."""
    start = midnight(day)
    length = _DAY if granularity == Granularity.DAILY else _HOUR
    count = _DAY // length
    hours = length // _HOUR if kind in BY_THE_HOUR else None
    parts, before = days_in_month(day) * count, (day.day - 1) * count
    return [
        Slot(kind, granularity, start + length * n, start + length * (n + 1), hours, before + n + 1, parts)
        for n in range(count)
    ]


def days_in_month(day: date) -> int:
    """28 to 31."""
    return (month_after(day) - day.replace(day=1)).days
