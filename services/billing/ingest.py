"""Taking in an invoice: file, items and summary are read outside any transaction; the lines are replaced in one."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from functools import partial
from itertools import repeat
from tempfile import TemporaryFile
from typing import IO, Any
from uuid import UUID

from contracts.billing import (
    IngestError,
    IngestInvoice,
    InvoiceIngested,
    InvoiceIngestFailed,
    LineChanges,
    PushInvoice,
    Unmatched,
)
from services.billing import copying, invoice_store, line_store
from services.billing.domain import Counted, Reconciliation, Summary, month_after, reconcile, summary_of, tax_cents
from services.billing.invoice_store import Row
from services.billing.invoices import state_of
from services.billing.matching import KINDS, Candidate, Items, Match, Matcher
from services.billing.provider import ACCOUNT, PURPOSE, Outside, asked, pages
from services.billing.statement import Form, Unreadable, read_batches
from shared.db import Connection
from shared.ids import derived_id
from shared.jobs import JobRun, PutOff
from shared.outcome import Meta, Outcome, Refused, Send
from shared.patience import patience
from shared.steps import Said, transact

_EXAMPLES = 20
_COPIED = Form(copying.text, copying.number, copying.time)


async def ingest_invoice(cmd: IngestInvoice, run: JobRun[Outside]) -> Outcome:
    """Replace an invoice's lines by what its file says, and have it pushed."""
    if run.progress:  # it is done, and whoever did it died before he could say so
        return Outcome(result=run.progress)
    invoice = await transact(run, partial(_find, cmd))
    if invoice["ingest_status"] == "ingested" and not cmd.again:
        return Outcome(result={"invoice": state_of(invoice).model_dump(mode="json"), "changes": None})
    with TemporaryFile() as file:
        told = await _fetch(invoice, run.resources, file)
        result: dict[str, Any] = {}
        try:
            await run.apply(partial(replace_lines, cmd.invoice_id, told, result), progress=lambda: result)
        except Unreadable as error:
            await transact(run, partial(_refuse, cmd, error))
            raise Refused("invoice_unreadable", line=error.line, reason=error.reason) from error
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
    summary: Summary


async def _fetch(invoice: Row, outside: Outside, file: IO[bytes]) -> Fetched:
    do, uuid = outside.do, invoice["invoice_uuid"]
    with patience(PURPOSE):
        await do.download(f"{ACCOUNT}/invoices/{{uuid}}/csv", file, uuid=uuid)
    summary = await asked(do, "invoices/{uuid}/summary", summary_of, uuid=uuid)
    items = Items()
    async for rows in pages(do, "invoices/{uuid}", "invoice_items", uuid=uuid):
        try:
            for row in rows:
                items.add(row)
        except (ValueError, AttributeError) as error:
            raise PutOff(f"an item of invoice {uuid} cannot be read: {error}") from error
    return Fetched(file, _sha256(file), items, summary)


def _sha256(file: IO[bytes]) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while part := file.read(1 << 20):
        digest.update(part)
    return digest.hexdigest()


async def replace_lines(
    invoice_id: UUID, told: Fetched, result: dict[str, Any], conn: Connection, meta: Meta
) -> Outcome:
    """One transaction: the lines of before go, those of the file come, and all that is said of them is true.

    Raises `Unreadable`: then nothing of it is.
    """
    invoice = await invoice_store.lock_invoice(conn, invoice_id)
    if invoice is None:
        raise LookupError(f"invoice {invoice_id} is gone")
    before = invoice["ingests"]
    await line_store.supersede_lines(conn, invoice_id, before, meta.now)
    reading = await _copy(invoice, told, conn)
    reconciliation, unmatched = _reconciled(invoice, told, reading), reading.unmatched
    changes = (await _changes(conn, invoice_id, before)).model_dump(mode="json") if before else None
    row = await invoice_store.mark_ingested(
        conn,
        invoice_id,
        meta.now,
        lines=reading.lines,
        net_cents=reading.cents - reading.tax_cents,
        tax_cents=reading.tax_cents,
        matched=reading.lines - sum(unmatched.values()),
        unmatched=unmatched,
        assigned=await line_store.follow_assignments(conn, invoice_id),
        reconciliation=told_of(reconciliation),
    )
    await invoice_store.insert_ingest(
        conn,
        meta.message_id,
        invoice_id,
        meta.now,
        ingest=row["ingests"],
        actor=meta.actor,
        sha256=told.sha256,
        lines=reading.lines,
        cents=reading.cents,
        changes=changes,
    )
    state = state_of(row)
    result |= {"invoice": state.model_dump(mode="json"), "changes": changes}
    push = Send(PushInvoice(invoice_id=invoice_id), id=derived_id("push", invoice_id, row["ingests"]))
    told_changes = changes and LineChanges.model_validate(changes)
    return Outcome(events=[InvoiceIngested(invoice=state, changes=told_changes or None)], commands=[push])


