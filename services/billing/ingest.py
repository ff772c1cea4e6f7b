"""Taking in an invoice: file, items and summary are read outside any transaction; the lines are replaced in one."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from tempfile import TemporaryFile
from typing import IO, Any
from uuid import UUID

from contracts.billing import (
    IngestError,
    IngestInvoice,
    InvoiceIngested,
    InvoiceIngestFailed,
    LineChanges,
    OfItems,
    OfLines,
    OfSummary,
    PushInvoice,
    Reconciliation,
    Unmatched,
)
from contracts.times import midnight, month_after
from services.billing import copying, invoice_store, line_store, store
from services.billing.domain import reconcile, summary_of, tax_cents, why_cut_off
from services.billing.invoice_store import Row, state_of
from services.billing.matching import KINDS, Candidate, Items, Match, Matcher
from services.billing.provider import ACCOUNT, PURPOSE, Outside, pages
from services.billing.records import Unreadable
from services.billing.statement import Form, read_batches
from shared.db import Connection
from shared.digitalocean import NotFound
from shared.jobs import JobRun
from shared.outcome import Meta, Outcome, Refused, Send
from shared.patience import patience
from shared.steps import Said, transact

_EXAMPLES = 20
_ENCODED = Form(copying.text, copying.texts, copying.number, copying.time)


async def ingest_invoice(cmd: IngestInvoice, run: JobRun[Outside]) -> Outcome:
    """Replace an invoice's lines by what its file says, and have it pushed."""
    if run.progress:  # it is done, and whoever did it died before he could say so
        return Outcome(result=run.progress)
    invoice = await transact(run, partial(_find, cmd))
    if invoice["ingest_status"] == "ingested" and not cmd.again:
        return Outcome(result={"invoice": state_of(invoice).model_dump(mode="json"), "changes": None})
    result: dict[str, Any] = {}
    try:
        with TemporaryFile() as file:
            fetched = await _fetch(invoice, run.resources, file)
            await run.apply(partial(replace_lines, cmd.invoice_id, fetched, result), progress=lambda: result)
    except Unreadable as error:
        refusal = Refused("invoice_unreadable", line=error.line, reason=error.reason)
        await transact(run, partial(_note_failure, cmd, refusal))
        raise refusal from error
    except Refused as refusal:
        await transact(run, partial(_note_failure, cmd, refusal))
        raise
    return Outcome(result=result)


async def _find(cmd: IngestInvoice, conn: Connection, meta: Meta) -> tuple[Row, Said]:
    row = await invoice_store.find_invoice(conn, cmd.invoice_id)
    if row is None:
        raise Refused("not_found", invoice_id=str(cmd.invoice_id))
    return row, []


@dataclass(frozen=True)
class Fetched:
    """What the provider tells of an invoice. `file`: the file itself, and `sha256` the hash of it."""

    file: IO[bytes]
    sha256: str
    items: Items
    summary: OfSummary


async def _fetch(invoice: Row, outside: Outside, file: IO[bytes]) -> Fetched:
    """Raises `Refused` where there is no such invoice, or what is told of it cannot be read."""
    do, uuid = outside.do, invoice["invoice_uuid"]
    items = Items()
    try:
        with patience(PURPOSE):
            await do.download(f"{ACCOUNT}/invoices/{{uuid}}/csv", file, uuid=uuid)
            summary = summary_of(await do.get(f"{ACCOUNT}/invoices/{{uuid}}/summary", uuid=uuid))
        async for rows in pages(do, "invoices/{uuid}", "invoice_items", uuid=uuid):
            for row in rows:
                items.add(row)
    except NotFound as error:
        raise Refused("not_found_at_provider", reason=str(error)) from error
    except (ValueError, AttributeError) as error:
        raise Refused("invoice_unreadable", line=None, reason=f"its summary or items: {error}"[:500]) from error
    return Fetched(file, _sha256(file), items, summary)


def _sha256(file: IO[bytes]) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while part := file.read(1 << 20):
        digest.update(part)
    return digest.hexdigest()


