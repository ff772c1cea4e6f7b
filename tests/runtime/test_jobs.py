"""Jobs: leased, tried again, one at a time per key; whatever happens to a worker, a job takes effect once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.db import Connection
from shared.job_store import LeaseLost
from shared.jobs import JobRun, PutOff
from shared.outcome import Meta, Outcome, Refused
from shared.service import Work
from tests.runtime.probe import Errand, Poked, Probe, envelope_of, note, record_of
from tests.runtime.test_contention import CONTENTION


def _work(errand: Errand) -> Callable[[Connection, Meta], Awaitable[Outcome]]:
    async def work(conn: Connection, meta: Meta) -> Outcome:
        return await note(errand, conn, meta)

    return work


async def _job(probe: Probe, id: Any, status: str) -> Any:
    return await probe.row("select * from jobs where id = $1 and status = $2", id, status)


async def test_a_job_put_off_goes_on_from_its_progress(probe: Probe) -> None:
    seen: list[Any] = []

    async def away_twice(errand: Errand, run: JobRun[None]) -> Outcome:
        seen.append(run.progress)
        if len(seen) <= 2:
            await run.apply(_work(errand), progress={"pages": len(seen)})
            raise PutOff("the provider is away", timedelta(milliseconds=50))
        return Outcome(result={"pages": len(seen)}, events=[Poked(name="put off thrice", version=1)])

    probe.acts["put off"] = away_twice
    (id,) = await probe.send(Errand(name="put off"))
    reply = await probe.reply(id)
    assert (reply.status, reply.result) == ("ok", {"pages": 3})
    assert seen == [None, {"pages": 1}, {"pages": 2}]
    job = await _job(probe, id, "done")
    assert (job["put_offs"], job["attempts"]) == (2, 0)
    await probe.row("select 1 from seen where name = 'put off thrice'")


async def test_a_jobs_last_part_and_its_end_are_one_transaction(probe: Probe) -> None:
    """Or who dies between the two does the part again."""
    tries: Counter[str] = Counter()

    async def last_part(errand: Errand, run: JobRun[None]) -> Work:
        async def write(conn: Connection, meta: Meta) -> Outcome:
            tries[errand.name] += 1
            await note(errand, conn, meta)
            unrecordable = {"what": object()} if tries[errand.name] == 1 else {}
            return Outcome(result=unrecordable, events=[Poked(name="the last part", version=tries[errand.name])])

        return write

    probe.acts["last part"] = last_part
    (id,) = await probe.send(Errand(name="last part", note="once"))
    assert (await probe.reply(id)).status == "ok"
    assert (tries["last part"], await probe.effects("last part")) == (2, ["once"])
    (event,) = await probe.envelopes(Poked.TOPIC, key="the last part")
    assert event.sequence == 2


async def test_a_job_that_refuses_in_its_last_part_has_changed_nothing(probe: Probe) -> None:
    async def refuse(errand: Errand, run: JobRun[None]) -> Work:
        async def write(conn: Connection, meta: Meta) -> Outcome:
            await note(errand, conn, meta)
            raise Refused("too_late", by=3)

        return write

    probe.acts["refused late"] = refuse
    (id,) = await probe.send(Errand(name="refused late", note="never"))
    reply = await probe.reply(id)
    assert (reply.status, reply.code, reply.detail) == ("refused", "too_late", {"by": 3})
    assert await probe.effects("refused late") == []
    assert (await _job(probe, id, "refused"))["attempts"] == 0


async def test_jobs_of_one_key_run_in_order_and_others_beside_them(probe: Probe) -> None:
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    async def slow(errand: Errand, run: JobRun[None]) -> None:
        key = probe.keys[errand.name]
        for what in (key, "all"):
            running[what] += 1
            most[what] = max(most[what], running[what])
        await asyncio.sleep(0.15)
        for what in (key, "all"):
            running[what] -= 1
        await run.apply(_work(Errand(name=key, note=errand.note)))

    names = [f"errand {n}" for n in range(8)]
    probe.keys |= {name: f"line {n % 2}" for n, name in enumerate(names)}
    probe.acts |= dict.fromkeys(names, slow)
    ids = await probe.send(*(Errand(name=name, note=str(n)) for n, name in enumerate(names)))
    for id in ids:
        await probe.outcome(id)
    assert most == {"line 0": 1, "line 1": 1, "all": 2}
    assert await probe.effects("line 0") == ["0", "2", "4", "6"]
    assert await probe.effects("line 1") == ["1", "3", "5", "7"]


async def test_a_replayed_job_waits_for_the_later_one_of_its_key_that_runs(probe: Probe) -> None:
    gate = asyncio.Event()

    async def at_the_gate(errand: Errand, run: JobRun[None]) -> None:
        if errand.note == "second":
            await gate.wait()
        await run.apply(_work(errand))

    probe.acts["gated"] = at_the_gate
    first, second = await probe.send(*(Errand(name="gated", note=text) for text in ("first", "second")))
    await _job(probe, second, "running")
    await probe.database.pool.execute("update jobs set status = 'queued' where id = $1", first)
    await asyncio.sleep(0.3)
    assert (await _job(probe, first, "queued"))["holder"] is not None, "nobody may have tried to take it"
    gate.set()
    await _job(probe, first, "done")
    assert await probe.effects("gated") == ["first", "second", "first"]


async def test_a_job_expires_in_the_queue_but_not_once_it_has_begun(probe: Probe) -> None:
    """What has begun may have made something at the provider: it must be finished, however late."""
    soon = datetime.now(UTC) + timedelta(seconds=0.6)
    tries: Counter[str] = Counter()

    async def slow_to_begin(errand: Errand, run: JobRun[None]) -> None:
        tries[errand.note] += 1
        if tries[errand.note] == 1:
            raise PutOff("asked for patience", timedelta(seconds=0.8))
        await run.apply(_work(errand))

    probe.acts["expiring"] = slow_to_begin
    envelopes = [envelope_of(Errand(name="expiring", note=text), expires=soon) for text in ("begun", "queued")]
    await probe.produce(*map(record_of, envelopes))
    begun, queued = [await probe.reply(envelope.id) for envelope in envelopes]
    assert begun.status == "ok"
    assert (queued.status, queued.code) == ("refused", "expired")
    assert tries == {"begun": 2}


async def test_an_outage_under_a_job_is_no_bug_and_its_effect_comes_once(probe: Probe) -> None:
    tries: Counter[str] = Counter()

    async def cut_off(errand: Errand, run: JobRun[None]) -> None:
        tries["all"] += 1

        async def work(conn: Connection, meta: Meta) -> Outcome:
            outcome = await note(errand, conn, meta)
            if tries["all"] == 1:
                pid = await conn.fetchval("select pg_backend_pid()")
                await probe.database.pool.execute("select pg_terminate_backend($1)", pid)
                await conn.execute("select 1")
            return outcome

        await run.apply(work)

    probe.acts["outage"] = cut_off
    (id,) = await probe.send(Errand(name="outage", note="once"))
    assert (await probe.outcome(id))["status"] == "ok"
    assert await probe.effects("outage") == ["once"]
    job = await _job(probe, id, "done")
    assert (tries["all"], job["attempts"]) == (2, 0)


async def test_a_job_that_this_code_cannot_read_is_dead_and_holds_up_nobody(probe: Probe) -> None:
    """It was queued by a newer version that was then rolled back."""
    gate = asyncio.Event()

    async def wait(errand: Errand, run: JobRun[None]) -> None:
        await gate.wait()

    probe.acts["rolled back"] = wait
    blocker, id, follower = await probe.send(*(Errand(name="rolled back", note=str(n)) for n in range(3)))
    await _job(probe, id, "queued")
    await probe.database.pool.execute(
        """
        update jobs set envelope = convert_to(replace(convert_from(envelope, 'UTF8'), 'errand.v1', 'errand.v2'), 'UTF8')
        where id = $1
        """,
        id,
    )
    gate.set()
    assert (await probe.outcome(blocker))["status"] == (await probe.outcome(follower))["status"] == "ok"
    reply = await probe.reply(id)
    assert (reply.status, reply.code) == ("failed", "unknown_type")
    assert (await probe.row("select * from dead_letters where message_id = $1", id))["status"] == "dead"


async def test_a_worker_that_lost_its_lease_changes_nothing_any_more(probe: Probe) -> None:
    """Not even where the same process has taken the job over, and the first run does not heed being stopped."""
    arrived, gate, refused = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def hang_once(errand: Errand, run: JobRun[None]) -> Outcome:
        if arrived.is_set():
            gate.set()
            await refused.wait()
            await run.apply(_work(errand))
            return Outcome(result={"by": "the second"})
        arrived.set()
        with suppress(asyncio.CancelledError):
            await gate.wait()
        await gate.wait()
        with pytest.raises(LeaseLost):
            await run.apply(_work(errand))
        refused.set()
        return Outcome(result={"by": "the first"})

    probe.acts["hung"] = hang_once
    (id,) = await probe.send(Errand(name="hung", note="once"))
    await arrived.wait()
    await probe.database.pool.execute(
        "update jobs set holder = gen_random_uuid(), leased_until = now() - interval '1 s' where id = $1", id
    )
    assert (await probe.outcome(id))["result"] == {"by": "the second"}
    assert await probe.effects("hung") == ["once"]
    await probe.reply(id)
    assert len(probe.replies[id]) == 1


async def test_a_job_that_ignores_its_time_keeps_its_lease(probe: Probe) -> None:
    """The lease is renewed while the job lives, so a long one is not taken over."""
    runs: Counter[str] = Counter()

    async def long(errand: Errand, run: JobRun[None]) -> None:
        runs["all"] += 1
        await asyncio.sleep(3)
        await run.apply(_work(errand))

    probe.acts["long job"] = long
    (id,) = await probe.send(Errand(name="long job", note="once"))
    assert (await probe.outcome(id))["status"] == "ok"
    assert (runs["all"], await probe.effects("long job")) == (1, ["once"])


async def test_a_job_keeps_its_lease_during_a_transaction_that_lasts_longer(probe: Probe) -> None:
    """Its transaction holds the row, so that nobody takes it over, and does not keep the lease from being renewed."""
    runs: Counter[str] = Counter()

    async def long(errand: Errand, run: JobRun[None]) -> None:
        runs["all"] += 1

        async def work(conn: Connection, meta: Meta) -> Outcome:
            await conn.execute("select pg_sleep(4)")
            return await note(errand, conn, meta)

        await run.apply(work)

    probe.acts["long work"] = long
    (id,) = await probe.send(Errand(name="long work", note="once"))
    assert (await probe.outcome(id))["status"] == "ok"
    assert (runs["all"], await probe.effects("long work")) == (1, ["once"])


async def test_contention_under_a_job_is_no_failure_of_its_own(probe: Probe) -> None:
    runs: Counter[str] = Counter()

    async def contend_thrice(errand: Errand, run: JobRun[None]) -> None:
        runs["all"] += 1

        async def work(conn: Connection, meta: Meta) -> Outcome:
            outcome = await note(errand, conn, meta)
            if runs["all"] <= 3:
                await CONTENTION["slow statement"](conn)
            return outcome

        await run.apply(work)

    probe.acts["contended job"] = contend_thrice
    (id,) = await probe.send(Errand(name="contended job", note="once"))
    assert (await probe.outcome(id))["status"] == "ok"
    job = await _job(probe, id, "done")
    assert (job["attempts"], job["contentions"]) == (0, 3)
    assert await probe.effects("contended job") == ["once"]


async def test_contention_under_a_job_that_stays_is_its_own_failure(probe: Probe) -> None:
    async def contend(errand: Errand, run: JobRun[None]) -> None:
        async def work(conn: Connection, meta: Meta) -> None:
            await CONTENTION["slow statement"](conn)

        await run.apply(work)

    probe.acts["stubborn job"] = contend
    (id,) = await probe.send(Errand(name="stubborn job"))
    assert (await probe.reply(id, seconds=25)).status == "failed"
    dead = await probe.row("select * from dead_letters where message_id = $1", id)
    assert (dead["status"], dead["attempts"]) == ("dead", 4)
    assert (await _job(probe, id, "failed"))["contentions"] == 5


async def test_a_dead_job_is_under_the_key_that_its_record_had(probe: Probe) -> None:
    """A job's own key says what runs one at a time; in Kafka the command stood in another line."""

    async def fail(errand: Errand, run: JobRun[None]) -> None:
        raise ValueError(errand.name)

    probe.keys["of a job"] = "the job's own"
    probe.acts["of a job"] = fail
    envelope = envelope_of(Errand(name="of a job"))
    await probe.produce((b"the record's", record_of(envelope)[1]))
    await probe.row("select 1 from jobs where id = $1 and key = $2", envelope.id, "the job's own")
    dead = await probe.row("select * from dead_letters where message_id = $1", envelope.id)
    assert dead["key"] == "the record's"


