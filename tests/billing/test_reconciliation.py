"""Whether an invoice adds up, to the cent, and if not, what differs and why."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.billing import OfItems, OfLines, OfSummary, Reconciliation
from contracts.inventory import created_at
from contracts.times import month_after
from services.billing.domain import invoices_of, reconcile, summary_of, tax_cents, why_cut_off


def told(amount: int, charges: int, overages: int, taxes: int, credits: int) -> OfSummary:
    return OfSummary(
        amount_cents=amount,
        product_charges_cents=charges,
        overages_cents=overages,
        taxes_cents=taxes,
        credits_cents=credits,
    )


WHOLE = told(8692, 7902, 0, 790, 0)


def made(
    *,
    amount: int = 8692,
    lines: int = 8692,
    tax: int = 790,
    items: int | None = 8692,
    summary: OfSummary = WHOLE,
    count: int = 33,
) -> Reconciliation:
    """A reconciliation of `count` lines; None: the items are not told."""
    of_items = OfItems(count=0, cents=0) if items is None else OfItems(count=33, cents=items)
    return reconcile(amount, OfLines(count=count, cents=lines, tax_cents=tax), of_items, summary)


def found(**changed: Any) -> tuple[str, list[tuple[str, int, bool]]]:
    """The status, and the differences."""
    that = made(**changed)
    return that.status, [(each.what, each.cents, each.explained) for each in that.differences]


def test_what_agrees_to_the_cent_is_exact() -> None:
    assert found() == found(items=None) == ("exact", [])


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"lines": 8691}, ("differs", [("lines", 1, True), ("items", 1, False)])),
        ({"lines": 8691, "items": 8691}, ("explained", [("lines", 1, True)])),
        ({"lines": 8692 - 33, "items": None}, ("explained", [("lines", 33, True)])),
        ({"lines": 8692 - 34, "items": None}, ("differs", [("lines", 34, False)])),
        ({"amount": 8693}, ("differs", [("lines", 1, True), ("summary", 1, False)])),
        ({"amount": 8542, "summary": told(8542, 7902, 0, 790, -150)}, ("explained", [("lines", -150, True)])),
        ({"summary": told(8692, 7902, 10, 790, 0)}, ("differs", [("summary_parts", -10, False)])),
        ({"tax": 800}, ("explained", [("tax", -10, True)])),
        (
            {"lines": 8691, "items": None, "summary": told(8692, 7902, 10, 790, 0)},
            ("differs", [("lines", 1, False), ("summary_parts", -10, False)]),
        ),
        ({"items": 9000}, ("differs", [("items", 308, False)])),
    ],
)
def test_a_difference_is_told_with_its_cause(changed: dict[str, Any], expected: object) -> None:
    assert found(**changed) == expected


@given(st.integers(), st.integers(), st.integers(), st.integers(), st.integers())
def test_no_cent_goes_unexplained(amount: int, lines: int, tax: int, items: int, charges: int) -> None:
    summary = told(charges + tax, charges, 0, tax, 0)
    status, differences = found(amount=amount, lines=lines, tax=tax, items=items, summary=summary)
    by = {what: cents for what, cents, _ in differences}
    assert amount - by.get("lines", 0) == lines
    assert amount - by.get("summary", 0) == charges + tax
    assert items - by.get("items", 0) == lines
    assert (status == "exact") is (amount == lines == items == charges + tax)


CREDITED = told(8542, 7902, 0, 790, -150)


@pytest.mark.parametrize(
    ("changed", "ended", "cut_off"),
    [
        ({}, True, False),
        ({}, False, False),
        ({"count": 32, "lines": 8691}, True, True),  # a cent may be rounding, but a line is missing
        ({"count": 32}, True, False),  # what is missing is free
        ({"count": 32, "lines": 8600}, True, True),
        ({"items": 9000}, True, False),
        ({"lines": 8600, "items": None}, True, False),  # it does not add up, and nobody knows why
        ({"lines": 8600, "items": None}, False, True),
        ({"amount": 8542, "summary": CREDITED}, False, False),
        ({"count": 0, "lines": 0, "items": None}, True, True),
        ({"count": 0, "lines": 0, "items": None, "amount": 0, "summary": told(0, 0, 0, 0, 0)}, True, False),
        ({"count": 0, "lines": 0, "items": None, "amount": -150, "summary": told(-150, 0, 0, 0, -150)}, True, False),
    ],
)
def test_a_file_that_lacks_lines_and_money_seems_cut_off(changed: dict[str, Any], ended: bool, cut_off: bool) -> None:
    assert (why_cut_off(made(**changed), ended=ended) is not None) is cut_off


@given(st.lists(st.tuples(st.sampled_from(["GST (10%)", "web-01", "Sales tax", "stag\nstay"]), st.integers())))
def test_what_is_tax_is_that_of_its_lines_alone(lines: list[tuple[str, int]]) -> None:
    expected = sum(cents for text, cents in lines if text in {"GST (10%)", "Sales tax"})
    assert tax_cents([text.encode() for text, _ in lines], [cents for _, cents in lines]) == expected


def test_invoices_are_those_of_the_history_with_the_months_of_the_list() -> None:
    def row(**fields: Any) -> dict[str, Any]:
        return {"type": "Invoice", "amount": "1.00", "date": "2026-05-01T05:13:00Z", "invoice_id": "7", **fields}

    history = [
        row(invoice_uuid="a"),
        row(invoice_uuid="b", date="2026-01-01T00:30:00+01:00"),
        row(invoice_uuid="c", date="2026-01-01T00:30:00Z", amount="-0.50"),
        {"type": "Payment", "amount": "-1.00", "date": "2026-05-01T09:00:00Z"},
        row(invoice_uuid="a"),
        row(invoice_uuid="p", type="Payment"),
    ]
    listed = [{"invoice_uuid": "a", "invoice_period": "2026-03"}, {"invoice_uuid": "z", "invoice_period": "2026-02"}]
    issued, unreadable = invoices_of(
        [*history, row(invoice_uuid="d", amount="much"), row(invoice_uuid="e", date=None)], listed
    )
    assert [(each.invoice_uuid, each.period, each.amount_cents) for each in issued] == [
        ("b", date(2025, 11, 1), 100),
        ("c", date(2025, 12, 1), -50),
        ("a", date(2026, 3, 1), 100),
    ]
    assert issued[0].issued_at == datetime(2025, 12, 31, 23, 30, tzinfo=UTC)
    assert [text.partition(":")[0] for text in unreadable] == ["invoice d", "invoice e"]
    assert invoices_of([{"type": "Invoice", "invoice_uuid": "f", "date": "2026-05-01T05:13:00Z"}], [{}])[1]


@pytest.mark.parametrize(("month", "after"), [("2026-01-01", "2026-02-01"), ("2026-12-01", "2027-01-01")])
def test_the_month_after(month: str, after: str) -> None:
    assert month_after(date.fromisoformat(month)) == date.fromisoformat(after)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"amount": "much"},
        {"amount": "1.00", "taxes": {"amount": "x"}},
        {"amount": "1", "taxes": 3},
        {"amount": "1e40"},
    ],
)
def test_what_is_no_summary_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"amount|summary"):
        summary_of(body)


@pytest.mark.parametrize(
    ("attrs", "time"),
    [
        ({"created_at": "2026-01-01T00:00:00Z"}, datetime(2026, 1, 1, tzinfo=UTC)),
        ({"created_at": "2026-01-01T00:00:00"}, None),
        ({"created_at": "long ago"}, None),
        ({"created_at": None}, None),
        ({}, None),
    ],
)
def test_when_a_resource_was_created_is_known_where_it_says_so(attrs: dict[str, Any], time: datetime | None) -> None:
    assert created_at(attrs) == time
