"""What is told of invoices on the bus: every change, in its order, with the state after it."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from contracts.billing import INVOICES, AssignCostLine, DiscoverInvoices, IngestInvoice, PushInvoice
from contracts.message import Envelope
from services.billing import upkeep
from services.billing.app import service
from shared.bus import tail
from shared.republish import republish
from tests.billing.test_invoices import line
from tests.billing.world import APRIL, Billing, resource

WEB = line("web-01 (s-1vcpu-1gb)", "6.00")


async def told(billing: Billing, id: UUID, count: int) -> list[Envelope]:
    """The first events about an invoice."""
    found: list[Envelope] = []
    since = int(billing.began.timestamp() * 1000)
    async with tail(billing.settings, [INVOICES], since_ms=since) as consumer, asyncio.timeout(20):
        while len(found) < count:
            envelope = Envelope.model_validate_json((await consumer.getone()).value)
            found += [envelope] if envelope.subject == str(id) else []
    return found


def words(event: Envelope) -> tuple[str, Any, Any]:
    """An event's name, and what became of the file and of the push."""
    invoice = event.data["invoice"]
    return event.type.split(".")[2], invoice["ingest_status"], invoice["push_status"]


async def test_the_life_of_an_invoice_is_told_change_by_change(billing: Billing) -> None:
    april = next(each for each in await billing.provider.invoices() if each.invoice_period == APRIL)
    for each in await billing.provider.invoices():
        if each != april:
            await billing.provider.delete_invoice(each.invoice_uuid)
    await billing.provider.change_invoice(april.invoice_uuid, lines=[WEB], csv="nothing of the kind\n")
    await billing.tell_resources(resource("web-01", "11"))

    await billing.ask(DiscoverInvoices())
    await billing.until("ingest_status = 'failed' from cloud_invoices")
    id = (await billing.invoice())["id"]
    await billing.provider.change_invoice(april.invoice_uuid, csv=None)
    await billing.finance.arm("status", status=422)
    await billing.ask(IngestInvoice(invoice_id=id))
    await billing.until("push_status = 'failed' from cloud_invoices")
    await billing.ask(PushInvoice(invoice_id=id))
    await billing.ask(AssignCostLine(invoice_id=id, line=1, resource_id=resource("web-01", "11").id, note="so it is"))
    await billing.provider.change_invoice(april.invoice_uuid, lines=[{**WEB, "amount": "7.00"}])
    await billing.ask(DiscoverInvoices())
    await billing.until("ingests = 2 and push_status = 'pushed' from cloud_invoices")
    assert await republish(service, billing.db, "ops@arcadia.test") == 1

    events = await told(billing, id, 10)
    assert [words(event) for event in events] == [
        ("invoice-discovered", "pending", "pending"),
        ("invoice-ingest-failed", "failed", "pending"),
        ("invoice-ingested", "ingested", "pending"),
        ("invoice-push-failed", "ingested", "failed"),
        ("invoice-pushed", "ingested", "pushed"),
        ("cost-line-assigned", "ingested", "pushed"),
        ("invoice-changed", "pending", "pushed"),
        ("invoice-ingested", "ingested", "pending"),
        ("invoice-pushed", "ingested", "pushed"),
        ("invoice-republished", "ingested", "pushed"),
    ]
    versions = [event.sequence or 0 for event in events]
    assert versions == [*range(1, 10), 9]
    assert [event.data["invoice"]["version"] for event in events] == versions
    _, failed, first, refused, pushed, assigned, changed, second, *_ = (event.data for event in events)
    assert failed["invoice"]["ingest_error"]["line"] == 1
    assert (first["changes"], first["invoice"]["matched"], first["invoice"]["reconciliation"]) == (None, 1, "exact")
    assert "finance answered 422" in refused["invoice"]["push_error"]
    assert (pushed["action"], pushed["invoice"]["push_error"]) == ("created", None)
    assert (assigned["assignment"]["line"], assigned["invoice"]["assigned"]) == (1, 1)
    assert (changed["before_cents"], changed["invoice"]["amount_cents"]) == (600, 700)
    assert changed["invoice"]["reconciliation"] is None
    assert (second["changes"]["repriced"], second["changes"]["after_cents"]) == (1, 700)
    assert second["invoice"]["assigned"] == 1


async def test_a_push_that_waits_moves_no_version_and_says_why(billing: Billing) -> None:
    await billing.finance.arm("status", status=503)
    id = await billing.only(WEB)
    await billing.ask(IngestInvoice(invoice_id=id))
    await billing.until("push_error is not null from cloud_invoices where id = $1", id)
    assert (await billing.invoice())["version"] == 2
    await billing.until("push_status = 'pushed' from cloud_invoices where id = $1", id)
    assert [event.sequence for event in await told(billing, id, 2)] == [2, 3]


async def test_a_refused_push_of_what_finance_has_leaves_it_pushed(billing: Billing) -> None:
    id = await billing.only(WEB)
    await billing.ingested(id)
    await billing.finance.arm("status", status=422)
    assert (await billing.ask(PushInvoice(invoice_id=id, again=True))).code == "finance_refused"
    row = await billing.invoice()
    assert (row["push_status"], row["push_error"]) == ("pushed", None)
    await billing.finance.arm("status", status=503)
    (again,) = await billing.send(PushInvoice(invoice_id=id, again=True))
    await billing.until("exists (select from jobs where put_offs > 0)")
    assert (await billing.invoice())["push_error"] is None
    assert (await billing.outcome(again)).status == "ok"


async def test_a_refusal_that_is_repeated_is_told_once(billing: Billing) -> None:
    await billing.finance.arm("status", status=422, count=2)
    id = await billing.only(WEB)
    await billing.ingested(id)
    for _ in range(2):
        assert (await billing.invoice())["version"] == 3
        await billing.ask(PushInvoice(invoice_id=id))
    assert [words(event)[0] for event in await told(billing, id, 3)] == [
        "invoice-ingested", "invoice-push-failed", "invoice-pushed",
    ]  # fmt: skip


async def test_every_invoice_is_told_again_page_by_page(billing: Billing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_PAGE", 2)
    await billing.discover()
    assert await republish(service, billing.db, "ops@arcadia.test") == 137
