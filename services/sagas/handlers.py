"""Messages in, messages out: runs begin, are answered, come due, are stopped and go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from contracts.deployments import Authority, ReleaseDeployment
from contracts.message import Event, Reply
from contracts.sagas import (
    REPLIES,
    CancelSaga,
    Echo,
    Fail,
    RetrySaga,
    SagaCompensating,
    SagaCompleted,
    SagaEvent,
    SagaFailed,
    SagaResumed,
    SagaRolledBack,
    SagaStarted,
    SagaStatus,
    SagaWrittenOff,
    StartSaga,
    StepStatus,
    TimerDue,
    Unecho,
    WriteOffSaga,
)
from services.sagas import store
from services.sagas.domain import Advanced, Entry, Plan, Run, advance, is_cancellable, is_waiting, merged
from services.sagas.flow import Flow
from services.sagas.flows import Flows
from services.sagas.memory import Memory
from services.sagas.signals import Answered, Begin, Cancel, Due, Retry, Signal, WriteOff
from services.sagas.store import Stored
from shared.db import Connection, Unbegun, afterwards, write
from shared.outcome import Meta, Outcome, Received, Refused, Send
from shared.wire import describe

_TIMERS_AT_ONCE = 500
_RING_AGAIN = timedelta(minutes=1)

_TOLD_AS: dict[SagaStatus, type[SagaEvent]] = {
    SagaStatus.RUNNING: SagaStarted,
    SagaStatus.COMPENSATING: SagaCompensating,
    SagaStatus.COMPLETED: SagaCompleted,
    SagaStatus.ROLLED_BACK: SagaRolledBack,
    SagaStatus.FAILED: SagaFailed,
}


class Progress:
    """Runs that go on in one transaction: what is to be written of them, and said."""

    def __init__(self, flows: Flows, runs: dict[UUID, Stored], now: datetime) -> None:
        self.flows = flows
        self.runs = runs
        self._now = now
        self._versions = {id: stored.version for id, stored in runs.items()}
        self._changed: set[UUID] = set()
        self._ledger: dict[tuple[UUID, int], Entry] = {}

    def take(self, id: UUID, signal: Signal) -> Outcome:
        """Let a run go on by a signal; what is to be said of that."""
        stored = self.runs[id]
        advanced = advance(stored.run, _plan(self.flows, stored), signal, self._now)
        if advanced.run is stored.run:
            return Outcome()
        after = self.runs[id] = stored.advanced(advanced.run, self._now)
        self._changed.add(id)
        for entry in advanced.entries:
            self._ledger[id, entry.step] = merged(self._ledger.get((id, entry.step)), entry)
        return Outcome(events=_told(stored.run, after), commands=_commands(after, advanced))

    def take_all(self, signals: Sequence[tuple[UUID, Signal | None]]) -> list[Outcome | Refused]:
        """Let runs go on, those that are known, in this order."""
        return [self.take(id, signal) if signal and id in self.runs else Outcome() for id, signal in signals]

    def goes_on(self, ids: Sequence[UUID]) -> bool:
        """Whether all of these runs change, so that writing them also tells whether they were the newest.

        Where one does not heed a signal, that may be for what another replica has made of it since.
        """
        return self._changed.issuperset(ids)

    def begun(self, id: UUID) -> dict[str, Any]:
        """A run that has just begun, as callers of the API get it."""
        stored = self.runs[id]
        return stored.summary([_as_row(entry, stored, self._now) for _, entry in self.ledger_of({id})])

    def ledger_of(self, ids: AbstractSet[UUID]) -> list[tuple[Stored, Entry]]:
        """What the ledger is to say of these runs."""
        return [(self.runs[id], entry) for (id, _), entry in self._ledger.items() if id in ids]

    async def write(self, conn: Connection) -> list[Stored]:
        """Write what went on, where nobody has written it meanwhile; gives the runs."""
        changed = [self.runs[id] for id in sorted(self._changed)]
        if changed:
            versions = {str(id): self._versions[id] for id in self._changed}
            await write(conn, store.writing(changed, versions, self.ledger_of(self._changed), self._now))
        return changed


def _as_row(entry: Entry, stored: Stored, now: datetime) -> dict[str, Any]:
    """An entry as its row will be, of a step that has only begun."""
    finished_at = None if entry.status is StepStatus.RUNNING else now
    return {
        "step_idx": entry.step,
        "name": stored.names[entry.step],
        "status": entry.status,
        "attempts": entry.attempts,
        "started_at": now,
        "finished_at": finished_at,
        "error": entry.error,
    }


def _told(before: Run, after: Stored) -> list[Event]:
    """What others are told: that a run's status is another, or that nobody waits for it any more."""
    status = after.run.status
    if status is before.status:
        return [SagaWrittenOff(run=after.told())] if is_waiting(before) and not is_waiting(after.run) else []
    resumed = status is SagaStatus.RUNNING and before.status is SagaStatus.FAILED
    return [(SagaResumed if resumed else _TOLD_AS[status])(run=after.told())]