async def test_a_reason_that_no_column_takes_puts_a_job_off_all_the_same(probe: Probe) -> None:
    async def put_off_once(errand: Errand, run: JobRun[None]) -> None:
        if run.progress is None:
            await run.apply(_work(errand), progress={})
            raise PutOff("the provider said \0 and \ud800", timedelta(0))

    probe.acts["unsayable"] = put_off_once
    (id,) = await probe.send(Errand(name="unsayable"))
    assert (await _job(probe, id, "done"))["put_offs"] == 1


async def test_a_job_that_cancels_itself_has_failed_and_its_worker_goes_on(probe: Probe) -> None:
    async def cancel_itself(errand: Errand, run: JobRun[None]) -> None:
        if errand.note == "cancel":
            raise asyncio.CancelledError

    probe.acts["cancels itself"] = cancel_itself
    ids = await probe.send(*(Errand(name="cancels itself", note=note) for note in ("cancel", "cancel", "cancel", "")))
    assert [(await probe.outcome(id, seconds=30))["status"] for id in ids] == ["failed"] * 3 + ["ok"]


async def test_a_lease_is_counted_from_before_it_was_taken(probe: Probe) -> None:
    """Taking it took a while, and it cannot be renewed: the job must stop before another may take it over."""
    lasted: list[float] = []
    gate = asyncio.Event()

    async def long(errand: Errand, run: JobRun[None]) -> None:
        if lasted:
            return
        began = time.monotonic()
        gate.set()
        try:
            await asyncio.sleep(10)
        finally:
            lasted.append(time.monotonic() - began)

    probe.acts["taken slowly"] = long
    async with _slow_to_take(probe, "taken slowly"), probe.owner() as other:
        (id,) = await probe.send(Errand(name="taken slowly"))
        await gate.wait()
        async with other.transaction():
            await other.execute("select from probe.jobs where id = $1 for update", id)
            await asyncio.sleep(2)
    assert lasted[0] < 2 - TAKING_S + 0.8
    assert (await probe.outcome(id))["status"] == "ok"


TAKING_S = 1.2


@asynccontextmanager
async def _slow_to_take(probe: Probe, key: str) -> AsyncIterator[None]:
    async with probe.owner() as owner:
        await owner.execute(
            f"""
            create function probe.dawdle() returns trigger language plpgsql as
            $$ begin perform pg_sleep({TAKING_S}); return new; end $$;
            create trigger dawdle before update on probe.jobs for each row
            when (new.key = '{key}' and old.status = 'queued' and new.status = 'running')
            execute function probe.dawdle()
            """
        )
        yield
        await owner.execute("drop function probe.dawdle cascade")
