"""The engine at work on real servers: one run at a time, cancelled, retried, after downtime, over a changed flow."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from contracts.deployments import COMMANDS as DEPLOYMENTS
from contracts.deployments import ReleaseDeployment
from contracts.message import Envelope
from contracts.sagas import RUNS, CancelSaga, RetrySaga, SagaRepublished, SagaWrittenOff, StartSaga, WriteOffSaga
from services.sagas import store
from services.sagas.app import service, service_of
from services.sagas.flows import Flows
from shared.bus import tail
from shared.config import Settings
from shared.ids import uuid7
from shared.process import running
from shared.republish import republish
from tests.ledger.world import Replica
from tests.sagas.told import NEW, OLD, Neighbour, neighbourhood
from tests.sagas.world import Row, Sagas, world


@pytest.fixture
async def idle(settings: Settings) -> AsyncIterator[Sagas]:
    """The service's schema, and nobody at work on it."""
    async with world(settings) as there:
        yield there


@pytest.fixture
async def neighbour(settings: Settings) -> AsyncIterator[Neighbour]:
    """A service that answers what it is told, once it is at work."""
    async with neighbourhood(settings) as there:
        yield there


@asynccontextmanager
async def with_flows(there: Sagas, flows: Flows = OLD) -> AsyncIterator[Sagas]:
    """The service at work with these flows."""
    async with running(service_of(flows), there.settings):
        yield there


def told(*steps: str, **inputs: float) -> dict[str, object]:
    """The inputs of a run that asks the neighbour alone."""
    return {"steps": list(steps), **inputs}


async def until(there: Sagas | Neighbour, query: str, *arguments: object) -> None:
    """Wait until a query says that something is so."""
    async with asyncio.timeout(30):
        while not await there.db.pool.fetchval(query, *arguments):
            await asyncio.sleep(0.02)


async def until_asked(there: Sagas, id: UUID, step: int) -> None:
    """Wait until a run's command is on the bus."""
    asked = "select exists (select from saga_runs where id = $1 and status = 'running' and current_step = $2)"
    await until(there, asked, id, step)
    await until(there, "select not exists (select from outbox)")


async def test_of_twenty_runs_for_a_deployment_at_once_one_begins(idle: Sagas, neighbour: Neighbour) -> None:
    deployment, inputs = uuid7(), told("a")
    starts = [StartSaga(saga_id=uuid7(), kind="told", inputs=inputs, deployment_id=deployment) for _ in range(20)]
    async with with_flows(idle) as there:
        sent = [id for ids in await asyncio.gather(*(there.send(start) for start in starts)) for id in ids]
        outcomes = [await there.outcome(id) for id in sent]
        assert Counter(outcome.code for outcome in outcomes) == {None: 1, "deployment_busy": 19}
        (run,) = await there.fetch("select id from saga_runs")
        assert {(each.detail or {})["saga_id"] for each in outcomes if each.status == "refused"} == {str(run["id"])}
        async with neighbour.at_work():
            await there.ended(run["id"])
        (late,) = await there.send(StartSaga(saga_id=uuid7(), kind="told", inputs=inputs, deployment_id=deployment))
        assert (await there.outcome(late)).status == "ok", "the first has ended"


async def test_a_run_that_is_asked_for_twice_begins_once(idle: Sagas, neighbour: Neighbour) -> None:
    start = StartSaga(saga_id=uuid7(), kind="told", inputs=told("a", "b"))
    async with with_flows(idle) as there, neighbour.at_work():
        together = await there.send(start, start)
        await there.ended(start.saga_id)
        (later,) = await there.send(start)
        outcomes = [await there.outcome(id) for id in (*together, later)]
        assert [outcome.code for outcome in outcomes] == [None, "saga_exists", "saga_exists"]
        assert await neighbour.done(start.saga_id) == ["do a", "do b"]


async def test_a_cancellation_between_two_steps_undoes_the_first_ones(idle: Sagas, neighbour: Neighbour) -> None:
    async with with_flows(idle) as there:
        id = await there.begin("told", told("a", "b", "c"))
        await until_asked(there, id, 0)
        assert (await there.answer(CancelSaga(saga_id=id)))["saga"]["status"] == "running", "a step is under way"
        async with neighbour.at_work():
            run = await there.ended(id)
        assert (run["status"], run["error"]) == ("rolled_back", {"compensate_from_idx": 0, "reason": "cancelled"})
        assert await neighbour.done(id) == ["do a", "undo a"]
        assert await there.statuses(id) == ["compensated"]
        (again,) = await there.send(CancelSaga(saga_id=id))
        assert (await there.outcome(again)).code == "not_cancellable"