def _commands(run: Stored, advanced: Advanced) -> list[Send]:
    """The command of a step. Its reply's key is the run's id, so all replies of a run come in order."""
    if (sending := advanced.sending) is None:
        return []
    return [
        Send(
            sending.command,
            id=sending.id,
            reply_to=REPLIES,
            expires=sending.expires,
            tenant_id=run.tenant_id,
            actor=run.actor,
            correlation_id=run.run.id,
        )
    ]


async def start_sagas(
    flows: Flows, memory: Memory, received: Sequence[Received[StartSaga]], conn: Connection
) -> list[Outcome | Refused]:
    """Begin runs, each with the command of its first step."""
    now = received[0].meta.now
    progress = Progress(flows, {}, now)
    begun: dict[UUID, Outcome | Refused] = {}
    for cmd, meta in ((each.message, each.meta) for each in received):
        try:
            progress.runs[cmd.saga_id] = _new(cmd, meta, progress)
            begun[meta.message_id] = progress.take(cmd.saga_id, Begin())
        except Refused as refusal:
            begun[meta.message_id] = refusal
    made = await store.insert_runs(conn, list(progress.runs.values()), progress.ledger_of({*progress.runs}), now)
    afterwards(conn, partial(memory.keep, [progress.runs[id] for id in made]))
    refused = await _why_not(conn, [progress.runs[id] for id in sorted(progress.runs.keys() - made)])
    return [_started(each.message, begun[each.meta.message_id], progress, refused) for each in received]


async def _why_not(conn: Connection, runs: Sequence[Stored]) -> dict[UUID, Refused]:
    """Why runs were not inserted: there they are already, or their deployments have others."""
    if not runs:
        return {}
    known = await store.list_known(conn, [each.run.id for each in runs])
    holders = await store.find_unfinished(conn, [each.deployment_id for each in runs if each.deployment_id])
    refused = {}
    for run in runs:
        id, deployment_id = run.run.id, run.deployment_id
        if id in known or deployment_id is None:
            refused[id] = Refused("saga_exists", saga_id=str(id))
        else:
            holder = holders.get(deployment_id)
            refused[id] = Refused("deployment_busy", deployment_id=str(deployment_id), saga_id=holder and str(holder))
    return refused


def _new(cmd: StartSaga, meta: Meta, progress: Progress) -> Stored:
    """A run that has not begun. Raises `Refused`."""
    if cmd.saga_id in progress.runs:
        raise Refused("saga_exists", saga_id=str(cmd.saga_id))
    newest = progress.flows.newest
    if (flow := newest.get(cmd.kind)) is None:
        raise Refused("unknown_saga_kind", kind=cmd.kind, known=sorted(newest))
    inputs = _inputs(flow, cmd)
    names = [step.name for step in progress.flows.plan_of(flow.kind, flow.version, inputs).steps]
    return Stored(
        Run(cmd.saga_id, SagaStatus.PENDING, inputs, context={}, marks=[None] * len(names)),
        kind=flow.kind,
        flow_version=flow.version,
        names=names,
        deployment_id=cmd.deployment_id,
        tenant_id=cmd.tenant_id or meta.tenant_id,
        actor=meta.actor,
        created_at=meta.now,
        finished_at=None,
        version=0,
    )


def _inputs(flow: Flow, cmd: StartSaga) -> dict[str, Any]:
    """What the run is begun with, defaults and all. Raises `Refused`."""
    try:
        return flow.inputs.model_validate(cmd.inputs).model_dump(mode="json")
    except ValidationError as error:
        raise Refused("invalid_inputs", kind=flow.kind, message=describe(error)) from None


def _started(
    cmd: StartSaga, begun: Outcome | Refused, progress: Progress, refused: Mapping[UUID, Refused]
) -> Outcome | Refused:
    if isinstance(begun, Refused):
        return begun
    return refused.get(cmd.saga_id) or replace(begun, result={"saga": progress.begun(cmd.saga_id)})


async def go_on(
    flows: Flows, memory: Memory, received: Sequence[Received[Reply | TimerDue]], conn: Connection
) -> list[Outcome | Refused]:
    """Let runs go on, each by its replies and timers in their order.

    At first by what is remembered of them: then there is nothing to be asked before what is to be written.
    """
    now = received[0].meta.now
    signals = [_signal(each.message) for each in received]
    ids = sorted({id for id, signal in signals if signal})
    remembered = memory.recall(ids) if isinstance(conn, Unbegun) else None
    progress = Progress(flows, remembered or {}, now)
    said = progress.take_all(signals)
    if not progress.goes_on(ids):
        memory.forget(ids)
        progress = Progress(flows, await store.lock_runs(conn, ids), now)
        said = progress.take_all(signals)
    afterwards(conn, partial(memory.keep, await progress.write(conn)))
    return said