@dataclass
class Reading:
    """What a file has shown by now."""

    lines: int = 0
    cents: int = 0
    tax_cents: int = 0
    matches: Counter[Match] = field(default_factory=Counter)

    @property
    def unmatched(self) -> dict[Unmatched, int]:
        """How many lines mean no resource that is there, by the reason."""
        found: Counter[Unmatched] = Counter()
        for match, count in self.matches.items():
            if match.unmatched:
                found[match.unmatched] += count
        return dict(sorted(found.items()))


async def _copy(invoice: Row, told: Fetched, conn: Connection) -> Reading:
    """Read the file, match its lines and take them in, at one go."""
    until = datetime.combine(month_after(invoice["period"]), time(), UTC)
    candidates = await invoice_store.list_candidates(conn, KINDS, until)
    matcher = Matcher((Candidate(*row) for row in candidates), told.items)
    reading = Reading()
    told.file.seek(0)
    text = io.TextIOWrapper(told.file, encoding="utf-8", newline="")
    try:
        await line_store.copy_lines(conn, _rows(invoice["id"], text, matcher, reading))
    finally:
        text.detach()  # the file is its owner's to close
    return reading


async def _rows(invoice_id: UUID, text: io.TextIOWrapper, matcher: Matcher, reading: Reading) -> AsyncIterator[bytes]:
    for part in copied(invoice_id, text, matcher, reading):
        yield part


def copied(invoice_id: UUID, text: io.TextIOWrapper, matcher: Matcher, reading: Reading) -> Iterator[bytes]:
    """The file's lines, matched, as the columns of `cloud_cost_lines` are copied. Raises `Unreadable`."""
    of_invoice, written = copying.uuid(invoice_id), _Written()
    yield copying.HEADER
    for batch in read_batches(text, _COPIED):
        matches = matcher.match(batch)
        count = len(matches)
        reading.lines += count
        reading.cents += sum(batch.cents)
        reading.tax_cents += tax_cents(batch.description, batch.cents)
        reading.matches.update(matches)
        numbers = copying.integers(range(batch.first, batch.first + count))
        columns = (repeat(of_invoice, count), numbers, *batch.columns, map(written.__getitem__, matches))
        yield copying.rows(len(line_store.COLUMNS), columns)
    yield copying.TRAILER


class _Written(dict[Match, bytes]):
    """Matches as they are copied. (Most lines that are not matched share theirs, as do those of one resource.)"""

    def __missing__(self, match: Match) -> bytes:
        fields = (
            copying.text(match.kind or ""),
            copying.text(match.provider_resource_id or ""),
            copying.uuid(match.resource_id),
            copying.text(match.matched_by or ""),
            copying.text(match.unmatched or ""),
        )
        self[match] = b"".join(fields)
        return self[match]


def _reconciled(invoice: Row, told: Fetched, reading: Reading) -> Reconciliation:
    """Raises `Unreadable` where the file seems to have been cut off between two lines."""
    lines, items = Counted(reading.lines, reading.cents), Counted(told.items.count, told.items.cents)
    found = reconcile(invoice["amount_cents"], lines, reading.tax_cents, items, told.summary)
    if found.seems_cut_off:
        lacking = f"it ends after {lines.number} lines of {items.number}, and lacks what those would cost"
        raise Unreadable(lines.number + 1, f"{lacking}; the file may have been cut off")
    return found


def told_of(found: Reconciliation) -> dict[str, object]:
    """A reconciliation as it is kept and shown."""
    return {
        "status": found.status,
        "amount_cents": found.amount_cents,
        "lines": _counted(found.lines) | {"tax_cents": found.tax_cents},
        "items": _counted(found.items),
        "summary": found.summary._asdict(),
        "differences": [difference._asdict() for difference in found.differences],
    }


def _counted(counted: Counted) -> dict[str, int]:
    return {"count": counted.number, "cents": counted.cents}


async def _changes(conn: Connection, invoice_id: UUID, before: int) -> LineChanges:
    changes = LineChanges.model_validate(dict(await line_store.get_changes(conn, invoice_id, before, _EXAMPLES)))
    if not changes.added and not changes.removed and not changes.repriced:
        await line_store.delete_superseded(conn, invoice_id, before)
    return changes


async def _refuse(cmd: IngestInvoice, unreadable: Unreadable, conn: Connection, meta: Meta) -> tuple[None, Said]:
    """Keep why a file was not taken."""
    error = IngestError(code="invoice_unreadable", reason=unreadable.reason, line=unreadable.line)
    row = await invoice_store.mark_ingest_failed(conn, cmd.invoice_id, error.model_dump())
    await invoice_store.insert_ingest(
        conn, meta.message_id, cmd.invoice_id, meta.now, actor=meta.actor, error=error.model_dump()
    )
    return None, [InvoiceIngestFailed(invoice=state_of(row))]