async def test_a_compensation_that_fails_is_recorded_and_the_others_run_and_a_retry_finishes_it(
    idle: Sagas, neighbour: Neighbour
) -> None:
    async with with_flows(idle) as there, neighbour.at_work():
        neighbour.refuses |= {"do d", "undo b"}
        id = await there.begin("told", told("a", "b", "c", "d"))
        run = await there.ended(id)
        assert (run["status"], run["error"]) == ("failed", {"compensate_from_idx": 2, "reason": "step_failed:d"})
        assert await there.statuses(id) == ["compensated", "compensation_failed", "compensated", "failed"]
        neighbour.refuses.clear()
        now = (await there.answer(RetrySaga(saga_id=id)))["saga"]
        assert (now["status"], now["steps"][1]["attempts"]) == ("compensating", 1)
        assert (await there.ended(id))["status"] == "rolled_back"
        assert await there.statuses(id) == ["compensated", "compensated", "compensated", "failed"]
        assert await neighbour.done(id) == ["do a", "do b", "do c", "undo c", "undo a", "undo b"]
        (again,) = await there.send(RetrySaga(saga_id=id))
        assert (await there.outcome(again)).code == "not_retryable"


async def test_a_failed_run_that_is_written_off_lets_its_deployment_go_and_never_goes_on(
    idle: Sagas, neighbour: Neighbour
) -> None:
    deployment = uuid7()
    async with with_flows(idle) as there, neighbour.at_work():
        well = await there.begin("told", told("a"), deployment_id=deployment)
        await there.ended(well)
        (refused,) = await there.send(WriteOffSaga(saga_id=well, reason="why not"))
        assert (await there.outcome(refused)).code == "not_failed"
        neighbour.refuses |= {"do b", "undo a"}
        id = await there.begin("told", told("a", "b"), deployment_id=deployment)
        await there.ended(id)
        shown = (await there.answer(WriteOffSaga(saga_id=id, reason="seen to")))["saga"]
        assert shown["status"] == "failed"
        written_off = shown["error"]["written_off"]
        assert (written_off["reason"], written_off["by"]) == ("seen to", there.CALLER)
        for command in (WriteOffSaga(saga_id=id, reason="again"), RetrySaga(saga_id=id)):
            (again,) = await there.send(command)
            assert (await there.outcome(again)).status == "refused"
    (event,) = await _on_topic(there.settings, RUNS, SagaWrittenOff.TYPE)
    assert event.data["run"]["error"]["written_off"] == written_off
    (release,) = await _on_topic(there.settings, DEPLOYMENTS, ReleaseDeployment.TYPE)
    assert (release.data["deployment_id"], release.data["saga_id"]) == (str(deployment), str(id))


async def test_an_answer_that_came_before_the_time_was_up_counts_though_nobody_was_there(
    idle: Sagas, neighbour: Neighbour
) -> None:
    async with with_flows(idle) as there:
        id = await there.begin("told", told("a", timeout_s=2))
        await until_asked(there, id, 0)
    async with neighbour.at_work():
        await until(neighbour, "select exists (select from done where saga_id = $1)", id)
        await until(neighbour, "select not exists (select from outbox)")
        await until(idle, "select due_at < now() from saga_runs where id = $1", id)
        async with with_flows(idle) as there:
            assert (await there.ended(id))["status"] == "completed"
            assert await neighbour.done(id) == ["do a"]


async def test_time_that_is_up_during_downtime_is_up_at_the_start(idle: Sagas, neighbour: Neighbour) -> None:
    async with with_flows(idle) as there:
        id = await there.begin("told", told("a", "b", timeout_s=2))
        await until_asked(there, id, 0)
    await until(idle, "select due_at < now() from saga_runs where id = $1", id)
    async with with_flows(idle) as there:
        await until(there, "select status = 'compensating' from saga_runs where id = $1", id)
        async with neighbour.at_work():
            assert (await there.ended(id))["error"] == {"compensate_from_idx": 0, "reason": "step_unknown:a"}
        assert "undo a" in await neighbour.done(id)


async def test_a_timer_whose_word_is_lost_rings_again(idle: Sagas) -> None:
    async with with_flows(idle) as there:
        id = await there.begin("told", told("a", timeout_s=2))
        await until_asked(there, id, 0)
    now, again = datetime.now(UTC) + timedelta(seconds=5), timedelta(seconds=10)
    async with idle.db.transaction() as conn:
        rung = [await store.take_due(conn, now + timedelta(seconds=s), again, 100) for s in (0, 9, 11)]
    assert rung == [[(id, 1)], [], [(id, 1)]]


