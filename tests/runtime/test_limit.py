"""Past the limit the consumer stops, so that a bad deployment does not drain a topic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog

from shared import dead_letters
from shared.config import Settings
from shared.process import Process
from tests.runtime.probe import COMMANDS, Errand, Poke, Probe, at_work, envelope_of, probing, record_of, until

LIMIT = 5
COUNT = 60


@pytest.fixture
async def strict(settings: Settings) -> AsyncIterator[Probe]:
    """A probe that stops after a few dead letters."""
    async with probing(settings.model_copy(update={"dead_letter_limit": LIMIT})) as probe:
        yield probe


async def _bad_deploy(*_: Any) -> None:
    raise KeyError("this version knows nothing")


async def _stopped(process: Process) -> None:
    async def stopped() -> bool:
        return process.consumer.stopped

    await until(stopped, 15, "the consumer does not stop")


async def _decide(probe: Probe, decision: Any) -> int:
    """Let an operator decide everything that is dead. Gives how many there were."""
    async with probe.database.connection() as conn:
        ids = [row["id"] for row in await conn.fetch("select id from dead_letters where status = 'dead'")]
        return len(await decision(conn, ids, "op@example.org"))


async def _all_dead(probe: Probe) -> None:
    await probe.row("select 1 where not exists (select from dead_letters where status = 'held' and attempts > 0)")


async def test_a_bad_deployment_stops_at_the_limit_and_loses_nothing(strict: Probe) -> None:
    """It stops, says so, keeps the topic; with the code mended, and the dead replayed, everything is handled once."""
    names = [f"order {n}" for n in range(COUNT)]
    strict.acts |= dict.fromkeys(names, _bad_deploy)
    ids = await strict.send(*(Poke(name=name, note="x") for name in names))
    with structlog.testing.capture_logs() as lines:
        async with at_work(strict) as process:
            await _stopped(process)
            await _all_dead(strict)
            count = "select count(*) from dead_letters"
            assert await strict.database.pool.fetchval(count) == LIMIT
            assert "stopped" in str((await process.ready())["consumer"])
            assert (await process.alive())["consumer"] is None
            assert await strict.committed(COMMANDS) == 0, "the topic must not be drained"
    (said,) = [line for line in lines if line["event"].startswith("consumer stopped")]
    assert "arcadia dead-letters list --service probe" in said["remedy"]
    strict.acts.clear()
    async with at_work(strict) as process:
        await _stopped(process)
        assert await _decide(strict, dead_letters.replay) == LIMIT
        for id in ids:
            assert (await strict.outcome(id, status="ok"))["status"] == "ok"
        assert (await process.ready())["consumer"] is None
        await strict.drained(COMMANDS)
    assert [await strict.effects(name) for name in names] == [["x"]] * COUNT


async def test_a_flood_of_garbage_stops_too_and_goes_on_as_it_is_discarded(strict: Probe) -> None:
    """Nothing in our code can mend it: each decision must make room for the next few."""
    good = envelope_of(Poke(name="after the flood"))
    await strict.produce(*((b"garbage", b"garbage %d" % n) for n in range(LIMIT * 2 + 1)), record_of(good))
    async with at_work(strict) as process:
        for expected in (LIMIT, LIMIT, 1):
            await strict.row("select 1 from dead_letters where status = 'dead' having count(*) = $1", expected)
            if expected == LIMIT:
                await _stopped(process)
            await _decide(strict, dead_letters.discard)
        assert (await strict.outcome(good.id))["status"] == "ok"
    assert await strict.database.pool.fetchval("select count(*) from dead_letters") == LIMIT * 2 + 1


async def _let_an_hour_pass(probe: Probe) -> None:
    await probe.database.pool.execute("update dead_letters set given_up_at = given_up_at - interval '1 hour'")
    await probe.database.pool.execute("update consumer_stop set counted_from = counted_from - interval '1 hour'")


async def test_it_stays_stopped_until_somebody_decides(strict: Probe) -> None:
    """In every process, over a restart, and however old the dead letters become."""
    await strict.produce(*((b"garbage", b"garbage %d" % n) for n in range(LIMIT)))
    waiting = [envelope_of(Poke(name=f"waiting {n}")) for n in range(strict.settings.kafka_partitions)]
    async with at_work(strict) as first:
        await strict.row("select 1 from dead_letters where status = 'dead' having count(*) = $1", LIMIT)
        await strict.produce(record_of(waiting[0]))
        await _stopped(first)
    await _let_an_hour_pass(strict)
    async with at_work(strict) as first, at_work(strict) as second:
        for partition, envelope in enumerate(waiting[1:], 1):
            await strict.produce(record_of(envelope), partition=partition)
        await _stopped(first)
        await _stopped(second)
        await asyncio.sleep(2)
        assert await strict.database.pool.fetchval("select count(*) from effects") == 0
        assert await _decide(strict, dead_letters.discard) == LIMIT
        for envelope in waiting:
            assert (await strict.outcome(envelope.id))["status"] == "ok"
    assert await strict.database.pool.fetchval("select count(*) from consumer_stop") == 0


async def test_what_fails_a_batch_outside_any_handler_is_found_and_given_up(own_probe: Probe) -> None:
    """The last resort: whatever it is, it must not hold its neighbours for ever."""
    names = ["before", "no text", "after"]
    own_probe.keys["no text"] = 7  # a job's key that the statement for the whole batch will not take
    ids = await own_probe.send(*(Errand(name=name) for name in names))
    async with at_work(own_probe):
        assert [(await own_probe.outcome(id, seconds=30))["status"] for id in ids] == ["ok", "failed", "ok"]
        dead = await own_probe.row("select * from dead_letters where key = 'no text'")
        assert (dead["status"], dead["reason"]) == ("dead", "bug")
        assert (await own_probe.reply(ids[1])).status == "failed"
