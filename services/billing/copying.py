"""Rows of PostgreSQL's COPY in its binary format, made of values that are encoded once each.

The format: the documentation of PostgreSQL 18, COPY, "Binary Format"; the values: each type's `_recv` function in its
sources (numeric: groups of four decimal digits, the weight of the first, the sign, the digits after the point).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain, repeat
from struct import Struct, pack
from uuid import UUID

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = pack("!h", -1)
NULL = pack("!i", -1)

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_GROUP = 4
_NEGATIVE = 0x4000
_INT = Struct("!ii")


def rows(width: int, columns: Sequence[Iterable[bytes]]) -> bytes:
    """Rows of so many fields; a column may have several fields of each."""
    return b"".join(chain.from_iterable(zip(repeat(pack("!h", width)), *columns)))


class _Lengths(dict[int, bytes]):
    """What goes before a text of so many bytes."""

    def __missing__(self, size: int) -> bytes:
        length = self[size] = pack("!i", size) if size else NULL
        return length


_lengths = _Lengths()


def texts(values: Sequence[str]) -> list[bytes]:
    """Texts; NULL where one is empty. Raises ValueError where one cannot be stored."""
    if "\x00" in "".join(values):
        value = next(value for value in values if "\x00" in value)
        raise ValueError(f"{value!r} has a character that cannot be stored")
    return [_lengths[len(encoded)] + encoded for encoded in map(str.encode, values)]


def text(value: str) -> bytes:
    """A text; NULL where it is empty. Raises ValueError where it cannot be stored."""
    return texts([value])[0]


def integers(values: Iterable[int]) -> Iterable[bytes]:
    """Integers of 32 bits."""
    return map(_INT.pack, repeat(_INT.size - 4), values)


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
    sign, digits, exponent = value.as_tuple()
    scale = max(0, -int(exponent))
    written = "".join(map(str, digits)).rjust(scale, "0")
    whole, part = written[: len(written) - scale], written[len(written) - scale :]
    whole, part = whole.rjust(-(-len(whole) // _GROUP) * _GROUP, "0"), part.ljust(-(-len(part) // _GROUP) * _GROUP, "0")
    groups = [int((whole + part)[at : at + _GROUP]) for at in range(0, len(whole + part), _GROUP)]
    weight = len(whole) // _GROUP - 1
    while groups and not groups[0]:
        groups, weight = groups[1:], weight - 1
    while groups and not groups[-1]:
        groups.pop()
    head = (len(groups), weight if groups else 0, _NEGATIVE if sign and groups else 0, scale)
    return pack(f"!ihhHH{len(groups)}H", 8 + 2 * len(groups), *head, *groups)
