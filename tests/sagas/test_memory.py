"""What is remembered of runs saves reading them, and decides nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from contracts.message import Message, Reply
from contracts.sagas import SagaStatus, StartSaga
from services.sagas import handlers, store
from services.sagas.domain import Run
from services.sagas.flows import FLOWS
from services.sagas.memory import Memory
from services.sagas.store import Stored
from shared.config import Settings
from shared.ids import uuid7
from shared.outbox import insert_with_claims
from shared.outcome import Meta, Outcome, Received
from tests.sagas.world import Sagas, world


def stored(status: SagaStatus = SagaStatus.RUNNING) -> Stored:
    now = datetime.now(UTC)
    run = Run(uuid7(), status, {}, {}, [None])
    return Stored(run, "exercise", 1, ["echo"], None, None, None, now, None, 1)


def test_all_that_is_asked_for_is_recalled_or_nothing() -> None:
    memory, one, other = Memory(), stored(), stored()
    memory.keep([one])
    assert memory.recall([one.run.id]) == {one.run.id: one}
    assert memory.recall([one.run.id, other.run.id]) is None
    memory.forget([one.run.id])
    assert memory.recall([one.run.id]) is None


def test_what_has_ended_is_forgotten() -> None:
    memory, one = Memory(), stored()
    memory.keep([one])
    memory.keep([replace(one, finished_at=datetime.now(UTC))])
    assert memory.recall([one.run.id]) is None


async def test_what_is_told_again_is_not_told_after_what_came_of_an_answer_meanwhile(settings: Settings) -> None:
    """The answer's message has its place in the outbox before its run waits for whoever tells the runs again."""
    async with world(settings) as there:
        replica, id = Replica(there), uuid7()
        asked = await replica.handle(StartSaga(saga_id=id, kind="exercise", inputs={"steps": ["echo"] * 4}))
        async with there.db.transaction() as conn:
            (told,) = await store.take_page(conn, UUID(int=0), 10)
        with pytest.raises(NotWritten):
            await replica.handle(answer(id, asked))
        (run,) = await there.fetch("select current_step, version from saga_runs")
    assert (run["current_step"], run["version"]) == (0, told.version)


async def test_a_run_that_somebody_else_has_written_meanwhile_is_read(sagas: Sagas) -> None:
    """Another replica, an operator: what they wrote counts, and not what is remembered."""
    id = await sagas.exercise(*["echo"] * 50)
    async with sagas.db.transaction() as conn:
        while not await conn.fetchval("select true from saga_runs where id = $1 for update", id):
            pass
        await conn.execute("update saga_runs set cancel_requested = true, version = version + 1 where id = $1", id)
    run = await sagas.ended(id)
    assert (run["status"], run["error"]["reason"]) == ("rolled_back", "cancelled")
    assert set(await sagas.statuses(id)) == {"compensated"}


class NotWritten(Exception):
    """Something was not as it was remembered: it is to be handled with care."""


class Replica:
    """A replica of the service, with a memory of its own, that is given one message at a time."""

    def __init__(self, sagas: Sagas) -> None:
        self._sagas = sagas
        self._memory = Memory()

    async def handle(self, message: Message) -> UUID:
        """Gives the id of the command that goes out for it."""
        now = datetime.now(UTC)
        handle = handlers.start_sagas if isinstance(message, StartSaga) else handlers.go_on
        async with self._sagas.db.unbegun() as conn:
            (said,) = await handle(FLOWS, self._memory, [Received(message, Meta(uuid7(), now))], conn)  # type: ignore[arg-type]
            if await insert_with_claims(conn, [], [], now) is None:
                raise NotWritten
        assert isinstance(said, Outcome)
        (send,) = said.commands
        assert send.id
        return send.id


def answer(saga_id: UUID, command_id: UUID) -> Reply:
    return Reply(command_id=command_id, command_type="echo", correlation_id=saga_id, status="ok", result={"said": ""})


async def test_an_answer_to_what_another_replica_has_asked_is_heard(settings: Settings) -> None:
    """Its partition was elsewhere for a while: the step that waits is not the one that is remembered."""
    async with world(settings) as there:
        one, other, id = Replica(there), Replica(there), uuid7()
        first = await one.handle(StartSaga(saga_id=id, kind="exercise", inputs={"steps": ["echo"] * 4}))
        second = await other.handle(answer(id, first))
        third = await one.handle(answer(id, second))
    assert len({first, second, third}) == 3
