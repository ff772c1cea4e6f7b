"""A batch hopes to need no care: that its commands come for the first time, and that nothing is held back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from contracts.message import Command
from shared.db import Connection, Unbegun, Writing, afterwards, write
from shared.outcome import Meta, Outcome
from tests.runtime.probe import Poke, Poked, Probe, Tally, at_work, envelope_of, note, record_of, until

KINDS: dict[str, type[Command]] = {"one by one": Poke, "in sets": Tally}


def _counted(calls: Counter[str]) -> Callable[..., Any]:
    async def act(message: Any, conn: Connection, meta: Meta) -> Outcome:
        calls[message.name] += 1
        return await note(message, conn, meta)

    return act


@pytest.mark.parametrize("kind", KINDS)
async def test_what_comes_again_is_begun_once_more_at_most_and_then_known_first(own_probe: Probe, kind: str) -> None:
    calls: Counter[str] = Counter()
    own_probe.acts["again"] = _counted(calls)
    envelope = envelope_of(KINDS[kind](name="again", note="once"))
    async with at_work(own_probe):
        for count in range(1, 6):
            await own_probe.produce(record_of(envelope))
            await own_probe.reply(envelope.id, count=count)
    assert await own_probe.effects("again") == ["once"]
    assert calls["again"] == 2


async def test_after_care_was_needed_there_is_hope_again(own_probe: Probe) -> None:
    """As claims at the end are told from those at the beginning: by what a handler sees of its own."""
    seen: dict[str, int] = {}

    async def look(message: Any, conn: Connection, meta: Meta) -> Outcome:
        seen[message.name] = await conn.fetchval("select count(*) from inbox where id = $1", meta.message_id)
        return Outcome()

    first = envelope_of(Poke(name="first"))
    async with at_work(own_probe):
        await own_probe.produce(record_of(first))
        await own_probe.reply(first.id)
        await own_probe.produce(record_of(first))
        await own_probe.reply(first.id, count=2)
        for name in ("second", "third", "fourth"):
            own_probe.acts[name] = look
            (id,) = await own_probe.send(Poke(name=name))
            await own_probe.reply(id)
    assert seen == {"second": 1, "third": 0, "fourth": 0}


@pytest.mark.parametrize("kind", KINDS)
async def test_behind_what_was_held_back_before_a_restart_its_key_waits(own_probe: Probe, kind: str) -> None:
    calls: Counter[str] = Counter()

    async def bug(*_: Any) -> Outcome:
        raise ZeroDivisionError

    own_probe.acts["held"] = bug
    async with at_work(own_probe):
        await own_probe.send(KINDS[kind](name="held", note="1"))
        await own_probe.row("select 1 from dead_letters where status = 'held'")
    own_probe.acts["held"] = _counted(calls)
    # Not to be tried before the follower has come:
    await own_probe.database.pool.execute("update dead_letters set next_attempt_at = now() + interval '1 minute'")
    async with at_work(own_probe):
        (follower,) = await own_probe.send(KINDS[kind](name="held", note="2"))
        await own_probe.row("select 1 from dead_letters where status = 'held' and message_id = $1", follower)
        await own_probe.database.pool.execute("update dead_letters set next_attempt_at = now()")
        await own_probe.reply(follower)
    assert await own_probe.effects("held") == ["1", "2"]


async def test_so_does_an_event(own_probe: Probe) -> None:
    async def bug(*_: Any) -> None:
        raise ZeroDivisionError

    own_probe.acts["held"] = bug
    async with at_work(own_probe):
        await own_probe.send(Poked(name="held", version=1))
        await own_probe.row("select 1 from dead_letters where status = 'held'")
    del own_probe.acts["held"]
    await own_probe.database.pool.execute("update dead_letters set next_attempt_at = now() + interval '1 minute'")
    async with at_work(own_probe):
        (follower,) = await own_probe.send(Poked(name="held", version=2))
        await own_probe.row("select 1 from dead_letters where status = 'held' and message_id = $1", follower)
        assert await own_probe.database.pool.fetchval("select count(*) from seen") == 0


async def test_what_another_consumer_commits_meanwhile_is_what_counts(own_probe: Probe) -> None:
    calls: Counter[str] = Counter()
    own_probe.acts["raced"] = _counted(calls)
    envelope = envelope_of(Poke(name="raced", note="ours"))

    async def begun() -> bool:
        return calls["raced"] > 0

    async with own_probe.owner() as other, at_work(own_probe):
        async with other.transaction():
            await other.execute("set local search_path = probe")
            await other.execute(
                "insert into inbox (id, type, status, result) values ($1, 'x', 'ok', $2)",
                envelope.id,
                '{"note": "theirs"}',
            )
            await own_probe.produce(record_of(envelope))
            await until(begun, 10, "it was not begun")
            await asyncio.sleep(0.3)
            assert not own_probe.replies[envelope.id]
        assert (await own_probe.reply(envelope.id)).result == {"note": "theirs"}
    assert await own_probe.effects("raced") == []


async def test_what_is_claimed_at_the_end_and_pending_is_not_decided(own_probe: Probe) -> None:
    async def begin(*_: Any) -> Outcome:
        return Outcome(pending=True)

    own_probe.acts["long"] = begin
    async with at_work(own_probe):
        (id,) = await own_probe.send(Poke(name="long"))
        assert (await own_probe.reply(id)).status == "pending"
    row = await own_probe.row("select status, decided_at, type from inbox where id = $1", id)
    assert tuple(row) == ("pending", None, Poke.TYPE)


async def answer(message: Any, conn: Connection, meta: Meta) -> Outcome:
    """Ask the database nothing."""
    return Outcome(result={"note": message.note})


async def test_a_command_that_is_only_answered_is_one_statement(own_probe: Probe) -> None:
    """Which must be all or nothing by itself: the answer, its claim, and whether it was claimed before."""
    own_probe.acts["only"] = answer
    first, again = (envelope_of(Tally(name="only", note=note)) for note in ("1", "2"))
    async with at_work(own_probe):
        await own_probe.produce(record_of(first))
        await own_probe.reply(first.id)
        await own_probe.produce(record_of(first), record_of(again))  # one was claimed, one was not
        assert [(await own_probe.reply(first.id, count=2)).result, (await own_probe.reply(again.id)).result] == [
            {"note": "1"},
            {"note": "2"},
        ]
    rows = await own_probe.database.pool.fetch("select status, received_at = decided_at as at_once from inbox")
    assert [tuple(row) for row in rows] == [("ok", True), ("ok", False)]
    assert len(own_probe.replies[again.id]) == 1


async def test_it_waits_behind_what_is_held_back_and_says_nothing_before(own_probe: Probe) -> None:
    async def bug(*_: Any) -> Outcome:
        raise ZeroDivisionError

    own_probe.acts["held"] = bug
    async with at_work(own_probe):
        await own_probe.send(Tally(name="held", note="1"))
        await own_probe.row("select 1 from dead_letters where status = 'held'")
    own_probe.acts["held"] = answer
    await own_probe.database.pool.execute("update dead_letters set next_attempt_at = now() + interval '1 minute'")
    async with at_work(own_probe):
        (follower,) = await own_probe.send(Tally(name="held", note="2"))
        await own_probe.row("select 1 from dead_letters where status = 'held' and message_id = $1", follower)
        assert not own_probe.replies[follower]
        await own_probe.database.pool.execute("update dead_letters set next_attempt_at = now()")
        assert (await own_probe.reply(follower)).result == {"note": "2"}
    assert len(own_probe.replies[follower]) == 1


def _noting(message: Any, meta: Meta, *, wanted: int = 1) -> Writing:
    """An effect that holds where `wanted` rows are written: one is."""
    return Writing(
        "noted as (insert into effects (message_id, name, note) values ($1::uuid, $2::text, $3::text) returning 1)",
        "(select count(*) from noted) = $4::int",
        (meta.message_id, message.name, message.note, wanted),
    )


async def test_what_is_written_with_the_last_statement_is_there_with_the_answer(own_probe: Probe) -> None:
    done: list[str] = []
    tries: Counter[str] = Counter()

    async def act(message: Any, conn: Connection, meta: Meta) -> Outcome:
        tries[message.note] += 1
        await write(conn, _noting(message, meta))
        afterwards(conn, lambda: done.append(message.note))
        return Outcome(result={"note": message.note})

    own_probe.acts["with"] = act
    async with at_work(own_probe):
        ids = await own_probe.send(*(Tally(name="with", note=str(n)) for n in range(5)))
        for id in ids:
            assert (await own_probe.reply(id)).status == "ok"
    assert await own_probe.effects("with") == done == ["0", "1", "2", "3", "4"]
    assert set(tries.values()) == {1}


async def test_where_it_does_not_hold_nothing_is_written_and_the_batch_is_handled_with_care(own_probe: Probe) -> None:
    done: list[str] = []
    tries: Counter[str] = Counter()

    async def act(message: Any, conn: Connection, meta: Meta) -> Outcome:
        tries[message.note] += 1
        hopeful = isinstance(conn, Unbegun)
        await write(conn, _noting(message, meta, wanted=2 if hopeful else 1))
        afterwards(conn, lambda: done.append(message.note))
        return Outcome(result={"note": message.note})

    own_probe.acts["not"] = act
    async with at_work(own_probe):
        (id,) = await own_probe.send(Tally(name="not", note="x"))
        assert (await own_probe.reply(id)).result == {"note": "x"}
    assert await own_probe.effects("not") == ["x"]
    assert (tries["x"], done, len(own_probe.replies[id])) == (2, [], 1)
