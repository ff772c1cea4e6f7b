"""The records of a CSV file in UTF-8, some at a time, column by column, as bytes.

Lines end in LF or CRLF. A block of them without quotes or blank lines, each of as many fields as the header has, is
divided at its commas all at once; any other is read by the csv module, record by record, which takes three times as
long and knows of each line what is wrong with it.
"""

from __future__ import annotations

import csv
import io
import operator
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate, chain, islice, takewhile
from typing import IO, NamedTuple

from shared.dead_letters import storable

BATCH = 1 << 17
"""So many bytes, and what the last of their lines has more, are read at a time. (Of more, the caches hold less.)"""

_BYTE_ORDER_MARK = "\ufeff".encode()
_ROWS = 250  # of more, many live long enough to be looked through for garbage
_LONGEST_REASON = 300


class Unreadable(Exception):
    """The file is not what it should be: nothing of it may be used. `line`: where that shows, from 1."""

    def __init__(self, line: int, reason: str) -> None:
        self.line = line
        self.reason = storable(reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}...")
        super().__init__(f"line {line}: {self.reason}")


class Records(NamedTuple):
    """Some records, column by column. `line_of`: where one of them ends in the file, from 1; the first is number 0."""

    columns: Sequence[Sequence[bytes]]
    line_of: Callable[[int], int]


class RecordFile:
    """A file, to be read once, from its beginning. `header`: its first record; None where there is none.

    Raises `Unreadable`, of a header at once.
    """

    def __init__(self, file: IO[bytes], size: int = BATCH) -> None:
        file.seek(0)
        if file.read(len(_BYTE_ORDER_MARK)) != _BYTE_ORDER_MARK:
            file.seek(0)
        self._file = file
        self._size = size
        self._line = 0
        header = [row for rows in self._read(file.readline(), 1) for row in rows]
        self.header = header[0] if header else None

    def __iter__(self) -> Iterator[Records]:
        """All records but the header and blank lines. Raises `Unreadable`, after those before that line."""
        width = len(self.header or ())
        while block := self._file.read(self._size) + self._file.readline():
            if columns := _divided(block, width):
                first = self._line + 1
                self._line += len(columns[0])
                yield Records(columns, partial(operator.add, first))
                continue
            for rows in self._read(block, _ROWS):
                line_of = partial(_line_of, rows, self._line)
                records = [row for row in rows if row]
                good = list(takewhile(lambda record: len(record) == width, records))
                if good:
                    yield Records([list(map(str.encode, column)) for column in zip(*good, strict=True)], line_of)
                if len(good) < len(records):
                    fields = len(records[len(good)])
                    raise Unreadable(line_of(len(good)), f"it has {fields} columns where the header has {width}")

    def _read(self, block: bytes, most: int) -> Iterator[list[list[str]]]:
        """The records that begin in these lines, so many at a time; with the last ones some may come that follow.

        Blank lines are empty records. `_line` is the one before those that came last.
        """
        lines, before = io.BytesIO(block), self._line
        reader = csv.reader(map(bytes.decode, chain(lines, self._file)), strict=True)
        wrong = None
        while lines.tell() < len(block) and not wrong:
            rows: list[list[str]] = []
            try:
                rows.extend(islice(reader, most))
            except csv.Error as error:
                wrong = Unreadable(before + reader.line_num, _why(error))
            except UnicodeDecodeError as error:
                wrong = Unreadable(before + reader.line_num + 1, f"it is not UTF-8: {error.reason}")
            yield rows
            self._line = before + reader.line_num
        if wrong:
            raise wrong


def _why(error: csv.Error) -> str:
    if "new-line character" in str(error):
        return "a carriage return alone ends no line"
    return f"{error}; the file may have been cut off"


def _line_of(rows: Sequence[Sequence[str]], before: int, record: int) -> int:
    """Where a record ends, of rows that come after a line; blank ones are lines too."""
    ends = accumulate(1 + sum(value.count("\n") for value in row) for row in rows)
    return before + [end for row, end in zip(rows, ends, strict=True) if row][record]


def is_alike(column: Sequence[bytes]) -> bool:
    """Whether a column says the same throughout, of one record at least."""
    return bool(column) and column[0] == column[-1] and column.count(column[0]) == len(column)


def _divided(block: bytes, width: int) -> list[list[bytes]] | None:
    """The columns of some whole lines; None where it takes more than commas and ends of lines to tell.

    Of blocks of `BATCH`, the last line alone can be longer than a field may be.
    """
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
    if width < 2 or b"\r" in block or b'"' in block or not (block.isascii() or _is_utf8(block)):
        return None
    if len(block) - block.rfind(b"\n", 0, -1) > csv.field_size_limit():
        return None
    block = block.removesuffix(b"\n")
    count = block.count(b"\n") + 1
    fields = block.split(b",")
    # Each end of a line lies within a field, the last of one line and the first of the next: if they all do, and in
    # none but every so many, each line has as many fields.
    step = width - 1
    seams = _parted(fields[step:-1:step])
    if seams is None or len(fields) != count * step + 1:
        return None
    last, first = seams
    return [[fields[0], *first], *(fields[at::step] for at in range(1, step)), [*last, fields[-1]]]


def _parted(seams: list[bytes]) -> tuple[list[bytes], list[bytes]] | None:
    """What is before, and what after the end of a line in each of these; None where one has not exactly one."""
    if is_alike(seams):  # as a rule: files begin with the product, and end with its category
        parts = seams[0].split(b"\n")
        return None if len(parts) != 2 else ([parts[0]] * len(seams), [parts[1]] * len(seams))
    each = [seam.split(b"\n") for seam in seams]
    if set(map(len, each)) - {2}:
        return None
    return [last for last, _ in each], [first for _, first in each]


def _is_utf8(block: bytes) -> bool:
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True
