"""What operators see of the provider's charges through the gateway."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from typing import Any

import httpx
import pytest

from contracts.billing import PollBalance
from services.gateway import billing_store, exports
from services.gateway.app import serving
from services.gateway.store import Views
from shared.config import Settings
from shared.db import Database
from shared.ids import uuid7
from shared.migrate import OPERATOR_ROLE, TENANT_ROLE, migrate
from tests.billing.test_invoices import FOUND, line
from tests.billing.world import Billing, fleet, resource
from tests.deployments.system import of_gateways
from tests.gateway.test_documentation import closed, document, validate
from tests.gateway.world import ACME, MIGRATIONS, OPERATOR, client

BALANCE = "/api/v1/billing/balance"


@pytest.fixture
async def callers(billing: Billing) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """An operator and a tenant."""
    await migrate(billing.settings, MIGRATIONS)
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(serving(of_gateways(billing.settings)))
        operator, tenant = [await stack.enter_async_context(client(gateway, token)) for token in (OPERATOR, ACME)]
        yield operator, tenant


async def test_operators_see_the_balance_with_its_history_the_newest_first(
    billing: Billing, callers: tuple[httpx.AsyncClient, httpx.AsyncClient]
) -> None:
    operator, tenant = callers
    assert (await operator.get(BALANCE)).json() == {"balance": None, "history": []}
    for _ in range(3):
        await billing.ask(PollBalance())
        await billing.provider.advance(7200)

    body = (await operator.get(BALANCE)).json()
    usage = [each["month_to_date_usage_cents"] for each in body["history"]]
    assert len(usage) == 3
    assert usage == sorted({*usage}, reverse=True)
    assert body["balance"] == body["history"][0]
    assert len((await operator.get(BALANCE, params={"history": 2})).json()["history"]) == 2

    documented = await document(operator)
    shown = documented["paths"][BALANCE]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    validate(closed(documented), shown, body)
    for wrong in ("0", "1001", "x"):
        assert (await operator.get(BALANCE, params={"history": wrong})).status_code == 422
    assert (await tenant.get(BALANCE)).status_code == 403


async def test_an_operator_has_the_provider_asked_now(
    callers: tuple[httpx.AsyncClient, httpx.AsyncClient],
) -> None:
    operator, tenant = callers
    assert (await tenant.post(f"{BALANCE}/poll")).status_code == 403
    answer = await operator.post(f"{BALANCE}/poll")
    assert answer.status_code == 200, answer.text
    assert (await operator.get(BALANCE)).json()["balance"]["version"] == answer.json()["balance"]["version"]
    documented = await document(operator)
    schema = documented["paths"][f"{BALANCE}/poll"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    validate(closed(documented), schema, answer.json())


INVOICES, LINES, FOCUS = (f"/api/v1/billing/{path}" for path in ("invoices", "cost-lines", "focus"))


async def shown(operator: httpx.AsyncClient, path: str, route: str = "", method: str = "GET", **asked: Any) -> Any:
    """An answer of 200, which has the documented members and no others."""
    answer = await operator.request(method, path, **asked)
    assert answer.status_code == 200, answer.text
    documented = await document(operator)
    responses = documented["paths"][route or path][method.lower()]["responses"]
    validate(closed(documented), responses["200"]["content"]["application/json"]["schema"], answer.json())
    return answer.json()


async def taken_in(billing: Billing, operator: httpx.AsyncClient) -> dict[str, Any]:
    """All invoices, discovered over HTTP, ingested and pushed, with a fleet that is known; gives April's."""
    await billing.tell_resources(*await fleet(billing.provider))
    found = await shown(operator, f"{INVOICES}/discover", method="POST")
    assert found == FOUND | {"discovered": 137, "ingesting": 137}
    await billing.until("137 = (select count(*) from cloud_invoices where push_status = 'pushed')")
    (april,) = (await shown(operator, INVOICES, params={"period": "2026-04-01"}))["invoices"]
    return dict(april)


