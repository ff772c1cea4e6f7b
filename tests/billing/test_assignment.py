"""What an operator says of a line goes before any match, and outlasts ingests."""

from __future__ import annotations

from uuid import UUID

from contracts.billing import AssignCostLine, IngestInvoice
from shared.ids import derived_id, uuid7
from tests.billing.test_invoices import line
from tests.billing.world import Billing, resource
from tests.sending import deployment

SHOP = derived_id("deployment", "shop")
WEB = resource("web-01", "11")


async def tell_of_the_shop(billing: Billing) -> None:
    await billing.tell(deployment(SHOP, "acme", "shop"))
    await billing.until("exists (select from deployments where id = $1)", SHOP)


async def three(billing: Billing) -> UUID:
    """An invoice of three lines, of which two are alike; none is matched."""
    await billing.tell_resources(WEB)
    await tell_of_the_shop(billing)
    id = await billing.only(line("old (512mb)", "5.00"), line("twin (1gb)", "6.00"), line("twin (1gb)", "6.50"))
    await billing.ingested(id)
    return id


async def meant(billing: Billing) -> list[tuple[str, object, object, str | None, str | None]]:
    """What each line means: amount, resource, deployment, how that is known and why it is not."""
    return [
        (each["amount"], each["resource_id"], each["assigned_deployment_id"], each["matched_by"], each["unmatched"])
        for each in await billing.lines()
    ]


async def test_a_line_is_assigned_to_a_resource_or_a_deployment_and_taken_back(billing: Billing) -> None:
    id = await three(billing)
    for command, assigned, first in (
        (AssignCostLine(invoice_id=id, line=1, resource_id=WEB.id), 1, ("5.00", WEB.id, None, "assigned", None)),
        (AssignCostLine(invoice_id=id, line=1, deployment_id=SHOP), 1, ("5.00", None, SHOP, "assigned", None)),
        (AssignCostLine(invoice_id=id, line=1), 0, ("5.00", None, None, None, "unknown_resource")),
        (AssignCostLine(invoice_id=id, line=1), 0, ("5.00", None, None, None, "unknown_resource")),
    ):
        outcome = await billing.ask(command)
        assert (outcome.result or {})["invoice"]["assigned"] == assigned, outcome
        assert (await meant(billing))[0] == first
    history = await billing.fetch("select actor, ended_at is not null as ended from cost_line_assignments")
    assert [tuple(each) for each in history] == [("olga@example.com", True)] * 2


async def test_what_is_not_there_cannot_be_assigned_and_a_line_that_was_replaced_neither(billing: Billing) -> None:
    id = await three(billing)
    for command, code in (
        (AssignCostLine(invoice_id=uuid7(), line=1, deployment_id=SHOP), "not_found"),
        (AssignCostLine(invoice_id=id, line=4, deployment_id=SHOP), "not_found"),
        (AssignCostLine(invoice_id=id, line=1, deployment_id=uuid7()), "not_found"),
        (AssignCostLine(invoice_id=id, line=1, resource_id=uuid7()), "not_found"),
        (AssignCostLine(invoice_id=id, line=1, deployment_id=SHOP, ingests=2), "line_replaced"),
    ):
        outcome = await billing.ask(command)
        assert (outcome.status, outcome.code) == ("refused", code)
    assert not await billing.fetch("select from cost_line_assignments")
    assert (await billing.ask(AssignCostLine(invoice_id=id, line=1, deployment_id=SHOP, ingests=1))).status == "ok"


async def test_an_assignment_finds_its_line_again_in_another_file(billing: Billing) -> None:
    id = await three(billing)
    await billing.ask(AssignCostLine(invoice_id=id, line=1, resource_id=WEB.id, note="it was that one"))
    await billing.ask(AssignCostLine(invoice_id=id, line=3, deployment_id=SHOP))
    uuid = (await billing.invoice())["invoice_uuid"]

    moved = [
        line("new (1gb)", "1.00"),
        line("twin (1gb)", "6.00"),
        line("twin (1gb)", "9.99"),
        line("old (512mb)", "5.00"),
    ]
    await billing.provider.change_invoice(uuid, lines=moved)
    assert (await billing.ingested(id))["invoice"]["assigned"] == 2
    assert [(amount, by) for amount, *_, by, _ in await meant(billing)] == [
        ("1.00", None), ("6.00", None), ("9.99", "assigned"), ("5.00", "assigned"),
    ]  # fmt: skip

    strangers = [line(f"stranger-{n} (1gb)", "6.00") for n in range(4)]  # in the place of those that are assigned
    await billing.provider.change_invoice(uuid, lines=[*moved[:2], *strangers])
    assert (await billing.ingested(id))["invoice"]["assigned"] == 0
    assert [by for *_, by, _ in await meant(billing)] == [None] * 6
    for meant_one, assigned in ((SHOP, 1), (None, 0)):
        outcome = await billing.ask(AssignCostLine(invoice_id=id, line=1, deployment_id=meant_one))
        assert (outcome.result or {})["invoice"]["assigned"] == assigned

    await billing.provider.change_invoice(uuid, lines=moved)
    assert (await billing.ingested(id))["invoice"]["assigned"] == 2
    assert [by for *_, by, _ in await meant(billing)] == [None, None, "assigned", "assigned"]
    notes = await billing.fetch("select note from v1_all_cost_lines where note is not null")
    assert [each["note"] for each in notes] == ["it was that one"]


