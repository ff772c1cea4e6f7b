"""The file of an invoice is read line by line, or refused with the line and the reason."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.billing import copying
from services.billing.records import Unreadable
from services.billing.statement import OPTIONAL, REQUIRED, Batch, Form, amount_of, read_batches

HEADER = "product,group_description,description,hours,start,end,USD,project_name,category"
LINE = "Droplets,,web-01 (s-2vcpu-4gb),744,2026-04-01 00:00:00 +0000,2026-05-01 00:00:00 +0000,$20.00,tenant-acme,iaas"
LAST = datetime.max.replace(tzinfo=UTC)
APRIL, MAY = datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)


class CostLine(NamedTuple):
    """A line, with the columns of a batch in their order."""

    ordinal: int
    product: str
    group_description: str
    category: str
    ends_at: datetime | None
    project_name: str
    hours: Decimal | None
    starts_at: datetime | None
    amount: Decimal
    description: str


# Times so that those that there are not come last.
AS_READ: Form[Any] = Form(
    text=str,
    texts=lambda values: [value.decode() for value in values],
    number=lambda number: number,
    time=lambda time: time or LAST,
)
COPIED = Form(copying.text, copying.texts, copying.number, copying.time)


def batches(text: str | bytes, size: int = 300, form: Form[Any] = AS_READ) -> list[Batch[Any]]:
    data = text.encode() if isinstance(text, str) else text
    return list(read_batches(io.BytesIO(data), form, size))


def read(text: str | bytes, size: int = 300) -> list[CostLine]:
    """The lines of a file, read by so many bytes and the rest of a line at a time."""
    lines = [
        CostLine(batch.first + n, *values)
        for batch in batches(text, size)
        for n, values in enumerate(zip(*batch.columns, strict=True))
    ]
    return [line._replace(starts_at=_known(line.starts_at), ends_at=_known(line.ends_at)) for line in lines]


def _known(time: datetime | None) -> datetime | None:
    return None if time == LAST else time


def read_one(*fields: str) -> CostLine:
    """A line, of a file that has it alone."""
    (line,) = read(f"{HEADER}\n{','.join(fields) if fields else LINE}\n")
    return line


def refused(text: str | bytes) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        read(text)
    return caught.value


def outcome(text: str | bytes, size: int = 300) -> list[CostLine] | Unreadable:
    try:
        return read(text, size)
    except Unreadable as error:
        return error


def test_a_line_is_read_by_the_names_of_its_columns() -> None:
    line = CostLine(
        ordinal=1,
        product="Droplets",
        group_description="",
        category="iaas",
        ends_at=MAY,
        project_name="tenant-acme",
        hours=Decimal(744),
        starts_at=APRIL,
        amount=Decimal("20.00"),
        description="web-01 (s-2vcpu-4gb)",
    )
    assert read(f"{HEADER}\n{LINE}\n") == [line]
    for seed in range(10):
        columns = list(zip(HEADER.split(","), LINE.split(","), strict=True))
        Random(seed).shuffle(columns)
        columns.insert(seed, ("sku", "1-DO-DROP-0109"))
        assert read("\n".join(",".join(part) for part in zip(*columns, strict=True))) == [line]


def test_a_file_of_before_the_categories_is_read() -> None:
    (line,) = read(f"{HEADER.removesuffix(',category')}\n{LINE.removesuffix(',iaas')}\n")
    assert (line.category, line.project_name) == ("", "tenant-acme")


@pytest.mark.parametrize("text", ["", f"{HEADER}\n", HEADER, f"\ufeff{HEADER}\r\n", f"{HEADER}\n\n\n"])
def test_an_empty_file_and_one_with_a_header_alone_have_no_lines(text: str) -> None:
    assert read(text) == []


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_lines_end_in_either_way_and_a_byte_order_mark_is_no_part_of_the_first_name(end: str) -> None:
    assert [line.ordinal for line in read(f"\ufeff{HEADER}{end or chr(10)}{LINE}\n{LINE}{end}")] == [1, 2]


def test_quoted_commas_newlines_and_quotes_are_part_of_a_field() -> None:
    name = 'web, 01\nthe "old" one'
    file = io.StringIO()
    csv.writer(file).writerow([field.replace("web-01", name) for field in LINE.split(",")])
    first, second = read(f"{HEADER}\n{file.getvalue()}{LINE}\n")
    assert first.description == f"{name} (s-2vcpu-4gb)"
    assert (second.ordinal, second.description) == (2, "web-01 (s-2vcpu-4gb)")
    assert refused(f"{HEADER}\n{file.getvalue()}{LINE},\n").line == 4


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("$20.00", "20.00"), ("$0.13", "0.13"), ("20", "20"), ("$.50", "0.50"), ("+$1.00", "1.00"),
        ("$1,234.56", "1234.56"), ("$12,345,678.90", "12345678.90"), (" $5.00 ", "5.00"),
        ("-$5.00", "-5.00"), ("$-5.00", "-5.00"), ("($5.00)", "-5.00"), ("-1,234.56", "-1234.56"), ("(1.5)", "-1.5"),
        ("$0.00", "0.00"), ("$0.0000125", "0.0000125"),
    ],
)  # fmt: skip
def test_an_amount_is_read_exactly(text: str, amount: str) -> None:
    assert amount_of(text) == Decimal(amount)
    assert read_one("Droplets", "", "web-01", "", "", "", f'"{text}"', "", "").amount == Decimal(amount)


@pytest.mark.parametrize(
    "text",
    [
        "", "$", "-", "()", "five", "€5.00", "$5.00 USD", "1e3", "NaN", "Infinity", "--5.00", "-$-5.00", "(-$5.00)",
        "($5.00", "$5.00)", "$5,00", "$1,23", "1,2345.00", ",123", "5.", ".", "$ 5", "٥", "5..0", "0x10", "1_000",
    ],
)  # fmt: skip
def test_what_is_no_amount_is_refused_with_its_line(text: str) -> None:
    wrong = LINE.replace("$20.00", f'"{text}"')
    error = refused(f"{HEADER}\n{LINE}\n{wrong}\n")
    assert (error.line, error.reason) == (3, f"{text!r} is no amount")


def test_hours_may_be_empty_nothing_or_a_count() -> None:
    for text, hours in (("", None), (" ", None), ("0", Decimal(0)), ("5", Decimal(5)), ("0.37", Decimal("0.37"))):
        assert read(f"{HEADER}\n{LINE.replace('744', text)}\n")[0].hours == hours
    assert refused(f"{HEADER}\n{LINE.replace('744', 'many')}\n").reason == "'many' is no amount"


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("2026-05-01 00:00:00 +0000", MAY), ("2026-04-30 23:59:59 +0000", MAY), ("2026-04-30T23:59:59Z", MAY),
        ("2026-04-22 18:14:39 +0000", datetime(2026, 4, 22, 18, 14, 39, tzinfo=UTC)),
        ("2026-05-01 10:00:00 +1000", MAY), ("2026-04-30 19:00:00 -0500", MAY), ("", None),
    ],
)  # fmt: skip
def test_a_period_ends_with_the_day_whose_last_second_it_names(text: str, end: datetime | None) -> None:
    assert read(f"{HEADER}\n{LINE.replace('2026-05-01 00:00:00 +0000', text)}\n")[0].ends_at == end


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2026-05-01 00:00:00", "names no time zone"), ("May 2026", "is no time"),
        ("2026-02-30 00:00:00 +0000", "is no time"), ("2026-03-31 00:00:00 +0000", "before it starts"),
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str, reason: str) -> None:
    error = refused(f"{HEADER}\n{LINE.replace('2026-05-01 00:00:00 +0000', text)}\n")
    assert error.line == 2
    assert reason in error.reason


@pytest.mark.parametrize("column", REQUIRED)
def test_a_required_column_that_is_missing_is_named(column: str) -> None:
    error = refused(f"{HEADER.replace(column, 'other')}\n{LINE}\n")
    assert (error.line, error.reason.partition(" among ")[0]) == (1, f"there is no column {column}")


def test_a_column_that_is_there_twice_is_refused() -> None:
    assert "USD is there twice" in refused(f"{HEADER},USD\n{LINE},$1.00\n").reason


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_file_that_is_cut_off_within_a_line_is_refused_or_lacks_nothing_that_counts(cut: int) -> None:
    """Within its last two fields a line is whole as far as anybody can see: there the sum tells, against the amount."""
    came = outcome(f"{HEADER}\n{LINE}\n{LINE}"[:-cut])
    if isinstance(came, Unreadable):
        assert came.line == 3
    else:
        assert len(came) == 1 or came[1].amount == Decimal("20.00")


@pytest.mark.parametrize("text", ['Droplets,"web', "a,b,c", "Droplets,web\x00,x"])
def test_what_is_no_line_is_refused_with_its_number(text: str) -> None:
    assert refused(f"{HEADER}\n{LINE}\n{text}\n").line == 3


def test_a_quote_that_is_never_closed_does_not_swallow_the_lines_after_it() -> None:
    error = refused(f'{HEADER}\n{LINE.removesuffix("iaas")}"iaas\n{LINE}\n{LINE}\n')
    assert "cut off" in error.reason


@pytest.mark.parametrize("before", [0, 1, 1000])
def test_what_is_not_utf_8_is_refused_with_its_line(before: int) -> None:
    good = f"{HEADER}\n{LINE}\n" + f"{LINE}\n" * before
    error = refused(good.encode() + LINE.encode().replace(b"web", b"\xff\xfe") + b"\n")
    assert (error.line, "not UTF-8" in error.reason) == (3 + before, True)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_what_is_in_another_encoding_is_refused_for_a_reason_that_can_be_stored(encoding: str) -> None:
    assert "\x00" not in refused(f"{HEADER}\n{LINE}\n".encode(encoding)).reason


def test_a_reason_is_of_a_length_that_a_person_reads() -> None:
    assert len(refused("x" * 100_000).reason) < 1000
    assert len(refused(f"{HEADER}\n{LINE.replace('$20.00', '9' * 100_000)}\n").reason) < 1000


def test_a_byte_order_mark_may_stand_before_a_header_in_quotes() -> None:
    quoted = ",".join(f'"{name}"' for name in HEADER.split(","))
    assert len(read(f"\ufeff{quoted}\n{LINE}\n")) == 1


def test_blank_lines_are_no_lines_of_the_invoice_and_names_may_stand_between_blanks() -> None:
    assert [line.ordinal for line in read(f"{HEADER}\n{LINE}\n\n{LINE}\n{LINE}\n", size=150)] == [1, 2, 3]
    assert len(read(HEADER.replace(",", " , ") + f"\n{LINE}\n")) == 1


def test_a_line_within_quotes_may_end_in_any_way() -> None:
    for end, line in (("\n", 4), ("\r", 3), ("\r\n", 4)):
        quoted = LINE.replace("tenant-acme", f'"tenant{end}acme"')
        assert refused(f"{HEADER}\n{quoted}\n{LINE.replace('$20.00', 'free')}\n").line == line


def test_a_line_may_have_an_end_and_no_beginning() -> None:
    (line,) = read(f"{HEADER}\n{LINE.replace('2026-04-01 00:00:00 +0000', '')}\n")
    assert (line.starts_at, line.ends_at) == (None, MAY)


def test_of_half_a_million_lines_the_wrong_one_is_found() -> None:
    text = io.BytesIO(f"{HEADER}\n".encode() + f"{LINE}\n".encode() * 500_000 + LINE.replace("$20.00", "free").encode())
    with pytest.raises(Unreadable) as caught:
        deque(read_batches(text, COPIED), maxlen=0)
    assert (caught.value.line, caught.value.reason) == (500_002, "'free' is no amount")


@pytest.mark.parametrize("size", [1, 200, 300, 10_000])
def test_the_wrong_line_is_named_wherever_it_is_in_its_batch(size: int) -> None:
    """A line of the file, for who opens it in an editor: blank ones count, and those within quotes."""
    quoted = LINE.replace("tenant-acme", '"tenant\nacme"')
    for before in range(6):
        good = f"{HEADER}\n" + f"{quoted}\n\n" * before
        for wrong in (LINE.replace("$20.00", "free"), f"{LINE},more", LINE.replace("2026-05", "2026-03")):
            with pytest.raises(Unreadable) as caught:
                batches(f"{good}{wrong}\n{LINE}\n", size)
            assert caught.value.line == 2 + 3 * before, wrong


@pytest.mark.parametrize("size", [1, 200, 10_000])
def test_of_several_wrong_lines_the_first_is_named(size: int) -> None:
    wrong = {
        LINE.replace("$20.00", "free"): "'free' is no amount",
        f"{LINE},more": "it has 10 columns where the header has 9",
        LINE.replace("iaas", '"iaas" "'): "expected",
        LINE.replace("iaas", "ia\ras"): "a carriage return alone",
        LINE.replace("2026-05", "2026-03"): "a line ends before it starts",
    }
    for first, reason in wrong.items():
        for other in wrong:
            with pytest.raises(Unreadable, match=reason) as caught:
                batches(f"{HEADER}\n{LINE}\n{first}\n{other}\n".encode() + b"\xff\n", size)
            assert caught.value.line == 3


@pytest.mark.parametrize("text", ["$1234567890123.00", "$1,234,567,890,123.00", "$0.0000000001"])
def test_an_amount_that_could_not_be_added_exactly_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="too many digits"):
        amount_of(text)


@pytest.mark.parametrize(
    "text", ["0001-01-01 00:00:00 +1000", "9999-12-31 23:59:59 +0000", "9999-12-31 23:59:59 -0100"]
)
def test_a_time_at_the_end_of_all_times_is_refused(text: str) -> None:
    assert "is no time" in refused(f"{HEADER}\n{LINE.replace('2026-05-01 00:00:00 +0000', text)}\n").reason


def test_batches_tell_the_cents_of_their_amounts_half_up() -> None:
    odd = LINE.replace("$20.00", "-$0.005")
    assert [(b.first, b.cents) for b in batches(f"{HEADER}\n{LINE}\n{LINE}\n{odd}\n{LINE}\n", size=150)] == [
        (1, [2000, 2000]),
        (3, [-1, 2000]),
    ]


def test_what_its_form_refuses_is_refused_with_its_line() -> None:
    for wrong, reason in (
        (LINE.replace("web", "w\x00"), "cannot be stored"),
        (LINE.replace("tenant", "t\x00"), "cannot be stored"),
        (LINE.replace("2026-04-01", "1999-04-01"), "long before"),
    ):
        with pytest.raises(Unreadable, match=reason) as caught:
            batches(f"{HEADER}\n{LINE}\n{wrong}\n{LINE}\n", form=COPIED)
        assert caught.value.line == 3


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=12)
LINES = st.builds(
    CostLine,
    ordinal=st.just(0),
    product=TEXTS,
    group_description=TEXTS,
    description=TEXTS,
    hours=st.none() | st.decimals(0, 9999, places=2),
    starts_at=st.just(APRIL),
    ends_at=st.integers(0, 29 * 24).map(lambda hours: APRIL + timedelta(hours=hours)),
    amount=st.decimals(-99999, 99999, places=2),
    project_name=TEXTS,
    category=TEXTS,
)


def written(lines: Sequence[CostLine], order: Random) -> str:
    """A file of these lines, its columns in some order."""
    names = [*REQUIRED, *OPTIONAL, "sku"]
    order.shuffle(names)
    file = io.StringIO()
    writer = csv.DictWriter(file, names, lineterminator=order.choice(["\n", "\r\n"]))
    writer.writeheader()
    for line in lines:
        fields = line._asdict() | {"start": line.starts_at, "end": line.ends_at, "sku": "x"}
        usd = order.choice(["${0:,.2f}", "{0}", "{0:,.2f}"]).format(abs(line.amount))
        fields["USD"] = order.choice(["-{}", "({})"]).format(usd) if line.amount < 0 else usd
        writer.writerow({name: fields[name] for name in names})
    return file.getvalue()


@given(st.lists(LINES, max_size=8), st.randoms(use_true_random=False))
def test_what_was_written_is_read_whatever_the_order_of_the_columns(lines: list[CostLine], order: Random) -> None:
    expected = [line._replace(ordinal=ordinal) for ordinal, line in enumerate(lines, 1)]
    assert read(written(lines, order)) == expected


def _comparable(outcome: list[CostLine] | Unreadable) -> list[CostLine] | tuple[int, str]:
    return (outcome.line, outcome.reason) if isinstance(outcome, Unreadable) else outcome


@given(st.lists(LINES, max_size=9), st.randoms(use_true_random=False), st.integers(1, 999), st.text(max_size=3))
def test_the_size_of_a_batch_makes_no_difference(lines: list[CostLine], order: Random, size: int, damage: str) -> None:
    text = written(lines, order)
    at = order.randrange(len(text) + 1)
    text = text[:at] + damage + text[at:]
    whole, by_parts = outcome(text, 100_000), outcome(text, size)
    assert _comparable(by_parts) == _comparable(whole)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)), st.booleans())
def test_any_file_is_read_or_refused(data: bytes, has_header: bool) -> None:
    came = outcome(HEADER.encode() + b"\n" + data if has_header else data)
    if isinstance(came, Unreadable):
        assert (came.line >= 1, bool(came.reason)) == (True, True)
    else:
        assert [line.ordinal for line in came] == list(range(1, len(came) + 1))
