"""The story's fourth part: the provider's invoices come in, are matched and reconciled, and go to finance."""

from __future__ import annotations

import asyncio
import csv
import io
from collections import Counter
from decimal import Decimal
from typing import Any

from dev.demo.screen import Screen
from dev.demo.stage import Caller, DemoFailed, Stage

_INVOICES = "/api/v1/billing/invoices"
_LINES = "/api/v1/billing/cost-lines"
_FOCUS = "/api/v1/billing/focus"
_APRIL = "2026-04-01"
_LONGEST_S = 60


async def take_in(stage: Stage, screen: Screen, operator: Caller) -> None:
    """The billing history is walked; each invoice is ingested and pushed by commands of its own."""
    balance = (await operator.do("POST", "/api/v1/billing/balance/poll"))["balance"]
    screen.step(f"the running month has cost {_usd(balance['month_to_date_usage_cents'])} USD by now")
    found = await operator.do("POST", f"{_INVOICES}/discover")
    screen.step(f"{found['discovered']} invoices are discovered; {found['ingesting']} are being ingested")
    invoices = await _pushed(operator)
    by_year: dict[str, Counter[str]] = {}
    for invoice in invoices:
        year = by_year.setdefault(invoice["period"][:4], Counter())
        year.update(invoices=1, lines=invoice["lines"], cents=invoice["amount_cents"], tax=invoice["tax_cents"])
        year.update({invoice["reconciliation"]: 1, invoice["push_status"]: 1})
    rows = [
        [year, sums["invoices"], sums["lines"], _usd(sums["cents"]), _usd(sums["tax"]), sums["exact"], sums["pushed"]]
        for year, sums in sorted(by_year.items())
    ]
    screen.table(["year", "invoices", "lines", "USD", "of which tax", "exact to the cent", "in finance"], rows)
    books = await stage.finance.invoices()
    (vendor,) = await stage.finance.vendors()
    screen.fact(
        f"Finance has {len(books)} rows of one vendor, {vendor.name}. Had it been away, the lines would be here all the"
        " same: each push waits by itself."
    )


async def _pushed(operator: Caller) -> list[dict[str, Any]]:
    """All invoices, once they are in finance."""
    for _ in range(int(_LONGEST_S / 0.2)):
        if not (await operator.get(_INVOICES, push="pending"))["count"]:
            invoices: list[dict[str, Any]] = (await operator.get(_INVOICES))["invoices"]
            return invoices
        await asyncio.sleep(0.2)
    raise DemoFailed(f"invoices are not in finance after {_LONGEST_S} s: see {_INVOICES}?push=pending")


async def explain(stage: Stage, screen: Screen, operator: Caller) -> None:
    """One invoice: its lines, what they mean, how it adds up; and what a second ingest of it does."""
    (april,) = (await operator.get(_INVOICES, period=_APRIL))["invoices"]
    lines = (await operator.get(_LINES, period=_APRIL))["cost_lines"]
    one_of_each = {line["unmatched"]: line for line in reversed(lines) if line["unmatched"]}.values()
    shown = [*[line for line in lines if line["unmatched"] is None][:3], *reversed(one_of_each)]
    screen.table(
        ["line", "description", "USD", "means", "known by", "why not"],
        [
            [
                line["line"],
                line["description"],
                _usd(line["amount_cents"]),
                line["resource_name"],
                line["matched_by"] and f"{line['matched_by']} ({line['confidence']})",
                line["unmatched"],
            ]
            for line in shown
        ],
    )
    why = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(april["unmatched"].items()))
    screen.step(f"{april['matched']} of {april['lines']} lines mean resources that are there; the others: {why}")
    told = (await operator.get(f"{_INVOICES}/{april['id']}"))["reconciliation"]
    screen.table(
        ["teller", "lines", "USD"],
        [
            ["billing history", None, _usd(told["amount_cents"])],
            ["the file", told["lines"]["count"], _usd(told["lines"]["cents"])],
            ["the invoice's items", told["items"]["count"], _usd(told["items"]["cents"])],
            ["the summary", None, _usd(told["summary"]["amount_cents"])],
        ],
    )
    focus = csv.DictReader(io.StringIO((await operator.client.get(_FOCUS, params={"period": _APRIL})).text))
    total = sum(Decimal(row["BilledCost"]) for row in focus)
    screen.step(f"as FOCUS 1.2 for the FinOps tools: {total} USD, to the cent")
    await operator.do("POST", f"{_INVOICES}/{april['id']}/ingest")
    pushed = await operator.do("POST", f"{_INVOICES}/{april['id']}/push")
    (row,) = [each for each in await stage.finance.invoices() if each.external_id == april["invoice_uuid"]]
    screen.fact(
        f"It was ingested and pushed once more: finance says `{pushed['action']}` and has one row, gross "
        f"{_usd(row.amount_gross_minor)}, tax {_usd(row.amount_tax_minor)}."
    )


def _usd(cents: int) -> str:
    return f"{Decimal(cents) / 100:,.2f}"
