"""Invoices are passed on to finance: with patience, once each, by a token of their own."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
from pydantic import SecretStr

from contracts.billing import DiscoverInvoices, IngestInvoice, PushInvoice
from dev.digitalocean.running import RunningStandIn
from dev.finance.running import RunningFinance
from services.billing import invoice_store, push
from services.billing.domain import is_tax
from services.billing.finance import FinanceAway, _taken
from shared.config import Settings
from tests.billing.test_invoices import line
from tests.billing.world import Billing, at, world

LINES = (line("web-01 (s-1vcpu-1gb)", "6.00"), line("GST (10%)", "0.60", product="Taxes", hours=""))


async def test_finance_gets_net_tax_gross_and_every_line(billing: Billing) -> None:
    credit = line("Service credit", "-2.51", product="Credits", hours="")
    id = await billing.only(*LINES, line("Sales Tax 1%", "0.06", product="Taxes"), credit)
    await billing.ingested(id)
    (taken,) = await billing.finance.invoices()
    assert (taken.amount_gross_minor, taken.amount_net_minor, taken.amount_tax_minor) == (415, 349, 66)
    assert [(each.description, each.amount_minor, each.quantity) for each in taken.lines] == [
        ("web-01 (s-1vcpu-1gb)", 600, "720"),
        ("GST (10%)", 60, None),
        ("Sales Tax 1%", 6, "720"),
        ("Service credit", -251, None),
    ]
    assert (taken.currency, taken.lines[0].starts_at) == ("USD", "2026-04-01T00:00:00+00:00")


async def test_an_outage_of_finance_keeps_no_ingest_waiting(billing: Billing) -> None:
    await billing.finance.arm("status", status=503)
    await billing.finance.arm("lost")
    id = await billing.only(*LINES)
    assert (await billing.ask(IngestInvoice(invoice_id=id))).status == "ok"
    await billing.until("push_error like 'finance answered 503%' from cloud_invoices where id = $1", id)
    waiting = await billing.invoice()
    assert (waiting["push_status"], waiting["ingest_status"]) == ("pending", "ingested")

    await billing.until("push_status = 'pushed' from cloud_invoices where id = $1", id)
    (taken,) = await billing.finance.invoices()
    pushed = await billing.invoice()
    assert (taken.imports, pushed["finance_invoice_id"], pushed["push_error"]) == (2, taken.id, None)


async def test_what_finance_refuses_is_failed_until_somebody_asks_or_a_day_passes(billing: Billing) -> None:
    await billing.finance.arm("status", status=422, count=2)
    id = await billing.only(*LINES)
    await billing.ask(IngestInvoice(invoice_id=id))
    await billing.until("push_status = 'failed' from cloud_invoices where id = $1", id)
    assert "finance answered 422" in (await billing.invoice())["push_error"]
    refused = await billing.ask(PushInvoice(invoice_id=id, again=True))
    assert (refused.status, refused.code) == ("refused", "finance_refused")

    assert ((await billing.ask(DiscoverInvoices())).result or {})["pushing"] == 1
    await billing.until("push_status = 'pushed' from cloud_invoices where id = $1", id)
    assert (await billing.invoice())["push_error"] is None


async def test_a_pushed_invoice_is_pushed_again_on_request_only(billing: Billing) -> None:
    id = await billing.only(*LINES)
    assert (await billing.ask(PushInvoice(invoice_id=id))).code == "not_ingested"
    await billing.ingested(id)
    for again, action, imports in ((False, "none", 1), (True, "updated", 2)):
        outcome = await billing.ask(PushInvoice(invoice_id=id, again=again))
        assert (outcome.result or {})["action"] == action
        (taken,) = await billing.finance.invoices()
        assert taken.imports == imports


async def test_what_is_ingested_while_it_is_pushed_is_pushed_again(billing: Billing) -> None:
    id = await billing.only(*LINES)
    await billing.finance.arm("slow", seconds=4)
    await billing.ask(IngestInvoice(invoice_id=id))
    await billing.until("exists (select from jobs where name like '%push-invoice%' and status = 'running')")
    uuid = (await billing.invoice())["invoice_uuid"]
    await billing.provider.change_invoice(uuid, lines=[*LINES, line("web-02 (s-1vcpu-1gb)", "1.00")])
    await billing.ask(IngestInvoice(invoice_id=id, again=True))
    assert [each.status for each in await billing.finance.requests()] == [None]  # the first is still under way
    await billing.until("push_status = 'pushed' from cloud_invoices where id = $1", id)
    (taken,) = await billing.finance.invoices()
    assert (taken.imports, taken.amount_gross_minor) == (2, 760)


@pytest.fixture
async def without_finance(
    settings: Settings, stand_in: RunningStandIn, finance: RunningFinance
) -> AsyncIterator[Billing]:
    async with stand_in.control() as provider, finance.control() as books:
        await provider.reset()
        await books.reset()
        async with world(at(settings, stand_in, None), provider, books) as there:
            yield there


async def test_without_finance_an_invoice_is_skipped_and_ingested_all_the_same(
    without_finance: Billing, capfd: pytest.CaptureFixture[str]
) -> None:
    id = await without_finance.only(*LINES)
    await without_finance.ingested(id)
    row = await without_finance.invoice()
    assert (row["ingest_status"], row["push_status"]) == ("ingested", "skipped")
    assert "FINANCE_URL is not set" in row["push_error"]
    assert "invoice not pushed" in "".join(capfd.readouterr())
    assert ((await without_finance.ask(DiscoverInvoices())).result or {})["pushing"] == 0


async def test_what_was_skipped_is_pushed_once_there_is_a_finance_service(billing: Billing, settings: Settings) -> None:
    id = await billing.only(*LINES)
    await billing.ingested(id)
    await billing.fetch("update cloud_invoices set push_status = 'skipped' where id = $1", id)
    assert ((await billing.ask(DiscoverInvoices())).result or {})["pushing"] == 1
    await billing.until("push_status = 'pushed' from cloud_invoices where id = $1", id)


async def kept(billing: Billing) -> str:
    """Whatever a push may leave in tables."""
    rows = await billing.fetch(
        """
        select to_jsonb(j) - 'envelope' as row from jobs j union all select to_jsonb(i) from cloud_invoices i
        union all select to_jsonb(i) from inbox i union all select to_jsonb(d) from dead_letters d
        """
    )
    return json.dumps([row["row"] for row in rows])


async def test_the_token_is_short_lived_signed_for_finance_and_found_nowhere(
    billing: Billing, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for effect, status in (("status", 401), ("lost", 0), ("status", 500)):
        await billing.finance.arm("lost" if effect == "lost" else "status", status=status or 503)
    id = await billing.only(*LINES)
    await billing.ask(IngestInvoice(invoice_id=id))
    await billing.until("push_status = 'failed' from cloud_invoices where id = $1", id)
    while_refused = await kept(billing)
    (again,) = await billing.send(PushInvoice(invoice_id=id, again=True))
    await billing.until("push_error like 'finance does not answer%' from cloud_invoices where id = $1", id)
    while_lost = await kept(billing)
    await billing.until("push_error like 'finance answered 500%' from cloud_invoices where id = $1", id)
    while_broken = await kept(billing)
    assert (await billing.outcome(again)).status == "ok"

    requests = await billing.finance.requests()
    claims = requests[-1].claims or {}
    assert (claims["tenant_id"], claims["roles"], claims["typ"]) == ("platform-admin", ["admin"], "access")
    assert 0 < claims["exp"] - claims["iat"] <= 60
    assert len({(each.claims or {})["jti"] for each in requests}) == len(requests) == 4
    out, err = capfd.readouterr()
    said = "\n".join([out, err, caplog.text])
    assert "finance refuses an invoice" in said
    for text in (said, while_refused, while_lost, while_broken):
        assert "eyJ" not in text
        assert "Bearer" not in text


async def failed_push(settings: Settings, stand_in: RunningStandIn, finance: RunningFinance, secrets: list[str]) -> str:
    """Why an invoice is not pushed by a service with these secrets; it is ingested all the same."""
    wrong = at(settings, stand_in, finance).model_copy(update={"jwt_secrets": [SecretStr(each) for each in secrets]})
    async with stand_in.control() as provider, finance.control() as books:
        await provider.reset()
        await books.reset()
        async with world(wrong, provider, books) as billing:
            id = await billing.only(*LINES)
            await billing.ingested(id)
            row = await billing.invoice()
            assert (row["push_status"], row["ingest_status"]) == ("failed", "ingested")
            assert (await billing.ask(PushInvoice(invoice_id=id))).code == "finance_denied_access"
            assert not await books.invoices()
            return str(row["push_error"])


async def test_a_token_that_finance_does_not_believe_fails_the_push_and_says_so(
    settings: Settings, stand_in: RunningStandIn, finance: RunningFinance
) -> None:
    said = await failed_push(
        settings, stand_in, finance, ["another secret, of sixty-four bytes at the least, as HS512 wants it"]
    )
    assert "finance answered 401" in said


async def test_without_a_secret_nothing_is_sent_to_finance_and_it_is_said(
    settings: Settings, stand_in: RunningStandIn, finance: RunningFinance
) -> None:
    assert "JWT_SECRETS is not set" in await failed_push(settings, stand_in, finance, [])


@pytest.mark.parametrize("status", [403, 408, 425, 429])
async def test_what_finance_answers_is_refusal_or_asks_for_patience(billing: Billing, status: int) -> None:
    await billing.finance.arm("status", status=status, count=2)
    id = await billing.only(*LINES)
    await billing.ask(IngestInvoice(invoice_id=id))
    await billing.until("push_error is not null from cloud_invoices where id = $1", id)
    assert (await billing.invoice())["push_status"] == ("failed" if status == 403 else "pending")
    if status == 403:
        assert (await billing.ask(PushInvoice(invoice_id=id))).code == "finance_denied_access"


async def test_what_was_read_too_long_ago_is_not_sent(billing: Billing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "_FRESH_S", -1.0)
    id = await billing.only(*LINES)
    await billing.ask(IngestInvoice(invoice_id=id))
    await billing.until("exists (select from jobs where put_offs > 1)")
    assert not await billing.finance.requests()
    monkeypatch.undo()
    await billing.until("push_status = 'pushed' from cloud_invoices where id = $1", id)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"invoice": {"id": 1}}', b'{"action": "created", "invoice": 3}']
)
def test_what_is_no_answer_of_finances_is_waited_out(body: bytes) -> None:
    with pytest.raises(FinanceAway, match="cannot be read"):
        _taken(httpx.Response(200, content=body))


def test_what_finance_says_of_an_invoice_may_lack_its_id() -> None:
    assert _taken(httpx.Response(200, content=b'{"action": "updated"}')) == ("updated", None)


async def test_an_answer_without_an_id_leaves_the_one_that_is_known(billing: Billing) -> None:
    id = await billing.only(line("web-01 (s-1vcpu-1gb)", "6.00"))
    await billing.ingested(id)
    known = (await billing.invoice())["finance_invoice_id"]
    async with billing.db.transaction() as conn:
        row = await invoice_store.mark_pushed(conn, id, 1, None, datetime.now(UTC))
    assert row["finance_invoice_id"] == known is not None


@pytest.mark.parametrize(
    ("text", "tax"),
    [
        ("GST (10%)", True), ("gst", True), ("STATE SALES TAX (6.25%)", True), ("Taxes", True), ("web-01", False),
        ("", False),
    ],
)  # fmt: skip
def test_tax_is_known_by_its_words(text: str, tax: bool) -> None:
    assert is_tax(text.encode()) is tax
