"""What a deployment owes for a month, how that comes about, and what it would owe."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from litestar import get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, Field, StringConstraints

from contracts.kinds import BillingKind
from contracts.money import Currency
from contracts.quotes import Flag, Limit, PreviewQuote
from services.gateway import margin_store
from services.gateway.documentation import ALWAYS, FORBIDDEN, INVALID, NOT_FOUND, answer
from services.gateway.gateway import ApiRequest
from services.gateway.operations import submit
from services.gateway.problems import Invalid, Problem, invalid
from services.gateway.routes.deployments import authority_of, unseen
from services.gateway.routes.invoices import Month, month
from services.gateway.routes.operations import write
from services.gateway.routes.vocabulary import STORABLE, Key, Routes, json_answer

Explain = Annotated[
    bool,
    QueryParameter(
        description="With how each figure came about, of which days; to operators, with what the deployment cost too.",
        required=False,
    ),
]
CodeText = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=STORABLE)]


class DayOfLine(BaseModel):
    day: date
    used: str
    observations: int


class LineView(BaseModel):
    """A line: `base`, what was used of a kind (`usage`), or an `addon`. What a type does not have is left out."""

    type: Literal["base", "usage", "addon"]
    resource_kind: BillingKind | None = None
    amount_cents: int
    flags: list[Flag] = Field(
        description="`beyond_cap`: more was used than the hard cap, or what is included where that is more. "
        "`no_price`, `other_currency`: it counts for nothing, since nobody has said what it costs, or only in another "
        "currency. `trial`: the whole month is one."
    )
    included: int | None = Field(default=None, description="By plan and addons together.")
    used: str | None = Field(default=None, description="Exactly.")
    used_rounded: str | None = Field(default=None, description="The same for people, with two decimals.")
    overage: str | None = Field(default=None, description="What was used beyond what is included.")
    overage_unit: int | None = None
    overage_units: int | None = Field(default=None, description="So many begun units are beyond.")
    price_cents: str | None = Field(
        default=None, description="Of the month, of a begun overage unit, or of a unit that no plan item covers."
    )
    price_since: datetime | None = Field(default=None, description="Which of the kind's prices it is.")
    hard_cap_qty: int | None = None
    addon_id: UUID | None = None
    code: str | None = None
    qty: int | None = None
    how: str | None = Field(
        default=None, description="With `explain`, and in previews: how the amount came about, and its rounding."
    )
    days: list[DayOfLine] | None = Field(default=None, description="With `explain`: what was used, day by day.")


class LimitView(BaseModel):
    resource_kind: BillingKind
    limit: Limit
    at: int = Field(description="What 100 %, or the cap, was.")
    used: str
    reached_at: datetime


class CostView(BaseModel):
    """What of a cost line the deployment bears: the part of its time in which it held the resource."""

    invoice_id: UUID | None
    line: int | None
    description: str
    resource_id: UUID | None
    cents: int
    line_cents: int | None
    currency: Currency
    estimated: bool = Field(description="Of a month without an invoice: what list prices explain of the balance.")


class QuoteView(BaseModel):
    """The sum of its lines, in cents. Of a month that is not over: what is owed by now."""

    deployment_id: UUID
    period: str
    currency: Currency
    plan_code: str
    plan_version_id: UUID
    plan_version: int
    total_cents: int
    quoted_at: datetime = Field(description="When it last changed.")
    lines: list[LineView]
    limits: list[LimitView] = Field(description="What use has reached in this month, each once.")
    costs: list[CostView] | None = Field(default=None, description="With `explain`, to operators.")


class QuoteAnswer(BaseModel):
    quote: QuoteView


class PreviewRequest(BaseModel):
    """Another plan (its active version) or another version, and addons to attach (codes) and to detach (their ids)."""

    plan_code: CodeText | None = None
    plan_version_id: UUID | None = None
    attach: Annotated[list[CodeText], Field(max_length=100)] = []
    detach: Annotated[list[UUID], Field(max_length=100)] = []


class PreviewedQuote(BaseModel):
    deployment_id: UUID
    tenant_id: str
    period: str
    currency: Currency
    plan_code: str
    plan_version_id: UUID
    plan_version: int
    total_cents: int
    lines: list[LineView]


class PreviewAnswer(BaseModel):
    quote: PreviewedQuote = Field(description="As it would be.")
    now: PreviewedQuote | None = Field(description="As it is; null without a subscription.")
    difference_cents: int
    next_month_cents: int = Field(description="What a whole month costs then, before any usage.")


_BASE = {"type": "base", "code": "studio", "flags": [], "price_cents": "5000", "amount_cents": 5000}
_HOURS = {
    "type": "usage",
    "resource_kind": "droplet_hours",
    "flags": [],
    "included": 480,
    "used": "528",
    "used_rounded": "528.00",
    "overage": "48",
    "overage_unit": 24,
    "overage_units": 2,
    "price_cents": "120",
    "hard_cap_qty": 1440,
    "amount_cents": 240,
}
_HOW = {
    "how": "48 beyond 480 included: 2 begun units of 24, 120 cents each",
    "days": [{"day": "2026-05-01", "used": "48", "observations": 2}],
}
_QUOTE = {
    "deployment_id": "0192f4a0-5b1e-7c3d-9a52-6f0c1d2e3f40",
    "period": "2026-05",
    "currency": "AUD",
    "plan_code": "studio",
    "plan_version_id": "0192f4a0-5b1e-7c3d-9a52-6f0c1d2e3f41",
    "plan_version": 1,
    "total_cents": 5240,
    "quoted_at": "2026-05-12T01:10:09.482113Z",
    "lines": [_BASE, _HOURS],
    "limits": [
        {
            "resource_kind": "droplet_hours",
            "limit": "soft_80",
            "at": 480,
            "used": "384",
            "reached_at": "2026-05-09T01:10:08.114201Z",
        }
    ],
}
_EXPLAINED = _QUOTE | {"lines": [_BASE | {"how": "studio, version 1: the price of a whole period"}, _HOURS | _HOW]}
_THEN = {name: value for name, value in _QUOTE.items() if name not in {"limits", "quoted_at"}} | {
    "tenant_id": "acme",
}
_PREVIEW = {
    "quote": _THEN
    | {"plan_code": "pro", "lines": [_BASE | {"code": "pro", "amount_cents": 12000}], "total_cents": 12000},
    "now": _THEN,
    "difference_cents": 6760,
    "next_month_cents": 12000,
}


@get(
    "/{deployment_id:uuid}/quote",
    responses=ALWAYS
    | {
        200: answer(QuoteAnswer, "The quote.", {"quote": _QUOTE}, {"quote": _EXPLAINED}),
        403: FORBIDDEN,
        404: NOT_FOUND,
        422: INVALID,
    },
)
async def get_quote(
    request: ApiRequest, deployment_id: FromPath[UUID], period: Month = None, explain: Explain = False
) -> ASGIResponse:
    """Show what a deployment owes for a month, by default the newest: plan, usage beyond it, and addons."""
    views = request.gateway.views
    found = await margin_store.find_quote(views, request.user, deployment_id, month(period), explain=explain)
    if found is None:
        raise await unseen(request, deployment_id)
    told: dict[str, Any] = orjson.loads(found)
    if told["quote"] is None:
        raise Problem(404, "not_found", "There is no quote: the deployment is not subscribed then, or only just.")
    if not (explain and request.user.operator):
        return json_answer(found)
    rows = await margin_store.list_costs(views, deployment_id, date.fromisoformat(f"{told['quote']['period']}-01"))
    told["quote"]["costs"] = [dict(row) for row in rows]
    return json_answer(orjson.dumps(told))


@post(
    "/{deployment_id:uuid}/quote/preview",
    status_code=200,
    responses=write(
        answer(PreviewAnswer, "What it would owe.", _PREVIEW),
        "plan_or_version_not_found",
        "subscription_not_found",
        "addon_not_found",
        "addon_not_attached",
        "addon_attached",
        "subscription_cancelled",
        "version_not_active",
        "currency_mismatch",
    ),
)
async def preview_quote(
    request: ApiRequest, deployment_id: FromPath[UUID], data: JSONBody[PreviewRequest], key: Key = None
) -> ASGIResponse:
    """Tell what the current month would cost with another plan or other addons, by what is used. Nothing changes."""
    if data.plan_code is not None and data.plan_version_id is not None:
        raise invalid(Invalid("body", "plan_code", "give it or `plan_version_id`, not both"))
    for name, given in (("attach", data.attach), ("detach", data.detach)):
        if len(set(given)) < len(given):
            raise invalid(Invalid("body", name, "names one more than once"))
    who = authority_of(request.user)
    return await submit(request, PreviewQuote(deployment_id=deployment_id, authority=who, **dict(data)), key)


router = Routes("/deployments", route_handlers=[get_quote, preview_quote], tags=["quotes"])
