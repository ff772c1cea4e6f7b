"""What is in a transaction's way for a moment is waited out; what stays in the way is the message's own failure."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog

from shared.db import Connection, Database, DatabaseAway
from shared.outcome import Meta, Outcome
from tests.runtime.probe import Poke, Probe, at_work, envelope_of, note, record_of


async def _lock_time_out(conn: Connection) -> None:
    """PostgreSQL's own: another session has a row of this name, and this one does not wait for long."""
    await conn.execute("set local lock_timeout = '50ms'")
    await conn.execute("insert into seen values ('contended', 2)")


async def _slow_statement(conn: Connection) -> None:
    await conn.execute("set local statement_timeout = '50ms'")
    await conn.execute("select pg_sleep(5)")


CONTENTION = {"lock time-out": _lock_time_out, "slow statement": _slow_statement}


@pytest.mark.parametrize("kind", CONTENTION)
async def test_contention_that_passes_leaves_no_trace(probe: Probe, kind: str) -> None:
    """The whole transaction is tried again; nobody is blamed."""
    name, tries = f"passing {kind}", Counter[str]()

    async def contend_twice(cmd: Poke, conn: Connection, meta: Meta) -> Outcome:
        await note(cmd, conn, meta)
        tries["all"] += 1
        if tries["all"] <= 2:
            await CONTENTION[kind](conn)
        return Outcome()

    probe.acts[name] = contend_twice
    async with probe.database.connection() as other, other.transaction():
        await other.execute("insert into seen values ('contended', 1) on conflict do nothing")
        with _nobody_blamed():
            _, id, _ = await probe.send(Poke(name="by"), Poke(name=name, note="once"), Poke(name="by"))
            assert (await probe.outcome(id))["status"] == "ok"
    await _once(probe, name, tries, 3)


async def test_a_deadlock_is_tried_again(probe: Probe) -> None:
    tries = Counter[str]()

    async def cross(cmd: Poke, conn: Connection, meta: Meta) -> Outcome:
        await note(cmd, conn, meta)
        tries["all"] += 1
        await conn.execute("insert into seen values ('left', 1) on conflict do nothing")
        await conn.execute("insert into seen values ('right', 1) on conflict do nothing")
        return Outcome()

    probe.acts["crossing"] = cross
    async with probe.database.connection() as other, other.transaction():
        await other.execute("insert into seen values ('right', 1)")
        (id,) = await probe.send(Poke(name="crossing", note="once"))
        # Whoever waits first finds the deadlock first, and is its victim: the handler.
        await probe.row("select 1 from pg_stat_activity where wait_event = 'transactionid' and query like '%right%'")
        await other.execute("insert into seen values ('left', 1) on conflict do nothing")
    assert (await probe.outcome(id))["status"] == "ok"
    await _once(probe, "crossing", tries, 2)


@contextmanager
def _nobody_blamed() -> Iterator[None]:
    """No message is held and nothing is logged as an error: it was an outage, or somebody in the way."""
    with structlog.testing.capture_logs() as lines:
        yield
    assert [line for line in lines if line["log_level"] == "error"] == []


async def _once(probe: Probe, name: str, tries: Counter[str], expected: int) -> None:
    assert await probe.effects(name) == ["once"]
    assert tries["all"] == expected
    assert await probe.database.pool.fetchval("select count(*) from dead_letters where key = $1", name) == 0


async def test_contention_that_stays_is_the_messages_own_failure(probe: Probe) -> None:
    """After some tries of the batch it is held alone: the others, and then the other keys, go on."""

    async def contend(cmd: Poke, conn: Connection, meta: Meta) -> None:
        await _slow_statement(conn)

    probe.acts["stubborn"] = contend
    envelopes = [envelope_of(Poke(name=name)) for name in ("bystander", "stubborn", "bystander")]
    _, offset, _ = await probe.produce(*map(record_of, envelopes))
    for bystander in (envelopes[0], envelopes[2]):
        assert (await probe.outcome(bystander.id))["status"] == "ok"
    held = await probe.dead_letter(offset, status="held")
    assert "QueryCanceledError" in held["detail"]
    dead = await probe.dead_letter(offset)
    assert (dead["reason"], dead["attempts"]) == ("bug", 4)
    assert (await probe.reply(envelopes[1].id)).status == "failed"


