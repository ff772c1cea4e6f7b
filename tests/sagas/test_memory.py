"""What is remembered of runs saves reading them, and decides nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from contracts.sagas import SagaStatus
from services.sagas.domain import Run
from services.sagas.memory import Memory
from services.sagas.store import Stored
from shared.ids import uuid7
from tests.sagas.world import Sagas


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