def _signal(message: Reply | TimerDue) -> tuple[UUID, Signal | None]:
    """Which run a message is about, and what it means to it. (Progress means nothing.)"""
    if isinstance(message, TimerDue):
        return message.saga_id, Due(message.timer)
    if message.status == "pending":
        return message.correlation_id, None
    answered = Answered(message.command_id, message.status, message.result or {}, message.code, message.detail)
    return message.correlation_id, answered


async def ring_timers(conn: Connection, now: datetime) -> Outcome | None:
    """Send word of the timers that ring, to whoever has the run's replies: it finds those that came before first.

    They ring again and again, for as long as nobody heeds them: one word may be lost, or die.
    """
    due = await store.take_due(conn, now, _RING_AGAIN, _TIMERS_AT_ONCE)
    sends = [Send(TimerDue(saga_id=id, timer=timer), correlation_id=id) for id, timer in due]
    return Outcome(commands=sends) if sends else None


async def cancel_saga(flows: Flows, cmd: CancelSaga, conn: Connection, meta: Meta) -> Outcome:
    """Have a run stopped and undone: between two of its steps."""
    stored = await _locked(conn, cmd.saga_id)
    if not is_cancellable(stored.run, _plan(flows, stored)):
        raise Refused("not_cancellable", saga_id=str(cmd.saga_id), status=stored.run.status, message=_why(stored.run))
    return await _changed(flows, conn, stored, Cancel(), meta)


def _why(run: Run) -> str:
    """Why a run cannot be cancelled."""
    if run.status is SagaStatus.RUNNING:
        return "It is past its point of no return."
    return "It is being undone already." if run.status is SagaStatus.COMPENSATING else "It has ended."


async def retry_saga(flows: Flows, cmd: RetrySaga, conn: Connection, meta: Meta) -> Outcome:
    """Have a failed run go on."""
    stored = await _locked(conn, cmd.saga_id)
    if not is_waiting(stored.run):
        raise Refused("not_retryable", saga_id=str(cmd.saga_id), status=stored.run.status)
    if (deployment_id := stored.deployment_id) and (busy := await store.find_unfinished(conn, [deployment_id])):
        raise Refused("deployment_busy", deployment_id=str(deployment_id), saga_id=str(busy[deployment_id]))
    return await _changed(flows, conn, stored, Retry(), meta)


async def write_off_saga(flows: Flows, cmd: WriteOffSaga, conn: Connection, meta: Meta) -> Outcome:
    """Give a failed run up, and have its deployment let go."""
    stored = await _locked(conn, cmd.saga_id)
    if not is_waiting(stored.run):
        raise Refused("not_failed", saga_id=str(cmd.saga_id), status=stored.run.status)
    said = await _changed(flows, conn, stored, WriteOff(cmd.reason, meta.actor), meta)
    if (deployment_id := stored.deployment_id) is None:
        return said
    release = ReleaseDeployment(deployment_id=deployment_id, authority=Authority.SAGA, saga_id=cmd.saga_id)
    return replace(said, commands=[Send(release, correlation_id=cmd.saga_id)])


async def _locked(conn: Connection, id: UUID) -> Stored:
    found = (await store.lock_runs(conn, [id])).get(id)
    if found is None:
        raise Refused("not_found", saga_id=str(id))
    return found


def _plan(flows: Flows, stored: Stored) -> Plan:
    return flows.plan_of(stored.kind, stored.flow_version, stored.run.inputs)


async def _changed(flows: Flows, conn: Connection, stored: Stored, signal: Signal, meta: Meta) -> Outcome:
    """What an operator's wish makes of a run."""
    progress = Progress(flows, {stored.run.id: stored}, meta.now)
    said = progress.take(stored.run.id, signal)
    await progress.write(conn)
    after = progress.runs[stored.run.id]
    ledger = await store.list_ledger(conn, after.run.id)
    return replace(said, result={"saga": after.summary(ledger)})


async def echo(received: Sequence[Received[Echo]], _: Connection) -> list[Outcome | Refused]:
    """Say what was said."""
    return [Outcome(result={"said": each.message.say}) for each in received]


async def unecho(received: Sequence[Received[Unecho]], _: Connection) -> list[Outcome | Refused]:
    """Nothing is left of an echo."""
    return [Outcome(result={"unsaid": True}) for _ in received]


async def fail(received: Sequence[Received[Fail]], _: Connection) -> list[Outcome | Refused]:
    """As asked."""
    return [Refused("asked_to_fail") for _ in received]
