"""Commands that are handled in sets, with an outcome for each."""

from __future__ import annotations

from typing import Any

from contracts.message import Command
from shared.db import Connection
from shared.dead_letters import BACK_OFF
from shared.ids import uuid7
from shared.outcome import Meta, Outcome, Refused
from tests.runtime.probe import COMMANDS, Poke, Probe, Tally, envelope_of, note, record_of


async def sent(probe: Probe, *commands: Command) -> list[Any]:
    """Send commands in one Kafka batch; gives their envelopes."""
    envelopes = [envelope_of(command) for command in commands]
    await probe.produce(*map(record_of, envelopes))
    return envelopes


async def test_each_command_of_a_set_gets_its_own_answer_and_a_refused_one_disturbs_none(probe: Probe) -> None:
    names = [f"tally-{uuid7()}" for _ in range(6)]

    async def refuse(*_: Any) -> Outcome:
        raise Refused("too_late", by="an hour")

    for name in names[1::2]:
        probe.acts[name] = refuse
    envelopes = await sent(probe, *(Tally(name=name, note=f"the note of {name}") for name in names))
    replies = [await probe.reply(envelope.id) for envelope in envelopes]
    assert [reply.status for reply in replies] == ["ok", "refused"] * 3
    for name, reply in zip(names, replies, strict=True):
        if reply.status == "ok":
            assert reply.result == {"note": f"the note of {name}"}
            assert await probe.effects(name) == [f"the note of {name}"]
        else:
            assert (reply.code, reply.detail) == ("too_late", {"by": "an hour"})
            assert await probe.effects(name) == []
    for envelope, reply in zip(envelopes, replies, strict=True):
        row = await probe.outcome(envelope.id)
        assert (row["status"], row["result"], row["code"]) == (reply.status, reply.result, reply.code)


async def test_a_bug_with_one_of_a_set_undoes_all_of_the_batch_and_fails_that_one_alone(probe: Probe) -> None:
    names = [f"tally-{uuid7()}" for _ in range(5)]
    before, after = Poke(name=f"poke-{uuid7()}", note="before"), Poke(name=f"poke-{uuid7()}", note="after")

    async def bug(message: Tally, conn: Connection, meta: Meta) -> Outcome:
        await note(message, conn, meta)
        raise ZeroDivisionError

    probe.acts[names[2]] = bug
    envelopes = await sent(probe, before, *(Tally(name=name, note="once") for name in names), after)
    replies = [await probe.reply(envelope.id) for envelope in envelopes]
    assert [reply.status for reply in replies] == ["ok", "ok", "ok", "failed", "ok", "ok", "ok"]
    assert [await probe.effects(name) for name in names] == [["once"], ["once"], [], ["once"], ["once"]]
    assert (await probe.effects(before.name), await probe.effects(after.name)) == (["before"], ["after"])
    dead = await probe.row("select attempts from dead_letters where key = $1", names[2])
    assert dead["attempts"] == len(BACK_OFF) + 1  # the message was at fault, not its batch


async def test_what_was_handled_is_committed_soon(probe: Probe) -> None:
    for envelope in await sent(probe, *(Tally(name=f"tally-{uuid7()}") for _ in range(3))):
        await probe.outcome(envelope.id)
    await probe.drained(COMMANDS)
