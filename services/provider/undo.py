"""Taking operations back: the promise that nothing of one is left, however late its effect comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import TypeAlias
from uuid import UUID

from contracts.provider import OperationStatus, UndoOperation
from services.provider import actions, domain, droplets, ledger, records, store
from services.provider.access import Provider
from services.provider.store import Row
from shared.db import Connection
from shared.jobs import JobRun, PutOff
from shared.outcome import Meta, Outcome
from shared.steps import Said, transact

TakeBack: TypeAlias = Callable[[Row, Row, JobRun[Provider]], Awaitable[list[str]]]
"""Takes an operation's effect back, by its row and that of its undoing; names what was taken back when nothing is left.
Raises `PutOff` until then."""

TAKE_BACK: Mapping[str, TakeBack] = {
    "create-droplet": droplets.take_back,
    "power-off-droplet": actions.take_back,
    "power-on-droplet": actions.take_back,
    "resize-droplet": actions.take_back,
    "upsert-dns-record": records.take_back,
    "remove-dns-record": records.take_back,
}
"""By the kind of the operation. One that cannot be undone is not here."""


async def undo_operation(cmd: UndoOperation, run: JobRun[Provider]) -> Outcome:
    """Cancel an operation, and take back what came of it or may yet."""
    undone, own = await transact(run, partial(_cancel, cmd, run.resources))
    if answer := ledger.answer_of(own):
        return answer
    taken: list[str] = []
    if not undone["undone"]:
        taken = await TAKE_BACK[undone["kind"]](undone, own, run)
    result = {"undone": taken}
    await transact(run, partial(_record, own["id"], undone, result))
    return Outcome(result=result)


async def _cancel(cmd: UndoOperation, provider: Provider, conn: Connection, meta: Meta) -> tuple[tuple[Row, Row], Said]:
    """Make sure that the operation gets no further, even where it is not known yet. Gives its row and our own."""
    said: list[Row] = []
    undone, made = await _lock_or_insert(cmd, conn, meta)
    own = await ledger.insert(conn, cmd, undone["target"], meta)
    said += [row for row in (made, own) if row]
    if own is None:
        own = await ledger.lock(conn, cmd.operation_id)
        ledger.check_kind(own, cmd)
    elif _is_begun(undone) and not domain.may_be_undone(undone["kind"], undone["request"]):
        own = await store.mark_refused(conn, own["id"], "cannot_be_undone", {"kind": undone["kind"]}, meta.now)
        said.append(own)
    if own["status"] in (OperationStatus.PENDING, OperationStatus.SENT):
        await store.mark_held(conn, own["id"], provider.patience.hold)
        undone = await _mark_cancelled(undone, said, conn, meta)
    return (undone, own), ledger.told(*said)


async def _lock_or_insert(cmd: UndoOperation, conn: Connection, meta: Meta) -> tuple[Row, Row | None]:
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
    return made or await ledger.lock(conn, cmd.undoes), made


async def _mark_cancelled(undone: Row, said: list[Row], conn: Connection, meta: Meta) -> Row:
    match undone["status"]:
        case OperationStatus.PENDING | OperationStatus.SENT | OperationStatus.DONE:
            undone = await store.mark_cancelled(conn, undone["id"], not _is_begun(undone), meta.now)
        case OperationStatus.REFUSED if not undone["undone"]:
            undone = await store.mark_undone(conn, undone["id"], meta.now)
        case _:
            return undone
    said.append(undone)
    return undone


def _is_begun(row: Row) -> bool:
    return row["status"] in (OperationStatus.SENT, OperationStatus.DONE)


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
