"""The rules: which state may follow which and who may ask for it, what time changes, what a change of plan means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from uuid import UUID

from contracts.catalog import PlanItem
from contracts.deployments import Authority, DeploymentState
from contracts.kinds import BillingKind
from contracts.money import Currency
from contracts.subscriptions import Amounts, ItemChange, PlanChange, SubscriptionStatus

_SAGA = frozenset({Authority.SAGA})
_OPERATOR = frozenset({Authority.OPERATOR})
_BILLING = _OPERATOR | {Authority.BILLING}
_TENANT = _OPERATOR | {Authority.TENANT}
_ANYBODY = _BILLING | _TENANT

S = DeploymentState

TRANSITIONS: Mapping[DeploymentState, Mapping[DeploymentState, AbstractSet[Authority]]] = {
    S.PROVISIONING: {S.ACTIVE: _SAGA, S.CANCELLED: _SAGA},
    S.TRIAL: {S.ACTIVE: _BILLING, S.PAST_DUE: _BILLING, S.PAUSED: _ANYBODY, S.CANCELLED: _ANYBODY},
    S.ACTIVE: {S.PAST_DUE: _BILLING, S.PAUSED: _TENANT, S.SUSPENDED: _BILLING, S.CANCELLED: _TENANT},
    S.PAST_DUE: {S.ACTIVE: _BILLING, S.SUSPENDED: _BILLING, S.CANCELLED: _BILLING},
    S.PAUSED: {S.ACTIVE: _TENANT, S.SUSPENDED: _OPERATOR, S.CANCELLED: _TENANT},
    S.SUSPENDED: {S.ACTIVE: _BILLING, S.CANCELLED: _BILLING},
    S.CANCELLED: {S.ARCHIVED: _OPERATOR},
    S.ARCHIVED: {},
}
"""From each state those that may follow it, and who may ask for it. `saga`: the one that provisions the deployment."""

ENDED = frozenset({S.CANCELLED, S.ARCHIVED})

_AGAINST_BILLING = frozenset({S.SUSPENDED, S.CANCELLED})


class Verdict(Enum):
    """What is said to the wish for a transition."""

    ALLOWED = auto()
    INVALID = auto()
    FOR_OTHERS = auto()
    HELD_BY_OPERATOR = auto()


def judge(
    from_state: DeploymentState,
    to_state: DeploymentState,
    authority: Authority,
    *,
    its_saga: bool = False,
    billing_action_suspended: bool = False,
) -> Verdict:
    """Whether somebody may bring a deployment from one state into another.

    `its_saga`: it is the deployment's own saga that asks. `billing_action_suspended`: as the deployment has it.
    """
    who = TRANSITIONS[from_state].get(to_state)
    if who is None:
        return Verdict.INVALID
    if authority not in who or (authority is Authority.SAGA and not its_saga):
        return Verdict.FOR_OTHERS
    if authority is Authority.BILLING and billing_action_suspended and to_state in _AGAINST_BILLING:
        return Verdict.HELD_BY_OPERATOR
    return Verdict.ALLOWED


_BY_RIGHT = (Authority.TENANT, Authority.BILLING, Authority.OPERATOR)


def takes_over(authority: Authority, asked_by: Authority) -> bool:
    """Whether a cancellation that was asked for becomes that of somebody who asks for it too: who has more right."""
    return _BY_RIGHT.index(authority) > _BY_RIGHT.index(asked_by)


_FOLLOWS: Mapping[DeploymentState, SubscriptionStatus] = {
    S.ACTIVE: SubscriptionStatus.ACTIVE,
    S.PAUSED: SubscriptionStatus.PAUSED,
    S.CANCELLED: SubscriptionStatus.CANCELLED,
}


def status_with(to_state: DeploymentState, status: SubscriptionStatus) -> SubscriptionStatus:
    """A subscription's status once its deployment went into a state. What is cancelled stays so."""
    return status if status is SubscriptionStatus.CANCELLED else _FOLLOWS.get(to_state, status)


def written(time: datetime) -> str:
    """A time as messages write it: in UTC, with Z."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True)
class Span:
    """A period: `start` belongs to it, `end` to the next."""

    start: datetime
    end: datetime


def month_of(time: datetime) -> Span:
    """The calendar month of a time, in UTC."""
    start = time.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return Span(start, _next_month(start))


def following(span: Span) -> Span:
    """The period after one: it ends with the calendar month in which it begins."""
    return Span(span.end, _next_month(span.end.replace(day=1, hour=0, minute=0, second=0, microsecond=0)))


def _next_month(first: datetime) -> datetime:
    return first.replace(year=first.year + 1, month=1) if first.month == 12 else first.replace(month=first.month + 1)


@dataclass(frozen=True)
class Standing:
    """What of a subscription time changes. `trial_ends_at` None: there is no trial, or its end was told."""

    period: Span
    trial_ends_at: datetime | None = None
    to_be_cancelled: bool = False


@dataclass(frozen=True)
class TrialEnds:
    at: datetime


@dataclass(frozen=True)
class PeriodOpens:
    span: Span


@dataclass(frozen=True)
class Ends:
    """The subscription is cancelled with its period."""

    at: datetime


Step = TrialEnds | PeriodOpens | Ends


def steps_until(standing: Standing, until: datetime) -> Iterator[Step]:
    """What happens to a subscription by itself up to a time, and including it, in the order of its happening."""
    period, trial_ends_at = standing.period, standing.trial_ends_at
    while True:
        if trial_ends_at is not None and trial_ends_at <= min(until, period.end):
            yield TrialEnds(trial_ends_at)
            trial_ends_at = None
        if period.end > until:
            return
        if standing.to_be_cancelled:
            yield Ends(period.end)
            return
        period = following(period)
        yield PeriodOpens(period)


@dataclass(frozen=True)
class Terms:
    """A plan's version, as far as it binds a subscriber."""

    plan_code: str
    version_id: UUID
    base_price_cents: int
    currency: Currency
    items: Sequence[PlanItem]


def plan_change(old: Terms, new: Terms, effective_from: datetime | None) -> PlanChange:
    """What a change from some terms to others means, in allowance and price."""
    before, after = ({item.resource_kind: item for item in terms.items} for terms in (old, new))
    items = [_item_change(kind, before.get(kind), after.get(kind)) for kind in sorted(before.keys() | after.keys())]
    return PlanChange(
        from_plan_code=old.plan_code,
        from_version_id=old.version_id,
        to_plan_code=new.plan_code,
        to_version_id=new.version_id,
        currency=new.currency,
        base_price_cents=Amounts(old=old.base_price_cents, new=new.base_price_cents),
        items=[change for change in items if before.get(change.resource_kind) != after.get(change.resource_kind)],
        effective_from=effective_from,
    )


def _item_change(kind: BillingKind, old: PlanItem | None, new: PlanItem | None) -> ItemChange:
    def amounts(field: str) -> Amounts:
        return Amounts(old=getattr(old, field, None), new=getattr(new, field, None))

    return ItemChange(
        resource_kind=kind,
        included_qty=amounts("included_qty"),
        overage_unit=amounts("overage_unit"),
        overage_price_cents=amounts("overage_price_cents"),
        hard_cap_qty=amounts("hard_cap_qty"),
    )
