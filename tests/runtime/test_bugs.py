"""A bug holds back its key alone, for some attempts; then the message is dead, and an operator decides."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import structlog

from contracts.message import Command
from shared import dead_letters
from shared.db import Connection
from shared.outcome import Meta, Outcome, Tombstone
from shared.service import Work
from tests.runtime.probe import POKES, Count, Errand, Poke, Poked, Probe, envelope_of, note, record_of


@dataclass(frozen=True)
class Dead:
    """What has died under one name: the first message of its key, with two behind it."""

    id: UUID
    offset: int
    followers: tuple[UUID, ...]


async def _bug(message: Any, *_: Any) -> Outcome:
    """A bug until somebody mends it. The text is what no column takes as it is."""
    if message.note == "bug":
        raise ZeroDivisionError("by \0 zero \ud800")
    return Outcome()


async def _unsayable_result(*_: Any) -> Outcome:
    return Outcome(result={"price": Decimal("1.5")})


async def _nul_result(*_: Any) -> Outcome:
    return Outcome(result={"text": "a\0b"})


async def _too_large(message: Any, conn: Connection, meta: Meta) -> Outcome:
    await note(message, conn, meta)
    return Outcome(result={"text": "x" * 5_000_000})


async def _missing_file(*_: Any) -> None:
    open("/no/such/file")  # noqa: ASYNC230, SIM115 - it is not there


KINDS: dict[str, type[Command]] = {"one by one": Poke, "in sets": Count, "as a job": Errand}


@pytest.fixture(scope="module")
async def dead(probe: Probe) -> dict[str, Dead]:
    """One bug of each kind, all at once: the attempts take their seconds."""
    deaths = {}
    for kind, cls in KINDS.items():
        probe.acts[kind] = _bug_or_note if cls is not Errand else _job_bug
        first, *others = (envelope_of(cls(name=kind, note=text), tenantid="a") for text in ("bug", "second", "third"))
        offset, *_ = await probe.produce(*map(record_of, (first, *others)))
        deaths[kind] = Dead(first.id, offset, tuple(other.id for other in others))
    return deaths


async def _bug_or_note(message: Any, conn: Connection, meta: Meta) -> Outcome:
    await _bug(message)
    return await note(message, conn, meta)


async def _job_bug(errand: Errand, run: Any) -> Work:
    await _bug(errand)

    async def work(conn: Connection, meta: Meta) -> Outcome:
        return await note(errand, conn, meta)

    return work


@pytest.mark.usefixtures("dead")
async def test_while_a_bug_is_tried_again_its_key_waits_and_others_go_on(probe: Probe, dead: dict[str, Dead]) -> None:
    (id,) = await probe.send(Poke(name="another key"))
    assert (await probe.outcome(id, seconds=3))["status"] == "ok"
    for kind in ("one by one", "in sets"):
        held = await probe.dead_letter(dead[kind].offset, status="held")
        assert held["attempts"] >= 1
        assert await probe.effects(kind) == []
        waiting = await probe.dead_letter(dead[kind].offset + 1, status="held")
        assert (waiting["attempts"], waiting["reason"]) == (0, None)


@pytest.mark.parametrize("kind", KINDS)
async def test_after_its_attempts_it_is_dead_announced_and_answered(
    probe: Probe, dead: dict[str, Dead], kind: str
) -> None:
    row = await probe.dead_letter(dead[kind].offset)
    assert (row["reason"], row["attempts"]) == ("bug", len(dead_letters.BACK_OFF) + 1)
    assert row["detail"].startswith("ZeroDivisionError: by ")
    announced = await probe.announcement(row["id"])
    assert (announced.message_id, announced.message_type) == (dead[kind].id, KINDS[kind].TYPE)
    assert (announced.offset, announced.attempts, announced.tenant_id) == (dead[kind].offset, row["attempts"], "a")
    reply = await probe.reply(dead[kind].id)
    assert (reply.status, reply.code) == ("failed", "bug")
    assert reply.detail == {"dead_letter_id": str(row["id"]), "reason": row["detail"]}
    assert (await probe.outcome(dead[kind].id))["status"] == "failed"


@pytest.mark.parametrize("kind", KINDS)
async def test_then_its_followers_are_handled_in_order(probe: Probe, dead: dict[str, Dead], kind: str) -> None:
    for id in dead[kind].followers:
        assert (await probe.reply(id)).status == "ok"
    assert await probe.effects(kind) == ["second", "third"]


@pytest.mark.parametrize("kind", KINDS)
async def test_after_a_fix_a_replay_brings_it_back_once(probe: Probe, dead: dict[str, Dead], kind: str) -> None:
    row = await probe.dead_letter(dead[kind].offset)
    probe.acts.pop(kind)
    pool = probe.database.pool
    async with probe.database.connection() as conn:
        assert await dead_letters.replay(conn, [row["id"]], "op@example.org") == [row["id"]]
        assert await dead_letters.replay(conn, [row["id"]], "op@example.org") == []
    assert (await probe.outcome(dead[kind].id, status="ok"))["code"] is None
    assert (await probe.reply(dead[kind].id, count=2)).status == "ok"
    assert await probe.effects(kind) == ["second", "third", "bug"]
    assert await pool.fetchval("select count(*) from dead_letters where id = $1", row["id"]) == 0


UNSAYABLE = {
    "JSON does not know": _unsayable_result,
    "PostgreSQL cannot keep": _nul_result,
    "Kafka does not take": _too_large,
}


async def test_what_a_handler_says_that_cannot_be_said_is_its_own_bug(probe: Probe) -> None:
    """Neighbours in the same batch are handled, and nothing of the handler's own effects stays."""
    probe.acts |= UNSAYABLE | {"a file that is missing": _missing_file}
    names = [*UNSAYABLE, "a file that is missing"]
    envelopes = [envelope_of(Poke(name=name)) for name in (*names, "sayable")]
    offsets = await probe.produce(*map(record_of, envelopes))
    assert (await probe.outcome(envelopes[-1].id, seconds=3))["status"] == "ok"
    for name, offset in zip(names, offsets, strict=False):
        row = await probe.dead_letter(offset, status="held")
        assert (row["reason"], row["key"]) == ("bug", name)
        assert await probe.effects(name) == []


