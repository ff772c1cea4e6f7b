"""What is written for PostgreSQL's binary COPY is read there as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from services.billing import copying
from shared.config import Settings

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=2000)
NUMBERS = st.decimals(-(10**12), 10**12, allow_nan=False, allow_infinity=False, places=9) | st.decimals(
    -(10**12), 10**12, allow_nan=False, allow_infinity=False, places=2
)
FIRST = datetime(2000, 1, 1)  # noqa: DTZ001 - Hypothesis adds the zone
TIMES = st.datetimes(FIRST, FIRST.replace(year=9999), timezones=st.just(UTC))
ROWS = st.tuples(
    TEXTS, st.integers(-(2**31), 2**31 - 1), st.none() | st.uuids(), st.none() | NUMBERS, st.none() | TIMES
)

Row = tuple[str, int, UUID | None, Decimal | None, datetime | None]


@hypothesis(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.lists(ROWS, max_size=20))
async def test_rows_are_read_as_they_were_written(settings: Settings, rows: list[Row]) -> None:
    conn = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        await conn.execute("create temp table there (n serial, a text, b int, c uuid, d numeric, e timestamptz)")
        await conn.copy_to_table("there", source=written(rows), columns=list("abcde"), format="binary")
        found = [tuple(row) for row in await conn.fetch("select a, b, c, d, e from there order by n")]
        shown = [row[0] for row in await conn.fetch("select d::text from there where d is not null order by n")]
    finally:
        await conn.close()
    assert found == [(text or None, *rest) for text, *rest in rows]
    assert shown == [f"{d or abs(d):f}" for *_, d, _ in rows if d is not None]


async def written(rows: list[Row]) -> AsyncIterator[bytes]:
    yield copying.HEADER
    yield copying.rows(
        5,
        [
            [copying.text(text) for text, *_ in rows],
            copying.integers(number for _, number, *_ in rows),
            [copying.uuid(id) for _, _, id, *_ in rows],
            [copying.number(amount) for *_, amount, _ in rows],
            [copying.time(at) for *_, at in rows],
        ],
    )
    yield copying.TRAILER


@given(TIMES, TIMES)
def test_of_two_times_the_later_one_is_the_greater_as_written(one: datetime, other: datetime) -> None:
    assert (copying.time(one) < copying.time(other)) is (one < other)


@pytest.mark.parametrize("size", [1, 1022, 1023, 1024, 1025, 100_000])
def test_a_text_of_any_length_says_its_length(size: int) -> None:
    assert copying.text("a" * size) == size.to_bytes(4) + b"a" * size


def test_what_cannot_be_stored_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be stored"):
        copying.text("a\x00b")
    with pytest.raises(ValueError, match="long before"):
        copying.time(datetime(1999, 12, 31, tzinfo=UTC))