async def test_all_of_twenty_runs_that_are_cancelled_at_once_are_undone(idle: Sagas, neighbour: Neighbour) -> None:
    async with with_flows(idle) as there:
        ids = [await there.begin("told", told("a", "b")) for _ in range(20)]
        await asyncio.gather(*(until_asked(there, id, 0) for id in ids))
        asked = await there.send(*(CancelSaga(saga_id=id) for id in ids))
        assert {(await there.outcome(id)).status for id in asked} == {"ok"}
        async with neighbour.at_work():
            assert {(await there.ended(id))["error"]["reason"] for id in ids} == {"cancelled"}


async def test_a_run_finishes_on_the_version_of_its_flow_with_which_it_began(idle: Sagas, neighbour: Neighbour) -> None:
    async with with_flows(idle) as there:
        old = await there.begin("told", told("a", "b"))
        await until_asked(there, old, 0)
    async with with_flows(idle, NEW) as there, neighbour.at_work():
        new = await there.begin("told", told("a", "b"))
        runs = [await there.ended(id) for id in (old, new)]
        assert [(run["status"], run["flow_version"]) for run in runs] == [("completed", 1), ("completed", 2)]
        assert await neighbour.done(old) == ["do a", "do b"]
        assert await neighbour.done(new) == ["do new", "do b", "do a"]


async def test_a_run_of_a_version_that_this_code_does_not_know_waits_for_the_code_that_does(
    idle: Sagas, neighbour: Neighbour
) -> None:
    async with with_flows(idle, NEW) as there:
        id = await there.begin("told", told("a"))
        await until_asked(there, id, 0)
    async with neighbour.at_work():
        async with with_flows(idle, OLD) as there:
            await until(there, "select exists (select from dead_letters)")
        async with with_flows(idle, NEW) as there:
            assert (await there.ended(id, seconds=60))["status"] == "completed"


async def test_every_run_is_told_again_when_asked(sagas: Sagas) -> None:
    ids = [await sagas.exercise(*steps) for steps in (["echo"], ["echo", "fail"], ["echo", "echo"])]
    for id in ids:
        await sagas.ended(id)
    assert await republish(service, sagas.db, "ops@arcadia.test") == len(ids)
    runs = [each.data["run"] for each in await _on_topic(sagas.settings, RUNS, SagaRepublished.TYPE, len(ids))]
    statuses = ["completed", "rolled_back", "completed"]
    assert [(run["id"], run["status"]) for run in sorted(runs, key=lambda run: str(run["id"]))] == [
        (str(id), status) for id, status in sorted(zip(ids, statuses, strict=True))
    ]


async def _on_topic(settings: Settings, topic: str, type_: str, count: int = 1) -> list[Envelope]:
    """The first messages of a type on a topic."""
    found: list[Envelope] = []
    async with tail(settings, [topic], since_ms=0) as consumer, asyncio.timeout(20):
        async for record in consumer:
            envelope = Envelope.model_validate_json(record.value)
            found += [envelope] if envelope.type == type_ else []
            if len(found) == count:
                break
    return found


async def test_two_replicas_share_the_work_and_one_that_is_killed_loses_nothing(idle: Sagas, tmp_path: Path) -> None:
    loud = idle.settings.model_copy(update={"log_level": "INFO"})
    replicas = [Replica("sagas", loud, tmp_path / f"sagas-{n}.log", module="tests.replica") for n in range(2)]
    try:
        first = await _ended_all(idle, [await idle.exercise(*["echo"] * 5) for _ in range(10)])
        while not all(_worked(replica) for replica in replicas):
            first |= await _ended_all(idle, [await idle.exercise(*["echo"] * 5) for _ in range(10)])
        ids = [await idle.exercise(*["echo"] * 10) for _ in range(100)]
        await until(idle, "select count(*) > 10 from saga_runs where finished_at is null and current_step > 2")
        replicas[0].kill()
        second = await _ended_all(idle, ids)
        assert {run["status"] for run in (first | second).values()} == {"completed"}
        steps = await idle.fetch("select status, attempts from saga_step_results where saga_id = any($1::uuid[])", ids)
        assert Counter((row["status"], row["attempts"]) for row in steps) == {("completed", 1): 1000}
    finally:
        for replica in replicas:
            replica.kill()


def _worked(replica: Replica) -> bool:
    return "arcadia.sagas.echo.v1" in replica.log.read_text()


async def _ended_all(there: Sagas, ids: list[UUID]) -> dict[UUID, Row]:
    return {id: await there.ended(id, seconds=60) for id in ids}