async def test_of_many_in_contention_the_first_are_held_before_the_last_are_tried(own_probe: Probe) -> None:
    """Each may wait for its time-out: all in one transaction would take longer than a member may be silent."""
    held: list[int] = []

    async def contend(cmd: Poke, conn: Connection, meta: Meta) -> Outcome:
        held.append(await conn.fetchval("select count(*) from dead_letters where attempts > 0"))
        await _slow_statement(conn)
        return Outcome()

    names = [f"crowd {n}" for n in range(25)]
    own_probe.acts |= dict.fromkeys(names, contend)
    ids = await own_probe.send(*(Poke(name=name) for name in names))
    async with at_work(own_probe):
        await own_probe.row("select 1 from dead_letters where attempts > 0 having count(*) = 25")
        assert {0, 10, 20} <= set(held)
        own_probe.acts.clear()
        for id in ids:
            assert (await own_probe.outcome(id))["status"] == "ok"


async def test_ddl_under_way_is_no_bug(probe: Probe) -> None:
    """A migration changes a table whose statements are prepared already."""

    async def all_columns(cmd: Poke, conn: Connection, meta: Meta) -> Outcome:
        row = await conn.fetchrow("select * from changing")
        assert row is not None
        return Outcome(result=dict(row))

    probe.acts["ddl"] = all_columns
    async with probe.owner() as owner:
        await owner.execute("create table probe.changing as select 1 as one; grant select on probe.changing to probe")
        for n in range(8):  # every connection of the pool prepares it
            assert (await probe.reply((await probe.send(Poke(name="ddl")))[0])).status == "ok", n
        await owner.execute("alter table probe.changing add column two int default 2")
        (id,) = await probe.send(Poke(name="ddl"))
        reply = await probe.reply(id)
        await owner.execute("drop table probe.changing")
    assert (reply.status, reply.result) == ("ok", {"one": 1, "two": 2})
    assert await probe.database.pool.fetchval("select count(*) from dead_letters where key = 'ddl'") == 0


@pytest.mark.parametrize("then", ["goes on", "asks again"])
async def test_a_connection_cut_within_a_handler_is_an_outage_and_no_bug(probe: Probe, then: str) -> None:
    name, tries = f"cut, then it {then}", Counter[str]()

    async def cut_once(cmd: Poke, conn: Connection, meta: Meta) -> Outcome:
        await note(cmd, conn, meta)
        tries["all"] += 1
        if tries["all"] == 1:
            pid = await conn.fetchval("select pg_backend_pid()")
            await probe.database.pool.execute("select pg_terminate_backend($1)", pid)
            await asyncio.sleep(0.1)
            if then == "asks again":
                await conn.fetchval("select 1")
        return Outcome()

    probe.acts[name] = cut_once
    with _nobody_blamed():
        (id,) = await probe.send(Poke(name=name, note="once"))
        assert (await probe.outcome(id))["status"] == "ok"
    await _once(probe, name, tries, 2)


async def test_a_frozen_transaction_gives_way_to_the_partitions_new_owner(own_probe: Probe) -> None:
    """A process that hangs in the middle of a batch keeps its claims until PostgreSQL ends its transaction."""
    envelope = envelope_of(Poke(name="frozen", note="once"))
    async with own_probe.owner() as hung, at_work(own_probe):
        await hung.execute("set idle_in_transaction_session_timeout = '1s'")
        await hung.execute("begin; set local search_path = probe")
        await hung.execute("insert into inbox (id, type) values ($1, 'x')", envelope.id)
        await own_probe.produce(record_of(envelope))
        assert (await own_probe.outcome(envelope.id, seconds=8))["status"] == "ok"
    assert await own_probe.effects("frozen") == ["once"]


async def test_a_process_frozen_between_parsing_and_execution_gives_way_too(own_probe: Probe) -> None:
    """asyncpg parses a statement without a `Sync`: until it goes on, the session is active, and idles in no sense."""
    settings = own_probe.settings.model_copy(update={"database_transaction_timeout_s": 1.0})
    database = await Database.of_service(settings, "probe")
    state = "select state from pg_stat_activity where pid = $1"

    async def freeze() -> None:
        async with database.transaction() as conn:
            pid = await conn.fetchval("select pg_backend_pid()")
            await conn.prepare("select 1")
            assert await own_probe.database.pool.fetchval(state, pid) == "active"
            async with asyncio.timeout(10):
                while await own_probe.database.pool.fetchval(state, pid):
                    await asyncio.sleep(0.1)

    with pytest.raises(DatabaseAway):  # as to whoever wakes
        await freeze()
    await database.close()
