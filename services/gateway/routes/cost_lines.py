"""The lines of the provider's invoices: what each means, as pages and as files. Operators only."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from litestar import delete, get, put
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, PathParameter, QueryParameter
from litestar.response import Stream
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, Field, StringConstraints

from contracts.billing import AssignCostLine, Assignment, Invoice, Unmatched
from contracts.kinds import ResourceKind
from contracts.money import Currency
from services.gateway import billing_store, exports, focus
from services.gateway.billing_store import Lines
from services.gateway.documentation import ALWAYS, FORBIDDEN, INVALID, NOT_FOUND, answer
from services.gateway.gateway import ApiRequest
from services.gateway.operations import submit
from services.gateway.paging import LIMIT, LINE_CURSOR, after_line
from services.gateway.problems import Invalid, invalid
from services.gateway.routes.invoices import INVOICE, MONTH, Month, month
from services.gateway.routes.operations import write
from services.gateway.routes.vocabulary import OPERATORS, STORABLE, Key, Limit, Routes, json_answer

LineCursor = Annotated[
    str | None,
    QueryParameter(name="cursor", pattern=LINE_CURSOR, description="`next` of the page before.", required=False),
]
OfInvoice = Annotated[UUID | None, QueryParameter(name="invoice", description="Of this invoice alone.", required=False)]
Matched = Annotated[
    bool | None,
    QueryParameter(
        name="matched",
        description="Whether they mean a resource that is there, or what an operator said.",
        required=False,
    ),
]
LineNumber = Annotated[int, PathParameter(ge=1, le=2_147_483_647)]


class CostLine(BaseModel):
    """A line of an invoice. Texts are as the provider wrote them, and empty where it wrote none."""

    invoice_id: UUID
    line: int = Field(description="Its place in the file, from 1.")
    period: date
    currency: Currency
    provider: str
    invoice_uuid: str
    ingests: int = Field(description="The invoice's: of which set of lines it is.")
    product: str
    group_description: str
    description: str
    hours: str | None = Field(description="As the file says; of backups, how many they are.")
    starts_at: datetime | None
    ends_at: datetime | None = Field(description="Not included.")
    amount: str = Field(description="In `currency`, exactly as charged; below zero where it is credited.")
    amount_cents: int
    project_name: str
    category: str
    kind: ResourceKind | None = Field(description="What is charged for; null where it is no resource.")
    provider_resource_id: str | None
    resource_id: UUID | None = Field(description="The resource that it means, which may be gone by now.")
    resource_name: str | None = Field(description="As it is called now.")
    resource_kind: ResourceKind | None
    resource_provider_id: str | None
    assigned_deployment_id: UUID | None
    matched_by: Literal["id", "name", "assigned"] | None
    confidence: Literal["certain", "probable"] | None = Field(
        description="`certain`: by the provider's id, or an operator said so. `probable`: by name."
    )
    unmatched: Unmatched | None = Field(description="Why it means no resource that is there.")
    note: str | None
    assigned_by: str | None
    assigned_at: datetime | None


class CostLineList(BaseModel):
    cost_lines: list[CostLine]
    count: int
    next: str | None


class AssignmentRequest(BaseModel):
    """One of the two, a resource or a deployment."""

    resource_id: UUID | None = None
    deployment_id: UUID | None = None
    note: Annotated[str, StringConstraints(max_length=1000, pattern=STORABLE)] | None = None
    ingests: int | None = Field(
        default=None, description="As the line was shown with; then refused where the lines were replaced since."
    )


class AssignedAnswer(BaseModel):
    invoice: Invoice
    assignment: Assignment


_LINE = {
    "invoice_id": INVOICE["id"],
    "line": 1,
    "period": "2026-04-01",
    "currency": "USD",
    "provider": "digitalocean",
    "invoice_uuid": INVOICE["invoice_uuid"],
    "ingests": 1,
    "product": "Droplets",
    "group_description": "",
    "description": "web-01 (s-1vcpu-1gb)",
    "hours": "720",
    "starts_at": "2026-04-01T00:00:00Z",
    "ends_at": "2026-05-01T00:00:00Z",
    "amount": "6.00",
    "amount_cents": 600,
    "project_name": "tenant-acme",
    "category": "iaas",
    "kind": "droplet",
    "provider_resource_id": "3164450",
    "resource_id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f11",
    "resource_name": "web-01",
    "resource_kind": "droplet",
    "resource_provider_id": "3164450",
    "assigned_deployment_id": None,
    "matched_by": "id",
    "confidence": "certain",
    "unmatched": None,
    "note": None,
    "assigned_by": None,
    "assigned_at": None,
}
_ASSIGNMENT = {
    "line": 7,
    "resource_id": None,
    "deployment_id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f31",
    "note": "the shop's old web server",
}
_PAGE = {"cost_lines": [_LINE], "count": 1, "next": "AZ3h83wRek6fDlsfTC2aAQAAAAE"}
_A_FILE = ResponseSpec(data_container=str, generate_examples=False, description="The file.", media_type="text/csv")
_ASSIGNED = answer(AssignedAnswer, "Assigned.", {"invoice": {**INVOICE, "assigned": 1}, "assignment": _ASSIGNMENT})
_TAKEN_BACK = answer(
    AssignedAnswer, "Taken back.", {"invoice": INVOICE, "assignment": dict.fromkeys(_ASSIGNMENT) | {"line": 7}}
)


@get(
    "/cost-lines",
    opt=OPERATORS,
    responses=ALWAYS | {200: answer(CostLineList, "A page.", _PAGE), 403: FORBIDDEN, 422: INVALID},
)
async def list_cost_lines(
    *,
    request: ApiRequest,
    period: Month = None,
    kind: FromQuery[ResourceKind | None] = None,
    invoice: OfInvoice = None,
    matched: Matched = None,
    limit: Limit = LIMIT,
    cursor: LineCursor = None,
) -> ASGIResponse:
    """List the lines of invoices, and what each means: which resource, how that is known, and if none, why."""
    wanted = Lines(month(period), invoice, kind, matched)
    return json_answer(await billing_store.list_lines(request.gateway.views, wanted, after_line(cursor), limit))


@get(
    "/cost-lines.csv",
    opt=OPERATORS,
    responses=ALWAYS | {200: _A_FILE, 403: FORBIDDEN, 422: INVALID},
)
async def download_cost_lines(
    *,
    request: ApiRequest,
    period: Month = None,
    kind: FromQuery[ResourceKind | None] = None,
    invoice: OfInvoice = None,
    matched: Matched = None,
) -> Stream:
    """Download the lines of invoices as a CSV, all of them. Whole where it ends well: else ask again."""
    wanted = Lines(month(period), invoice, kind, matched)
    parts = exports.read(request.gateway.views, wanted, exports.COLUMNS, exports.fields_of)
    return await exports.stream(parts, f"cost-lines-{period[:7] if period else 'all'}.csv")


@get(
    "/focus",
    opt=OPERATORS,
    responses=ALWAYS | {200: _A_FILE, 403: FORBIDDEN, 422: INVALID},
)
async def download_focus(
    request: ApiRequest,
    period: Annotated[str, QueryParameter(pattern=MONTH, description="A month, by itself or by any of its days.")],
) -> Stream:
    """Download a month's cost lines as FOCUS 1.2 (FinOps Open Cost and Usage Specification), as a CSV.

    Each line is a row, and so are credits that are no lines; the billed costs of an invoice add up to what is to be
    paid, to the cent. Not conformant in what no invoice tells: unit prices, SKUs, regions, the account's own id.
    """
    first_day = date.fromisoformat(f"{period[:7]}-01")
    return await exports.stream(focus.read(request.gateway.views, first_day), f"focus-{period[:7]}.csv")


@get(
    "/invoices/{invoice_id:uuid}/superseded/{ingest:int}",
    opt=OPERATORS,
    responses=ALWAYS | {200: _A_FILE, 403: FORBIDDEN, 404: NOT_FOUND, 422: INVALID},
)
async def download_superseded(request: ApiRequest, invoice_id: FromPath[UUID], ingest: LineNumber) -> Stream:
    """Download the lines that an invoice had after an earlier ingest, where those that came after it are others.

    They are kept for three years. A set that the next one repeated is not kept: then there is but the header.
    """
    parts = exports.read_superseded(request.gateway.views, invoice_id, ingest)
    return await exports.stream(parts, f"superseded-{invoice_id}-{ingest}.csv")


@put(
    "/invoices/{invoice_id:uuid}/lines/{line:int}/assignment",
    opt=OPERATORS,
    status_code=200,
    responses=write(_ASSIGNED, "line_replaced", "invoice_busy"),
)
async def assign_cost_line(
    request: ApiRequest,
    invoice_id: FromPath[UUID],
    line: LineNumber,
    data: JSONBody[AssignmentRequest],
    key: Key = None,
) -> ASGIResponse:
    """Say what a line means: a resource or a deployment. It goes before any match, and outlasts the next ingests."""
    if (data.resource_id is None) == (data.deployment_id is None):
        raise invalid(Invalid("body", "resource_id", "Name a resource or a deployment, and not both."))
    return await submit(request, AssignCostLine(invoice_id=invoice_id, line=line, **data.model_dump()), key)


@delete(
    "/invoices/{invoice_id:uuid}/lines/{line:int}/assignment",
    opt=OPERATORS,
    status_code=200,
    responses=write(_TAKEN_BACK, "invoice_busy"),
)
async def unassign_cost_line(
    request: ApiRequest, invoice_id: FromPath[UUID], line: LineNumber, key: Key = None
) -> ASGIResponse:
    """Take back what was said of a line: its match counts again."""
    return await submit(request, AssignCostLine(invoice_id=invoice_id, line=line), key)


router = Routes(
    "/billing",
    route_handlers=[
        list_cost_lines,
        download_cost_lines,
        download_focus,
        download_superseded,
        assign_cost_line,
        unassign_cost_line,
    ],
    tags=["billing"],
)
