"""Money and quantities: whole numbers, or decimals written as text. Never a float, in no message and no table."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema


class Currency(StrEnum):
    """The currencies that prices may be in: some of ISO 4217, each with a hundred cents to its unit."""

    AUD = "AUD"
    CAD = "CAD"
    CHF = "CHF"
    EUR = "EUR"
    GBP = "GBP"
    NZD = "NZD"
    SGD = "SGD"
    USD = "USD"


MOST_CENTS = 1_000_000_000
MOST_UNITS = 1_000_000_000_000_000

_PRICE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_USED = re.compile(r"[0-9]{1,30}(\.[0-9]{1,9})?", re.ASCII)
PRICE_PATTERN = f"^{_PRICE.pattern}$"
USED_PATTERN = f"^{_USED.pattern}$"


def _whole(value: object) -> object:
    """Refuse what is no integer, wherever it is read: 20.0, "20" and true are somebody's mistake."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("write it as a whole number, such as 750")
    return value


def _exact(pattern: re.Pattern[str], digits: str) -> Callable[[object], object]:
    """Refuse a number with a point: whoever read it from JSON may have rounded it already."""

    def check(value: object) -> object:
        if isinstance(value, Decimal) or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f'write it as text, such as "0.0021": up to {digits} of the point')
        return value

    return check


def whole_cents(exact: Decimal) -> int:
    """An amount that is asked or told: rounded once, half up (away from zero), where a line's figure comes about."""
    return int(exact.quantize(Decimal(1), ROUND_HALF_UP))


def plain(value: Decimal) -> str:
    """Without exponent and without zeros at the end: equal prices are written equally."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


Cents = Annotated[int, Field(ge=0, le=MOST_CENTS), BeforeValidator(_whole)]
"""An amount in the hundredth part of its currency; ten million at most, for nothing here costs more."""

Quantity = Annotated[int, Field(ge=0, le=MOST_UNITS), BeforeValidator(_whole)]
"""So many whole units of a billing kind. What would be a fraction of a unit is counted in a smaller one."""

UnitPrice = Annotated[
    Decimal,
    Field(ge=0, le=MOST_CENTS, decimal_places=9, allow_inf_nan=False),
    BeforeValidator(_exact(_PRICE, "nine digits on each side")),
    PlainSerializer(plain, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": PRICE_PATTERN, "examples": ["0.0021"]}),
]
"""A price in cents for one unit, which may be a small part of a cent. Written as text."""

Told = Annotated[
    Decimal,
    PlainSerializer(plain, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": USED_PATTERN, "examples": ["15.483870968"]}),
]
"""A quantity or a price that is told, and was checked where it was asked for. Written as text."""

Used = Annotated[
    Decimal,
    Field(ge=0, decimal_places=9, allow_inf_nan=False),
    BeforeValidator(_exact(_USED, "thirty digits before and nine after")),
    PlainSerializer(plain, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": USED_PATTERN, "examples": ["15.483870968"]}),
]
"""So much of a billing kind, of which a day's share may be a small part of a unit. Written as text."""
