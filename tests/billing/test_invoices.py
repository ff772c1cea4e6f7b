"""Invoices are discovered, ingested once each, and replaced as a whole or not at all."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from contracts.billing import DiscoverInvoices, IngestInvoice
from contracts.kinds import ResourceKind
from contracts.money import Currency
from dev.digitalocean.faults import Fault
from services.billing import discovery, invoice_store
from services.billing.domain import Issued
from shared.ids import uuid7
from shared.outcome import Meta, Send
from tests.billing.world import APRIL, Billing, fleet, resource

HEADER = "product,group_description,description,hours,start,end,USD,project_name,category"
SPAN = "2026-04-01 00:00:00 +0000,2026-05-01 00:00:00 +0000"


FOUND = {"invoices": 137, "discovered": 0, "changed": 0, "unreadable": 0, "ingesting": 0, "pushing": 0}


def line(description: str, amount: str, **fields: Any) -> dict[str, Any]:
    """A line at the provider, of the whole of April."""
    whole = {"start": "2026-04-01T00:00:00+00:00", "end": "2026-05-01T00:00:00+00:00", "hours": "720"}
    return {"description": description, "amount": amount, **whole, **fields}


async def test_every_invoice_since_the_first_is_discovered_ingested_and_pushed_once(billing: Billing) -> None:
    outcome = await billing.ask(DiscoverInvoices())
    assert outcome.result == FOUND | {"discovered": 137, "ingesting": 137}
    await billing.until("137 = (select count(*) from cloud_invoices where push_status = 'pushed')")
    rows = await billing.fetch("select * from cloud_invoices order by id")
    assert [row["period"] for row in rows] == sorted(row["period"] for row in rows)
    assert {(row["ingests"], row["reconciliation"]["status"]) for row in rows} == {(1, "exact")}
    theirs = {each.invoice_uuid: (each.amount, each.lines) for each in await billing.provider.invoices()}
    assert {row["invoice_uuid"]: (Decimal(row["amount_cents"]) / 100, row["lines"]) for row in rows} == theirs
    assert sum(row["lines"] for row in rows) == len(await billing.fetch("select from cloud_cost_lines"))

    again = await billing.ask(DiscoverInvoices())
    assert again.result == FOUND
    books = await billing.finance.invoices()
    assert (len(books), {each.imports for each in books}) == (137, {1})
    assert {(each.external_id, each.id) for each in books} == {
        (row["invoice_uuid"], row["finance_invoice_id"]) for row in rows
    }


async def test_april_has_33_lines_of_which_6_mean_resources_that_are_there(billing: Billing) -> None:
    gone = [resource("historic-01", "1", deleted=True), resource("historic-02", "2", deleted=True)]
    await billing.tell_resources(*await fleet(billing.provider), *gone)
    await billing.discover()

    april = await billing.invoice()
    assert (april["lines"], april["amount_cents"], april["net_cents"], april["tax_cents"]) == (33, 8692, 7902, 790)
    # Backups are the droplet's: so three lines of historic-01, and one of historic-02.
    reasons = {"account_level": 4, "credit": 1, "deleted_resource": 4, "tax": 1, "unknown_resource": 17}
    assert (april["matched"], april["unmatched"]) == (6, reasons)
    assert april["reconciliation"]["status"] == "exact"
    (taken,) = [each for each in await billing.finance.invoices() if each.external_id == april["invoice_uuid"]]
    assert (taken.source, taken.tenant_id, taken.period.isoformat()) == ("digitalocean", "platform-admin", "2026-04-01")
    assert (taken.amount_gross_minor, taken.amount_tax_minor, taken.amount_net_minor) == (8692, 790, 7902)
    assert len(taken.lines) == 33

    again = await billing.ask(IngestInvoice(invoice_id=april["id"], again=True))
    assert again.status == "ok"
    await billing.until("push_status = 'pushed' from cloud_invoices where id = $1", april["id"])
    (taken,) = [each for each in await billing.finance.invoices() if each.external_id == april["invoice_uuid"]]
    assert taken.imports == 2
    assert [(each.name, each.category) for each in await billing.finance.vendors()] == [("DigitalOcean", "cloud")]


async def test_a_line_is_stored_as_its_file_says_in_every_column_and_as_it_was_matched(billing: Billing) -> None:
    cluster = resource("k8s", "c-1", kind=ResourceKind.KUBERNETES_CLUSTER)
    await billing.tell_resources(cluster)
    fields = {"product": "Kubernetes Clusters", "group": "K8S", "project": "a project", "category": "a category"}
    id = await billing.only(line("3 nodes, HA", "1234.5", **fields))
    await billing.ingested(id)
    (row,) = await billing.fetch("select * from cloud_cost_lines where invoice_id = $1", id)
    assert dict(row) == {
        "invoice_id": id,
        "line": 1,
        "product": "Kubernetes Clusters",
        "group_description": "K8S",
        "description": "3 nodes, HA",
        "hours": 720,
        "starts_at": datetime(2026, 4, 1, tzinfo=UTC),
        "ends_at": datetime(2026, 5, 1, tzinfo=UTC),
        "amount": Decimal("1234.50"),
        "project_name": "a project",
        "category": "a category",
        "kind": "kubernetes_cluster",
        "provider_resource_id": "c-1",
        "resource_id": cluster.id,
        "matched_by": "name",
        "unmatched": None,
        "amount_cents": 123450,
    }


async def test_an_ingest_that_is_not_asked_for_again_does_nothing_where_one_was(billing: Billing) -> None:
    id = await billing.only(line("web-01 (s-1vcpu-1gb)", "6.00"))
    for ingests, again in ((1, False), (1, False), (2, True)):
        await billing.ask(IngestInvoice(invoice_id=id, again=again))
        assert (await billing.invoice())["ingests"] == ingests
    assert (await billing.ask(IngestInvoice(invoice_id=uuid7()))).code == "not_found"


async def test_walks_that_follow_at_once_ingest_each_invoice_once(billing: Billing) -> None:
    ids = await billing.send(*(DiscoverInvoices() for _ in range(3)))
    found = [(await billing.outcome(id)).result or {} for id in ids]
    assert sum(each["discovered"] for each in found) == 137
    await billing.until("137 = (select count(*) from cloud_invoices where push_status = 'pushed')")
    await billing.until("not exists (select from jobs where status in ('queued', 'running'))")
    assert {row["ingests"] for row in await billing.fetch("select ingests from cloud_invoices")} == {1}
    assert {each.imports for each in await billing.finance.invoices()} == {1}


async def test_a_changed_file_replaces_the_lines_and_it_is_told_what_changed(billing: Billing) -> None:
    first = [line("web-01 (s-1vcpu-1gb)", "6.00"), line("web-02 (s-1vcpu-1gb)", "6.00"), line("old (512mb)", "5.00")]
    id = await billing.only(*first)
    assert (await billing.ingested(id))["changes"] is None

    await billing.provider.change_invoice(
        (await billing.invoice())["invoice_uuid"],
        lines=[line("new (s-1vcpu-1gb)", "1.10"), line("web-02 (s-1vcpu-1gb)", "7.25"), first[0], first[0]],
    )
    outcome = await billing.ask(DiscoverInvoices())
    assert ((outcome.result or {})["changed"], (outcome.result or {})["ingesting"]) == (1, 137)
    await billing.until("ingests = 2 from cloud_invoices where id = $1", id)
    (made,) = await billing.fetch("select * from ingest_attempts where invoice_id = $1 and ingest = 2", id)
    examples = made["changes"].pop("examples")
    assert made["changes"] == {
        "added": 2, "removed": 1, "repriced": 1, "altered": 0, "before_cents": 1700, "after_cents": 2035
    }  # fmt: skip
    assert [(each["description"], each["before_cents"], each["after_cents"]) for each in examples] == [
        ("web-01 (s-1vcpu-1gb)", None, 600),
        ("old (512mb)", 500, None),
        ("web-02 (s-1vcpu-1gb)", 600, 725),
        ("new (s-1vcpu-1gb)", None, 110),
    ]
    assert [each["amount"] for each in await billing.lines()] == ["1.10", "7.25", "6.00", "6.00"]
    kept = await billing.fetch("select line, amount from superseded_cost_lines where invoice_id = $1 order by line", id)
    assert [(each["line"], each["amount"]) for each in kept] == [(1, 6), (2, 6), (3, 5)]


async def test_an_ingest_that_changes_nothing_says_so_and_keeps_no_second_set(billing: Billing) -> None:
    id = await billing.only(line("web-01 (s-1vcpu-1gb)", "6.00"), line("web-01 (s-1vcpu-1gb)", "6.00"))
    await billing.ingested(id)
    changes = (await billing.ingested(id))["changes"]
    assert changes == {
        "added": 0, "removed": 0, "repriced": 0, "altered": 0, "before_cents": 1200, "after_cents": 1200, "examples": []
    }  # fmt: skip
    assert not await billing.fetch("select from superseded_cost_lines")
    assert len(await billing.lines()) == 2


FILES = {
    "'five' is no amount": (3, f"{HEADER}\nDroplets,,web-01,1,{SPAN},$5.00,,\nDroplets,,web-02,1,{SPAN},five,,\n"),
    "there is no column USD": (1, HEADER.replace("USD", "EUR") + "\n"),
    "it has 3 columns": (2, f"{HEADER}\nDroplets,,web-01"),
    "cut off": (3, f'{HEADER}\nDroplets,,web-01,1,{SPAN},$5.00,,\nDroplets,,"web'),
    "ends after 1 lines of 2": (2, f"{HEADER}\nDroplets,,web-01 (s-1vcpu-1gb),720,{SPAN},$6.00,,\n"),
    "ends after 0 lines of 2": (1, f"{HEADER}\n"),
}


@pytest.mark.parametrize("reason", FILES)
async def test_a_file_that_cannot_be_read_leaves_the_lines_of_before_in_place(billing: Billing, reason: str) -> None:
    id = await billing.only(line("web-01 (s-1vcpu-1gb)", "6.00"), line("web-02 (s-1vcpu-1gb)", "6.00"))
    await billing.ingested(id)
    before = await billing.lines()

    number, text = FILES[reason]
    uuid = (await billing.invoice())["invoice_uuid"]
    await billing.provider.change_invoice(uuid, csv=text)
    outcome = await billing.ask(IngestInvoice(invoice_id=id, again=True))
    assert (outcome.status, outcome.code, (outcome.detail or {})["line"]) == ("refused", "invoice_unreadable", number)
    assert reason in (outcome.detail or {})["reason"]
    after = await billing.invoice()
    assert await billing.lines() == before
    assert (after["ingest_status"], after["ingests"], after["lines"]) == ("failed", 1, 2)
    assert (after["ingest_error"]["line"], after["push_status"]) == (number, "pushed")
    attempts = await billing.fetch("select ingest, error from ingest_attempts order by ended_at")
    assert [(each["ingest"], each["error"] and each["error"]["line"]) for each in attempts] == [
        (1, None),
        (None, number),
    ]

    await billing.provider.change_invoice(uuid, csv=None)
    await billing.ingested(id)
    mended = await billing.invoice()
    assert (mended["ingest_status"], mended["ingest_error"], mended["ingests"]) == ("ingested", None, 2)


async def test_a_file_that_failed_is_tried_again_with_the_next_walk(billing: Billing) -> None:
    await billing.only(line("web-01 (s-1vcpu-1gb)", "6.00"), csv="nothing of the kind\n")
    await billing.discover()
    failed = await billing.invoice()
    assert (failed["ingest_status"], failed["ingests"], failed["lines"]) == ("failed", 0, None)
    await billing.provider.change_invoice(failed["invoice_uuid"], csv=None)
    assert ((await billing.ask(DiscoverInvoices())).result or {})["ingesting"] == 1
    await billing.until("ingest_status = 'ingested' from cloud_invoices where id = $1", failed["id"])


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/csv", None, "not_found_at_provider"),
        ("/summary", None, "not_found_at_provider"),
        ("", None, "not_found_at_provider"),
    ],
)
async def test_what_the_provider_does_not_have_yet_is_a_failure_that_says_so(
    billing: Billing, path: str, body: None, code: str
) -> None:
    id = await billing.only(line("web-01 (s-1vcpu-1gb)", "6.00"))
    uuid = (await billing.invoice())["invoice_uuid"]
    await billing.provider.arm(
        Fault(effect="status", status=404, count=1, path=f"/v2/customers/my/invoices/{uuid}{path}")
    )
    outcome = await billing.ask(IngestInvoice(invoice_id=id))
    assert (outcome.status, outcome.code) == ("refused", code)
    row = await billing.invoice()
    assert (row["ingest_status"], row["ingest_error"]["code"], row["ingests"]) == ("failed", code, 0)
    assert not await billing.fetch("select from dead_letters")


async def test_what_says_nothing_of_an_invoice_is_a_failure_that_says_so(billing: Billing) -> None:
    id = await billing.only(line("web-01 (s-1vcpu-1gb)", "6.00"))
    uuid = (await billing.invoice())["invoice_uuid"]
    await billing.provider.change_invoice(
        uuid, lines=[line("web-01", "1" + "0" * 40)]
    )  # no such amount can be added up
    outcome = await billing.ask(IngestInvoice(invoice_id=id))
    assert (outcome.code, (outcome.detail or {})["line"]) == ("invoice_unreadable", None)
    assert "its summary or items" in (await billing.invoice())["ingest_error"]["reason"]


async def test_an_answer_that_is_broken_on_its_way_is_asked_for_again(billing: Billing) -> None:
    id = await billing.only(line("web-01 (s-1vcpu-1gb)", "6.00"))
    uuid = (await billing.invoice())["invoice_uuid"]
    await billing.provider.arm(Fault(effect="half_json", count=20, path=f"/v2/customers/my/invoices/{uuid}/summary"))
    (command,) = await billing.send(IngestInvoice(invoice_id=id))
    await billing.until(
        "exists (select from jobs where put_offs > 0)"
    )  # it may be a proxy that breaks it: it is waited out
    await billing.provider.disarm()
    assert (await billing.outcome(command)).status == "ok"


async def test_a_token_that_is_not_let_in_is_told_with_the_invoice(billing: Billing) -> None:
    id = await billing.only(line("web-01 (s-1vcpu-1gb)", "6.00"))
    await billing.provider.arm(Fault(effect="status", status=403, count=1, path="/v2/customers/my/invoices/*"))
    assert (await billing.ask(IngestInvoice(invoice_id=id))).code == "provider_denied_access"
    assert (await billing.invoice())["ingest_error"]["code"] == "provider_denied_access"


async def test_an_invoice_whose_amount_changed_waits_until_it_is_ingested_again(billing: Billing) -> None:
    id = await billing.only(line("web-01 (s-1vcpu-1gb)", "6.00"))
    await billing.ingested(id)
    uuid = (await billing.invoice())["invoice_uuid"]
    await billing.provider.change_invoice(uuid, lines=[line("web-01 (s-1vcpu-1gb)", "7.00")])
    await billing.provider.arm(Fault(effect="status", status=403, path=f"/v2/customers/my/invoices/{uuid}/csv"))
    await billing.ask(DiscoverInvoices())
    await billing.until("ingest_status = 'failed' from cloud_invoices where id = $1", id)
    row = await billing.invoice()
    assert (row["amount_cents"], row["reconciliation"], row["ingests"]) == (700, None, 1)
    asked = [json.loads(each["envelope"])["data"] for each in await billing.fetch("select envelope from jobs")]
    assert {"invoice_id": str(id), "again": True} in asked
    await billing.provider.disarm()
    await billing.ask(DiscoverInvoices())
    await billing.until("ingest_status = 'ingested' from cloud_invoices where id = $1", id)
    assert (await billing.invoice())["reconciliation"]["status"] == "exact"


@pytest.mark.parametrize(("column", "value"), [("number", "'x'"), ("period", "'2026-03-01'")])
async def test_what_else_the_provider_tells_of_an_invoice_is_corrected(
    billing: Billing, column: str, value: str
) -> None:
    id = await billing.only(line("web-01 (s-1vcpu-1gb)", "6.00"))
    await billing.ingested(id)
    before = await billing.invoice()
    await billing.fetch(f"update cloud_invoices set {column} = {value} where id = $1", id)
    assert ((await billing.ask(DiscoverInvoices())).result or {})["changed"] == 1
    await billing.until("ingests = 2 from cloud_invoices where id = $1", id)
    assert (await billing.invoice())[column] == before[column]


async def test_a_list_that_lacks_an_invoice_is_asked_for_again(billing: Billing) -> None:
    await billing.provider.arm(Fault(effect="total", rows=3, path="/v2/customers/my/invoices"))
    (command,) = await billing.send(DiscoverInvoices())
    await billing.until("exists (select from jobs where put_offs > 0)")
    assert not await billing.fetch("select from cloud_invoices")
    await billing.provider.disarm()
    assert (await billing.outcome(command)).status == "ok"


async def test_a_walk_that_is_done_twice_sends_the_same_the_newest_first(billing: Billing) -> None:
    meta = Meta(uuid7(), datetime.now(UTC))
    month = [Issued("digitalocean", f"u{n}", str(n), date(2026, n, 1), Currency.USD, 1, meta.now) for n in (1, 2, 3)]
    async with billing.db.transaction() as conn:
        _, first = await discovery._take_in(month, 0, True, conn, meta)
        _, again = await discovery._take_in(month, 0, True, conn, meta)
    sent = [each for each in first if isinstance(each, Send)]
    ids = [each.command.key() for each in sent]
    assert ids == sorted(ids, reverse=True)
    assert [each.id for each in again if isinstance(each, Send)] == [each.id for each in sent]
    assert len(sent) == 3


async def test_an_attempt_keeps_the_hash_of_its_file_and_the_last_word_of_its_command(billing: Billing) -> None:
    id = await billing.only(csv="")
    (command,) = await billing.send(IngestInvoice(invoice_id=id))
    await billing.outcome(command)
    (made,) = await billing.fetch("select * from ingest_attempts")
    assert made["file_sha256"] == hashlib.sha256(b"").hexdigest()
    meta = Meta(command, datetime.now(UTC))
    async with billing.db.transaction() as conn:
        await invoice_store.insert_attempt(conn, meta, id, error={"code": "x", "reason": "y"})
    (kept,) = await billing.fetch("select * from ingest_attempts")
    assert (kept["ingest"], kept["error"]["code"]) == (None, "x")


async def test_a_command_that_is_delivered_twice_is_done_once(billing: Billing) -> None:
    id = await billing.only(line("web-01 (s-1vcpu-1gb)", "6.00"))
    (command,) = await billing.send(IngestInvoice(invoice_id=id, again=True))
    first = await billing.outcome(command)
    await billing.send_again(command, IngestInvoice(invoice_id=id, again=True))
    await billing.ask(IngestInvoice(invoice_id=id))  # of the same key, so it comes after that
    assert await billing.outcome(command) == first
    assert (await billing.invoice())["ingests"] == 1
    assert len(await billing.fetch("select from ingest_attempts")) == 1


@pytest.mark.parametrize("text", ["", f"{HEADER}\n"])
async def test_an_invoice_without_lines_is_ingested(billing: Billing, text: str) -> None:
    id = await billing.only(csv=text)
    invoice = (await billing.ingested(id))["invoice"]
    assert (invoice["lines"], invoice["net_cents"], invoice["reconciliation"]) == (0, 0, "exact")
    assert (await billing.invoice())["push_status"] == "pushed"


async def test_outages_of_the_provider_are_waited_out_wherever_they_strike(billing: Billing) -> None:
    id = await billing.only(line("web-01 (s-1vcpu-1gb)", "6.00"))
    uuid = (await billing.invoice())["invoice_uuid"]
    for path in ("/csv", "/summary", ""):
        await billing.provider.arm(
            Fault(effect="status", status=503, count=1, path=f"/v2/customers/my/invoices/{uuid}{path}")
        )
    assert (await billing.ingested(id))["invoice"]["lines"] == 1
    assert not [each for each in await billing.provider.faults() if not each.struck]


async def test_what_the_summary_credits_is_no_line_and_said_to_be_so(billing: Billing) -> None:
    id = await billing.only(line("web-01 (s-1vcpu-1gb)", "6.00"), credits="-1.50")
    await billing.ingested(id)
    reconciliation = (await billing.invoice())["reconciliation"]
    assert reconciliation["status"] == "explained"
    (difference,) = reconciliation["differences"]
    assert (difference["what"], difference["cents"]) == ("lines", -150)
    assert "credits" in difference["why"]


async def test_what_does_not_add_up_is_ingested_and_said_not_to(billing: Billing) -> None:
    id = await billing.only(line("web-01 (s-1vcpu-1gb)", "6.00"))
    await billing.fetch("update cloud_invoices set amount_cents = 605 where id = $1", id)
    assert (await billing.ingested(id))["invoice"]["reconciliation"] == "differs"
    found = (await billing.invoice())["reconciliation"]["differences"]
    assert [(each["what"], each["cents"], each["explained"]) for each in found] == [
        ("lines", 5, False),
        ("summary", 5, False),
    ]


async def test_ids_of_the_items_come_before_names(billing: Billing) -> None:
    bearer, renamed = resource("web-01", "11"), resource("called-otherwise-now", "12")
    gone = resource("web-03", "13", deleted=True)
    await billing.tell_resources(
        bearer,
        renamed,
        gone,
        resource("web-03", "14"),
        resource("web-04", "15", created_at="2026-05-02T00:00:00Z"),
        resource("web-05", "16", created_at="2026-04-15T00:00:00Z"),
    )
    id = await billing.only(
        line("WEB-01 (s-1vcpu-1gb)", "1.00"),
        line("web-02 (s-1vcpu-1gb)", "2.00", resource_id="12"),
        line("web-03 (s-1vcpu-1gb)", "3.00", resource_id="13"),
        line("web-01 (s-2vcpu-2gb)", "4.00", resource_id="99"),
        line("web-04 (s-2vcpu-2gb)", "5.00"),
        line("web-05 (s-2vcpu-2gb)", "6.00"),
    )
    await billing.ingested(id)
    seen = [
        (each["resource_id"], each["matched_by"], each["confidence"], each["unmatched"])
        for each in await billing.lines(APRIL)
    ]
    assert seen == [
        (bearer.id, "name", "probable", None),
        (renamed.id, "id", "certain", None),
        (gone.id, "id", "certain", "deleted_resource"),
        (None, None, None, "unknown_resource"),  # another of that name is there, but the id is not its own
        (None, None, None, "unknown_resource"),  # created after the month
        (resource("web-05", "16").id, "name", "probable", None),  # within it
    ]
    assert [each["provider_resource_id"] for each in await billing.lines()] == ["11", "12", "13", "99", None, "16"]
    (row,) = await billing.fetch("select matched, unmatched from cloud_invoices where id = $1", id)
    assert (row["matched"], row["unmatched"]) == (3, {"deleted_resource": 1, "unknown_resource": 2})


async def test_a_line_is_exactly_what_the_file_says(billing: Billing) -> None:
    text = (
        "project_name,USD,sku,end,start,hours,description,group_description,product,category\n"
        '"a\tb\\N, c",($1,234.56),x,2026-04-30 23:59:59 +0000,2026-04-01 00:00:00 +0000,,"two\nlines",,Odd,\n'
    ).replace("($1,234.56)", '"($1,234.56)"')
    id: UUID = await billing.only(line("anything", "-1234.56"), csv=text)
    await billing.ingested(id)
    (kept,) = await billing.fetch("select * from cloud_cost_lines where invoice_id = $1", id)
    assert (kept["project_name"], kept["description"], kept["product"]) == ("a\tb\\N, c", "two\nlines", "Odd")
    assert (kept["amount"], kept["amount_cents"], kept["hours"]) == (Decimal("-1234.56"), -123456, None)
    assert (kept["starts_at"].isoformat(), kept["ends_at"].isoformat()) == (
        "2026-04-01T00:00:00+00:00",
        "2026-05-01T00:00:00+00:00",
    )
    assert (kept["group_description"], kept["category"], kept["unmatched"]) == (None, None, "unknown_product")
