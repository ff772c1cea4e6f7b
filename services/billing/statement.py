"""The file of an invoice: a CSV, read by the names of its columns, whole or not at all.

The facts behind it (shapes seen in real files of 2019 to 2025, and what nobody has promised): the order of columns may
shift and others may come; amounts carry a dollar sign, negative ones in three forms; hours may be empty, and of backups
they count something else; periods end at midnight or a second before it; the same line may stand there twice.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple, TextIO

REQUIRED = ("product", "description", "start", "end", "USD")
OPTIONAL = ("group_description", "hours", "project_name", "category")

_AMOUNT = re.compile(r"(\()?([-+]?)\$?([-+]?)(\d{1,3}(?:,\d{3})+|\d+|(?=\.))(\.\d+)?(\))?", re.ASCII)
_SECOND = timedelta(seconds=1)


class CostLine(NamedTuple):
    """A line of an invoice. `ordinal`: its place in the file, from 1; two lines may be alike in everything else.

    `amount` in USD, negative where it is credited. `hours`: as the file says, which of some products is a count.
    `starts_at` up to, and without, `ends_at`; None where the file does not say.
    """

    ordinal: int
    product: str
    group_description: str
    description: str
    hours: Decimal | None
    starts_at: datetime | None
    ends_at: datetime | None
    amount: Decimal
    project_name: str
    category: str


class Unreadable(Exception):
    """The file is not the whole file of an invoice: nothing of it may be used. `line`: where that shows, from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


def read_lines(file: TextIO) -> Iterator[CostLine]:
    """Every line of a file that was opened as UTF-8 with `newline=""`. Raises `Unreadable`, also after some lines.

    An empty file has none, and so has one with a header alone.
    """
    reader = csv.reader(file, strict=True)
    try:
        columns = _columns(next(reader, None))
        if columns is None:
            return
        for ordinal, row in enumerate(filter(None, reader), 1):
            yield _line(ordinal, row, columns, reader.line_num)
    except csv.Error as error:
        raise Unreadable(reader.line_num, f"{error}; the file may have been cut off") from error
    except UnicodeDecodeError as error:
        raise Unreadable(reader.line_num + 1, f"it is not UTF-8: {error.reason} at byte {error.start}") from error


class _Columns(NamedTuple):
    """Where the columns are, in the order of `REQUIRED` and `OPTIONAL`; None for one that is not there."""

    width: int
    required: tuple[int, int, int, int, int]
    optional: tuple[int | None, ...]


def _columns(header: Sequence[str] | None) -> _Columns | None:
    if header is None:
        return None
    names = [name.strip().removeprefix("\ufeff") for name in header]
    if missing := [name for name in REQUIRED if name not in names]:
        raise Unreadable(1, f"there is no column {', '.join(missing)} among {', '.join(names) or 'none'}")
    if twice := sorted({name for name in names if name in {*REQUIRED, *OPTIONAL} and names.count(name) > 1}):
        raise Unreadable(1, f"column {', '.join(twice)} is there twice")
    product, description, start, end, usd = (names.index(name) for name in REQUIRED)
    optional = tuple(names.index(name) if name in names else None for name in OPTIONAL)
    return _Columns(len(names), (product, description, start, end, usd), optional)


def _line(ordinal: int, row: Sequence[str], columns: _Columns, number: int) -> CostLine:
    if len(row) != columns.width:
        raise Unreadable(number, f"it has {len(row)} columns where the header has {columns.width}")
    product, description, start, end, usd = (row[at] for at in columns.required)
    group, hours, project, category = ("" if at is None else row[at] for at in columns.optional)
    try:
        starts_at, ends_at = _time(start), _end(end)
        if starts_at and ends_at and ends_at < starts_at:
            raise ValueError(f"it ends, {end}, before it starts, {start}")
        return CostLine(
            ordinal,
            product,
            group,
            description,
            amount_of(hours) if hours.strip() else None,
            starts_at,
            ends_at,
            amount_of(usd),
            project,
            category,
        )
    except ValueError as error:
        raise Unreadable(number, str(error)) from error


@lru_cache(maxsize=4096)
def amount_of(text: str) -> Decimal:
    """An amount: `$1,234.56`, and below zero `-$5.00`, `$-5.00` or `($5.00)`. Raises ValueError."""
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no amount")
    opened, before, after, whole, part, closed = found.groups()
    signs = [*filter(None, (before, after, opened and "("))]
    if len(signs) > 1 or bool(opened) != bool(closed):
        raise ValueError(f"{text!r} is no amount")
    amount = Decimal(f"{whole.replace(',', '') or '0'}{part or ''}")
    return -amount if signs in (["-"], ["("]) else amount


@lru_cache(maxsize=4096)
def _time(text: str) -> datetime | None:
    """A time, such as `2026-04-01 00:00:00 +0000`; None where there is none. Raises ValueError."""
    if not text.strip():
        return None
    try:
        time = datetime.fromisoformat(text.strip().replace(" +", "+").replace(" -", "-"))
    except ValueError:
        raise ValueError(f"{text!r} is no time") from None
    if time.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone")
    return time


@lru_cache(maxsize=4096)
def _end(text: str) -> datetime | None:
    """The time at which a period ends: what is said to end with a day's last second ends with the day."""
    time = _time(text)
    return time + _SECOND if time and (time.hour, time.minute, time.second) == (23, 59, 59) else time