async def test_the_invoices_of_years_are_taken_in_matched_reconciled_and_pushed(
    billing: Billing, callers: tuple[httpx.AsyncClient, httpx.AsyncClient]
) -> None:
    operator, _ = callers
    april = await taken_in(billing, operator)
    one = f"{INVOICES}/{{invoice_id}}"
    assert (april["lines"], april["amount_cents"], april["tax_cents"], april["matched"]) == (33, 8692, 790, 6)
    assert april["unmatched"] == {"account_level": 4, "credit": 1, "tax": 1, "unknown_resource": 21}
    detail = await shown(operator, f"{INVOICES}/{april['id']}", one)
    assert (detail["invoice"], detail["reconciliation"]["status"]) == (april, "exact")
    assert [(each["ingest"], each["lines"], each["cents"]) for each in detail["attempts"]] == [(1, 33, 8692)]

    lines = (await shown(operator, LINES, params={"period": "2026-04-01"}))["cost_lines"]
    assert [each["line"] for each in lines] == list(range(1, 34))
    assert sum(each["amount_cents"] for each in lines) == 8692
    meant = [each for each in lines if each["unmatched"] is None]
    assert {(each["kind"], each["matched_by"], each["confidence"]) for each in meant} == {("droplet", "id", "certain")}
    assert [each["description"].partition(" ")[0].lower() for each in meant] == [
        each["resource_name"] for each in meant
    ]

    again = await shown(operator, f"{INVOICES}/{april['id']}/ingest", f"{one}/ingest", "POST")
    assert (again["invoice"]["ingests"], again["changes"]["repriced"]) == (2, 0)
    attempts = (await shown(operator, f"{INVOICES}/{april['id']}", one))["attempts"]
    assert [(each["ingest"], each["actor"]) for each in attempts] == [(2, "ops@arcadia.test"), (1, "ops@arcadia.test")]
    await billing.until("push_status = 'pushed' from cloud_invoices where id = $1", april["id"])
    pushed = await shown(operator, f"{INVOICES}/{april['id']}/push", f"{one}/push", "POST")
    assert (pushed["action"], pushed["invoice"]["push_status"]) == ("updated", "pushed")
    books = [each for each in await billing.finance.invoices() if each.external_id == april["invoice_uuid"]]
    assert [(each.amount_gross_minor, each.amount_tax_minor, each.imports) for each in books] == [(8692, 790, 3)]


async def test_lists_are_filtered_and_paged(
    billing: Billing, callers: tuple[httpx.AsyncClient, httpx.AsyncClient]
) -> None:
    operator, _ = callers
    await taken_in(billing, operator)
    whole = (await shown(operator, INVOICES))["invoices"]
    assert len(whole) == 137
    assert [each["period"] for each in whole] == sorted((each["period"] for each in whole), reverse=True)
    assert await paged(operator, INVOICES, "invoices", limit=50) == whole
    await billing.fetch("update cloud_invoices set push_status = 'failed' where period < '2015-02-01'")
    failed = 'ingest_status = \'failed\', ingest_error = \'{"code": "x", "reason": "y"}\''
    await billing.fetch(f"update cloud_invoices set {failed} where period < '2015-01-01'")
    for params, count in (
        ({"push": "failed"}, 2), ({"push": "pushed"}, 135), ({"ingest": "ingested"}, 136), ({"ingest": "failed"}, 1),
        ({"period": "2014-12"}, 1),
    ):  # fmt: skip
        assert (await shown(operator, INVOICES, params=params))["count"] == count, params
    assert (await shown(operator, INVOICES, params={"limit": 1, "period": "2014-12"}))["next"] is None
    assert (await shown(operator, LINES, params={"limit": 33, "period": "2026-04"}))["next"] is None

    every = await paged(operator, LINES, "cost_lines", limit=100)
    assert len(every) == len(await billing.fetch("select from cloud_cost_lines"))
    assert every == sorted(every, key=lambda each: (each["invoice_id"], each["line"]))
    for params, wanted in (
        ({"kind": "volume"}, [each for each in every if each["kind"] == "volume"]),
        ({"matched": "true"}, [each for each in every if each["unmatched"] is None]),
        ({"period": "2026-04"}, [each for each in every if each["period"] == "2026-04-01"]),
        ({"invoice": whole[0]["id"]}, [each for each in every if each["invoice_id"] == whole[0]["id"]]),
    ):
        assert (await shown(operator, LINES, params=params))["cost_lines"] == wanted != [], params


