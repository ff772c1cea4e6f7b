"""Every command has one outcome and gets one answer, however often it comes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog

from contracts.message import Command
from contracts.runtime import GATEWAY_REPLIES
from shared import inbox
from shared.db import Connection
from shared.ids import derived_id, uuid7
from shared.outcome import Meta, Outcome, Refused
from tests.runtime.probe import Count, Errand, Orphan, Poke, Poked, Probe, at_work, envelope_of, note, record_of

KINDS: dict[str, type[Command]] = {"one by one": Poke, "in sets": Count, "as a job": Errand}


async def _refuse(message: Any, conn: Connection, meta: Meta) -> Outcome:
    await note(message, conn, meta)
    raise Refused("no_such_thing", thing=message.note, id=uuid7())


async def _refuse_job(errand: Errand, run: Any) -> Outcome:
    raise Refused("no_such_thing", thing=errand.note)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refusal_is_an_answer_changes_nothing_and_is_no_error(probe: Probe, kind: str) -> None:
    name = f"refused {kind}"
    probe.acts[name] = _refuse_job if kind == "as a job" else _refuse
    with structlog.testing.capture_logs() as lines:
        (id,) = await probe.send(KINDS[kind](name=name, note="it"), tenantid="a")
        reply = await probe.reply(id)
    assert (reply.status, reply.code, reply.result) == ("refused", "no_such_thing", None)
    assert reply.detail is not None
    assert reply.detail["thing"] == "it"
    outcome = await probe.outcome(id)
    assert (outcome["status"], outcome["code"], outcome["detail"]) == ("refused", "no_such_thing", reply.detail)
    assert await probe.effects(name) == []
    assert await probe.database.pool.fetchval("select count(*) from dead_letters where key = $1", name) == 0
    mine = [line for line in lines if line.get("id") == str(id)]
    assert mine
    assert {line["log_level"] for line in mine} == {"info"}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refused_message_in_a_set_is_alone_with_its_refusal(probe: Probe, kind: str) -> None:
    probe.acts[f"refuse me {kind}"] = _refuse_job if kind == "as a job" else _refuse
    names = [f"fine {kind} 1", f"refuse me {kind}", f"fine {kind} 2"]
    ids = await probe.send(*(KINDS[kind](name=name, note="x") for name in names))
    assert [(await probe.reply(id)).status for id in ids] == ["ok", "refused", "ok"]
    assert [await probe.effects(name) for name in names] == [["x"], [], ["x"]]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_command_delivered_again_takes_effect_once_and_gets_the_same_answer(probe: Probe, kind: str) -> None:
    name = f"again {kind}"
    envelope = envelope_of(KINDS[kind](name=name, note="once"), tenantid="a")
    await probe.produce(record_of(envelope), record_of(envelope))
    first = await probe.reply(envelope.id)
    await probe.produce(record_of(envelope))
    again = await probe.reply(envelope.id, count=2)
    assert again == first
    assert await probe.effects(name) == ["once"]


async def test_also_after_a_restart(own_probe: Probe) -> None:
    probe = own_probe
    envelope = envelope_of(Poke(name="restart", note="once"))
    async with at_work(probe):
        await probe.produce(record_of(envelope))
        first = await probe.reply(envelope.id)
    async with at_work(probe):
        await probe.produce(record_of(envelope))
        assert await probe.reply(envelope.id, count=2) == first
    assert await probe.effects("restart") == ["once"]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_expired_command_is_refused_and_its_neighbours_are_not(probe: Probe, kind: str) -> None:
    name, now = f"late {kind}", datetime.now(UTC)
    times = (now - timedelta(seconds=1), now + timedelta(hours=1), None)
    envelopes = [envelope_of(KINDS[kind](name=name, note=str(n)), expires=at) for n, at in enumerate(times)]
    await probe.produce(*map(record_of, envelopes))
    replies = [await probe.reply(envelope.id) for envelope in envelopes]
    assert [(reply.status, reply.code) for reply in replies] == [("refused", "expired"), ("ok", None), ("ok", None)]
    assert await probe.effects(name) == ["1", "2"]


async def test_a_command_nobody_handles_is_dead_and_its_caller_is_told(probe: Probe) -> None:
    (id,) = await probe.send(Orphan(name="nobody"))
    reply = await probe.reply(id)
    assert (reply.status, reply.code) == ("failed", "unhandled")
    assert (await probe.outcome(id))["status"] == "failed"
    dead = await probe.row("select * from dead_letters where message_id = $1", id)
    assert (dead["status"], dead["reason"]) == ("dead", "unhandled")


async def test_a_pending_answer_is_progress_and_no_outcome(probe: Probe) -> None:
    async def begin(*_: Any) -> Outcome:
        return Outcome(result={"step": 1}, pending=True)

    probe.acts["long"] = begin
    (id,) = await probe.send(Poke(name="long"))
    reply = await probe.reply(id)
    assert (reply.status, reply.result) == ("pending", {"step": 1})
    row = await probe.row("select status, decided_at from inbox where id = $1", id)
    assert (row["status"], row["decided_at"]) == ("pending", None)


async def test_an_answer_and_all_that_a_command_causes_carry_its_thread(probe: Probe) -> None:
    async def tell(cmd: Poke, conn: Connection, meta: Meta) -> Outcome:
        await note(cmd, conn, meta)
        return Outcome(events=[Poked(name=cmd.name, version=1)])

    probe.acts["thread"] = tell
    correlation = uuid7()
    (id,) = await probe.send(Poke(name="thread"), tenantid="a", actor="a@example.org", correlationid=correlation)
    reply = await probe.reply(id)
    assert (reply.command_id, reply.command_type, reply.correlation_id) == (id, Poke.TYPE, correlation)
    (event,) = await probe.envelopes(Poked.TOPIC, key="thread")
    assert (event.correlationid, event.causationid, event.actor) == (correlation, id, "a@example.org")
    assert (event.source, event.sequence, event.subject) == ("/arcadia/probe", 1, "thread")


async def test_only_the_answers_to_idempotency_keys_are_kept_for_good(own_probe: Probe) -> None:
    """All others are forgotten when nobody can ask for them any more."""
    commands = {
        "keyed": envelope_of(Poke(name="keyed"), id=derived_id("a tenant", "a key"), replyto=GATEWAY_REPLIES),
        "keyless": envelope_of(Poke(name="keyless"), replyto=GATEWAY_REPLIES),
        "internal": envelope_of(Poke(name="internal"), id=derived_id("a slot")),
    }
    async with at_work(own_probe):
        await own_probe.produce(*map(record_of, commands.values()))
        for envelope in commands.values():
            await own_probe.outcome(envelope.id)
    remaining = "select type, expires_at - received_at as kept from inbox"
    kept = {row["kept"] and row["kept"].days for row in await own_probe.database.pool.fetch(remaining)}
    assert kept == {None, inbox.KEPT.days}
    async with own_probe.database.connection() as conn:
        assert await inbox.delete_expired(conn) == 0
        await conn.execute("update inbox set expires_at = expires_at - $1::interval", inbox.KEPT)
        assert await inbox.delete_expired(conn) == 2
        assert await conn.fetchval("select id from inbox") == commands["keyed"].id