async def test_what_tells_lines_apart_is_all_that_the_file_says_of_them_but_hours_and_amount(billing: Billing) -> None:
    await tell_of_the_shop(billing)
    like = line("twin (1gb)", "1.00")
    others = [
        {**like, "product": "Volumes"},
        {**like, "group": "k8s"},
        {**like, "start": "2026-04-02T00:00:00+00:00"},
        {**like, "end": "2026-04-30T00:00:00+00:00"},
        line("another (1gb)", "1.00"),
    ]
    id = await billing.only(*others, like)
    await billing.ingested(id)
    await billing.ask(AssignCostLine(invoice_id=id, line=6, deployment_id=SHOP))
    uuid = (await billing.invoice())["invoice_uuid"]
    changed = {**like, "amount": "2.00", "hours": "1", "project": "acme"}
    await billing.provider.change_invoice(uuid, lines=[changed, *others])
    await billing.ingested(id)
    assert [each["line"] for each in await billing.lines() if each["matched_by"] == "assigned"] == [1]


async def test_a_line_whose_invoice_is_being_ingested_cannot_be_assigned_just_then(billing: Billing) -> None:
    id = await three(billing)
    async with billing.db.transaction() as conn:
        await conn.execute("select from cloud_invoices where id = $1 for update", id)
        outcome = await billing.ask(AssignCostLine(invoice_id=id, line=1, deployment_id=SHOP))
    assert (outcome.status, outcome.code) == ("refused", "invoice_busy")


async def test_of_what_was_said_of_a_line_only_the_last_word_follows_it(billing: Billing) -> None:
    id = await three(billing)
    await billing.ask(AssignCostLine(invoice_id=id, line=1, resource_id=WEB.id))
    await billing.ask(AssignCostLine(invoice_id=id, line=1, deployment_id=SHOP))
    uuid = (await billing.invoice())["invoice_uuid"]
    await billing.provider.change_invoice(uuid, lines=[line("new (1gb)", "1.00"), line("old (512mb)", "5.00")])
    assert (await billing.ingested(id))["invoice"]["assigned"] == 1
    words = await billing.fetch("select line, deployment_id from cost_line_assignments order by assigned_at")
    assert [tuple(each) for each in words] == [(1, None), (2, SHOP)]


async def test_an_assignment_does_not_follow_its_line_into_another_invoice(billing: Billing) -> None:
    id, other = await three(billing), uuid7()
    await billing.ask(AssignCostLine(invoice_id=id, line=1, deployment_id=SHOP))
    await billing.fetch(
        """
        insert into cloud_invoices
          (id, provider, invoice_uuid, number, period, currency, amount_cents, issued_at, discovered_at)
        select $1, provider, 'another', 'another', period, currency, amount_cents, issued_at, discovered_at
        from cloud_invoices
        """,
        other,
    )
    await billing.fetch(
        """
        insert into cloud_cost_lines (invoice_id, line, product, description, hours, starts_at, ends_at, amount)
        select $1, line, product, description, hours, starts_at, ends_at, amount from cloud_cost_lines where line = 1
        """,
        other,
    )
    keys = await billing.fetch("select distinct key from keyed_cost_lines where line = 1")
    assert len(keys) == 1, "the other invoice's line is to be one that could be taken for it"

    uuid = (await billing.fetch("select invoice_uuid from cloud_invoices where id = $1", id))[0]["invoice_uuid"]
    await billing.provider.change_invoice(uuid, lines=[line("new (1gb)", "1.00")])
    outcome = await billing.ask(IngestInvoice(invoice_id=id, again=True))
    assert (outcome.result or {})["invoice"]["assigned"] == 0
