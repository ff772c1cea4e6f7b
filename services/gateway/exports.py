"""Files of cost lines: read page by page while they are sent, so that neither their size nor a slow reader matters."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Sequence
from uuid import UUID

from litestar.response import Stream

from services.gateway import billing_store
from services.gateway.billing_store import BEFORE_ALL, Lines, Row
from services.gateway.store import Views

PAGE = 2_000

COLUMNS = (
    "period",
    "invoice_id",
    "invoice_uuid",
    "line",
    "product",
    "group_description",
    "description",
    "hours",
    "starts_at",
    "ends_at",
    "amount",
    "currency",
    "project_name",
    "category",
    "kind",
    "provider_resource_id",
    "resource_id",
    "resource_name",
    "assigned_deployment_id",
    "matched_by",
    "confidence",
    "unmatched",
)


SUPERSEDED = (
    "line",
    "product",
    "group_description",
    "description",
    "hours",
    "starts_at",
    "ends_at",
    "amount",
    "project_name",
    "category",
    "kind",
    "provider_resource_id",
    "resource_id",
    "matched_by",
    "unmatched",
    "superseded_at",
)


class Replaced(Exception):
    """Lines were replaced while they were sent: what was sent is no whole file, and its reader is told by its end."""


def fields_of(row: Row) -> Sequence[object]:
    """A line as our own file has it."""
    return [row[name] for name in COLUMNS]


async def read(
    views: Views, wanted: Lines, header: Sequence[str], fields: Callable[[Row], Sequence[object]]
) -> AsyncIterator[bytes]:
    """A file of lines, a page at a time. `fields`: of a line, in the order of the header. Raises `Replaced`."""
    sets = await billing_store.list_sets(views, wanted)
    ids, after = [row["id"] for row in sets], BEFORE_ALL
    yield encoded([header])
    while rows := await billing_store.fetch_lines(views, wanted, ids, after, PAGE):
        yield encoded([fields(row) for row in rows])
        after = rows[-1]["invoice_id"], rows[-1]["line"]
    if await billing_store.list_sets(views, wanted) != sets:
        raise Replaced("the lines were replaced while they were sent; ask again")


async def read_superseded(views: Views, invoice_id: UUID, ingest: int) -> AsyncIterator[bytes]:
    """A file of the lines that an invoice had once, a page at a time; None of them: the header alone."""
    yield encoded([SUPERSEDED])
    after = 0
    while rows := await billing_store.fetch_superseded(views, invoice_id, ingest, after, PAGE):
        yield encoded([[row[name] for name in SUPERSEDED] for row in rows])
        after = rows[-1]["line"]


async def stream(parts: AsyncIterator[bytes], name: str) -> Stream:
    """An answer that is a file. What cannot be read at all is an error before anything is sent."""
    first = await anext(parts)

    async def all_of_it() -> AsyncIterator[bytes]:
        yield first
        async for part in parts:
            yield part

    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Stream(all_of_it(), media_type="text/csv; charset=utf-8", headers=headers)


def encoded(rows: Sequence[Sequence[object]]) -> bytes:
    """Rows of a CSV (RFC 4180); None is an empty field."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\r\n").writerows(rows)
    return file.getvalue().encode()
