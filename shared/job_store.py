"""The table of jobs: queued, leased by one worker at a time, finished, forgotten."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from contracts.message import Envelope, Message
from shared.db import Connection
from shared.dead_letters import storable
from shared.delivery import Delivery, Origin
from shared.service import Job

_KEPT = timedelta(days=30)


class LeaseLost(Exception):
    """Another worker has taken the job over; nothing this one does counts any more."""


@dataclass(frozen=True)
class Leased:
    """A job's row while this worker holds it, until `until` (of `time.monotonic`) at least.

    `begun`: an earlier run may have done a part of it.
    """

    id: UUID
    holder: UUID
    until: float
    delivery: Delivery
    begun: bool
    attempts: int
    put_offs: int
    contentions: int
    progress: dict[str, Any] | None

    @property
    def envelope(self) -> Envelope:
        return self.delivery.known[0]

    @property
    def command(self) -> Message:
        return self.delivery.known[1]


async def insert(conn: Connection, jobs: Sequence[tuple[Job, str, Delivery]]) -> None:
    """Queue commands as jobs, each under its key. A job that failed before is queued again: somebody replays it."""
    await conn.execute(
        """
        insert into jobs (id, name, key, envelope, topic, partition, record_offset, record_key)
        select * from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::int[], $7::bigint[],
                             $8::text[])
        on conflict (id) do update set status = 'queued', attempts = 0, put_offs = 0, contentions = 0,
          run_at = now(), finished_at = null
        where jobs.status = 'failed'
        """,
        [delivery.known[0].id for *_, delivery in jobs],
        [job.name for job, *_ in jobs],
        [key for _, key, _ in jobs],
        [delivery.raw for *_, delivery in jobs],
        [delivery.origin.topic for *_, delivery in jobs],
        [delivery.origin.partition for *_, delivery in jobs],
        [delivery.origin.offset for *_, delivery in jobs],
        [delivery.key for *_, delivery in jobs],
    )


async def take(conn: Connection, job: Job) -> Leased | None:
    """Lease the next job that is due and first of its key; None when there is none.

    Raises `UniqueViolationError` where another worker took a job of this key at the same moment.
    """
    holder = uuid4()  # one for each lease: this process may itself have lost the job that it takes over
    # Counted from before the question: the lease can only be longer than this process believes.
    until = time.monotonic() + job.lease.total_seconds()
    row = await conn.fetchrow(
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
    delivery = Delivery.of(origin, row["record_key"] or row["key"], row["envelope"])
    counts = (row["attempts"], row["put_offs"], row["contentions"])
    return Leased(row["id"], holder, until, delivery, row["begun"], *counts, row["progress"])


async def renew(conn: Connection, leased: Leased, lease: timedelta) -> bool:
    """Hold the lease for as long again, from now. False where it is lost."""
    renewed = await conn.fetchval(
        """
        update jobs set leased_until = now() + $3::interval
        where id = $1 and holder = $2 and status = 'running' returning true
        """,
        leased.id,
        leased.holder,
        lease,
    )
    return bool(renewed)


async def lock_leased(conn: Connection, leased: Leased) -> None:
    """Make sure that the transaction counts only where the lease is still this worker's. Raises `LeaseLost`.

    Nobody takes the job over until it ends, but the lease can be renewed meanwhile, however long it lasts.
    """
    mine = await conn.fetchval(
        "select true from jobs where id = $1 and holder = $2 and status = 'running' for key share",
        leased.id,
        leased.holder,
    )
    if not mine:
        raise LeaseLost(str(leased.id))


async def mark_progress(conn: Connection, id: UUID, progress: dict[str, Any]) -> None:
    """Keep what the job's next run is to know."""
    await conn.execute("update jobs set progress = $2 where id = $1", id, progress)


async def mark_queued(
    conn: Connection,
    leased: Leased,
    after: timedelta,
    reason: str,
    *,
    attempts: int = 0,
    put_offs: int = 0,
    contentions: int = 0,
) -> None:
    """Put a job back, and count why; nothing happens where its lease is lost."""
    await conn.execute(
        """
        update jobs set status = 'queued', holder = null, leased_until = null, run_at = now() + $3::interval,
          error = $4, attempts = attempts + $5, put_offs = put_offs + $6, contentions = contentions + $7
        where id = $1 and holder = $2 and status = 'running'
        """,
        leased.id,
        leased.holder,
        after,
        storable(reason),
        attempts,
        put_offs,
        contentions,
    )


async def mark_finished(conn: Connection, id: UUID, status: str, error: str | None, now: datetime) -> None:
    """End a job as `done`, `refused` or `failed`."""
    await conn.execute(
        "update jobs set status = $2, finished_at = $3, error = $4 where id = $1", id, status, now, error
    )


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
