"""Jobs: what talks to the outside, or walks for long, outside any handler and transaction.

A job is a command that was put into a row. A worker leases the row, does the work, and records outcome, events and
reply in one transaction that also checks the lease: a worker that lost its lease (it hung, say) changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeAlias, TypeVar

import asyncpg
import structlog

from contracts.message import Envelope
from shared import dead_letters, job_store, metrics, outbox
from shared.db import CONTENTION, Connection, Database, DatabaseAway
from shared.dead_letters import Failure
from shared.inbox import Recorded
from shared.job_store import Leased, LeaseLost
from shared.outbox import Sender, meta_of
from shared.outcome import Meta, Outcome, Refused
from shared.pause import jittered, pause
from shared.service import Job, Work
from shared.telemetry import span

log = structlog.get_logger(__name__)

R = TypeVar("R")

Progress: TypeAlias = dict[str, Any] | Callable[[], dict[str, Any] | None] | None
"""What a later attempt is to know; where the work decides it, a function that is asked after it. None: as before."""

_POLL_S = 1.0
_INTERRUPTED_S = 1.0  # about so long does a job rest that was no failure of its own
_ATTEMPTS = 4
_CONTENTIONS = 5  # runs that may end in contention before it counts as the job's own failure
_LONGEST_PUT_OFF_S = 300.0


class PutOff(Exception):
    """The outside is away or asks for patience: the job is tried again, `after` (default: with growing pauses)."""

    def __init__(self, reason: str, after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


@dataclass(frozen=True)
class JobRun(Generic[R]):
    """What a job gets beside its command.

    `resources`: the service's clients of the outside. `progress`: what an earlier attempt saved by `apply`.
    """

    meta: Meta
    resources: R
    progress: dict[str, Any] | None
    _worker: Worker
    _leased: Leased
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    async def apply(self, work: Work, *, progress: Progress = None) -> None:
        """Do a part of the work in a transaction, and send its events with it. Raises `LeaseLost`.

        A job that dies after it begins anew: the part must bear to be done twice, or its `progress` tell of it.
        """
        async with self._turn:  # one transaction at a time: the others would wait for it with a connection each
            meta = replace(self.meta, now=datetime.now(UTC))
            await self._worker.apply(self._leased, work, meta, progress)


class Worker:
    """Runs one service's jobs in this process."""

    def __init__(
        self, database: Database, sender: Sender, jobs: Sequence[Job], resources: Any, wake_relay: Callable[[], None]
    ) -> None:
        self._database = database
        self._sender = sender
        self._jobs = jobs
        self._resources = resources
        self._wake_relay = wake_relay
        self._due = {job.name: asyncio.Event() for job in jobs}

    def wake(self) -> None:
        """Say that jobs were queued."""
        for due in self._due.values():
            due.set()

    async def run(self) -> None:
        """Work until cancelled. A job under way is put back at once."""
        async with asyncio.TaskGroup() as tasks:
            for job in self._jobs:
                for _ in range(job.concurrency):
                    tasks.create_task(self._work(job), name=f"job-{job.name}")

    async def _work(self, job: Job) -> None:
        while True:
            try:
                leased = await self._take(job)
                if leased is None:
                    await self._rest(job)
                else:
                    await self._attempt(job, leased)
            except (DatabaseAway, *CONTENTION, asyncpg.UniqueViolationError, LeaseLost) as error:
                # (A unique violation: another worker took a job of this key at the same moment.)
                log.warning("job interrupted", job=job.name, error=_words(error))
                await asyncio.sleep(jittered(_INTERRUPTED_S))
            except Exception:
                log.exception("a job's outcome could not be recorded; its lease runs out", job=job.name)
                await asyncio.sleep(_POLL_S)

    async def _rest(self, job: Job) -> None:
        await pause(self._due[job.name], _POLL_S)
        self._due[job.name].clear()

    async def _take(self, job: Job) -> Leased | None:
        async with self._database.connection() as conn:
            return await job_store.take(conn, job)

    async def _attempt(self, job: Job, leased: Leased) -> None:
        started = time.monotonic()
        envelope = leased.delivery.envelope
        with span(f"job {job.name}", parent=envelope.traceparent if envelope else None, job=str(leased.id)):
            try:
                outcome = await self._run(job, leased)
            except asyncio.CancelledError:
                with suppress(DatabaseAway, *CONTENTION):  # then its lease runs out
                    await self._requeue(leased, timedelta(0), "the process was asked to stop")
                raise
        seconds = time.monotonic() - started
        metrics.JOBS.labels(self._sender.service, job.name, outcome).inc()
        metrics.JOB_SECONDS.labels(self._sender.service, job.name).observe(seconds)
        log.info(
            "job",
            type=job.name,
            id=str(leased.id),
            key=leased.delivery.key,
            tenant=envelope.tenantid if envelope else None,
            outcome=outcome,
            seconds=round(seconds, 3),
        )

    async def _run(self, job: Job, leased: Leased) -> str:
        """One attempt. Gives the word for what came of it."""
        if (unreadable := leased.delivery.unreadable) is not None:  # this code is another than that which queued it
            return await self._bury(leased, Failure.of(unreadable.reason, unreadable.detail))
        if not leased.begun and _expired(leased.envelope):
            return await self._refuse(leased, Refused("expired"))
        try:
            return await self._do(job, leased)
        except LeaseLost:
            raise
        except Exception as error:
            return await self._unfinished(job, leased, error)

    async def _unfinished(self, job: Job, leased: Leased, error: Exception) -> str:
        match error:
            case PutOff():
                return await self._put_off(leased, error)
            case DatabaseAway():
                return await self._interrupted(leased, error)
            case _ if isinstance(error, CONTENTION) and leased.contentions < _CONTENTIONS:
                return await self._interrupted(leased, error, contentions=1)
            case _:
                return await self._failed(job, leased, error)

    async def _do(self, job: Job, leased: Leased) -> str:
        """Run the job and record what it decided; what cannot be recorded is its failure too."""
        try:
            return await self._finish(leased, await self._leased_run(job, leased))
        except Refused as refusal:
            return await self._refuse(leased, refusal)

    async def _leased_run(self, job: Job, leased: Leased) -> Outcome | Work | None:
        """The job itself, beside the renewal of its lease: when the lease is lost, the job is stopped."""
        meta = meta_of(leased.envelope, datetime.now(UTC))
        run = JobRun(meta, self._resources, leased.progress, self, leased)
        task = asyncio.ensure_future(job.run(leased.command, run))
        renewal = asyncio.ensure_future(self._renew(job, leased))
        try:
            await asyncio.wait({task, renewal}, return_when=asyncio.FIRST_COMPLETED)
            if task.cancelled():  # not by us; taken for our own end, it would end this worker
                raise RuntimeError("the job cancelled itself")
            if task.done():
                return task.result()
            renewal.result()
            raise LeaseLost(str(leased.id))
        finally:
            for future in (task, renewal):
                future.cancel()
            await asyncio.gather(task, renewal, return_exceptions=True)

    async def _renew(self, job: Job, leased: Leased) -> None:
        """Renew the lease until it is lost. An outage of the database is waited out for as long as the lease lasts."""
        until = leased.until
        while time.monotonic() < until:
            await asyncio.sleep(min(job.lease.total_seconds() / 4, until - time.monotonic()))
            asked = time.monotonic()
            with suppress(DatabaseAway, TimeoutError, *CONTENTION):
                async with asyncio.timeout(until - asked), self._database.connection() as conn:
                    if not await job_store.renew(conn, leased, job.lease):
                        return
                until = asked + job.lease.total_seconds()

    async def apply(self, leased: Leased, work: Work, meta: Meta, progress: Progress) -> None:
        """A part of a job's work in a transaction that checks the lease."""
        async with self._database.transaction() as conn:
            await job_store.lock_leased(conn, leased)
            outcome = await work(conn, meta) or Outcome()
            rows = self._sender.rows(outcome, meta)
            await outbox.insert(conn, rows)
            made = progress() if callable(progress) else progress
            if made is not None:
                await job_store.mark_progress(conn, leased.id, made)
        if rows:
            self._wake_relay()

    async def _finish(self, leased: Leased, decided: Outcome | Work | None) -> str:
        """Do the job's last part, if any, and end it as done. Raises `LeaseLost`, and what that part raises."""
        meta = meta_of(leased.envelope, datetime.now(UTC))
        async with self._ending(leased) as conn:
            outcome = (await decided(conn, meta) if callable(decided) else decided) or Outcome()
            return await self._end(conn, leased, Recorded("ok", outcome.result), self._sender.rows(outcome, meta))

    async def _refuse(self, leased: Leased, refusal: Refused) -> str:
        recorded = Recorded("refused", code=refusal.code, detail=refusal.detail or None)
        async with self._ending(leased) as conn:
            return await self._end(conn, leased, recorded, [])

    @asynccontextmanager
    async def _ending(self, leased: Leased) -> AsyncIterator[Connection]:
        """The transaction that ends a job. Raises `LeaseLost`."""
        async with self._database.transaction() as conn:
            await job_store.lock_leased(conn, leased)
            yield conn
        self._wake_relay()

    async def _end(
        self, conn: Connection, leased: Leased, recorded: Recorded, rows: list[outbox.Row], error: str | None = None
    ) -> str:
        """Answer, and mark the row. Gives the word for what came of it."""
        now = datetime.now(UTC)
        envelope = leased.delivery.envelope
        reply = self._sender.reply(envelope, recorded, now) if envelope else None
        await outbox.insert_with_outcomes(conn, [*rows, reply] if reply else rows, {leased.id: recorded}, now)
        status = {"ok": "done"}.get(recorded.status, recorded.status)
        await job_store.mark_finished(conn, leased.id, status, error or recorded.code, now)
        return recorded.status

    async def _put_off(self, leased: Leased, put_off: PutOff) -> str:
        growing = min(_LONGEST_PUT_OFF_S, 2.0 ** min(leased.put_offs + 1, 12))
        after = timedelta(seconds=jittered(growing, by=0.25)) if put_off.after is None else put_off.after
        await self._requeue(leased, after, put_off.reason, put_offs=1)
        return "put_off"

    async def _interrupted(self, leased: Leased, error: Exception, *, contentions: int = 0) -> str:
        """The database went away under the job, or somebody was in its way: that is no failure of the job."""
        log.warning("job interrupted", id=str(leased.id), error=_words(error))
        await self._requeue(leased, timedelta(seconds=jittered(_INTERRUPTED_S)), _words(error), contentions=contentions)
        return "interrupted"

    async def _failed(self, job: Job, leased: Leased, error: Exception) -> str:
        log.exception("job failed", type=job.name, id=str(leased.id))
        if leased.attempts + 1 >= _ATTEMPTS:
            return await self._bury(leased, Failure.of("bug", _words(error)))
        after = dead_letters.BACK_OFF[min(leased.attempts, len(dead_letters.BACK_OFF) - 1)]
        await self._requeue(leased, after, _words(error), attempts=1)
        return "retried"

    async def _requeue(self, leased: Leased, after: timedelta, reason: str, **counted: int) -> None:
        async with self._database.connection() as conn:
            await job_store.mark_queued(conn, leased, after, reason, **counted)

    async def _bury(self, leased: Leased, failure: Failure) -> str:
        """Give the job up: a dead letter that can be replayed, and an answer for whoever waits."""
        now = datetime.now(UTC)
        detail = {"dead_letter_id": str(leased.delivery.dead_letter_id), "reason": failure.detail}
        recorded = Recorded("failed", code=failure.reason, detail=detail)
        event = dead_letters.announcement(self._sender.service, leased.delivery, failure, leased.attempts + 1, now)
        envelope = leased.delivery.envelope
        meta = meta_of(envelope, now) if envelope else Meta(leased.id, now)
        async with self._ending(leased) as conn:
            await dead_letters.bury(conn, [(leased.delivery, failure)], now, attempts=leased.attempts + 1)
            row = self._sender.announce(event, dead_letters.topic_of(self._sender.service), meta)
            await self._end(conn, leased, recorded, [row], failure.detail)
        return "dead"


def _expired(envelope: Envelope) -> bool:
    return envelope.expires is not None and envelope.expires < datetime.now(UTC)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
