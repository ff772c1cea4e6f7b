"""Files of cost lines: read page by page while they are sent, so that neither their size nor a slow reader matters."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Sequence

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


class Replaced(Exception):
    """Lines were replaced while they were sent: what was sent is no whole file, and its reader is told by its end."""


def plain(row: Row) -> Sequence[object]:
    """A line as our own file has it."""
    return [row[name] for name in COLUMNS]


async def sent(
    views: Views, wanted: Lines, header: Sequence[str], of: Callable[[Row], Sequence[object]], name: str
) -> Stream:
    """A file of lines. `of`: a line's fields, in the order of the header; `name`: the file's, for whoever saves it.

    What cannot be read at all is an error before anything is sent.
    """
    before = await billing_store.fetch_ingests(views, wanted)
    first = await billing_store.fetch_lines(views, wanted, BEFORE_ALL, PAGE)

    async def parts() -> AsyncIterator[bytes]:
        yield _written([header])
        rows = first
        while rows:
            yield _written([of(row) for row in rows])
            last = rows[-1]
            rows = await billing_store.fetch_lines(views, wanted, (last["invoice_id"], last["line"]), PAGE)
        if await billing_store.fetch_ingests(views, wanted) != before:
            raise Replaced("the lines were replaced while they were sent; ask again")

    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Stream(parts(), media_type="text/csv; charset=utf-8", headers=headers)


def _written(rows: Sequence[Sequence[object]]) -> bytes:
    file = io.StringIO()
    csv.writer(file, lineterminator="\r\n").writerows(rows)  # RFC 4180
    return file.getvalue().encode()
