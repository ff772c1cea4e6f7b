"""Every provisioning ends completed or undone, and nothing is left over, whatever is killed, frozen, lost or late."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from uuid import UUID

import pytest

from contracts.message import Command
from contracts.sagas import CancelSaga
from dev.digitalocean.running import RunningStandIn, running_stand_in
from dev.stack import Stack
from shared.db import OUTAGES
from shared.ids import uuid7
from tests.conftest import settings_for
from tests.faults.fleet import SERVICES, STAND_IN, UNSETTLED_S, ZONE, Fleet, Row, Wanted, fleet, wanted, weather
from tests.faults.storm import FleetStorm

UNDONE = {"mark", "create_droplet", "link_resource", "point_dns"}
"""The steps of a provisioning that have something to undo."""


@pytest.fixture
def stand_in() -> Iterator[RunningStandIn]:
    with running_stand_in(**STAND_IN) as running:
        yield running


@pytest.fixture
async def there(own_stack: Stack, stand_in: RunningStandIn, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(settings_for(own_stack, own_stack.database_url), stand_in, tmp_path) as there:
        yield there


@pytest.mark.timeout(300)
async def test_a_storm_leaves_every_provisioning_whole_or_undone(there: Fleet, own_stack: Stack) -> None:
    await _weather(there, own_stack, runs=30, faults=8, seed=20261127)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_long_storm_leaves_every_provisioning_whole_or_undone(
    there: Fleet, own_stack: Stack, seed: int
) -> None:
    await _weather(there, own_stack, runs=300, faults=40, seed=seed, hung_s=75)


async def _weather(there: Fleet, stack: Stack, *, runs: int, faults: int, seed: int, hung_s: float = 0) -> None:
    """Deployments are asked for throughout the storm; when all is quiet, everything must add up.

    `hung_s`: so long one service hangs meanwhile, longer than the engine waits for its answers.
    """
    await there.provider.add_zone(ZONE)
    for fault in weather(seed):
        await there.provider.arm(fault)
    storm, deployments = FleetStorm(there.replicas, stack, seed), wanted(runs)
    blowing = asyncio.create_task(_blow(storm, faults, hung_s))
    try:
        await _ask_throughout(there, deployments, blowing, random.Random(seed))
        await blowing
        await there.settled(runs, seconds=120 + runs)
    except AssertionError as error:
        raise AssertionError(f"{error}; the faults: {storm.happened}; logs in {there.logs}") from error
    finally:
        blowing.cancel()
    await there.provider.disarm()
    await there.provider.advance(UNSETTLED_S)
    completed = await _check_runs(there)
    await _check_deployments(there, completed)
    await _check_provider(there, completed)
    await _check_ledgers(there)


async def _blow(storm: FleetStorm, faults: int, hung_s: float) -> None:
    await storm.blow(faults // 4)
    if hung_s:
        await storm.hang("deployments", hung_s)
    await storm.blow(faults)


async def _ask_throughout(
    there: Fleet, deployments: Sequence[Wanted], blowing: asyncio.Task[None], chance: random.Random
) -> None:
    """Ask for deployments in portions over the storm, and have some of their sagas cancelled soon after."""
    size = max(1, len(deployments) // 60)
    for start in range(0, len(deployments), size):
        portion = deployments[start : start + size]
        ids = [uuid7() for _ in portion]
        await _insist(there, ids, [each.command for each in portion], blowing)
        if chance.random() < 0.2:
            cancelled = deployments[max(0, start - chance.randrange(6) * size)]
            await _insist(there, [uuid7()], [CancelSaga(saga_id=cancelled.saga_id)], blowing)
        if not blowing.done():
            await asyncio.sleep(0.5)


async def _insist(there: Fleet, ids: list[UUID], commands: Sequence[Command], blowing: asyncio.Task[None]) -> None:
    """Send until it is certain that it was sent: what is sent twice under one id is handled once."""
    while True:
        try:
            await there.send(ids, commands)
            return
        except OUTAGES:
            await asyncio.sleep(0.2)
            if blowing.done():
                blowing.result()  # a storm that failed leaves the world broken: say why


async def _check_runs(there: Fleet) -> dict[UUID, Row]:
    """Every run is completed or rolled back, and its ledger says the same of each step. Gives the completed ones."""
    runs = await there.rows("sagas", "select * from saga_runs")
    assert {run["status"] for run in runs} == {"completed", "rolled_back"}, "a storm without either shows nothing"
    ledger: dict[UUID, list[Row]] = {}
    for row in await there.rows("sagas", "select * from saga_step_results order by step_idx"):
        assert row["attempts"] >= 1, row
        ledger.setdefault(row["saga_id"], []).append(row)
    for run in runs:
        steps = ledger[run["id"]]
        assert [step["step_idx"] for step in steps] == list(range(len(steps)))
        if run["status"] == "completed":
            assert [step["name"] for step in steps] == run["steps"]
            assert {step["status"] for step in steps} == {"completed"}
        else:
            _check_undone(run, steps)
    return {run["deployment_id"]: run for run in runs if run["status"] == "completed"}


def _check_undone(run: Row, steps: list[Row]) -> None:
    """Steps that left something are undone, down from where that began; those after it failed, or never began."""
    undone_from = run["error"]["compensate_from_idx"]
    for step in steps:
        if step["step_idx"] > undone_from:
            assert step["status"] == "failed", step
        elif step["name"] in UNDONE:
            assert step["status"] == "compensated", step
        else:
            assert step["status"] in {"completed", "failed"}, step


async def _check_deployments(there: Fleet, completed: dict[UUID, Row]) -> None:
    """What is built is active and linked to its droplet, what is not is cancelled, and no saga has any in hand."""
    rows = await there.rows("deployments", "select id, state, saga_id from cloud_deployments")
    runs = await there.rows("sagas", "select deployment_id from saga_runs")
    assert {row["id"] for row in rows} == {run["deployment_id"] for run in runs}
    assert {row["id"]: (row["state"], row["saga_id"]) for row in rows} == {
        row["id"]: ("active" if row["id"] in completed else "cancelled", None) for row in rows
    }
    links = await there.rows(
        "inventory",
        """
        select distinct on (resource_id) l.deployment_id, r.provider_id
        from resource_links l join cloud_resources r on r.id = l.resource_id
        order by resource_id, effective_from desc
        """,
    )
    linked = {link["deployment_id"]: int(link["provider_id"]) for link in links if link["deployment_id"]}
    assert linked == {id: run["context"]["droplet_id"] for id, run in completed.items()}


async def _check_provider(there: Fleet, completed: dict[UUID, Row]) -> None:
    """The droplets and names of what is built are there, one each, and no others."""
    droplets = {droplet.id: droplet for droplet in (await there.provider.truth()).droplets}
    built = {run["context"]["droplet_id"]: id for id, run in completed.items()}
    assert droplets.keys() == built.keys(), "an orphan, or one that is missing"
    for id, deployment in built.items():
        assert f"deployment:{deployment}" in droplets[id].tags
        assert droplets[id].status == "active"
        assert id in await there.provider.created(f"deployment:{deployment}")
    records = [each for each in await there.provider.records(ZONE) if each.type == "A"]
    assert Counter((each.name, each.data) for each in records) == Counter(
        (f"{run['inputs']['slug']}.{run['inputs']['tenant_id']}", run["context"]["ipv4"]) for run in completed.values()
    )


async def _check_ledgers(there: Fleet) -> None:
    """No write is left in doubt, nothing was given up, and no operation has two effects on record."""
    operations = await there.rows("provider", "select id, kind, status, undone, target from operations")
    assert Counter(row["status"] for row in operations)["sent"] == 0
    assert all(row["undone"] for row in operations if row["status"] == "cancelled")
    made = Counter(row["target"] for row in operations if row["kind"] == "create-droplet" and row["target"])
    assert max(made.values()) == 1
    for schema in SERVICES:
        assert not await there.rows(schema, "select * from dead_letters"), schema