async def paged(operator: httpx.AsyncClient, path: str, key: str, limit: int) -> list[dict[str, Any]]:
    """Every row of a list, page by page."""
    rows: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        body = await shown(operator, path, params={"limit": limit, **({"cursor": cursor} if cursor else {})})
        assert body["count"] == len(body[key]) <= limit
        rows += body[key]
        cursor = body["next"]
    return rows


async def test_lines_are_downloaded_as_a_csv_and_as_focus_to_the_cent(
    billing: Billing, callers: tuple[httpx.AsyncClient, httpx.AsyncClient]
) -> None:
    operator, _ = callers
    april = await taken_in(billing, operator)
    lines = (await shown(operator, LINES, params={"period": "2026-04"}))["cost_lines"]

    answer = await operator.get(f"{LINES}.csv", params={"period": "2026-04-01"})
    assert answer.headers["content-type"].startswith("text/csv")
    assert 'filename="cost-lines-2026-04.csv"' in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["line"], row["amount"], row["description"], row["unmatched"]) for row in rows] == [
        (str(each["line"]), each["amount"], each["description"], each["unmatched"] or "") for each in lines
    ]
    everything = await operator.get(f"{LINES}.csv")
    assert len(everything.text.splitlines()) == 1 + len(await billing.fetch("select from cloud_cost_lines"))

    answer = await operator.get(FOCUS, params={"period": "2026-04"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    for cost in ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"):
        assert sum(Decimal(row[cost]) for row in rows) == Decimal("86.92")
    assert not [name for row in rows for name in NEVER_NULL if not row[name]]
    assert {row["InvoiceId"] for row in rows} == {april["invoice_uuid"]}
    charges = {row["x_Product"]: row["ChargeCategory"] for row in rows}
    assert {charges[name] for name in ("Droplets", "Taxes", "Credits", "Spaces Subscription")} == {
        "Usage", "Tax", "Credit", "Purchase",
    }  # fmt: skip
    for row in rows:
        priced = row["ChargeCategory"] in {"Usage", "Purchase"}
        assert bool(row["PricingQuantity"]) is bool(row["PricingUnit"]) is priced
        assert bool(row["ConsumedQuantity"]) is (row["ChargeCategory"] == "Usage")
        assert bool(row["ResourceId"]) is bool(row["ResourceType"]) is bool(row["ResourceName"])
        assert row["ChargePeriodStart"] < row["ChargePeriodEnd"] <= row["BillingPeriodEnd"] == "2026-05-01T00:00:00Z"
    assert sum(1 for row in rows if row["ResourceId"]) == 6
    quantities = {row["x_Product"]: (row["PricingQuantity"], row["PricingUnit"]) for row in rows}
    assert (quantities["Droplet Backups"], quantities["Spaces Subscription"]) == (("5.0", "Units"), ("1.0", "Months"))


NEVER_NULL = (
    "BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodStart", "BillingPeriodEnd", "ChargeCategory",
    "ChargePeriodStart", "ChargePeriodEnd", "ContractedCost", "EffectiveCost", "ListCost", "InvoiceIssuerName",
    "ProviderName", "PublisherName", "ServiceCategory", "ServiceName", "ChargeDescription", "ServiceSubcategory",
    "ChargeFrequency", "InvoiceId",
)  # fmt: skip


async def test_an_operator_assigns_a_line_and_takes_it_back(
    billing: Billing, callers: tuple[httpx.AsyncClient, httpx.AsyncClient]
) -> None:
    operator, _ = callers
    web = resource("web-01", "11")
    await billing.tell_resources(web)
    id = await billing.only(line("old (512mb)", "5.00"))
    await billing.ingested(id)
    path, route = f"{INVOICES}/{id}/lines/1/assignment", f"{INVOICES}/{{invoice_id}}/lines/{{line}}/assignment"
    said = await shown(
        operator, path, route, "PUT", json={"resource_id": str(web.id), "note": "was web-01", "ingests": 1}
    )
    assert said["invoice"]["assigned"] == 1
    (kept,) = (await shown(operator, LINES, params={"matched": "true"}))["cost_lines"]
    assert (kept["resource_name"], kept["matched_by"], kept["confidence"]) == ("web-01", "assigned", "certain")
    assert (kept["note"], kept["assigned_by"]) == ("was web-01", "ops@arcadia.test")

    for body, status in (
        ({}, 422), ({"resource_id": str(web.id), "deployment_id": str(web.id)}, 422), ({"resource_id": str(id)}, 404),
        ({"resource_id": str(web.id), "ingests": 7}, 409), ({"resource_id": "x"}, 422),
    ):  # fmt: skip
        assert (await operator.put(path, json=body)).status_code == status, body
    assert (await operator.put(path.replace("/1/", "/2/"), json={"resource_id": str(web.id)})).status_code == 404
    assert (await shown(operator, path, route, "DELETE"))["invoice"]["assigned"] == 0


async def test_costs_are_the_operators_alone_and_bad_input_is_named(
    billing: Billing, callers: tuple[httpx.AsyncClient, httpx.AsyncClient]
) -> None:
    operator, tenant = callers
    id = await billing.only(line("old (512mb)", "5.00"), csv="nothing of the kind\n")
    for method, path in (
        ("GET", INVOICES), ("GET", f"{INVOICES}/{id}"), ("GET", LINES), ("GET", f"{LINES}.csv"),
        ("GET", f"{FOCUS}?period=2026-04"), ("POST", f"{INVOICES}/discover"), ("POST", f"{INVOICES}/{id}/ingest"),
        ("POST", f"{INVOICES}/{id}/push"), ("DELETE", f"{INVOICES}/{id}/lines/1/assignment"),
        ("PUT", f"{INVOICES}/{id}/lines/1/assignment"),
    ):  # fmt: skip
        assert (await tenant.request(method, path)).status_code == 403, path
    for path in (
        FOCUS, f"{FOCUS}?period=april", f"{LINES}?period=2026-13-01", f"{LINES}?kind=x", f"{INVOICES}?push=x",
        f"{LINES}?cursor=x", f"{LINES}?limit=0", f"{INVOICES}?period=2026-4",
    ):  # fmt: skip
        assert (await operator.get(path)).status_code == 422, path
    assert (await operator.get(f"{INVOICES}/{uuid7()}")).status_code == 404
    assert (await operator.post(f"{INVOICES}/{uuid7()}/ingest")).status_code == 404
    assert (await operator.post(f"{INVOICES}/{id}/push")).status_code == 409

    refused = await operator.post(f"{INVOICES}/{id}/ingest")
    assert (refused.status_code, refused.json()["error"], refused.json()["line"]) == (422, "invoice_unreadable", 1)
    assert "there is no column product" in refused.json()["reason"]
    shown_error = (await shown(operator, f"{INVOICES}/{id}", f"{INVOICES}/{{invoice_id}}"))["invoice"]["ingest_error"]
    assert shown_error["line"] == 1


async def test_a_file_whose_lines_are_replaced_while_it_is_sent_does_not_end_well(
    billing: Billing, callers: tuple[httpx.AsyncClient, httpx.AsyncClient]
) -> None:
    operator, _ = callers
    many = [line(f"web-{n:05d} (1gb)", "0.01") for n in range(exports.PAGE + 1)]
    await billing.ingested(await billing.only(*many))
    assert len((await operator.get(f"{LINES}.csv")).text.splitlines()) == 1 + len(many)

    async with opened_views(billing.settings) as views:
        parts = exports.read(views, billing_store.Lines(), exports.COLUMNS, exports.fields_of)
        await anext(parts)
        await billing.fetch("update cloud_invoices set ingests = ingests + 1")
        with pytest.raises(exports.Replaced):
            async for _ in parts:
                pass


@asynccontextmanager
async def opened_views(settings: Settings) -> AsyncIterator[Views]:
    pools = [await Database.of_service(settings, "gateway", role=role) for role in (TENANT_ROLE, OPERATOR_ROLE)]
    yield Views(*pools)
    for pool in pools:
        await pool.close()


async def test_credits_that_are_no_lines_are_a_row_of_focus(
    billing: Billing, callers: tuple[httpx.AsyncClient, httpx.AsyncClient]
) -> None:
    operator, _ = callers
    lines = (
        line("web-01 (s-1vcpu-1gb)", "6.00"),
        line("refund", "-1.00", product="Oddities", hours=""),
        line("more", "2.00", product="Oddities", hours="3"),
    )
    await billing.ingested(await billing.only(*lines, credits="-1.50"))
    assert len((await operator.get(FOCUS, params={"period": "2026-03"})).text.splitlines()) == 1
    rows = list(csv.DictReader(io.StringIO((await operator.get(FOCUS, params={"period": "2026-04"})).text)))
    shown_rows = [
        (row["BilledCost"], row["ChargeCategory"], row["ChargeFrequency"], row["PricingQuantity"], row["PricingUnit"])
        for row in rows
    ]
    assert shown_rows == [
        ("6.00", "Usage", "Usage-Based", "720.0", "Hours"),
        ("-1.00", "Adjustment", "One-Time", "", ""),
        ("2.00", "Usage", "Usage-Based", "3.0", "Hours"),
        ("-1.50", "Credit", "One-Time", "", ""),
    ]
    assert {(row["BillingPeriodStart"], row["BillingPeriodEnd"]) for row in rows} == {
        ("2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z")
    }
    assert [(row["ServiceName"], row["ServiceCategory"], row["ServiceSubcategory"]) for row in rows] == [
        ("Droplets", "Compute", "Virtual Machines"),
        ("Oddities", "Other", "Other (Other)"),
        ("Oddities", "Other", "Other (Other)"),
        ("Credits", "Other", "Other (Other)"),
    ]
    plain = [json.loads(each) for each in {json.dumps([row["ServiceName"], row["ServiceCategory"]]) for row in rows}]
    assert len(plain) == len({name for name, _ in plain})

    differences = [{"what": "tax", "cents": -150}, {"what": "lines", "cents": -149}]  # neither is those credits
    await billing.fetch(
        "update cloud_invoices set reconciliation = jsonb_set(reconciliation, '{differences}', $1)", differences
    )
    rows = list(csv.DictReader(io.StringIO((await operator.get(FOCUS, params={"period": "2026-04"})).text)))
    assert [row["ServiceName"] for row in rows] == ["Droplets", "Oddities", "Oddities"]


async def test_the_lines_of_before_are_there_to_be_looked_at(
    billing: Billing, callers: tuple[httpx.AsyncClient, httpx.AsyncClient]
) -> None:
    operator, tenant = callers
    id = await billing.only(line("web-01 (s-1vcpu-1gb)", "6.00"), line("web-02 (s-1vcpu-1gb)", "5.00"))
    await billing.ingested(id)
    uuid = (await billing.invoice())["invoice_uuid"]
    await billing.provider.change_invoice(uuid, lines=[line("web-01 (s-1vcpu-1gb)", "7.00")])
    await billing.fetch("update cloud_invoices set amount_cents = 700 where id = $1", id)
    await billing.ingested(id)
    path = f"{INVOICES}/{id}/superseded"
    rows = list(csv.DictReader(io.StringIO((await operator.get(f"{path}/1")).text)))
    assert [(row["line"], row["description"], row["amount"], row["unmatched"]) for row in rows] == [
        ("1", "web-01 (s-1vcpu-1gb)", "6.00", "unknown_resource"),
        ("2", "web-02 (s-1vcpu-1gb)", "5.00", "unknown_resource"),
    ]
    assert len((await operator.get(f"{path}/2")).text.splitlines()) == 1
    assert (await operator.get(f"{path}/0")).status_code == 422
    assert (await tenant.get(f"{path}/1")).status_code == 403
