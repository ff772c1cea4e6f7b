"""The rules: what the provider's words mean in cents, what is tax, and whether an invoice adds up. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, NamedTuple

from contracts.billing import ReconciliationStatus
from contracts.money import Currency

PROVIDER = "digitalocean"


class Polled(NamedTuple):
    """A balance as a provider tells it, in cents of `currency`."""

    provider: str
    currency: Currency
    month_to_date_usage_cents: int
    account_balance_cents: int
    month_to_date_balance_cents: int
    generated_at: datetime


def balance_of(body: Mapping[str, Any]) -> Polled:
    """What an answer says. Raises ValueError where it is none."""
    try:
        return Polled(
            PROVIDER,
            Currency.USD,
            cents(body["month_to_date_usage"]),
            cents(body["account_balance"]),
            cents(body["month_to_date_balance"]),
            datetime.fromisoformat(body["generated_at"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"it has no {error}") from error


def cents(dollars: str) -> int:
    """Whole cents of an amount in dollars, half up. Raises ValueError where it is none."""
    try:
        amount = Decimal(dollars)
    except InvalidOperation:
        raise ValueError(f"{dollars!r} is no amount") from None
    if not amount.is_finite():
        raise ValueError(f"{dollars!r} is no amount")
    return cents_of(amount)


def cents_of(amount: Decimal) -> int:
    """Whole cents of an amount in dollars, half up, and half down below zero."""
    return int((amount * 100).quantize(Decimal(1), ROUND_HALF_UP))


class Told(NamedTuple):
    """An invoice as a provider's lists tell of it."""

    provider: str
    invoice_uuid: str
    number: str
    period: date
    currency: Currency
    amount_cents: int
    issued_at: datetime


def invoices_of(history: Sequence[Mapping[str, Any]], listed: Sequence[Mapping[str, Any]]) -> list[Told]:
    """The invoices, in the order of their periods, that the billing history tells; raises ValueError.

    The list of invoices knows their months; where it lacks one, an invoice is about the month before its issue.
    """
    periods = {str(row["invoice_uuid"]): str(row["invoice_period"]) for row in listed}
    found: dict[str, Told] = {}
    for row in history:
        uuid = row.get("invoice_uuid")
        if row.get("type") == "Invoice" and uuid:
            try:
                issued_at = datetime.fromisoformat(row["date"]).astimezone(UTC)
                period = _month(periods[uuid]) if uuid in periods else _month_before(issued_at)
                number = str(row.get("invoice_id") or "")
                found[uuid] = Told(PROVIDER, str(uuid), number, period, Currency.USD, cents(row["amount"]), issued_at)
            except (KeyError, TypeError) as error:
                raise ValueError(f"invoice {uuid} has no {error}") from error
    return sorted(found.values(), key=lambda told: (told.period, told.issued_at, told.invoice_uuid))


def _month(text: str) -> date:
    """The first day of a month such as `2026-04`."""
    return date.fromisoformat(f"{text}-01")


def _month_before(time: datetime) -> date:
    return date(time.year - (time.month == 1), (time.month - 2) % 12 + 1, 1)


def month_after(period: date) -> date:
    """The first day of the month after one."""
    return date(period.year + period.month // 12, period.month % 12 + 1, 1)


def is_tax(description: str) -> bool:
    """Whether a line is tax, for finance: by the words of its description, as the one before this system did."""
    words = description.lower()
    return "gst" in words or "tax" in words


def tax_cents(descriptions: Sequence[str], cents: Sequence[int]) -> int:
    """What of some lines is tax."""
    if not is_tax("\n".join(descriptions)):  # hardly ever one among so many
        return 0
    return sum(amount for description, amount in zip(descriptions, cents, strict=True) if is_tax(description))


def created_at(attrs: Mapping[str, Any]) -> datetime | None:
    """When a resource was created at the provider, where it says so."""
    try:
        time = datetime.fromisoformat(attrs["created_at"])
    except (KeyError, TypeError, ValueError):
        return None
    return time if time.tzinfo else None


class Summary(NamedTuple):
    """What an invoice's summary adds up, in cents."""

    amount_cents: int
    product_charges_cents: int
    overages_cents: int
    taxes_cents: int
    credits_cents: int


def summary_of(body: Mapping[str, Any]) -> Summary:
    """What an answer says. Raises ValueError where it is no summary. (Whose invoice it is, is nobody's business.)"""
    parts = ("product_charges", "overages", "taxes", "credits_and_adjustments")
    try:
        return Summary(cents(body["amount"]), *(cents((body.get(part) or {}).get("amount", "0")) for part in parts))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the summary has no {error}") from error


class Counted(NamedTuple):
    """So many lines, or items, and their sum."""

    number: int
    cents: int


class Difference(NamedTuple):
    """What differs from what, by how many cents, and why; `explained` where that is as it should be."""

    what: str
    cents: int
    why: str
    explained: bool


@dataclass(frozen=True)
class Reconciliation:
    """What the four tellers of an invoice say (its header, its summary, its items, its file), and where they differ."""

    amount_cents: int
    lines: Counted
    tax_cents: int
    items: Counted
    summary: Summary
    differences: Sequence[Difference]

    @property
    def status(self) -> ReconciliationStatus:
        if not self.differences:
            return "exact"
        return "explained" if all(difference.explained for difference in self.differences) else "differs"

    @property
    def seems_cut_off(self) -> bool:
        """Whether the file has fewer lines than the invoice, and lacks what they would cost."""
        lacking = any(d.what == "lines" and not d.explained for d in self.differences)
        return lacking and self.lines.number < self.items.number


def reconcile(amount_cents: int, lines: Counted, tax: int, items: Counted, summary: Summary) -> Reconciliation:
    """Compare an invoice's tellers to the cent."""
    found = []
    if lacking := amount_cents - lines.cents:
        found.append(Difference("lines", lacking, *_why_lines_lack(lacking, lines, summary)))
    if difference := amount_cents - summary.amount_cents:
        found.append(Difference("summary", difference, "the summary tells another amount than the history", False))
    parts = sum(summary[1:])
    if difference := summary.amount_cents - parts:
        found.append(Difference("summary_parts", difference, "the parts of the summary are not its amount", False))
    if items.number and (difference := items.cents - lines.cents):
        found.append(Difference("items", difference, "the items add up to something else than the file", False))
    if difference := summary.taxes_cents - tax:
        why = "lines count as tax by the words of their description, in the summary by their product"
        found.append(Difference("tax", difference, why, True))
    return Reconciliation(amount_cents, lines, tax, items, summary, tuple(found))


def _why_lines_lack(lacking: int, lines: Counted, summary: Summary) -> tuple[str, bool]:
    if summary.credits_cents and lacking == summary.credits_cents:
        return "credits and adjustments are in the summary, and no lines of the file", True
    if abs(lacking) <= lines.number and summary.amount_cents == sum(summary[1:]):
        return "lines are rounded one by one, the amount as a whole", True  # a cent a line at the most
    return "the lines do not add up to the amount", False
