"""The rules: what the provider's words mean in cents, what is tax, and whether an invoice adds up. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NamedTuple

from contracts.billing import Difference, OfItems, OfLines, OfSummary, Reconciliation, ReconciliationStatus
from contracts.money import Currency, whole_cents
from contracts.times import months_after

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
    """Whole cents of an amount in dollars. Raises ValueError where it is none."""
    try:
        amount = Decimal(dollars)
        if amount.is_finite():
            return cents_of(amount)
    except InvalidOperation:
        pass
    raise ValueError(f"{dollars!r} is no amount")


def cents_of(amount: Decimal) -> int:
    """Whole cents of an amount in dollars; half a cent is rounded away from zero."""
    return whole_cents(amount * 100)


class Issued(NamedTuple):
    """An invoice as a provider's lists tell of it."""

    provider: str
    invoice_uuid: str
    number: str
    period: date
    currency: Currency
    amount_cents: int
    issued_at: datetime


def invoices_of(
    history: Sequence[Mapping[str, Any]], listed: Sequence[Mapping[str, Any]]
) -> tuple[list[Issued], list[str]]:
    """The invoices, in the order of their months, that the billing history tells; and which cannot be read, and why.

    The list of invoices knows their months; where it lacks one, an invoice is about the month before its issue.
    """
    periods = {row.get("invoice_uuid"): row.get("invoice_period") for row in listed}
    found: dict[str, Issued] = {}
    unreadable = []
    for row in history:
        uuid = row.get("invoice_uuid")
        if row.get("type") == "Invoice" and uuid:
            try:
                found[uuid] = _issued(row, periods.get(uuid))
            except (KeyError, TypeError, ValueError) as error:
                unreadable.append(f"invoice {uuid}: {type(error).__name__} {error}")
    return sorted(found.values(), key=lambda each: (each.period, each.issued_at, each.invoice_uuid)), unreadable


def _issued(row: Mapping[str, Any], period: str | None) -> Issued:
    issued_at = datetime.fromisoformat(row["date"]).astimezone(UTC)
    return Issued(
        PROVIDER,
        str(row["invoice_uuid"]),
        str(row.get("invoice_id") or ""),
        _month(period) if period else months_after(issued_at.date(), -1),
        Currency.USD,
        cents(row["amount"]),
        issued_at,
    )


def _month(text: str) -> date:
    """The first day of a month such as `2026-04`."""
    return date.fromisoformat(f"{text}-01")


def is_tax(description: bytes) -> bool:
    """Whether a line is tax, for finance: by the words of its description, as the one before this system did."""
    words = description.lower()  # no letter beyond ASCII has one of these as its small one
    return b"gst" in words or b"tax" in words


def tax_cents(descriptions: Sequence[bytes], cents: Sequence[int]) -> int:
    """What of some lines, described in UTF-8, is tax."""
    if not is_tax(b"\n".join(descriptions)):  # hardly ever one among so many
        return 0
    return sum(amount for description, amount in zip(descriptions, cents, strict=True) if is_tax(description))


def monthly_cents(attrs: Mapping[str, Any]) -> int | None:
    """What a resource costs by the provider's price list, for a month of it; None where it has no price there."""
    price = attrs.get("monthly_usd_cents")
    return price if isinstance(price, int) and price >= 0 else None


def summary_of(body: Mapping[str, Any]) -> OfSummary:
    """What an answer says. Raises ValueError where it is no summary. (Whose invoice it is, is nobody's business.)"""
    parts = ("product_charges", "overages", "taxes", "credits_and_adjustments")
    try:
        charges, overages, taxes, credits = (cents((body.get(part) or {}).get("amount") or "0") for part in parts)
        return OfSummary(
            amount_cents=cents(body["amount"]),
            product_charges_cents=charges,
            overages_cents=overages,
            taxes_cents=taxes,
            credits_cents=credits,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the summary has no {error}") from error


def reconcile(amount_cents: int, lines: OfLines, items: OfItems, summary: OfSummary) -> Reconciliation:
    """Compare an invoice's tellers to the cent."""
    found = []
    if lacking := amount_cents - lines.cents:
        why, explained = _why_lines_lack(lacking, lines, summary)
        found.append(Difference(what="lines", cents=lacking, why=why, explained=explained))
    if difference := amount_cents - summary.amount_cents:
        found.append(_unexplained("summary", difference, "the summary tells another amount than the history"))
    if difference := summary.amount_cents - _parts(summary):
        found.append(_unexplained("summary_parts", difference, "the parts of the summary are not its amount"))
    if items.count and (difference := items.cents - lines.cents):
        found.append(_unexplained("items", difference, "the items add up to something else than the file"))
    if difference := summary.taxes_cents - lines.tax_cents:
        why = "lines count as tax by the words of their description, in the summary by their product"
        found.append(Difference(what="tax", cents=difference, why=why, explained=True))
    explained = all(difference.explained for difference in found)
    status: ReconciliationStatus = "exact" if not found else "explained" if explained else "differs"
    return Reconciliation(
        status=status, amount_cents=amount_cents, lines=lines, items=items, summary=summary, differences=found
    )


def _unexplained(what: Literal["summary", "summary_parts", "items"], cents: int, why: str) -> Difference:
    return Difference(what=what, cents=cents, why=why, explained=False)


def _why_lines_lack(lacking: int, lines: OfLines, summary: OfSummary) -> tuple[str, bool]:
    if _is_credited(lacking, summary):
        return "credits and adjustments are in the summary, and no lines of the file", True
    if abs(lacking) <= lines.count and summary.amount_cents == _parts(summary):
        return "lines are rounded one by one, the amount as a whole", True  # a cent a line at the most
    return "the lines do not add up to the amount", False


def _is_credited(lacking: int, summary: OfSummary) -> bool:
    return lacking == summary.credits_cents != 0


def _parts(summary: OfSummary) -> int:
    return summary.product_charges_cents + summary.overages_cents + summary.taxes_cents + summary.credits_cents


def why_cut_off(found: Reconciliation, *, ended: bool) -> str | None:
    """Why a file seems to be but the beginning of the invoice's, if so. `ended`: whether its last line has an end."""
    lines, items = found.lines, found.items
    lacking = found.amount_cents - lines.cents
    if lines.count < items.count and lines.cents != items.cents:
        return f"it ends after {lines.count} lines of {items.count}, and lacks what those would cost"
    if lacking and not _is_credited(lacking, found.summary):
        if not lines.count:
            return f"it has no lines, and the invoice is about {found.amount_cents} cents"
        if not ended:
            return f"its last line has no end, and the lines lack {lacking} cents of the amount"
    return None
