"""The protocol of a write at a provider that recognizes no request which it has seen before.

1. `take_up` notes the operation down, or finds what is noted, and holds its target: what is read from here on, no other
   operation changes. `answer_of` gives the answer where it has one.
2. `claim` notes down that a write is about to be sent. Until `unsure_until` its effect may come to light, whatever
   becomes of us; so whoever finds such a row looks, and sends nothing before that time has passed.
3. `send` sends it, outside any transaction.
4. `finish`, `note` or `fail` records what came of it; `put_back` that it was not sent.

A worker that lost its job's lease gets no further than to the next of these transactions.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import structlog

from contracts.message import Event
from contracts.provider import Operation, OperationChanged, OperationStatus, ProviderCommand
from services.provider import store
from services.provider.access import PURPOSE, Provider, asking, insisting
from services.provider.store import Json, Row
from shared.db import Connection
from shared.digitalocean import OutcomeUnknown, ProviderError, RateLimited, TooLate, Unavailable, redact
from shared.jobs import JobRun, PutOff
from shared.outcome import Meta, Outcome, Refused
from shared.patience import DENIED, refusal_of
from shared.steps import Said, transact

log = structlog.get_logger(__name__)

UNKNOWN = "unknown"
"""The kind of an operation whose undoing came before it."""

UNDOING = "undo-operation"

_PENDING, _SENT, _CANCELLED = OperationStatus.PENDING, OperationStatus.SENT, OperationStatus.CANCELLED

OPEN = frozenset({_PENDING, _SENT})
"""Of an operation that may take effect."""


def kind_of(cmd: ProviderCommand) -> str:
    """What an operation is called: the command's name."""
    return cmd.TYPE.split(".")[2]


def state_of(row: Row) -> Operation:
    """A row as the bus tells it."""
    return Operation.model_validate({name: row[name] for name in Operation.model_fields})


def told(*rows: Row) -> list[Event]:
    """The events of operations that changed."""
    return [OperationChanged(operation=state_of(row)) for row in rows]


async def take_up(cmd: ProviderCommand, run: JobRun[Provider], target: str | None = None) -> Row:
    """Note an operation down as pending, or find it noted down; hold its target, if it has one.

    Raises `Refused` where nothing was begun and nobody waits for it any more, and `PutOff` while another operation
    holds the target.
    """
    row, is_held = await transact(run, partial(_take_up, cmd, run, target))
    if not is_held:
        raise held_by_another(run, row)
    return row


async def _take_up(
    cmd: ProviderCommand, run: JobRun[Provider], target: str | None, conn: Connection, meta: Meta
) -> tuple[tuple[Row, bool], Said]:
    row, said = await note_down(cmd, run, target, conn, meta)
    if row["status"] == _PENDING and is_late(run.meta):
        raise Refused("expired")
    return (row, await hold(run, row, conn)), said


async def note_down(
    cmd: ProviderCommand, run: JobRun[Provider], target: str | None, conn: Connection, meta: Meta
) -> tuple[Row, Said]:
    """An operation's row: a new one, or the one that is there; opened again where another message was refused it."""
    if made := await _insert(conn, cmd, target, meta):
        return made, told(made)
    row = await lock(conn, cmd.operation_id)
    check_kind(row, cmd)
    if row["status"] != OperationStatus.REFUSED or row["undone"] or row["refused_by"] == meta.message_id:
        return row, ()
    if row["known"] and row["unsure"]:
        raise PutOff("what was taken back may not show yet", run.resources.patience.poll)
    row = await store.mark_pending(conn, row["id"], meta.now)
    return row, told(row)


async def hold(run: JobRun[Provider], row: Row, conn: Connection) -> bool:
    """Hold the target of an operation that is open, if it has one; False where another operation does.

    It keeps its hold when it is put off, also with nothing done: would it let go, those that keep coming could pass it
    for ever. Nor can one that is given up block for ever: a hold lapses.
    """
    if row["target"] is None or row["status"] not in OPEN:
        return True
    await store.lock_target(conn, row["target"])
    return await store.mark_held(conn, row["id"], run.resources.patience.hold)


def held_by_another(run: JobRun[Provider], row: Row) -> PutOff:
    """What puts an operation off while another one holds its target."""
    return PutOff(f"another operation is changing {row['target']}", run.resources.patience.poll)


async def _insert(conn: Connection, cmd: ProviderCommand, target: str | None, meta: Meta) -> Row | None:
    request = redact(cmd.model_dump(mode="json", exclude={"operation_id", "deployment_id"}))
    return await store.insert_operation(
        conn,
        cmd.operation_id,
        kind=kind_of(cmd),
        status=_PENDING,
        deployment_id=cmd.deployment_id,
        tenant_id=meta.tenant_id,
        target=target,
        request=request,
        now=meta.now,
    )