async def replace_lines(
    invoice_id: UUID, fetched: Fetched, result: dict[str, Any], conn: Connection, meta: Meta
) -> Outcome:
    """One transaction: the lines of before go, those of the file come, and all that is said of them is true.

    `result` gets what the command is answered with. Raises `Unreadable`: then nothing has changed.
    """
    invoice = await invoice_store.lock_invoice(conn, invoice_id)
    if invoice is None:
        raise LookupError(f"invoice {invoice_id} is gone")
    before = invoice["ingests"]
    await line_store.supersede_lines(conn, invoice_id, before, meta.now)
    reading = await _copy(invoice, fetched, conn)
    reconciliation = _reconciled(invoice, fetched, reading)
    changes = await _changes(conn, invoice_id, before) if before else None
    unmatched = reading.unmatched
    row = await invoice_store.mark_ingested(
        conn,
        invoice_id,
        meta.now,
        lines=reading.lines,
        net_cents=reading.cents - reading.tax_cents,
        tax_cents=reading.tax_cents,
        matched=reading.lines - unmatched.total(),
        unmatched=dict(sorted(unmatched.items())),
        assigned=await line_store.follow_assignments(conn, invoice_id),
        reconciliation=reconciliation.model_dump(),
    )
    told = changes.model_dump(mode="json") if changes else None
    await invoice_store.insert_attempt(
        conn,
        meta,
        invoice_id,
        ingest=row["ingests"],
        sha256=fetched.sha256,
        lines=reading.lines,
        cents=reading.cents,
        changes=told,
    )
    state = state_of(row)
    result |= {"invoice": state.model_dump(mode="json"), "changes": told}
    ingested = InvoiceIngested(invoice=state, changes=changes)
    return Outcome(events=[ingested], commands=[Send(PushInvoice(invoice_id=invoice_id))])


@dataclass
class Reading:
    """What a file has shown by now. `unmatched`: so many lines mean nothing that is there, by the reason."""

    lines: int = 0
    cents: int = 0
    tax_cents: int = 0
    unmatched: Counter[Unmatched] = field(default_factory=Counter)


async def _copy(invoice: Row, fetched: Fetched, conn: Connection) -> Reading:
    """Read the file, match its lines and take them in, at one go."""
    until = midnight(month_after(invoice["period"]))
    candidates = await store.list_candidates(conn, KINDS, until)
    matcher = Matcher((Candidate(*row) for row in candidates), fetched.items)
    reading = Reading()
    await line_store.copy_lines(conn, encoded_lines(invoice["id"], fetched.file, matcher, reading))
    return reading


async def encoded_lines(invoice_id: UUID, file: IO[bytes], matcher: Matcher, reading: Reading) -> AsyncIterator[bytes]:
    """The file's lines, matched, as the columns of `cloud_cost_lines` are copied. Raises `Unreadable`."""
    of_invoice = copying.uuid(invoice_id)
    yield copying.HEADER
    for batch in read_batches(file, _ENCODED):
        matches = matcher.match(batch)
        count = len(matches)
        reading.lines += count
        reading.cents += sum(batch.cents)
        reading.tax_cents += tax_cents(batch.description, batch.cents)
        counted = Counter(matches)
        for match, lines in counted.items():
            if match.unmatched:
                reading.unmatched[match.unmatched] += lines
        encoded = {match: _encoded(match) for match in counted}
        numbers = copying.integers(range(batch.first, batch.first + count))
        columns = ([of_invoice] * count, *batch.columns, numbers, list(map(encoded.__getitem__, matches)))
        yield copying.rows(len(line_store.COLUMNS), columns)
    yield copying.TRAILER


def _encoded(match: Match) -> bytes:
    """What a line means, as it is copied."""
    said = (match.kind, match.provider_resource_id, match.matched_by, match.unmatched)
    return b"".join([*copying.texts([(value or "").encode() for value in said]), copying.uuid(match.resource_id)])


def _reconciled(invoice: Row, fetched: Fetched, reading: Reading) -> Reconciliation:
    """Raises `Unreadable` where the file seems to have been cut off between two lines."""
    lines = OfLines(count=reading.lines, cents=reading.cents, tax_cents=reading.tax_cents)
    items = OfItems(count=fetched.items.count, cents=fetched.items.cents)
    found = reconcile(invoice["amount_cents"], lines, items, fetched.summary)
    if why := why_cut_off(found, ended=_is_ended(fetched.file)):
        raise Unreadable(lines.count + 1, f"{why}; the file may have been cut off")
    return found


def _is_ended(file: IO[bytes]) -> bool:
    """Whether a file's last line has an end."""
    file.seek(0, 2)
    file.seek(max(0, file.tell() - 1))
    return file.read(1) in b"\r\n"


async def _changes(conn: Connection, invoice_id: UUID, before: int) -> LineChanges:
    changes = LineChanges.model_validate(dict(await line_store.get_changes(conn, invoice_id, before, _EXAMPLES)))
    if not any((changes.added, changes.removed, changes.repriced, changes.altered)):
        await line_store.delete_superseded(conn, invoice_id, before)
    return changes


async def _note_failure(cmd: IngestInvoice, refusal: Refused, conn: Connection, meta: Meta) -> tuple[None, Said]:
    """Keep why a file was not taken."""
    detail = refusal.detail
    error = IngestError(code=refusal.code, reason=str(detail.get("reason", refusal.code)), line=detail.get("line"))
    row = await invoice_store.mark_ingest_failed(conn, cmd.invoice_id, error.model_dump())
    await invoice_store.insert_attempt(conn, meta, cmd.invoice_id, error=error.model_dump())
    return None, [InvoiceIngestFailed(invoice=state_of(row))]
