"""What the stand-in's account has cost: balance, history, invoices with their items and files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from dev.digitalocean.control import Control
from dev.digitalocean.running import RunningStandIn, running_stand_in
from dev.digitalocean.settings import Settings

INVOICES = "/customers/my/invoices"
HEADER = "product,group_description,description,hours,start,end,USD,project_name,category"


@pytest.fixture(scope="module")
def stand_in() -> Iterator[RunningStandIn]:
    with running_stand_in(speed=0) as running:
        yield running


@pytest.fixture(autouse=True)
async def world(control: Control) -> None:
    await control.reset(**Settings(speed=0, droplets=45, projects=4).model_dump(mode="json"))


async def everything(api: httpx.AsyncClient, path: str, key: str) -> list[Any]:
    found: list[Any] = []
    while True:
        body = (await api.get(path, params={"per_page": 100, "page": len(found) // 100 + 1})).json()
        found += body[key]
        if len(found) >= body["meta"]["total"]:
            return found


async def april(api: httpx.AsyncClient) -> Any:
    return next(each for each in await everything(api, INVOICES, "invoices") if each["invoice_period"] == "2026-04")


async def rows(api: httpx.AsyncClient, uuid: str) -> list[dict[str, str]]:
    file = await api.get(f"{INVOICES}/{uuid}/csv")
    assert file.headers["content-type"] == "text/csv"
    assert file.headers["content-disposition"].startswith('attachment; filename="DigitalOcean Invoice ')
    return list(csv.DictReader(io.StringIO(file.text)))


async def test_there_are_137_invoices_back_to_2014_the_newest_first(api: httpx.AsyncClient) -> None:
    found = await everything(api, INVOICES, "invoices")
    periods = [each["invoice_period"] for each in found]
    assert (len(found), periods[0], periods[-1]) == (137, "2026-04", "2014-12")
    assert periods == sorted(periods, reverse=True)
    assert len({each["invoice_uuid"] for each in found}) == 137


async def test_the_preview_of_the_running_month_is_beside_the_list(api: httpx.AsyncClient) -> None:
    body = (await api.get(INVOICES)).json()
    assert (body["invoice_preview"]["invoice_period"], body["invoice_preview"]["invoice_uuid"]) == (
        "2026-05",
        "preview",
    )
    assert body["meta"]["total"] == 137
    balance = (await api.get("/customers/my/balance")).json()
    assert balance["month_to_date_usage"] == body["invoice_preview"]["amount"]
    items = await everything(api, f"{INVOICES}/preview", "invoice_items")
    assert sum(Decimal(item["amount"]) for item in items) == Decimal(balance["month_to_date_usage"]) > 0


async def test_the_history_has_each_invoice_and_its_payment_which_names_none(api: httpx.AsyncClient) -> None:
    found = await everything(api, "/customers/my/billing_history", "billing_history")
    assert [each["type"] for each in found] == ["Payment", "Invoice"] * 137
    payment, invoice = found[:2]
    assert payment.keys() == {"description", "amount", "date", "type"}
    assert (invoice["invoice_uuid"], invoice["amount"]) == ((await april(api))["invoice_uuid"], "86.92")
    assert Decimal(payment["amount"]) == -Decimal(invoice["amount"])
    assert [each["date"] for each in found] == sorted((each["date"] for each in found), reverse=True)


async def test_april_2026_has_33_lines_and_six_of_droplets_that_are_there(
    api: httpx.AsyncClient, control: Control
) -> None:
    newest = await april(api)
    lines = await rows(api, newest["invoice_uuid"])
    dollars = [Decimal(line["USD"].replace("$", "")) for line in lines]
    assert (newest["amount"], len(lines), sum(dollars)) == ("86.92", 33, Decimal("86.92"))
    assert [line["USD"] for line in lines if line["product"] == "Taxes"] == ["$7.90"]
    there = {droplet.name.lower() for droplet in await control.droplets()}
    named = [line["description"].partition(" (")[0].lower() for line in lines if line["product"] == "Droplets"]
    assert len([name for name in named if name in there]) == 6
    assert lines[0]["description"].partition(" (")[0].isupper(), "whatever the case"


async def test_items_say_what_the_file_says_and_the_ids_that_it_lacks(api: httpx.AsyncClient, control: Control) -> None:
    uuid = (await april(api))["invoice_uuid"]
    items, lines = await everything(api, f"{INVOICES}/{uuid}", "invoice_items"), await rows(api, uuid)
    assert [item["description"] for item in items] == [line["description"] for line in lines]
    assert all(value for item in items for value in item.values()), "nothing is said of what is empty"
    known = {str(droplet.id) for droplet in await control.droplets()}
    assert len([item for item in items if item.get("resource_id") in known]) == 6


async def test_files_of_before_july_2020_have_no_category(api: httpx.AsyncClient) -> None:
    found = {each["invoice_period"]: each["invoice_uuid"] for each in await everything(api, INVOICES, "invoices")}
    for period, header in (("2020-06", HEADER.removesuffix(",category")), ("2020-07", HEADER)):
        text = (await api.get(f"{INVOICES}/{found[period]}/csv")).text
        assert text.splitlines()[0] == header


async def test_periods_end_at_midnight_or_a_second_before(api: httpx.AsyncClient) -> None:
    ends = {line["product"]: line["end"] for line in await rows(api, (await april(api))["invoice_uuid"])}
    assert ends["Droplets"] == "2026-05-01 00:00:00 +0000"
    assert ends["Volumes"] == ends["Taxes"] == "2026-04-30 23:59:59 +0000"


async def test_a_summary_adds_up_to_the_amount(api: httpx.AsyncClient) -> None:
    uuid = (await april(api))["invoice_uuid"]
    summary = (await api.get(f"{INVOICES}/{uuid}/summary")).json()
    parts = ("product_charges", "overages", "taxes", "credits_and_adjustments")
    assert sum(Decimal(summary[part]["amount"]) for part in parts) == Decimal(summary["amount"])
    assert sum(Decimal(each["amount"]) for each in summary["product_charges"]["items"]) == Decimal("79.02")


async def test_an_unknown_invoice_is_not_found(api: httpx.AsyncClient) -> None:
    for part in ("", "/csv", "/summary"):
        assert (await api.get(f"{INVOICES}/22737513-0ea7-4206-8ceb-98a575af7681{part}")).status_code == 404


async def test_invoices_are_the_same_for_the_same_seed(api: httpx.AsyncClient, control: Control) -> None:
    before = await everything(api, INVOICES, "invoices")
    await control.reset()
    assert await everything(api, INVOICES, "invoices") == before


async def test_by_hand_an_invoice_has_other_lines_or_whatever_file(api: httpx.AsyncClient, control: Control) -> None:
    added = await control.add_invoice("2026-04", lines=[{"description": "web-1 (s-1vcpu-1gb)", "amount": "1234.56"}])
    assert (added.amount, added.lines) == (Decimal("1234.56"), 1)
    (line,) = await rows(api, added.invoice_uuid)
    assert (line["USD"], line["product"]) == ("$1,234.56", "Droplets")
    await control.change_invoice(added.invoice_uuid, csv="nonsense", credits="-34.56")
    assert (await api.get(f"{INVOICES}/{added.invoice_uuid}/csv")).text == "nonsense"
    found = next(each for each in await control.invoices() if each.invoice_uuid == added.invoice_uuid)
    assert found.amount == Decimal("1200.00")
