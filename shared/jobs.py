"""Jobs: what talks to the outside, or walks for long, outside any handler and transaction.

A job is a command that was put into a row. A worker leases the row, does the work, and records outcome, events and
reply in one transaction that also checks the lease: a worker that lost its lease (it hung, say) changes nothing.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid4

import asyncpg
import structlog

from contracts.message import Envelope, Message
from shared import dead_letters, inbox, metrics, outbox
from shared.db import CONTENTION, OUTAGES, SESSION_OUTAGES, Connection, Database
from shared.dead_letters import Failure
from shared.delivery import Delivery, Origin
from shared.inbox import Recorded
from shared.outbox import Sender, meta_of
from shared.outcome import Meta, Outcome, Refused
from shared.service import Job
from shared.telemetry import span

log = structlog.get_logger(__name__)

R = TypeVar("R")

_POLL_S = 1.0
_ATTEMPTS = 4
_LONGEST_PUT_OFF_S = 300.0
_KEPT = timedelta(days=30)


class PutOff(Exception):
    """The outside is away or asks for patience: the job is tried again, `after` (default: with growing pauses)."""

    def __init__(self, reason: str, after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class LeaseLost(Exception):
    """Another worker has taken the job over; nothing this one does counts any more."""


@dataclass(frozen=True)
class Leased:
    """A job's row while this worker holds it. `begun`: an earlier run may have done a part of it."""

    id: UUID
    holder: UUID
    delivery: Delivery
    begun: bool
    attempts: int
    put_offs: int
    progress: dict[str, Any] | None

    @property
    def envelope(self) -> Envelope:
        return self.delivery.known[0]

    @property
    def command(self) -> Message:
        return self.delivery.known[1]


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

    async def apply(
        self,
        work: Callable[[Connection, Meta], Awaitable[Outcome | None]],
        *,
        progress: dict[str, Any] | None = None,
    ) -> Outcome:
        """Do a part of the work in a transaction, and send its events with it. Raises `LeaseLost`."""
        meta = replace(self.meta, now=datetime.now(UTC))
        return await self._worker.apply(self._leased, work, meta, progress)


