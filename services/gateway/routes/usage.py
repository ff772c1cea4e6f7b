"""What deployments use: read by tenants, reported by whoever serves what no resource shows; how it is metered."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from litestar import get, post, put
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, Field, StringConstraints

from contracts.kinds import BillingKind
from contracts.metering import (
    MOST_DAYS,
    MOST_REPORTS,
    Granularity,
    MeterDay,
    MeterDays,
    Moment,
    RecordUsage,
    SetMeteringConfig,
)
from services.gateway import usage_store
from services.gateway.documentation import ALWAYS, FORBIDDEN, INVALID, NOT_FOUND, answer
from services.gateway.gateway import ApiRequest
from services.gateway.operations import submit
from services.gateway.problems import Invalid, forbidden, invalid, not_found
from services.gateway.routes.deployments import unseen
from services.gateway.routes.operations import write
from services.gateway.routes.vocabulary import OPERATORS, Key, Name, Routes, json_answer

_MOST_DAYS = 366
_DAYS_SHOWN = 62

From = Annotated[
    date | None,
    QueryParameter(name="from", description="The first day, in UTC. Default: the first of this month.", required=False),
]
To = Annotated[
    date | None,
    QueryParameter(name="to", description="The day after the last. Default: a month after `from`.", required=False),
]


QuantityText = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{1,15}(\.[0-9]{1,9})?$"),
    Field(description="Exactly, as text.", examples=["12.5"]),
]


class DayView(BaseModel):
    day: date
    resource_kind: BillingKind
    used: str
    observations: int = Field(description="So many are summed up: of resources, or what was reported.")


class UsageAnswer(BaseModel):
    """From `since` on, until and without `until`."""

    deployment_id: UUID
    since: date
    until: date
    usage: dict[BillingKind, str] = Field(description="All of it, exactly; only whoever shows it rounds.")
    days: list[DayView]


class UsageEvent(BaseModel):
    """That a deployment used something which no resource shows."""

    id: Name = Field(description="Yours, for good: the same one again is the same event.", examples=["req-17"])
    deployment_id: UUID
    resource_kind: Literal["bandwidth_gb", "llm_tokens"]
    quantity: QuantityText
    occurred_at: Moment = Field(description="It counts for the day (UTC) of this time.")
    corrects: Name | None = Field(
        default=None, description="The id of an earlier event, whose quantity becomes this one's."
    )


class UsageRequest(BaseModel):
    """Events of one tenant's usage."""

    events: Annotated[list[UsageEvent], Field(min_length=1, max_length=MOST_REPORTS)]


class RejectedReport(BaseModel):
    """A report of which nothing counts, and why; some codes say more."""

    id: str
    code: Literal["conflict", "forbidden", "too_late", "in_the_future", "original_unknown", "original_differs"]


class RecordedAnswer(BaseModel):
    accepted: int
    duplicates: int = Field(description="Known already, word for word.")
    rejected: list[RejectedReport]


class MeteredAnswer(BaseModel):
    day: date
    observations: int
    added: int
    corrected: int
    withdrawn: int
    unmeasured: int = Field(description="Resources whose size nobody knows yet.")


class RangeRequest(BaseModel):
    """From `since` on, until and without `until`."""

    since: date
    until: date


class RangeAnswer(BaseModel):
    days: int = Field(description="So many are asked for; what is past its retention is refused, one by one.")


class ConfigRequest(BaseModel):
    granularity: Granularity
    retention_days: Annotated[int, Field(ge=62, le=36_500)] = 400
    effective_from: date | None = Field(default=None, description="Default: today, in UTC.")


class Config(BaseModel):
    resource_kind: BillingKind
    effective_from: date
    granularity: Granularity
    retention_days: int


class ConfigAnswer(BaseModel):
    config: Config


class ConfigView(Config):
    actor: str | None
    set_at: datetime


class MeteredDay(BaseModel):
    day: date
    meterings: int = Field(description="So often it was metered; 0: it was missed, and has been asked for again.")
    metered_at: datetime
    observations: int
    unmeasured: int
    dirty: bool = Field(description="Something else is known of it by now; it is metered again at once.")


class MeteringAnswer(BaseModel):
    config: list[ConfigView] = Field(description="What is not here is observed daily, and kept for 400 days.")
    days: list[MeteredDay] = Field(description="The newest first.")


_USAGE = {
    "deployment_id": "0192f4a0-5b1e-7c3d-9a52-6f0c1d2e3f40",
    "since": "2026-05-01",
    "until": "2026-06-01",
    "usage": {"dns_zones": "0.64516129", "droplet_hours": "480", "snapshot_gb_month": "15.483870968"},
    "days": [{"day": "2026-05-01", "resource_kind": "droplet_hours", "used": "48", "observations": 2}],
}
_RECORDED = {"accepted": 2, "duplicates": 1, "rejected": [{"id": "req-17", "code": "conflict"}]}
_METERED = {"day": "2026-05-10", "observations": 7, "added": 0, "corrected": 1, "withdrawn": 0, "unmeasured": 0}
_CONFIG = {
    "resource_kind": "droplet_hours",
    "effective_from": "2026-05-12",
    "granularity": "hourly",
    "retention_days": 400,
}
_METERING = {
    "config": [_CONFIG | {"actor": "olga@example.com", "set_at": "2026-05-11T08:12:31Z"}],
    "days": [
        {
            "day": "2026-05-10",
            "meterings": 2,
            "metered_at": "2026-05-11T01:10:02Z",
            "observations": 7,
            "unmeasured": 0,
            "dirty": False,
        }
    ],
}