async def test_a_call_that_fails_in_ones_own_code_is_a_bug_and_no_outage(probe: Probe) -> None:
    """It says the same as a database that is away; but the database is there, so it is not tried for ever."""
    offsets = {}
    for error in (ConnectionResetError, TimeoutError, OSError):
        for kind, cls in KINDS.items():
            name = f"{error.__name__} {kind}"
            probe.acts[name] = _raising(error)
            (offsets[name],) = await probe.produce(record_of(envelope_of(cls(name=name))))
    for name, offset in offsets.items():
        row = await probe.dead_letter(offset)
        assert (row["reason"], row["attempts"]) == ("bug", len(dead_letters.BACK_OFF) + 1)
        assert row["detail"] == f"{name.split()[0]}: the provider does not answer"


def _raising(error: type[Exception]) -> Any:
    async def act(*_: Any) -> None:
        raise error("the provider does not answer")

    return act


async def test_a_bug_in_a_batch_handler_is_found_and_its_neighbours_are_projected(probe: Probe) -> None:
    async def unlucky(event: Poked, *_: Any) -> None:
        if event.version == 2:
            raise ValueError("unlucky")

    probe.acts["culprit"] = unlucky
    names = [f"bystander {n}" for n in range(40)]
    events = [Poked(name=name, version=1) for name in names]
    culprit = [Poked(name="culprit", version=version) for version in (1, 2, 3)]
    with structlog.testing.capture_logs() as lines:
        await probe.send(*events[:20], *culprit, *events[20:])
        for name in names:
            await probe.row("select 1 from seen where name = $1 and version = 1", name, seconds=3)
        held = await probe.row("select * from dead_letters where key = 'culprit' and attempts > 0")
    assert {line["key"] for line in lines if line.get("outcome") == "held"} == {"culprit"}
    assert (held["status"], held["reason"]) == ("held", "bug")
    assert await probe.database.pool.fetchval("select version from seen where name = 'culprit'") == 1
    del probe.acts["culprit"]
    await probe.row("select 1 from seen where name = 'culprit' and version = 3")


async def test_a_discarded_letter_stays_discarded_when_its_record_comes_again(probe: Probe) -> None:
    (offset,) = await probe.produce((b"broken", b"{"), topic=POKES)
    row = await probe.dead_letter(offset, topic=POKES)
    async with probe.database.connection() as conn:
        assert await dead_letters.discard(conn, [row["id"]], "op@example.org") == [row["id"]]
        assert await dead_letters.find_known(conn, [row["id"]]) == {row["id"]}
    decided = await probe.dead_letter(offset, topic=POKES, status="discarded")
    assert decided["decided_by"] == "op@example.org"


async def test_a_tombstone_is_published_as_one(probe: Probe) -> None:
    async def forget(*_: Any) -> Outcome:
        return Outcome(events=[Tombstone(POKES, "forgotten")])

    probe.acts["forget"] = forget
    (id,) = await probe.send(Poke(name="forget"))
    await probe.reply(id)
    assert await probe.read(POKES, key="forgotten") == [None]
