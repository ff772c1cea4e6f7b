"""Whether an invoice adds up, to the cent, and if not, what differs and why."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.billing.domain import Counted, Summary, invoices_of, month_after, reconcile, summary_of, tax_cents

WHOLE = Summary(8692, 7902, 0, 790, 0)


def found(
    amount: int = 8692, lines: int = 8692, tax: int = 790, items: int | None = 8692, summary: Summary = WHOLE
) -> tuple[str, list[tuple[str, int, bool]]]:
    """The status, and the differences."""
    told = Counted(0, 0) if items is None else Counted(33, items)
    made = reconcile(amount, Counted(33, lines), tax, told, summary)
    return made.status, [(each.what, each.cents, each.explained) for each in made.differences]


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
        ({"amount": 8542, "summary": Summary(8542, 7902, 0, 790, -150)}, ("explained", [("lines", -150, True)])),
        ({"summary": Summary(8692, 7902, 10, 790, 0)}, ("differs", [("summary_parts", -10, False)])),
        ({"tax": 800}, ("explained", [("tax", -10, True)])),
        ({"items": 9000}, ("differs", [("items", 308, False)])),
    ],
)
def test_a_difference_is_told_with_its_cause(changed: dict[str, Any], expected: object) -> None:
    assert found(**changed) == expected


@given(st.integers(), st.integers(), st.integers(), st.integers(), st.integers())
def test_no_cent_goes_unexplained(amount: int, lines: int, tax: int, items: int, charges: int) -> None:
    status, differences = found(amount, lines, tax, items, Summary(charges + tax, charges, 0, tax, 0))
    by = {what: cents for what, cents, _ in differences}
    assert amount - by.get("lines", 0) == lines
    assert amount - by.get("summary", 0) == charges + tax
    assert items - by.get("items", 0) == lines
    assert (status == "exact") is (amount == lines == items == charges + tax)


@given(st.lists(st.tuples(st.sampled_from(["GST (10%)", "web-01", "Sales tax", "stag\nstay"]), st.integers())))
def test_what_is_tax_is_that_of_its_lines_alone(lines: list[tuple[str, int]]) -> None:
    expected = sum(cents for text, cents in lines if text in {"GST (10%)", "Sales tax"})
    assert tax_cents([text for text, _ in lines], [cents for _, cents in lines]) == expected


def test_invoices_are_those_of_the_history_with_the_months_of_the_list() -> None:
    def row(**fields: Any) -> dict[str, Any]:
        return {"type": "Invoice", "amount": "1.00", "date": "2026-05-01T05:13:00Z", "invoice_id": "7", **fields}

    history = [
        row(invoice_uuid="a"),
        row(invoice_uuid="b", date="2026-01-01T00:30:00+01:00"),
        row(invoice_uuid="c", date="2026-01-01T00:30:00Z", amount="-0.50"),
        {"type": "Payment", "amount": "-1.00", "date": "2026-05-01T09:00:00Z"},
        row(invoice_uuid="a"),
    ]
    listed = [{"invoice_uuid": "a", "invoice_period": "2026-03"}, {"invoice_uuid": "z", "invoice_period": "2026-02"}]
    told = invoices_of(history, listed)
    assert [(each.invoice_uuid, each.period, each.amount_cents) for each in told] == [
        ("b", date(2025, 11, 1), 100),
        ("c", date(2025, 12, 1), -50),
        ("a", date(2026, 3, 1), 100),
    ]
    assert told[0].issued_at == datetime(2025, 12, 31, 23, 30, tzinfo=UTC)
    with pytest.raises(ValueError, match="invoice d has no 'amount'"):
        invoices_of([{"type": "Invoice", "invoice_uuid": "d", "date": "2026-05-01T05:13:00Z"}], [])


@pytest.mark.parametrize(("month", "after"), [("2026-01-01", "2026-02-01"), ("2026-12-01", "2027-01-01")])
def test_the_month_after(month: str, after: str) -> None:
    assert month_after(date.fromisoformat(month)) == date.fromisoformat(after)


@pytest.mark.parametrize(
    "body", [{}, {"amount": "much"}, {"amount": "1.00", "taxes": {"amount": "x"}}, {"amount": "1", "taxes": 3}]
)
def test_what_is_no_summary_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"amount|summary"):
        summary_of(body)
