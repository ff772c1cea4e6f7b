"""The provider's invoices. Operators only."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from litestar import get, post
from litestar.params import FromPath, QueryParameter
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, Field

from contracts.billing import (
    DiscoverInvoices,
    IngestError,
    IngestInvoice,
    IngestStatus,
    Invoice,
    LineChanges,
    PushInvoice,
    PushStatus,
    Reconciliation,
)
from services.gateway import billing_store
from services.gateway.documentation import ALWAYS, FINANCE, FORBIDDEN, INVALID, NOT_FOUND, PROVIDER, answer
from services.gateway.gateway import ApiRequest
from services.gateway.operations import submit
from services.gateway.paging import LIMIT, after
from services.gateway.problems import not_found
from services.gateway.routes.operations import write
from services.gateway.routes.vocabulary import OPERATORS, Cursor, Key, Limit, Routes, json_answer

_ATTEMPTS = 20

MONTH = r"^20[0-9]{2}-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?$"
Month = Annotated[
    str | None,
    QueryParameter(
        name="period",
        pattern=MONTH,
        description="A month, by itself (`2026-04`) or by any of its days (`2026-04-01`).",
        required=False,
    ),
]


Ingest = Annotated[
    IngestStatus | None, QueryParameter(description="How the newest attempt at their file ended.", required=False)
]
Push = Annotated[PushStatus | None, QueryParameter(description="Whether finance has them as they are.", required=False)]


def month(text: str | None) -> date | None:
    """The first day of a month, or of the month of a day; None where none is named."""
    return date.fromisoformat(f"{text[:7]}-01") if text else None


class ListedInvoice(Invoice):
    discovered_at: datetime


class InvoiceList(BaseModel):
    invoices: list[ListedInvoice]
    count: int
    next: str | None


class Attempt(BaseModel):
    """An attempt at an invoice's file."""

    id: UUID
    ingest: int | None = Field(description="The number of the set of lines that it made; null: none.")
    actor: str | None
    file_sha256: str | None
    lines: int | None
    cents: int | None
    changes: LineChanges | None = Field(description="Against the set before.")
    error: IngestError | None
    ended_at: datetime


class InvoiceAnswer(BaseModel):
    invoice: ListedInvoice
    reconciliation: Reconciliation | None = Field(description="Null while it has no lines.")
    attempts: list[Attempt] = Field(description=f"At its file: the {_ATTEMPTS} newest, newest first.")


class IngestedAnswer(BaseModel):
    invoice: Invoice
    changes: LineChanges | None = Field(description="Against the set before; null where there was none.")


class PushedAnswer(BaseModel):
    invoice: Invoice
    action: str = Field(description="Finance's word, `created` or `updated`; `skipped`: there is no finance service.")


class DiscoveredAnswer(BaseModel):
    invoices: int = Field(description="So many are known.")
    discovered: int
    changed: int = Field(description="Of so many the provider tells another amount, month or number than before.")
    unreadable: int = Field(description="So many of the history cannot be read; the log says which.")
    ingesting: int = Field(description="So many are being ingested.")
    pushing: int = Field(description="So many are pushed again, which finance had not taken.")


INVOICE = {
    "id": "019de1f3-7c11-7a4e-9f0e-5b1f4c2d9a01",
    "provider": "digitalocean",
    "invoice_uuid": "0b1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d",
    "number": "1418204106",
    "period": "2026-04-01",
    "currency": "USD",
    "amount_cents": 8692,
    "issued_at": "2026-05-01T05:13:00Z",
    "ingest_status": "ingested",
    "ingest_error": None,
    "ingests": 1,
    "ingested_at": "2026-05-02T02:23:09Z",
    "lines": 33,
    "net_cents": 7902,
    "tax_cents": 790,
    "matched": 6,
    "unmatched": {"account_level": 4, "credit": 1, "tax": 1, "unknown_resource": 21},
    "assigned": 0,
    "reconciliation": "exact",
    "push_status": "pushed",
    "push_error": None,
    "pushed_to_finance_at": "2026-05-02T02:23:11Z",
    "finance_invoice_id": "7d0c",
    "version": 3,
}
_LISTED = {**INVOICE, "discovered_at": "2026-05-02T02:23:04Z"}
_RECONCILIATION = {
    "status": "exact",
    "amount_cents": 8692,
    "lines": {"count": 33, "cents": 8692, "tax_cents": 790},
    "items": {"count": 33, "cents": 8692},
    "summary": {
        "amount_cents": 8692,
        "product_charges_cents": 7902,
        "overages_cents": 0,
        "taxes_cents": 790,
        "credits_cents": 0,
    },
    "differences": [],
}
_CHANGES = {
    "added": 0,
    "removed": 0,
    "repriced": 1,
    "altered": 0,
    "before_cents": 8642,
    "after_cents": 8692,
    "examples": [
        {"product": "Droplets", "description": "web-01 (s-1vcpu-1gb)", "before_cents": 550, "after_cents": 600}
    ],
}
_ATTEMPT = {
    "id": "019de700-1a2b-7c3d-8e4f-5a6b7c8d9e0f",
    "ingest": 1,
    "actor": "scheduler",
    "file_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "lines": 33,
    "cents": 8692,
    "changes": None,
    "error": None,
    "ended_at": "2026-05-02T02:23:09Z",
}
_FOUND = {"invoices": 137, "discovered": 1, "changed": 0, "unreadable": 0, "ingesting": 1, "pushing": 0}