async def insert(conn: Connection, jobs: Sequence[tuple[Job, str, Delivery]]) -> None:
    """Queue commands as jobs, each under its key. A job that failed before is queued again: somebody replays it."""
    await conn.execute(
        """
        insert into jobs (id, name, key, envelope, topic, partition, record_offset)
        select * from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::int[], $7::bigint[])
        on conflict (id) do update set status = 'queued', attempts = 0, put_offs = 0, run_at = now(), finished_at = null
        where jobs.status = 'failed'
        """,
        [delivery.known[0].id for *_, delivery in jobs],
        [job.name for job, *_ in jobs],
        [key for _, key, _ in jobs],
        [delivery.raw for *_, delivery in jobs],
        [delivery.origin.topic for *_, delivery in jobs],
        [delivery.origin.partition for *_, delivery in jobs],
        [delivery.origin.offset for *_, delivery in jobs],
    )


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
            except (*OUTAGES, *CONTENTION, asyncpg.UniqueViolationError, LeaseLost) as error:
                # (A unique violation: another worker took a job of this key at the same moment.)
                log.warning("job interrupted", job=job.name, error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311 - spreads load, guards nothing
            except Exception:
                log.exception("a job's outcome could not be recorded; its lease runs out", job=job.name)
                await asyncio.sleep(_POLL_S)

    async def _rest(self, job: Job) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._due[job.name].wait(), _POLL_S)
        self._due[job.name].clear()

    async def _take(self, job: Job) -> Leased | None:
        holder = uuid4()  # one for each lease: this process may itself have lost the job that it takes over
        row = await self._database.pool.fetchrow(
            """
            with next as (
              select id from jobs j
              where name = $1 and run_at <= now()
                and (status = 'running' and leased_until < now()
                  or status = 'queued' and not exists (
                    select from jobs e where e.name = j.name and e.key = j.key
                      and (e.status = 'running' or e.status = 'queued' and e.position < j.position)))
              order by position limit 1
              for update skip locked)
            update jobs set status = 'running', holder = $2, leased_until = now() + $3::interval,
              started_at = coalesce(started_at, now())
            from next where jobs.id = next.id
            returning jobs.*, old.started_at is not null as begun
            """,
            job.name,
            holder,
            job.lease,
        )
        if row is None:
            return None
        origin = Origin(row["topic"], row["partition"], row["record_offset"])
        delivery = Delivery.of(origin, row["key"], row["envelope"])
        return Leased(row["id"], holder, delivery, row["begun"], row["attempts"], row["put_offs"], row["progress"])

    async def _attempt(self, job: Job, leased: Leased) -> None:
        started = time.monotonic()
        envelope = leased.delivery.envelope
        with span(f"job {job.name}", parent=envelope.traceparent if envelope else None, job=str(leased.id)):
            try:
                outcome = await self._run(job, leased)
            except asyncio.CancelledError:
                with suppress(*OUTAGES):
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
            return await self._finish(leased, Recorded("refused", code="expired"), Outcome())
        try:
            return await self._do(job, leased)
        except PutOff as put_off:
            return await self._put_off(leased, put_off)
        except LeaseLost:
            raise
        except SESSION_OUTAGES as error:
            return await self._interrupted(leased, error)
        except Exception as error:
            log.exception("job failed", type=job.name, id=str(leased.id))
            return await self._failed(leased, Failure.of("bug", f"{type(error).__name__}: {error}"))

    async def _do(self, job: Job, leased: Leased) -> str:
        """Run the job and record what it decided; what cannot be recorded is its failure too."""
        try:
            outcome = await self._leased_run(job, leased) or Outcome()
            recorded = Recorded("ok", outcome.result)
        except Refused as refusal:
            outcome, recorded = Outcome(), Recorded("refused", code=refusal.code, detail=refusal.detail or None)
        return await self._finish(leased, recorded, outcome)

    async def _leased_run(self, job: Job, leased: Leased) -> Outcome | None:
        """The job itself, beside the renewal of its lease: when the lease is lost, the job is stopped."""
        meta = meta_of(leased.envelope, datetime.now(UTC))
        run = JobRun(meta, self._resources, leased.progress, self, leased)
        task = asyncio.ensure_future(job.run(leased.command, run))
        renewal = asyncio.ensure_future(self._renew(job, leased))
        try:
            await asyncio.wait({task, renewal}, return_when=asyncio.FIRST_COMPLETED)
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
        until = time.monotonic() + job.lease.total_seconds()
        while time.monotonic() < until:
            await asyncio.sleep(job.lease.total_seconds() / 4)
            asked = time.monotonic()
            with suppress(*OUTAGES):
                async with asyncio.timeout(until - asked):
                    if not await self._renewed(job, leased):
                        return
                until = asked + job.lease.total_seconds()

    async def _renewed(self, job: Job, leased: Leased) -> bool:
        renewed = await self._database.pool.fetchval(
            """
            update jobs set leased_until = now() + $3::interval
            where id = $1 and holder = $2 and status = 'running' returning true
            """,
            leased.id,
            leased.holder,
            job.lease,
        )
        return bool(renewed)

    async def apply(
        self,
        leased: Leased,
        work: Callable[[Connection, Meta], Awaitable[Outcome | None]],
        meta: Meta,
        progress: dict[str, Any] | None,
    ) -> Outcome:
        """A part of a job's work in a transaction that checks the lease."""
        async with self._database.transaction() as conn:
            await self._fence(conn, leased)
            outcome = await work(conn, meta) or Outcome()
            rows = self._sender.rows(outcome, meta)
            await outbox.insert(conn, rows)
            if progress is not None:
                await conn.execute("update jobs set progress = $2 where id = $1", leased.id, progress)
        if rows:
            self._wake_relay()
        return outcome

    async def _fence(self, conn: Connection, leased: Leased) -> None:
        mine = await conn.fetchval(
            "select true from jobs where id = $1 and holder = $2 and status = 'running' for update",
            leased.id,
            leased.holder,
        )
        if not mine:
            raise LeaseLost(str(leased.id))

    async def _finish(self, leased: Leased, recorded: Recorded, outcome: Outcome) -> str:
        now = datetime.now(UTC)
        status = {"ok": "done"}.get(recorded.status, recorded.status)
        async with self._database.transaction() as conn:
            await self._fence(conn, leased)
            await self._answer(conn, leased, recorded, self._sender.rows(outcome, meta_of(leased.envelope, now)), now)
            await conn.execute(
                "update jobs set status = $2, finished_at = $3, error = $4 where id = $1",
                leased.id,
                status,
                now,
                recorded.code,
            )
        self._wake_relay()
        return recorded.status

    async def _answer(
        self, conn: Connection, leased: Leased, recorded: Recorded, rows: list[outbox.Row], now: datetime
    ) -> None:
        await inbox.record(conn, {leased.id: recorded}, now)
        envelope = leased.delivery.envelope
        reply = self._sender.reply(envelope, recorded, now) if envelope else None
        await outbox.insert(conn, [*rows, reply] if reply else rows)

    async def _put_off(self, leased: Leased, put_off: PutOff) -> str:
        growing = min(_LONGEST_PUT_OFF_S, 2.0 ** min(leased.put_offs + 1, 12))
        pause = timedelta(seconds=growing * random.uniform(0.75, 1.25))  # noqa: S311 - spreads load, guards nothing
        after = pause if put_off.after is None else put_off.after
        await self._requeue(leased, after, put_off.reason, put_offs=1)
        return "put_off"

    async def _interrupted(self, leased: Leased, error: BaseException) -> str:
        """The database went away under the job. Where this fails for the same reason, its lease runs out."""
        log.warning("job interrupted", id=str(leased.id), error=str(error))
        pause = timedelta(seconds=random.uniform(0.5, 1.5))  # noqa: S311 - spreads load, guards nothing
        await self._requeue(leased, pause, f"{type(error).__name__}: {error}")
        return "interrupted"

    async def _failed(self, leased: Leased, failure: Failure) -> str:
        if leased.attempts + 1 < _ATTEMPTS:
            pause = dead_letters.BACK_OFF[min(leased.attempts, len(dead_letters.BACK_OFF) - 1)]
            await self._requeue(leased, pause, failure.detail, attempts=1)
            return "retried"
        return await self._bury(leased, failure)

    async def _requeue(
        self, leased: Leased, after: timedelta, reason: str, *, attempts: int = 0, put_offs: int = 0
    ) -> None:
        await self._database.pool.execute(
            """
            update jobs set status = 'queued', holder = null, leased_until = null, run_at = now() + $3::interval,
              error = $4, attempts = attempts + $5, put_offs = put_offs + $6
            where id = $1 and holder = $2 and status = 'running'
            """,
            leased.id,
            leased.holder,
            after,
            reason,
            attempts,
            put_offs,
        )

    async def _bury(self, leased: Leased, failure: Failure) -> str:
        """Give the job up: a dead letter that can be replayed, and an answer for whoever waits."""
        now = datetime.now(UTC)
        detail = {"dead_letter_id": str(leased.delivery.dead_letter_id), "reason": failure.detail}
        recorded = Recorded("failed", code=failure.reason, detail=detail)
        event = dead_letters.announcement(self._sender.service, leased.delivery, failure, leased.attempts + 1, now)
        envelope = leased.delivery.envelope
        meta = meta_of(envelope, now) if envelope else Meta(leased.id, now)
        async with self._database.transaction() as conn:
            await self._fence(conn, leased)
            await dead_letters.bury(conn, [(leased.delivery, failure)], now, attempts=leased.attempts + 1)
            row = self._sender.announce(event, dead_letters_topic(self._sender.service), meta)
            await self._answer(conn, leased, recorded, [row], now)
            await conn.execute(
                "update jobs set status = 'failed', finished_at = $2, error = $3 where id = $1",
                leased.id,
                now,
                failure.detail,
            )
        self._wake_relay()
        return "dead"


def _expired(envelope: Envelope) -> bool:
    return envelope.expires is not None and envelope.expires < datetime.now(UTC)


def dead_letters_topic(service: str) -> str:
    """The topic that announces a service's dead letters."""
    return f"arcadia.{service}.dead-letters"


async def delete_finished(conn: Connection, limit: int = 5000) -> int:
    """Forget jobs that ended long ago. Gives how many went."""
    rows = await conn.fetch(
        """
        delete from jobs where id in (
          select id from jobs where finished_at < now() - $1::interval order by finished_at limit $2
          for update skip locked
        ) returning 1
        """,
        _KEPT,
        limit,
    )
    return len(rows)