async def lock(conn: Connection, id: UUID) -> Row:
    """An operation that is known to be there, for whoever is to change it."""
    row = await store.lock_operation(conn, id)
    if row is None:
        raise LookupError(f"operation {id} is gone from the ledger")
    return row


def check_kind(row: Row, cmd: ProviderCommand) -> None:
    """Refuse a command whose operation is another's."""
    if row["kind"] not in (kind_of(cmd), UNKNOWN):
        raise Refused("operation_mismatch", operation_id=str(row["id"]), kind=row["kind"])


def is_late(meta: Meta) -> bool:
    """Whether nobody waits for a command any more."""
    return meta.expires is not None and meta.expires < datetime.now(UTC)


def answer_of(row: Row) -> Outcome | None:
    """The answer to an operation's command; None while it has none. Raises `Refused` where that is the answer."""
    match row["status"]:
        case OperationStatus.DONE:
            return Outcome(result=row["result"])
        case OperationStatus.REFUSED:
            raise Refused(row["error"], **row["detail"] or {})
        case OperationStatus.CANCELLED:
            raise Refused("operation_cancelled")
    return None


@dataclass(frozen=True)
class Claim:
    """The right to send one write, begun within moments. `at`: of `time.monotonic`, before the row was written."""

    row: Row
    at: float


@dataclass(frozen=True)
class Intent:
    """What is about to be sent; `before`: its target as it is now."""

    step: Json
    before: Json | None = None


async def claim(run: JobRun[Provider], row: Row, intent: Intent) -> Claim:
    """Note down that a write is about to be sent.

    Raises `Refused` where it is not to be sent, and `PutOff` where not now.
    """
    at = time.monotonic()
    row = await transact(run, partial(_claim, run, row, intent))
    if row["status"] == _PENDING:
        raise Refused("expired")
    answer_of(row)
    return Claim(row, at)


async def _claim(run: JobRun[Provider], seen: Row, intent: Intent, conn: Connection, meta: Meta) -> tuple[Row, Said]:
    waits = run.resources.patience
    row = await lock(conn, seen["id"])
    if row["status"] not in OPEN:
        return row, ()
    if (row["status"], row["sent_at"]) != (seen["status"], seen["sent_at"]):
        raise PutOff("another worker has sent meanwhile", waits.poll)
    if is_late(run.meta) and not row["known"] and not row["error"] and row["kind"] != UNDOING:
        row = await store.mark_pending(conn, row["id"], meta.now)
        return row, told(row)
    if row["target"] is not None:
        await store.lock_target(conn, row["target"])
    sent = await store.mark_sent(
        conn, row["id"], intent.step, intent.before, meta.now, unsure=waits.unsure, hold=waits.hold
    )
    if sent is None:
        raise PutOff(f"{row['target']} may have been changed since it was read", waits.poll)
    return sent, told(sent) if sent["version"] != row["version"] else ()


async def send(
    run: JobRun[Provider], claim: Claim, method: str, route: str, *, json: Json | None = None, **ids: Any
) -> Json:
    """Send the write that was claimed. Raises `PutOff` where it was not sent, or nobody knows what came of it.

    What the provider refused is raised as it came: nothing has happened then.
    """
    waits = run.resources.patience
    deadline = claim.at + waits.start_s + waits.slot_s  # after it, others may believe that it never will be sent
    try:
        return await run.resources.do.send(method, route, json=json, deadline=deadline, **ids)
    except OutcomeUnknown as error:
        log.warning("a write's outcome is unknown", operation=str(claim.row["id"]), error=str(error))
        raise PutOff(str(error), waits.poll) from error
    except RateLimited as error:
        after = min(timedelta(seconds=error.retry_after), waits.limited)
        raise await put_back(run, claim, str(error), after) from error
    except Unavailable as error:
        raise await put_back(run, claim, str(error), waits.away) from error
    except TooLate as error:
        raise await put_back(run, claim, str(error), waits.poll) from error


async def put_back(run: JobRun[Provider], claim: Claim, reason: str, after: timedelta) -> PutOff:
    """A write that was not sent, or not taken just now: nothing has happened. Gives what puts the job off."""
    await transact(run, partial(_mark_unsent, claim))
    return PutOff(reason, after)


async def _mark_unsent(claim: Claim, conn: Connection, meta: Meta) -> tuple[None, Said]:
    row = await lock(conn, claim.row["id"])
    if row["sent_at"] != claim.row["sent_at"] or row["status"] not in (_SENT, _CANCELLED):
        return None, ()
    if row["status"] == _SENT and not row["known"] and not row["error"]:
        return None, told(await store.mark_pending(conn, row["id"], meta.now))
    await store.mark_step(conn, row["id"], None, row["known"])
    return None, ()


