"""Rows of PostgreSQL's COPY in its binary format, made of values that are encoded once each.

The format: the documentation of PostgreSQL 18, COPY, "Binary Format"; the values: each type's `_recv` function in its
sources (numeric: groups of four decimal digits, the weight of the first, the sign, the digits after the point).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain, repeat, takewhile
from struct import Struct, pack
from uuid import UUID

from services.billing.records import is_alike

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = pack("!h", -1)
NULL = pack("!i", -1)

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_GROUP = 4
_NEGATIVE = 0x4000
_INT = Struct("!ii")


def rows(width: int, columns: Sequence[Sequence[bytes]]) -> bytes:
    """Rows of so many fields; a column may have several fields of each.

    Columns that are alike throughout cost nothing where they come first.
    """
    alike = list(takewhile(is_alike, columns))
    first = pack("!h", width) + b"".join(column[0] for column in alike)
    return b"".join(chain.from_iterable(zip(repeat(first, len(columns[0])), *columns[len(alike) :], strict=True)))


class _Lengths(dict[int, bytes]):
    """What goes before a text of so many bytes."""

    def __missing__(self, size: int) -> bytes:
        length = self[size] = pack("!i", size) if size else NULL
        return length


_lengths = _Lengths()


def texts(values: Sequence[bytes]) -> list[bytes]:
    """Texts in UTF-8; NULL where one is empty. Raises ValueError where one cannot be stored."""
    if b"\x00" in b"".join(values):
        value = next(value for value in values if b"\x00" in value)
        raise ValueError(f"{value.decode()!r} has a character that cannot be stored")
    return [_lengths[len(value)] + value for value in values]


def text(value: str) -> bytes:
    """A text; NULL where it is empty. Raises ValueError where it cannot be stored."""
    return texts([value.encode()])[0]


def integers(values: Iterable[int]) -> list[bytes]:
    """Integers of 32 bits."""
    return list(map(_INT.pack, repeat(_INT.size - 4), values))


def uuid(value: UUID | None) -> bytes:
    """A UUID, or NULL."""
    return NULL if value is None else pack("!i", 16) + value.bytes


def time(value: datetime | None) -> bytes:
    """A timestamptz: microseconds since 2000; or NULL. Raises ValueError for one before that."""
    if value is None:
        return NULL
    since = value - _EPOCH
    if since.days < 0:
        raise ValueError(f"{value:%Y-%m-%d} is long before anything was charged")
    return pack("!iq", 8, (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


def number(value: Decimal | None) -> bytes:
    """A numeric, or NULL."""
    if value is None:
        return NULL
    whole, _, part = f"{value.copy_abs():f}".partition(".")
    digits = whole.rjust(_up(len(whole)), "0") + part.ljust(_up(len(part)), "0")
    groups = [int(digits[at : at + _GROUP]) for at in range(0, len(digits), _GROUP)]
    weight = _up(len(whole)) // _GROUP - 1
    while groups and not groups[0]:
        groups, weight = groups[1:], weight - 1
    while groups and not groups[-1]:
        groups.pop()
    sign = _NEGATIVE if groups and value < 0 else 0
    size = len(groups)
    return pack(f"!ihhHH{size}H", 8 + 2 * size, size, weight if groups else 0, sign, len(part), *groups)


def _up(digits: int) -> int:
    """So many digits, up to whole groups."""
    return -(-digits // _GROUP) * _GROUP
