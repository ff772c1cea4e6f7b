"""Taking operations back: the promise that nothing of one is left, however late its effect comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import TypeAlias
from uuid import UUID

from contracts.provider import OperationStatus, UndoOperation
from services.provider import actions, domain, droplets, ledger, records, store, tags
from services.provider.access import Provider
from services.provider.store import Row
from shared.db import Connection
from shared.jobs import JobRun, PutOff
from shared.outcome import Meta, Outcome, Refused
from shared.steps import Said, transact

TakeBack: TypeAlias = Callable[[Row, Row, JobRun[Provider]], Awaitable[list[str]]]
"""Takes an operation's effect back, by its row and that of its undoing; names what was taken back when nothing is left.
Raises `PutOff` until then."""

TAKE_BACK: Mapping[str, TakeBack] = {
    "create-droplet": droplets.take_back,
    "power-off-droplet": actions.take_back,
    "power-on-droplet": actions.take_back,
    "resize-droplet": actions.take_back,
    "rename-droplet": actions.take_back,
    "retag-droplet": tags.take_back,
    "upsert-dns-record": records.take_back,
    "remove-dns-record": records.take_back,
}
"""By the kind of the operation. One that cannot be undone is not here."""


async def undo_operation(cmd: UndoOperation, run: JobRun[Provider]) -> Outcome:
    """Cancel an operation, and take back what came of it or may yet."""
    undone, own, is_held = await transact(run, partial(_cancel, cmd, run))
    if answer := ledger.answer_of(own):
        return answer
    taken: list[str] = []
    if not undone["undone"]:
        if own["status"] == OperationStatus.PENDING and ledger.is_late(run.meta):
            raise Refused("expired")  # (nothing is lost: what is cancelled stays so)
        if not is_held:
            raise ledger.held_by_another(run, own)
        taken = await TAKE_BACK[undone["kind"]](undone, own, run)
    result = {"undone": taken}
    await transact(run, partial(_record, own["id"], undone, result))
    return Outcome(result=result)


async def _cancel(
    cmd: UndoOperation, run: JobRun[Provider], conn: Connection, meta: Meta
) -> tuple[tuple[Row, Row, bool], Said]:
    """Make sure that the operation gets no further, even where it is not known yet.

    Gives its row, our own, and whether we hold what it has changed, if it has changed anything.
    """
    undone, said = await _lock_or_insert(cmd, conn, meta)
    own, noted = await ledger.note_down(cmd, run, undone["target"], conn, meta)
    said = [*said, *noted]
    if own["status"] not in ledger.OPEN:
        return (undone, own, True), said
    if _is_begun(undone) and not domain.may_be_undone(undone["kind"], undone["request"]):
        detail = {"kind": undone["kind"]}
        own = await store.mark_refused(conn, own["id"], "cannot_be_undone", detail, meta.now, by=meta.message_id)
        return (undone, own, True), [*said, *ledger.told(own)]
    if cancelled := await _mark_cancelled(undone, conn, meta):
        undone = cancelled
        said += ledger.told(undone)
    return (undone, own, undone["undone"] or await ledger.hold(run, own, conn)), said


async def _lock_or_insert(cmd: UndoOperation, conn: Connection, meta: Meta) -> tuple[Row, Said]:
    """The row of the operation that is undone; where there is none, one that keeps it from ever taking effect."""
    made = await store.insert_operation(
        conn,
        cmd.undoes,
        kind=ledger.UNKNOWN,
        status=OperationStatus.CANCELLED,
        deployment_id=cmd.deployment_id,
        tenant_id=meta.tenant_id,
        target=None,
        request={},
        now=meta.now,
    )
    return (made, ledger.told(made)) if made else (await ledger.lock(conn, cmd.undoes), ())


async def _mark_cancelled(undone: Row, conn: Connection, meta: Meta) -> Row | None:
    match undone["status"]:
        case OperationStatus.PENDING | OperationStatus.SENT | OperationStatus.DONE:
            return await store.mark_cancelled(conn, undone["id"], not _has_written(undone), meta.now)
        case OperationStatus.REFUSED if not undone["undone"]:
            return await store.mark_undone(conn, undone["id"], meta.now)
    return None


def _is_begun(row: Row) -> bool:
    return row["status"] in (OperationStatus.SENT, OperationStatus.DONE)


def _has_written(row: Row) -> bool:
    """Whether an operation has an effect, or may have: not where all was as it should be already."""
    return _is_begun(row) and row["sent_at"] is not None


async def _record(own_id: UUID, seen: Row, result: store.Json, conn: Connection, meta: Meta) -> tuple[None, Said]:
    """Nothing is left; unless a late answer to the operation's write has told of more meanwhile."""
    undone, said = await ledger.lock(conn, seen["id"]), []
    if undone["version"] != seen["version"]:
        raise PutOff("more of its effect has come to light", timedelta(0))
    if not undone["undone"]:
        said.append(await store.mark_undone(conn, undone["id"], meta.now))
    own = await ledger.lock(conn, own_id)
    said.append(
        await store.mark_done(conn, own_id, meta.now, result=result, before=None, target=None, known=own["known"])
    )
    return None, ledger.told(*said)
