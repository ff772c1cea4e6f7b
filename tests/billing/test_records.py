"""A file is divided as the csv module would divide it, however it is read."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.billing.records import RecordFile, Unreadable

Read = list[tuple[int, list[str]]]
"""Records, each with the line that it ends in."""


def as_the_csv_module_reads(text: str, width: int) -> Read | None:
    """None where it cannot, or where a record has more or fewer fields than the header."""
    reader = csv.reader(io.StringIO(text, newline="\n"), strict=True)
    try:
        records = [(reader.line_num, row) for row in reader if row]
    except csv.Error:
        return None
    return records if all(len(row) == width for _, row in records) else None


def read(text: str, size: int) -> tuple[list[str] | None, Read]:
    file = RecordFile(io.BytesIO(text.encode()), size)
    found = [
        (records.line_of(at), [value.decode() for value in row])
        for records in file
        for at, row in enumerate(zip(*records.columns, strict=True))
    ]
    return file.header, found


PARTS = st.sampled_from(["a", "b1", "é", "\x00", "", " ", ",", ",", ",", "\n", "\n", "\r\n", "\r", '"', '"x,y"', '""'])
TEXTS = st.lists(PARTS, max_size=40).map("".join)


@given(TEXTS, st.integers(1, 50), st.integers(1, 4))
@example("a,b\n,c\n\n,d\n", 50, 2)
@example("a\nb,c,d\n", 50, 2)
@example("a,b,c\nd\ne,f,g\n", 50, 2)
@example("a,b\nc,d\n\n", 50, 2)
@example('a,b\n"c\nd",e\nf,g', 5, 2)
@example("a,b\r\nc,d\r\ne,f", 6, 2)
def test_records_are_those_of_the_csv_module_and_end_in_the_same_lines(text: str, size: int, width: int) -> None:
    header = ",".join(["h"] * width)
    expected = as_the_csv_module_reads(f"{header}\n{text}", width)
    if expected is None:
        with pytest.raises(Unreadable):
            read(f"{header}\n{text}", size)
    else:
        assert read(f"{header}\n{text}", size) == (["h"] * width, expected[1:])


@given(st.lists(st.lists(st.sampled_from(["a", "b", ""]), min_size=1, max_size=3), max_size=12), st.integers(1, 30))
def test_fields_of_one_line_are_never_taken_for_those_of_another(rows: list[list[str]], size: int) -> None:
    """Though there are as many in all."""
    text = "\n".join(["h,h", *map(",".join, rows)])
    if all(len(row) == 2 for row in rows if row != [""]):
        assert [row for _, row in read(text, size)[1]] == [row for row in rows if row != [""]]
    else:
        with pytest.raises(Unreadable, match="columns where the header has 2"):
            read(text, size)


def test_a_field_is_of_any_length_that_the_csv_module_takes_whatever_comes_with_it() -> None:
    limit = csv.field_size_limit()
    for size in (1, 1 << 17):
        for others in ([], ["b,c"], ['"b",c']):
            assert len(read("\n".join(["h,h", *others, f"{'a' * limit},b", *others]), size)[1]) == 1 + 2 * len(others)
            with pytest.raises(Unreadable, match="field larger than field limit"):
                read("\n".join(["h,h", *others, f"b,{'a' * (limit + 1)}", *others]), size)


@pytest.mark.parametrize("text", ["h,h\ra,b\rc,d\r", "h,h\na,b\rc,d\n", "h,h\na,b\n\rc,d\n"])
def test_a_carriage_return_alone_ends_no_line(text: str) -> None:
    with pytest.raises(Unreadable, match="a carriage return alone ends no line"):
        read(text, 100)


def test_a_header_may_go_on_in_the_next_line() -> None:
    assert read('"a\nb",c\nd,e\n', 100) == (["a\nb", "c"], [(3, ["d", "e"])])
    assert (read("", 1), read("\n", 1)) == ((None, []), ([], []))