@get(
    opt=OPERATORS,
    responses=ALWAYS
    | {
        200: answer(InvoiceList, "A page.", {"invoices": [_LISTED], "count": 1, "next": "AZqfPmoMfD6PXg1qWwyfEQ"}),
        403: FORBIDDEN,
        422: INVALID,
    },
)
async def list_invoices(
    *,
    request: ApiRequest,
    period: Month = None,
    ingest: Ingest = None,
    push: Push = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> ASGIResponse:
    """List the provider's invoices, the newest first: how far each is taken in, and passed on to finance."""
    page = await billing_store.list_invoices(
        request.gateway.views,
        period=month(period),
        ingest=ingest,
        push=push,
        before=after(cursor),
        limit=limit,
    )
    return json_answer(page)


@get(
    "/{invoice_id:uuid}",
    opt=OPERATORS,
    responses=ALWAYS
    | {
        200: answer(
            InvoiceAnswer,
            "The invoice.",
            {"invoice": _LISTED, "reconciliation": _RECONCILIATION, "attempts": [_ATTEMPT]},
        ),
        403: FORBIDDEN,
        404: NOT_FOUND,
    },
)
async def get_invoice(request: ApiRequest, invoice_id: FromPath[UUID]) -> ASGIResponse:
    """Show an invoice: whether it adds up and where not, and the attempts at its file with what each changed."""
    found = await billing_store.find_invoice(request.gateway.views, invoice_id, attempts=_ATTEMPTS)
    if found is None:
        raise not_found("invoice", invoice_id)
    return json_answer(found)


@post(
    "/discover",
    opt=OPERATORS,
    status_code=200,
    responses=write(answer(DiscoveredAnswer, "What was found.", _FOUND)) | {502: PROVIDER},
)
async def discover_invoices(request: ApiRequest, key: Key = None) -> ASGIResponse:
    """Walk the provider's billing history now, as is done every night."""
    return await submit(request, DiscoverInvoices(), key)


@post(
    "/{invoice_id:uuid}/ingest",
    opt=OPERATORS,
    status_code=200,
    responses=write(
        answer(IngestedAnswer, "Ingested.", {"invoice": INVOICE, "changes": _CHANGES}),
        "invoice_unreadable",
        "not_found_at_provider",
    )
    | {502: PROVIDER},
)
async def ingest_invoice(request: ApiRequest, invoice_id: FromPath[UUID], key: Key = None) -> ASGIResponse:
    """Read an invoice's file again and replace its lines; what was assigned by hand stays. It is pushed afterwards."""
    return await submit(request, IngestInvoice(invoice_id=invoice_id, again=True), key)


@post(
    "/{invoice_id:uuid}/push",
    opt=OPERATORS,
    status_code=200,
    responses=write(
        answer(PushedAnswer, "Pushed.", {"invoice": INVOICE, "action": "updated"}), "not_ingested", "finance_refused"
    )
    | {502: FINANCE},
)
async def push_invoice(request: ApiRequest, invoice_id: FromPath[UUID], key: Key = None) -> ASGIResponse:
    """Send an invoice to finance, also where it has it already."""
    return await submit(request, PushInvoice(invoice_id=invoice_id, again=True), key)


router = Routes(
    "/billing/invoices",
    route_handlers=[list_invoices, get_invoice, discover_invoices, ingest_invoice, push_invoice],
    tags=["billing"],
)
