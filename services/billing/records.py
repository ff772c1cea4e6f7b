"""The records of a CSV file in UTF-8, some at a time, column by column, as bytes.

Lines without quotes, each of as many fields as the header, are divided at their commas all at once; all else is read by
the csv module, record by record, which takes three times as long and knows of each line what is wrong with it.
"""

from __future__ import annotations

import csv
import io
import operator
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
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
    """A file, read from its beginning. `header`: its first record; None where there is none."""

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
        """All records but the header and blank lines. Raises `Unreadable`, also after some."""
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
                if set(map(len, records)) - {width}:
                    at = next(at for at, record in enumerate(records) if len(record) != width)
                    raise Unreadable(line_of(at), f"it has {len(records[at])} columns where the header has {width}")
                if records:
                    yield Records([list(map(str.encode, column)) for column in zip(*records, strict=True)], line_of)

    def _read(self, block: bytes, most: int) -> Iterator[list[list[str]]]:
        """The records that begin in these lines, so many at a time; with the last ones some may come that follow.

        Blank lines are empty records. `_line` is the one before those that came last.
        """
        lines, before = io.BytesIO(block), self._line
        reader = csv.reader(map(bytes.decode, chain(lines, self._file)), strict=True)
        try:
            while lines.tell() < len(block):
                yield list(islice(reader, most))
                self._line = before + reader.line_num
        except csv.Error as error:
            raise Unreadable(before + reader.line_num, f"{error}; the file may have been cut off") from error
        except UnicodeDecodeError as error:
            raise Unreadable(before + reader.line_num + 1, f"it is not UTF-8: {error.reason}") from error


def _line_of(rows: Sequence[Sequence[str]], before: int, record: int) -> int:
    """Where a record ends, of rows that come after a line; blank ones are lines too."""
    end = before
    for row in rows:
        end += 1 + sum(value.count("\n") for value in row)
        record -= bool(row)
        if record < 0:
            return end
    raise IndexError(f"there is no record {record} among these")


def is_alike(column: Sequence[bytes]) -> bool:
    """Whether a column says the same throughout, of one record at least."""
    return bool(column) and column[0] == column[-1] and column.count(column[0]) == len(column)


def _divided(block: bytes, width: int) -> list[list[bytes]] | None:
    """The columns of some whole lines; None where it takes more than commas and ends of lines to tell."""
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
    if width < 2 or b"\r" in block or b'"' in block or not (block.isascii() or _is_utf8(block)):
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
