"""The rules: what the provider's words mean in cents. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, NamedTuple

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
        if not amount.is_finite():
            raise ValueError(f"{dollars!r} is no amount")
        return int((amount * 100).quantize(Decimal(1), ROUND_HALF_UP))
    except InvalidOperation:
        raise ValueError(f"{dollars!r} is no amount") from None
