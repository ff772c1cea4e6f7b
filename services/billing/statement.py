"""The file of an invoice: a CSV, read by the names of its columns, whole or not at all.

The facts behind it (shapes seen in real files of 2019 to 2025, and what nobody has promised): the order of columns may
shift and others may come; amounts carry a dollar sign, negative ones in three forms; hours may be empty, and of backups
they count something else; periods end at midnight or a second before it; the same line may stand there twice.

It is read in batches, column by column: what was read before is looked up, in the form in which it is wanted, and a
line is looked at by itself only to find which of a batch is wrong (see `bench/invoice_ingest.py`).
"""

from __future__ import annotations

import csv
import io
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import IO, TYPE_CHECKING, Generic, NamedTuple, TypeVar

from services.billing.domain import cents_of
from shared.dead_letters import storable

if TYPE_CHECKING:
    from _csv import Reader

REQUIRED = ("product", "description", "start", "end", "USD")
OPTIONAL = ("group_description", "hours", "project_name", "category")
BATCH = 250  # larger ones take longer: what is young is soon forgotten

_AMOUNT = re.compile(r"(\()?([-+]?)\$?([-+]?)(\d{1,3}(?:,\d{3})+|\d+|(?=\.))(\.\d+)?(\))?", re.ASCII)
_LINE_END = re.compile(r"\r\n|\r|\n")
_SECOND = timedelta(seconds=1)
_LAST_SECOND = "23:59:59"
_REMEMBERED = 50_000
_LONGEST_REASON = 300
# So that sums are exact, and cents fit into 64 bits.
_MOST_DIGITS = 12
_MOST_DECIMALS = 9

T = TypeVar("T")
V = TypeVar("V")


@dataclass(frozen=True)
class Form(Generic[T]):
    """The form in which lines are wanted: of a text, of a number or of a time, where there is one.

    `texts`: of many, hardly two of which are alike. Of two times the later one's form must be the greater. Each may
    raise ValueError.
    """

    text: Callable[[str], T]
    texts: Callable[[Sequence[str]], Sequence[T]]
    number: Callable[[Decimal | None], T]
    time: Callable[[datetime | None], T]


class Batch(NamedTuple, Generic[T]):
    """Some lines of an invoice, column by column; two lines may be alike in everything.

    `first`: the place of the first in the file, from 1. `product`, `group` and `description`: as the file says.
    `start` and `end`: likewise. `cents`: the amounts in whole cents. `columns`: all that is kept of the lines,
    in the form that was asked for: product, group_description, description, hours, starts_at, ends_at, amount,
    project_name, category. Amounts are in USD, below zero where it is credited; hours are what the file calls so,
    which of some products is a count; `starts_at` up to, and without, `ends_at`, in UTC.
    """

    first: int
    product: Sequence[str]
    group: Sequence[str]
    description: Sequence[str]
    start: Sequence[str]
    end: Sequence[str]
    cents: Sequence[int]
    columns: Sequence[Sequence[T]]


class Unreadable(Exception):
    """The file is not the whole file of an invoice: nothing of it may be used. `line`: where that shows, from 1."""

    def __init__(self, line: int, reason: str) -> None:
        self.line = line
        self.reason = storable(reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}...")
        super().__init__(f"line {line}: {self.reason}")


def read_batches(file: IO[bytes], form: Form[T], size: int = BATCH) -> Iterator[Batch[T]]:
    """All lines of a file, from its beginning. Raises `Unreadable`, also after some batches.

    An empty file has none, and so has one with a header alone.
    """
    file.seek(0)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    reader = csv.reader(text, strict=True)
    try:
        header = next(reader, None)
        if header is not None:
            yield from _batches(reader, _columns(header), _Values(form), size)
    except csv.Error as error:
        raise Unreadable(reader.line_num, f"{error}; the file may have been cut off") from error
    except UnicodeDecodeError as error:  # of a part of the file that was read ahead
        raise Unreadable(_undecodable(file), f"it is not UTF-8: {error.reason}") from error
    finally:
        text.detach()  # the file is its owner's to close


def _undecodable(file: IO[bytes]) -> int:
    """The first line that is not UTF-8."""
    file.seek(0)
    for number, line in enumerate(file, 1):
        try:
            line.decode()
        except UnicodeDecodeError:
            return number
    raise AssertionError("a file that is not UTF-8 has a line that is not")


class _Columns(NamedTuple):
    """Where the columns are, in the order of `REQUIRED` and `OPTIONAL`; None for one that is not there."""

    width: int
    required: tuple[int, int, int, int, int]
    optional: tuple[int | None, ...]


def _columns(header: Sequence[str]) -> _Columns:
    names = [name.strip() for name in header]
    if missing := [name for name in REQUIRED if name not in names]:
        raise Unreadable(1, f"there is no column {', '.join(missing)} among {', '.join(names) or 'none'}")
    if twice := sorted({name for name in names if name in {*REQUIRED, *OPTIONAL} and names.count(name) > 1}):
        raise Unreadable(1, f"column {', '.join(twice)} is there twice")
    product, description, start, end, usd = (names.index(name) for name in REQUIRED)
    optional = tuple(names.index(name) if name in names else None for name in OPTIONAL)
    return _Columns(len(names), (product, description, start, end, usd), optional)


