"""Processes that are killed, frozen and asked to stop with a job in hand: it takes effect once."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

from tests.ledger.messages import Audit
from tests.ledger.world import Replica, World, until

LEASE_S = 2.0
_JOB_S = 1.5


async def _begin(there: World, account: str, *, alone: bool = False) -> tuple[UUID, Replica]:
    """Send a job of some seconds. Gives the replica that runs it."""
    one, *others = there.replicas
    for replica in (one, *others):
        replica.thaw()
        if not replica.running and (replica is one or not alone):
            replica.start()
    if alone:
        for other in filter(lambda replica: replica.running, others):
            await asyncio.to_thread(other.terminate)
    (id,) = await there.send([Audit(account=account, seconds=_JOB_S)])
    return id, await _worker(there, id)


async def _worker(there: World, id: UUID, *, but: int | None = None) -> Replica:
    pids: list[int] = []

    async def running() -> bool:
        pid = await there.ledger.pool.fetchval("select progress ->> 'pid' from jobs where id = $1", id)
        pids[:] = [int(pid)] if pid else []
        return bool(pids) and pids[0] != but

    await until(running, 20, lambda: f"the job runs in {pids}")
    return next(replica for replica in there.replicas if replica.process.pid == pids[0])


async def _took_effect_once(there: World, id: UUID) -> None:
    assert (await there.outcomes([id]))[id] == "ok"
    assert await there.ledger.pool.fetchval("select count(*) from audits where command_id = $1", id) == 1
    assert await there.ledger.pool.fetchval("select status from jobs where id = $1", id) == "done"


async def test_a_killed_workers_job_is_taken_over_when_its_lease_runs_out(replicas: World) -> None:
    id, worker = await _begin(replicas, "killed")
    worker.kill()
    killed_at = time.monotonic()
    await _worker(replicas, id, but=worker.process.pid)
    assert time.monotonic() - killed_at < LEASE_S + 2
    await _took_effect_once(replicas, id)


async def test_a_worker_asked_to_stop_puts_its_job_back_at_once(replicas: World) -> None:
    id, worker = await _begin(replicas, "stopped")
    asked_at = time.monotonic()
    assert await asyncio.to_thread(worker.terminate) == 0
    assert time.monotonic() - asked_at < _JOB_S
    await _worker(replicas, id, but=worker.process.pid)
    assert time.monotonic() - asked_at < LEASE_S
    await _took_effect_once(replicas, id)


async def test_a_frozen_worker_that_wakes_after_its_lease_changes_nothing(replicas: World) -> None:
    id, worker = await _begin(replicas, "frozen")
    worker.freeze()
    await _took_effect_once(replicas, id)
    worker.thaw()
    await asyncio.sleep(_JOB_S)
    await _took_effect_once(replicas, id)


async def test_a_lone_worker_that_was_frozen_takes_its_own_job_over_once(replicas: World) -> None:
    id, worker = await _begin(replicas, "alone", alone=True)
    worker.freeze()
    await asyncio.sleep(LEASE_S + 1)
    worker.thaw()
    await _took_effect_once(replicas, id)
    await asyncio.sleep(_JOB_S)
    await _took_effect_once(replicas, id)
