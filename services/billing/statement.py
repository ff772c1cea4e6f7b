"""The file of an invoice: a CSV, read by the names of its columns, whole or not at all.

The facts behind it (shapes seen in real files of 2019 to 2025, and what nobody has promised): the order of columns may
shift and others may come; amounts carry a dollar sign, negative ones in three forms; hours may be empty, and of backups
they count something else; periods end at midnight or a second before it; the same line may stand there twice.

It is read in batches, column by column: what was read before is looked up, in the form in which it is wanted, and a
line is looked at by itself only to find which of a batch is wrong (see `bench/invoice_ingest.py`).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import IO, Generic, NamedTuple, TypeVar

from services.billing.domain import cents_of
from services.billing.records import BATCH, RecordFile, Records, Unreadable, is_alike

REQUIRED = ("product", "description", "start", "end", "USD")
OPTIONAL = ("group_description", "hours", "project_name", "category")

_AMOUNT = re.compile(r"(\()?([-+]?)\$?([-+]?)(\d{1,3}(?:,\d{3})+|\d+|(?=\.))(\.\d+)?(\))?", re.ASCII)
_FIRST, _SECOND = operator.itemgetter(0), operator.itemgetter(1)
_A_SECOND = timedelta(seconds=1)
_LAST_SECOND = "23:59:59"
_REMEMBERED = 50_000
# So that sums are exact, and cents fit into 64 bits.
_MOST_DIGITS = 12
_MOST_DECIMALS = 9

T = TypeVar("T")
V = TypeVar("V")


@dataclass(frozen=True)
class Form(Generic[T]):
    """The form in which lines are wanted: of a text, of a number or of a time, where there is one.

    `texts`: of many in UTF-8, hardly two of which are alike. Of two times the later one's form must be the greater.
    Each may raise ValueError.
    """

    text: Callable[[str], T]
    texts: Callable[[Sequence[bytes]], Sequence[T]]
    number: Callable[[Decimal | None], T]
    time: Callable[[datetime | None], T]


class Batch(NamedTuple, Generic[T]):
    """Some lines of an invoice, column by column; two lines may be alike in everything.

    `first`: the place of the first in the file, from 1. `product`, `group`, `description`, `start` and `end`: as the
    file says, in UTF-8. `cents`: the amounts in whole cents. `columns`: all that is kept of the lines, in the form that
    was asked for, what many neighbours have in common first: product, group_description, category, ends_at,
    project_name, hours, starts_at, amount, description. Amounts are in USD, below zero where it is credited; hours are
    what the file calls so, which of some products is a count; `starts_at` up to, and without, `ends_at`, in UTC.
    """

    first: int
    product: Sequence[bytes]
    group: Sequence[bytes]
    description: Sequence[bytes]
    start: Sequence[bytes]
    end: Sequence[bytes]
    cents: Sequence[int]
    columns: Sequence[Sequence[T]]


def read_batches(file: IO[bytes], form: Form[T], size: int = BATCH) -> Iterator[Batch[T]]:
    """All lines of a file, from its beginning. Raises `Unreadable`, also after some batches.

    An empty file has none, and so has one with a header alone. `size`: of a batch, in bytes, roughly.
    """
    records = RecordFile(file, size)
    if records.header is None:
        return
    places, values = _places(records.header), _Values(form)
    first = 1
    for some in records:
        try:
            yield _batch(some.columns, first, places, values)
        except ValueError as error:
            raise _first_wrong(some, places, values) from error
        first += len(some.columns[0])


class _Places(NamedTuple):
    """Where the columns are, in the order of `REQUIRED` and `OPTIONAL`; None for one that is not there."""

    required: tuple[int, int, int, int, int]
    optional: tuple[int | None, ...]


def _places(header: Sequence[str]) -> _Places:
    names = [name.strip() for name in header]
    if missing := [name for name in REQUIRED if name not in names]:
        raise Unreadable(1, f"there is no column {', '.join(missing)} among {', '.join(names) or 'none'}")
    if twice := sorted({name for name in names if name in {*REQUIRED, *OPTIONAL} and names.count(name) > 1}):
        raise Unreadable(1, f"column {', '.join(twice)} is there twice")
    product, description, start, end, usd = (names.index(name) for name in REQUIRED)
    optional = tuple(names.index(name) if name in names else None for name in OPTIONAL)
    return _Places((product, description, start, end, usd), optional)


class _Remembered(dict[bytes, V], Generic[V]):
    """What a text reads as: read once. Raises ValueError where it is nothing."""

    def __init__(self, read: Callable[[str], V]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, text: bytes) -> V:
        read = text.decode()
        value = self[read.encode()] = self._read(read)  # by a copy: what stays is not scattered among what goes
        return value

    def of(self, column: Sequence[bytes]) -> list[V]:
        """What each text of a column reads as. (In most columns, neighbours are alike.)"""
        if len(self) > _REMEMBERED:
            self.clear()
        if is_alike(column):
            return [self[column[0]]] * len(column)
        return list(map(self.__getitem__, column))


class _Values(Generic[T]):
    """Texts of a file in a form."""

    def __init__(self, form: Form[T]) -> None:
        self.form = form
        self.texts = _Remembered(form.text)
        self.amounts = _Remembered(self._amount)
        self.hours = _Remembered(lambda text: form.number(amount_of(text) if text.strip() else None))
        self.starts = _Remembered(lambda text: form.time(start_of(text)))
        self.ends = _Remembered(lambda text: form.time(end_of(text)))

    def _amount(self, text: str) -> tuple[T, int]:
        amount = amount_of(text)
        return self.form.number(amount), cents_of(amount)


def _batch(columns: Sequence[Sequence[bytes]], first: int, places: _Places, values: _Values[T]) -> Batch[T]:
    """Raises ValueError, which does not say of which line."""
    product, description, start, end, usd = (columns[at] for at in places.required)
    nothing = [b""] * len(product)
    group, hours, project, category = (nothing if at is None else columns[at] for at in places.optional)
    starts_at, ends_at = values.starts.of(start), values.ends.of(end)
    earlier = map(operator.lt, ends_at, starts_at)  # type: ignore[arg-type]  # see `Form`
    if any(earlier) and any(map(_backwards, start, end)):
        raise ValueError("a line ends before it starts")
    amounts = values.amounts.of(usd)
    kept = [
        values.texts.of(product),
        values.texts.of(group),
        values.texts.of(category),
        ends_at,
        values.texts.of(project),
        values.hours.of(hours),
        starts_at,
        list(map(_FIRST, amounts)),
        values.form.texts(description),
    ]
    return Batch(first, product, group, description, start, end, list(map(_SECOND, amounts)), kept)


def _first_wrong(records: Records, places: _Places, values: _Values[T]) -> Unreadable:
    """Which line of a batch is wrong, and why."""
    for at in range(len(records.columns[0])):
        try:
            _batch([column[at : at + 1] for column in records.columns], 1, places, values)
        except ValueError as error:
            return Unreadable(records.line_of(at), str(error))
    raise AssertionError("lines of which none is wrong are not wrong together")


def _backwards(start: bytes, end: bytes) -> bool:
    """Whether a period, whose times can be read, ends before it starts."""
    starts_at, ends_at = start_of(start.decode()), end_of(end.decode())
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
        return time + _A_SECOND
    except OverflowError:
        raise ValueError(f"{text!r} is no time") from None