def _batches(reader: Reader, columns: _Columns, values: _Values[T], size: int) -> Iterator[Batch[T]]:
    first = 1
    while True:
        before = reader.line_num
        rows: list[list[str]] = list(islice(reader, size))
        if not rows:
            return
        lines = rows if all(rows) else [row for row in rows if row]
        if not lines:
            continue
        try:
            yield _batch(lines, first, columns, values)
        except ValueError as error:
            raise _first_wrong(rows, before, columns, values) or error from error
        first += len(lines)


class _Remembered(dict[str, V], Generic[V]):
    """What a text reads as: read once. Raises ValueError where it is nothing."""

    def __init__(self, read: Callable[[str], V]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, text: str) -> V:
        if len(self) >= _REMEMBERED:
            self.clear()
        value = self[text] = self._read(text)
        return value

    def of(self, column: Sequence[str]) -> list[V]:
        """What each text of a column reads as. (In most columns, neighbours are alike.)"""
        if column.count(column[0]) == len(column):
            return [self[column[0]]] * len(column)
        return list(map(self.__getitem__, column))


class _Values(Generic[T]):
    """Texts of a file in a form."""

    def __init__(self, form: Form[T]) -> None:
        self.form = form
        self.texts = _Remembered(form.text)
        self.amounts = _Remembered(lambda text: form.number(amount_of(text)))
        self.cents = _Remembered(lambda text: cents_of(amount_of(text)))
        self.hours = _Remembered(lambda text: form.number(amount_of(text) if text.strip() else None))
        self.starts = _Remembered(lambda text: form.time(start_of(text)))
        self.ends = _Remembered(lambda text: form.time(end_of(text)))


def _batch(rows: Sequence[Sequence[str]], first: int, columns: _Columns, values: _Values[T]) -> Batch[T]:
    """Raises ValueError, which does not say of which line."""
    if set(map(len, rows)) != {columns.width}:
        raise ValueError("a line has more or fewer columns than the header")
    by_column = list(zip(*rows, strict=True))
    product, description, start, end, usd = (by_column[at] for at in columns.required)
    nothing = ("",) * len(rows)
    group, hours, project, category = (nothing if at is None else by_column[at] for at in columns.optional)
    starts_at, ends_at = values.starts.of(start), values.ends.of(end)
    earlier = map(operator.lt, ends_at, starts_at)  # type: ignore[arg-type]  # see `Form`
    if any(earlier) and any(map(_backwards, start, end)):
        raise ValueError("a line ends before it starts")
    kept = [
        values.texts.of(product),
        values.texts.of(group),
        values.form.texts(description),
        values.hours.of(hours),
        starts_at,
        ends_at,
        values.amounts.of(usd),
        values.texts.of(project),
        values.texts.of(category),
    ]
    cents = values.cents.of(usd)
    return Batch(first, product, group, description, start, end, cents, kept)


def _first_wrong(
    rows: Sequence[Sequence[str]], before: int, columns: _Columns, values: _Values[T]
) -> Unreadable | None:
    """Which line of a batch is wrong, and why. `before`: the last line of the file before the batch."""
    number = before
    for row in rows:
        number += 1 + sum(len(_LINE_END.findall(value)) for value in row)
        if row and (reason := _wrong(row, columns, values)):
            return Unreadable(number, reason)
    return None


def _wrong(row: Sequence[str], columns: _Columns, values: _Values[T]) -> str | None:
    if len(row) != columns.width:
        return f"it has {len(row)} columns where the header has {columns.width}"
    try:
        _batch([row], 1, columns, values)
    except ValueError as error:
        return str(error)
    return None


def _backwards(start: str, end: str) -> bool:
    """Whether a period, whose times can be read, ends before it starts."""
    starts_at, ends_at = start_of(start), end_of(end)
    return starts_at is not None and ends_at is not None and ends_at < starts_at


def amount_of(text: str) -> Decimal:
    """An amount: `$1,234.56`, and below zero `-$5.00`, `$-5.00` or `($5.00)`. Raises ValueError."""
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no amount")
    opened, before, after, whole, part, closed = found.groups()
    signs = [*filter(None, (before, after, opened and "("))]
    if len(signs) > 1 or bool(opened) != bool(closed):
        raise ValueError(f"{text!r} is no amount")
    whole = whole.replace(",", "") or "0"
    if len(whole) > _MOST_DIGITS or len(part or "") > _MOST_DECIMALS + 1:
        raise ValueError(f"{text!r} is an amount of too many digits")
    amount = Decimal(f"{whole}{part or ''}")
    return -amount if signs in (["-"], ["("]) else amount


def start_of(text: str) -> datetime | None:
    """A time in UTC, such as `2026-04-01 00:00:00 +0000`; None where there is none. Raises ValueError."""
    text = text.strip()
    if not text:
        return None
    try:
        if text.endswith(" +0000"):  # they all do
            return datetime.fromisoformat(text[:-6]).replace(tzinfo=UTC)
        time = datetime.fromisoformat(text.replace(" +", "+").replace(" -", "-"))
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time") from None
    raise ValueError(f"{text!r} names no time zone")


def end_of(text: str) -> datetime | None:
    """When a period ends: what is said to end with a day's last second ends with the day. Raises ValueError."""
    time = start_of(text)
    if time is None or _LAST_SECOND not in text:
        return time
    try:
        return time + _SECOND
    except OverflowError:
        raise ValueError(f"{text!r} is no time") from None
