"""What is earned against what it costs, and what currencies are worth. Operators only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from litestar import get, post
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody, QueryParameter
from litestar.response import Stream
from litestar.response.base import ASGIResponse
from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from contracts.money import PRICE_PATTERN, Currency
from contracts.quotes import REPORTED_IN, SetFxRate
from contracts.times import months_after
from services.gateway import exports, margin_store
from services.gateway.documentation import ALWAYS, FORBIDDEN, INVALID, answer
from services.gateway.gateway import ApiRequest
from services.gateway.operations import submit
from services.gateway.problems import Invalid, invalid
from services.gateway.routes.invoices import MONTH, Month, month
from services.gateway.routes.operations import write
from services.gateway.routes.vocabulary import OPERATORS, Key, Routes, json_answer

_MOST_MONTHS = 60
_COLUMNS = (
    "period",
    "side",
    "tenant_id",
    "deployment_id",
    "slug",
    "reason",
    "currency",
    "cents",
    "rate",
    "rate_from",
    "converted_cents",
    "estimated",
)

First = Annotated[
    str | None,
    QueryParameter(name="from", pattern=MONTH, description="The first month. Default: a year ago.", required=False),
]
Last = Annotated[
    str | None, QueryParameter(name="to", pattern=MONTH, description="The last month. Default: this.", required=False)
]


class Figures(BaseModel):
    """What was earned and what it cost, without tax: by currency, and in Australian dollars where all rates are set."""

    revenue: dict[Currency, int] = Field(description="In cents.")
    cost: dict[Currency, int] = Field(description="In cents.")
    revenue_cents: int | None = Field(description="In `currency`; null where a rate is missing.")
    cost_cents: int | None
    margin_cents: int | None
    margin_percent: str | None = Field(description="Of the revenue; null where there is none.")


class OfTenant(Figures):
    tenant_id: str


class OfDeployment(Figures):
    deployment_id: UUID
    tenant_id: str | None
    slug: str | None = Field(description="As it is called now.")


class Tax(BaseModel):
    currency: Currency
    cents: int
    converted_cents: int | None


class Unattributed(Tax):
    """A cost that no deployment bears, and why."""

    reason: str = Field(
        description="Why the lines mean no resource; `not_linked`: nobody held it then; `not_in_estimate`: of a month "
        "without an invoice, what list prices do not explain."
    )
    tenant_id: str | None = Field(description="Whose project the resource is in, where it is known.")


class Rate(BaseModel):
    from_currency: Currency
    to_currency: Currency
    rate: str
    effective_from: date


class MarginAnswer(BaseModel):
    """Revenue is the sum of quotes, cost the sum of cost lines, to the cent, in their own currencies."""

    period: str
    currency: Currency
    estimated: bool = Field(description="There is no invoice yet: the cost is the balance, spread by list prices.")
    rates: list[Rate] = Field(description="By what was converted: those that hold on the last day of the month.")
    missing_rates: list[Currency] = Field(description="What could not be converted.")
    total: Figures
    tenants: list[OfTenant]
    deployments: list[OfDeployment]
    unattributed: list[Unattributed]
    tax: list[Tax]


class OfMonth(Figures):
    period: str
    estimated: bool


class TrendAnswer(BaseModel):
    currency: Currency
    months: list[OfMonth]


class FxRateView(BaseModel):
    from_currency: Currency
    to_currency: Currency
    effective_from: date
    rate: str
    actor: str | None
    set_at: datetime
    version: int = Field(description="How often that day's rate was said.")


class FxRateList(BaseModel):
    fx_rates: list[FxRateView]
    count: int


class FxRateAnswer(BaseModel):
    fx_rate: FxRateView


def _positive(rate: str) -> str:
    if not Decimal(rate):
        raise ValueError("must be more than 0")
    return rate


class FxRateRequest(BaseModel):
    """What one unit of a currency is in Australian dollars, from a day (UTC) on until the next rate begins."""

    from_currency: Currency
    effective_from: Annotated[date, Field(ge=date(2000, 1, 1), lt=date(2100, 1, 1))]
    rate: Annotated[
        str,
        StringConstraints(pattern=PRICE_PATTERN),
        AfterValidator(_positive),
        Field(description="Exactly, as text.", examples=["1.5312"]),
    ]


_FIGURES = {
    "revenue": {"AUD": 5000},
    "cost": {"USD": 1800},
    "revenue_cents": 5000,
    "cost_cents": 2756,
    "margin_cents": 2244,
    "margin_percent": "44.9",
}
_MARGIN = {
    "period": "2026-04",
    "currency": "AUD",
    "estimated": False,
    "rates": [{"from_currency": "USD", "to_currency": "AUD", "rate": "1.5312", "effective_from": "2026-04-01"}],
    "missing_rates": [],
    "total": _FIGURES,
    "tenants": [{"tenant_id": "acme"} | _FIGURES],
    "deployments": [
        {"deployment_id": "0192f4a0-5b1e-7c3d-9a52-6f0c1d2e3f40", "tenant_id": "acme", "slug": "shop"} | _FIGURES
    ],
    "unattributed": [
        {"reason": "account_level", "tenant_id": None, "currency": "USD", "cents": 500, "converted_cents": 766}
    ],
    "tax": [{"currency": "USD", "cents": 790, "converted_cents": 1210}],
}
_RATE = {
    "from_currency": "USD",
    "to_currency": "AUD",
    "effective_from": "2026-04-01",
    "rate": "1.5312",
    "actor": "olga@example.com",
    "set_at": "2026-05-02T08:12:31Z",
    "version": 1,
}
_A_FILE = ResponseSpec(data_container=str, generate_examples=False, description="The file.", media_type="text/csv")


@get(
    "/dashboard/margin",
    opt=OPERATORS,
    responses=ALWAYS | {200: answer(MarginAnswer, "The margin.", _MARGIN), 403: FORBIDDEN, 422: INVALID},
)
async def get_margin(request: ApiRequest, period: Month = None) -> ASGIResponse:
    """Show a month's revenue against its cost, by default of this month: by tenant, by deployment, and nobody's."""
    return json_answer(await margin_store.get_margin(request.gateway.views, month(period) or _this_month()))


def _this_month() -> date:
    return datetime.now(UTC).date().replace(day=1)


@get("/dashboard/margin.csv", opt=OPERATORS, responses=ALWAYS | {200: _A_FILE, 403: FORBIDDEN, 422: INVALID})
async def download_margin(request: ApiRequest, period: Month = None) -> Stream:
    """Download what a month's margin is made of as a CSV: what each deployment owes and costs, and what is nobody's."""
    wanted = month(period) or _this_month()
    rows = await margin_store.list_entries(request.gateway.views, wanted)

    async def parts() -> AsyncIterator[bytes]:
        yield exports.encoded([_COLUMNS])
        yield exports.encoded([list(row.values()) for row in rows])

    return await exports.stream(parts(), f"margin-{wanted:%Y-%m}.csv")


@get(
    "/dashboard/margin/trend",
    opt=OPERATORS,
    responses=ALWAYS
    | {
        200: answer(
            TrendAnswer,
            "The months, the oldest first.",
            {"currency": "AUD", "months": [{"period": "2026-04", "estimated": False} | _FIGURES]},
        ),
        403: FORBIDDEN,
        422: INVALID,
    },
)
async def get_trend(request: ApiRequest, first: First = None, last: Last = None) -> ASGIResponse:
    """Show revenue against cost month by month, by default of the last twelve."""
    until = month(last) or _this_month()
    since = month(first) or months_after(until, -11)
    if not since <= until < months_after(since, _MOST_MONTHS):
        raise invalid(Invalid("query", "to", f"must not be before `from`, nor make more than {_MOST_MONTHS} months"))
    return json_answer(await margin_store.get_trend(request.gateway.views, since, until))


@get(
    "/billing/fx-rates",
    opt=OPERATORS,
    responses=ALWAYS
    | {200: answer(FxRateList, "All of them.", {"fx_rates": [_RATE], "count": 1}), 403: FORBIDDEN, 422: INVALID},
)
async def list_fx_rates(request: ApiRequest) -> ASGIResponse:
    """List what currencies are and were worth, the newest first."""
    return json_answer(await margin_store.list_rates(request.gateway.views))


@post(
    "/billing/fx-rates",
    opt=OPERATORS,
    status_code=200,
    responses=write(answer(FxRateAnswer, "What holds from that day on.", {"fx_rate": _RATE})),
)
async def set_fx_rate(request: ApiRequest, data: JSONBody[FxRateRequest], key: Key = None) -> ASGIResponse:
    """Say what a currency is worth from a day on. Of a day that has a rate it becomes this one; the old is kept."""
    if data.from_currency == REPORTED_IN:
        raise invalid(Invalid("body", "from_currency", "must be another than the one that all is told in"))
    return await submit(request, SetFxRate.model_validate(dict(data)), key)


router = Routes(
    "/", route_handlers=[get_margin, download_margin, get_trend, list_fx_rates, set_fx_rate], tags=["margin"]
)
