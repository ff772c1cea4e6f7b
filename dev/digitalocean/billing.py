"""What the account has cost: balance, history, invoices with their items, summary and file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from dev.digitalocean.clock import stamp
from dev.digitalocean.family import ByHand, Family
from dev.digitalocean.http import Answer, Json, Request, Route, answer, not_found, unprocessable
from dev.digitalocean.invoices import CATEGORY_SINCE, issued, month_after, put, running
from dev.digitalocean.paging import page
from dev.digitalocean.state import Invoice, Line, World

INVOICES = "/v2/customers/my/invoices"

_HEADER = ("product", "group_description", "description", "hours", "start", "end", "USD", "project_name", "category")
_PAID_AFTER = timedelta(hours=9, minutes=3)


def _get_balance(world: World, _: Request) -> Answer:
    """Paid up to the last invoice; what the running month has cost is owed."""
    usage = running(world).amount
    return answer(
        {
            "month_to_date_balance": f"{usage:.2f}",
            "account_balance": "0.00",
            "month_to_date_usage": f"{usage:.2f}",
            "generated_at": stamp(world.clock.now()),
        }
    )


def _list_history(world: World, request: Request) -> Answer:
    rows = [row for invoice in issued(world) for row in _events_of(invoice)]
    return page(request, "billing_history", rows, lambda row: row)


def _events_of(invoice: Invoice) -> Iterable[Json]:
    """An invoice and its payment, the later first. A payment names no invoice."""
    at = _issued_at(invoice)
    name = f"{at - timedelta(days=1):%B %Y}"
    yield {
        "description": f"Payment (Visa 4242) for {name}",
        "amount": f"{-invoice.amount:.2f}",
        "date": stamp((at + _PAID_AFTER).timestamp()),
        "type": "Payment",
    }
    yield {
        "description": f"Invoice for {name}",
        "amount": f"{invoice.amount:.2f}",
        "invoice_id": invoice.id,
        "invoice_uuid": invoice.uuid,
        "date": stamp(at.timestamp()),
        "type": "Invoice",
    }


def _issued_at(invoice: Invoice) -> datetime:
    year, month = map(int, invoice.period.split("-"))
    return month_after(year, month) + timedelta(hours=5, minutes=13)


def _list_invoices(world: World, request: Request) -> Answer:
    """The preview of the running month is beside the list, and none of its total."""
    preview = _headline(running(world)) | {"updated_at": stamp(world.clock.now())}
    return page(request, "invoices", issued(world), _headline, beside={"invoice_preview": preview})


def _headline(invoice: Invoice) -> Json:
    return {
        "invoice_uuid": invoice.uuid,
        "invoice_id": invoice.id,
        "amount": f"{invoice.amount:.2f}",
        "invoice_period": invoice.period,
    }


def _list_items(world: World, request: Request) -> Answer:
    return page(request, "invoice_items", _found(world, request).lines, _item)


def _item(line: Line) -> Json:
    """An item. Keys that have nothing to say are left out."""
    item = {
        "product": line.product,
        "resource_uuid": line.resource_uuid,
        "resource_id": line.resource_id,
        "group_description": line.group,
        "description": line.description,
        "amount": f"{line.amount:.2f}",
        "duration": line.hours,
        "duration_unit": "Hours" if line.hours else "",
        "start_time": stamp(line.start.timestamp()),
        "end_time": stamp(line.end.timestamp()),
        "project_name": line.project,
        "category": line.category,
    }
    return {name: value for name, value in item.items() if value}


def _get_summary(world: World, request: Request) -> Answer:
    """A summary, with the personal data that it has."""
    invoice = _found(world, request)
    taxes = sum((line.amount for line in invoice.lines if line.product == "Taxes"), Decimal(0))
    products = sorted({line.product for line in invoice.lines} - {"Taxes"})
    items = [_product(invoice, product) for product in products]
    return answer(
        {
            "invoice_uuid": invoice.uuid,
            "invoice_id": invoice.id,
            "billing_period": invoice.period,
            "amount": f"{invoice.amount:.2f}",
            "user_name": "Olga Operator",
            "user_billing_address": {"address_line1": "1 Arcadia Way", "city": "Sydney", "country_iso2_code": "AU"},
            "user_company": "Arcadia",
            "user_email": "ops@arcadia.example",
            "product_charges": {
                "name": "Product usage charges",
                "amount": f"{invoice.amount - taxes - invoice.credits:.2f}",
                "items": items,
            },
            "overages": {"name": "Overages", "amount": "0.00"},
            "taxes": {"name": "Taxes", "amount": f"{taxes:.2f}"},
            "credits_and_adjustments": {"name": "Credits & adjustments", "amount": f"{invoice.credits:.2f}"},
        }
    )


def _product(invoice: Invoice, product: str) -> Json:
    amounts = [line.amount for line in invoice.lines if line.product == product]
    return {"name": product, "amount": f"{sum(amounts):.2f}", "count": str(len(amounts))}


def _get_csv(world: World, request: Request) -> Answer:
    invoice = _found(world, request)
    text = _file_of(invoice) if invoice.csv is None else invoice.csv
    name = f"DigitalOcean Invoice {_issued_at(invoice) - timedelta(days=1):%Y %b} ({invoice.id}).csv"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Answer(200, text.encode(), headers, content_type="text/csv")


def _file_of(invoice: Invoice) -> str:
    width = len(_HEADER) if invoice.period >= CATEGORY_SINCE else len(_HEADER) - 1
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_HEADER[:width])
    writer.writerows(_row(line)[:width] for line in invoice.lines)
    return file.getvalue()


def _row(line: Line) -> tuple[str, ...]:
    start, end = (f"{at:%Y-%m-%d %H:%M:%S} +0000" for at in (line.start, line.end))
    sign = "-" if line.amount < 0 else ""
    usd = f"{sign}${abs(line.amount):,.2f}"
    return (line.product, line.group, line.description, line.hours, start, end, usd, line.project, line.category)


def _found(world: World, request: Request) -> Invoice:
    uuid = request.params["uuid"]
    if uuid == "preview":
        return running(world)
    issued(world)
    if uuid not in world.invoices:
        raise not_found()
    return world.invoices[uuid]


def _truth(world: World) -> list[Json]:
    return [_true(invoice) for invoice in issued(world)]


def _true(invoice: Invoice) -> Json:
    return _headline(invoice) | {"lines": len(invoice.lines)}


def _create(world: World, _id: str, body: Json) -> Json:
    """Another invoice for a `period`, which has to be named; with `lines` and what `_change` takes."""
    issued(world)
    period = str(body.pop("period", ""))
    if len(period) != len("2026-04"):
        raise unprocessable("period must be a month, such as 2026-04.")
    invoice = put(world, Invoice(world.new_uuid(), str(1_500_000_000 + len(world.invoices)), period, []))
    return _change(world, invoice.uuid, body)


def _change(world: World, id: str, body: Json) -> Json:
    """Set any of `lines` (each a line by its fields' names), `csv` (the file's text, null for what follows from the
    lines) and `credits` (USD).
    """
    issued(world)
    if id not in world.invoices:
        raise not_found()
    invoice = world.invoices[id]
    if unknown := body.keys() - {"lines", "csv", "credits"}:
        raise unprocessable(f"{', '.join(sorted(unknown))} cannot be changed by hand; these can: lines, csv, credits.")
    if "lines" in body:
        invoice.lines = [_line(each) for each in body["lines"]]
    if "csv" in body:
        invoice.csv = body["csv"]
    if "credits" in body:
        invoice.credits = Decimal(body["credits"])
    return _true(invoice)


def _line(fields: Json) -> Line:
    start, end = (datetime.fromisoformat(fields.get(name, "2026-04-01T00:00:00+00:00")) for name in ("start", "end"))
    texts = {name: str(value) for name, value in fields.items() if name not in {"start", "end", "amount"}}
    given = {"product": "Droplets", "description": "", "hours": "", **texts}
    return Line(start=start.astimezone(UTC), end=end.astimezone(UTC), amount=Decimal(fields["amount"]), **given)


def _delete(world: World, id: str, _body: Json) -> Json:
    issued(world)
    if world.invoices.pop(id, None) is None:
        raise not_found()
    return {"invoice_uuid": id}


def _nothing(_world: World, _rows: int) -> None:
    """Invoices do not shift while they are walked."""


FAMILY = Family(
    name="invoices",
    routes=(
        Route("GET", "/v2/customers/my/balance", _get_balance),
        Route("GET", "/v2/customers/my/billing_history", _list_history),
        Route("GET", INVOICES, _list_invoices),
        Route("GET", f"{INVOICES}/{{uuid}}", _list_items),
        Route("GET", f"{INVOICES}/{{uuid}}/summary", _get_summary),
        Route("GET", f"{INVOICES}/{{uuid}}/csv", _get_csv),
    ),
    by_hand=ByHand(_truth, _create, _change, _delete, _nothing, _nothing),
)