@get(
    "/deployments/{deployment_id:uuid}/usage",
    responses=ALWAYS | {200: answer(UsageAnswer, "The usage.", _USAGE), 403: FORBIDDEN, 404: NOT_FOUND, 422: INVALID},
)
async def get_usage(
    request: ApiRequest, deployment_id: FromPath[UUID], since: From = None, until: To = None
) -> ASGIResponse:
    """Show what a deployment used, by billing kind: altogether, and day by day."""
    since = since or datetime.now(UTC).date().replace(day=1)
    until = until or _month_after(since)
    if not since < until or until - since > timedelta(days=_MOST_DAYS):
        raise invalid(
            Invalid("query", "to", f"must be after `from`, which is {since}, and by {_MOST_DAYS} days at most")
        )
    found = await usage_store.find_usage(request.gateway.views, request.user, deployment_id, since, until)
    if found is None:
        raise await unseen(request, deployment_id)
    return json_answer(found)


def _month_after(day: date) -> date:
    try:
        return day.replace(year=day.year + day.month // 12, month=day.month % 12 + 1)
    except ValueError:  # the 31st, or after the end of all time
        return min(day, date.max - timedelta(days=31)) + timedelta(days=31)


@post(
    "/usage",
    status_code=200,
    responses=write(answer(RecordedAnswer, "What became of the events.", _RECORDED)),
)
async def record_usage(request: ApiRequest, data: JSONBody[UsageRequest], key: Key = None) -> ASGIResponse:
    """Report usage that no resource shows. Each event counts once, for good, however often it is sent.

    An event of a known id with another content is a conflict: it is kept to be looked at, and nothing of it counts.
    Events of the current and the previous month are taken; what was said before is put right by `corrects`.
    """
    tenant = await _owner(request, {event.deployment_id for event in data.events})
    # (`dict(event)` would take longer than the validation.)
    command = RecordUsage.model_validate({"tenant_id": tenant, "reports": [vars(event) for event in data.events]})
    return await submit(request, command, key)


async def _owner(request: ApiRequest, deployment_ids: set[UUID]) -> str:
    """The one tenant whose deployments these are: the caller itself, or whoever it is that an operator reports for."""
    owners = await usage_store.list_owners(request.gateway.views, deployment_ids)
    if missing := sorted(deployment_ids - owners.keys()):
        raise not_found("deployment", missing[0])
    tenants = set(owners.values())
    if not request.user.operator and tenants != {request.user.tenant_id}:
        others = sorted(id for id, tenant in owners.items() if tenant != request.user.tenant_id)
        raise forbidden(f"The deployment {others[0]} is another tenant's.")
    if len(tenants) > 1:
        raise invalid(Invalid("body", "events", f"are of several tenants: {', '.join(sorted(tenants))}"))
    return tenants.pop()


@get("/metering", opt=OPERATORS, responses=ALWAYS | {200: answer(MeteringAnswer, "How it is metered.", _METERING)})
async def get_metering(request: ApiRequest) -> ASGIResponse:
    """Show how finely each kind is observed, and what came of the last days."""
    return json_answer(await usage_store.get_metering(request.gateway.views, _DAYS_SHOWN))


@put(
    "/metering/config/{resource_kind:str}",
    opt=OPERATORS,
    responses=write(
        answer(ConfigAnswer, "What holds from that day on.", {"config": _CONFIG}), "day_metered", "kind_is_reported"
    ),
)
async def set_config(
    request: ApiRequest, resource_kind: FromPath[BillingKind], data: JSONBody[ConfigRequest], key: Key = None
) -> ASGIResponse:
    """Say how finely a kind is observed from a day on that is not metered yet, and how long that is kept."""
    return await submit(request, SetMeteringConfig(resource_kind=resource_kind, **dict(data)), key)


@post(
    "/metering/days/{day:date}",
    opt=OPERATORS,
    status_code=200,
    responses=write(answer(MeteredAnswer, "Metered.", _METERED), "day_not_over", "day_forgotten"),
)
async def meter_day(request: ApiRequest, day: FromPath[date], key: Key = None) -> ASGIResponse:
    """Meter a day, again where it was. What is otherwise than observed before is corrected, and the old is kept."""
    return await submit(request, MeterDay(day=day), key)


@post(
    "/metering/days",
    opt=OPERATORS,
    status_code=200,
    responses=write(answer(RangeAnswer, "Under way: see `GET /metering`.", {"days": 10}), "day_not_over"),
)
async def meter_days(request: ApiRequest, data: JSONBody[RangeRequest], key: Key = None) -> ASGIResponse:
    """Have many days metered, again where they were. It answers at once; each day is metered by itself."""
    if not timedelta(0) < data.until - data.since <= timedelta(days=MOST_DAYS):
        raise invalid(
            Invalid("body", "until", f"must be after `since`, which is {data.since}, by {MOST_DAYS} days at most")
        )
    return await submit(request, MeterDays(since=data.since, until=data.until), key)


router = Routes(
    "/", route_handlers=[get_usage, record_usage, get_metering, set_config, meter_day, meter_days], tags=["usage"]
)