async def rejected(run: JobRun[Provider], claim: Claim, error: ProviderError) -> Row:
    """What becomes of an operation whose write the provider did not take: it fails.

    But where it does not let us in half-way, that is waited out: it would not let us take back what was done, either.
    """
    row = claim.row
    if isinstance(error, DENIED) and (row["known"] or row["error"]):
        raise await put_back(run, claim, str(error), run.resources.patience.denied) from error
    return await fail(run, row, denied_or_refused(error))


async def note(run: JobRun[Provider], row: Row, step: Json | None, known: Json) -> Row:
    """Keep how far the write under way is. Raises `Refused` where the operation was cancelled meanwhile."""
    noted = await transact(run, partial(_note, row["id"], step, known))
    answer_of(noted)
    return noted


async def _note(id: UUID, step: Json | None, known: Json, conn: Connection, meta: Meta) -> tuple[Row, Said]:
    row = await lock(conn, id)
    if row["status"] not in (*OPEN, _CANCELLED):
        return row, ()
    return await store.mark_step(conn, id, step, known), ()


async def fail(run: JobRun[Provider], row: Row, refusal: Refused) -> Row:
    """Keep why an operation will be refused, once whatever it has done by now is taken back.

    Raises what stands in the way of that where it is failing already: if another attempt does not help, that is an
    operator's.
    """
    if row["error"]:
        await note(run, row, None, row["known"])
        raise RuntimeError(f"{row['target']} cannot be put back after {row['error']}: {refusal.code} {refusal.detail}")
    failing = await transact(run, partial(_fail, row["id"], refusal))
    answer_of(failing)
    return failing


async def _fail(id: UUID, refusal: Refused, conn: Connection, meta: Meta) -> tuple[Row, Said]:
    row = await lock(conn, id)
    if row["status"] not in OPEN:
        return await store.mark_step(conn, id, None, row["known"]), ()
    row = await store.mark_failing(conn, id, refusal.code, refusal.detail, meta.now)
    return row, told(row)


async def refuse(run: JobRun[Provider], row: Row, refusal: Refused) -> Refused:
    """Record that an operation has no effect. Gives what it is to be answered."""
    answer_of(await transact(run, partial(_refuse, row["id"], refusal)))
    return refusal


async def _refuse(id: UUID, refusal: Refused, conn: Connection, meta: Meta) -> tuple[Row, Said]:
    row = await lock(conn, id)
    if row["status"] not in OPEN:
        return row, ()
    row = await store.mark_refused(conn, id, refusal.code, refusal.detail, meta.now, by=meta.message_id)
    return row, told(row)


@dataclass(frozen=True)
class Effect:
    """What came of an operation. `before` and `known` where they are not noted down yet."""

    result: Json
    target: str | None = None
    before: Json | None = None
    known: Json | None = None


async def finish(run: JobRun[Provider], row: Row, effect: Effect) -> Row:
    """Record that an operation took effect; where it was cancelled meanwhile, what its write has made."""
    return await transact(run, partial(_finish, row["id"], effect))


async def _finish(id: UUID, effect: Effect, conn: Connection, meta: Meta) -> tuple[Row, Said]:
    row, made = await lock(conn, id), effect.target
    if row["status"] in OPEN:
        known = row["known"] if effect.known is None else effect.known
        row = await store.mark_done(
            conn, id, meta.now, result=effect.result, before=effect.before, target=made, known=known
        )
    elif row["status"] == _CANCELLED and made:
        row = await store.mark_made(conn, id, made, effect.result, meta.now)
    else:
        return row, ()
    return row, told(row)


def reading_for(row: Row, provider: Provider) -> AbstractContextManager[None]:
    """How to read for an operation: with a refusal as its answer only while nothing can have come of it."""
    begun = row["status"] != _PENDING or row["kind"] == UNDOING
    return insisting(provider) if begun else asking(provider)


def pause(run: JobRun[Provider], row: Row) -> timedelta:
    """Until the next look at what comes of a write: the longer it was waited for, the longer."""
    return run.resources.patience.poll_after((run.meta.now - row["sent_at"]).total_seconds())


def denied_or_refused(error: ProviderError) -> Refused:
    """What the command is answered where the provider refused its write."""
    return refusal_of(error, PURPOSE)


def unknown_if_it_lacks(body: Json, key: str) -> Any:
    """What an answer to a write has under `key`; where it lacks that, nobody knows what came of it."""
    thing = body.get(key)
    if not isinstance(thing, dict) or not isinstance(thing.get("id"), int):
        raise PutOff(f"the answer to a write has no {key!r}: its effect is looked for", timedelta(0))
    return thing
