"""What sagas leave is what is asked for; while they are at work, nothing drifts."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.drift import SpecRecorded
from contracts.sagas import SagaCompleted, SagaRun, SagaStarted, SagaStatus
from services.drift import watching
from services.drift.domain import Said, Spec, with_said
from shared.ids import uuid7
from shared.outcome import Meta, Received
from tests.drift.world import LONG_AGO, SHOP, Drifting, droplet, left

WEB = droplet()
RESIZED = droplet(version=3, size_slug="s-4vcpu-8gb")


async def test_what_a_saga_has_provisioned_is_asked_for_from_its_completion_on(drift: Drifting) -> None:
    await drift.tell(WEB)
    spec = {"name": "web", "region": "syd1", "size_slug": "s-1vcpu-1gb", "state": "active", "tags": []}
    run = drift.run(SagaStatus.COMPLETED, kind="provision_deployment", deployment_id=SHOP, left=[left(WEB, spec)])
    await drift.tell_run(run)
    (told,) = await drift.told(SpecRecorded)
    assert (told.data["spec"]["spec"], told.data["spec"]["saga_id"]) == (spec, str(run.id))
    assert (await drift.detect())["open"] == 0
    await drift.tell(RESIZED)
    await drift.settled()
    assert await drift.drifts() == [("size_slug", "s-1vcpu-1gb", "s-4vcpu-8gb")]


async def test_our_own_resize_is_no_drift_while_it_is_under_way_nor_afterwards(drift: Drifting) -> None:
    await drift.tell(WEB)
    await drift.record(WEB, size_slug="s-1vcpu-1gb", state="active")
    run = drift.run(SagaStatus.RUNNING, deployment_id=SHOP)
    await drift.tell_run(run)
    for version, fields in enumerate(({"state": "off"}, {"state": "off", "size_slug": "s-4vcpu-8gb"}), start=2):
        await drift.tell(droplet(version=version, **fields))
        await drift.settled()
        await drift.detect()
    # It is completed before what it has done is heard of.
    await drift.tell_run(drift.run(SagaStatus.COMPLETED, run, left=[left(WEB, {"size_slug": "s-4vcpu-8gb"}, 4)]))
    await drift.settled()
    await drift.detect()
    await drift.tell(droplet(version=4, size_slug="s-4vcpu-8gb"))
    await drift.settled()
    await drift.detect()
    assert not await drift.fetch("select from cloud_drift")
    await drift.tell(droplet(version=5, size_slug="s-2vcpu-2gb"))
    await drift.settled()
    assert await drift.drifts() == [("size_slug", "s-4vcpu-8gb", "s-2vcpu-2gb")]


async def test_what_a_saga_does_is_no_drift_where_the_saga_is_heard_of_later(drift: Drifting) -> None:
    """The saga is on the bus before what it does: how far this service has come with either is no matter."""
    await drift.tell(WEB)
    await drift.record(WEB, size_slug="s-1vcpu-1gb")
    async with drift.held_up("runs"):
        async with drift.held_up("asked"):  # nothing is looked at yet
            await drift.tell(RESIZED)
            await drift.put(SagaStarted(run=drift.run(SagaStatus.RUNNING, deployment_id=SHOP)))
            await drift.until("not exists (select from outbox)")
        await drift.until("exists (select from jobs where status = 'running')")
        await asyncio.sleep(1)
        assert not await drift.fetch("select from cloud_drift")
    await drift.settled()
    assert await drift.fetch("select from runs")
    assert not await drift.fetch("select from cloud_drift")


async def test_a_saga_that_was_undone_leaves_what_was_asked_for(drift: Drifting) -> None:
    await drift.tell(WEB)
    await drift.record(WEB, size_slug="s-1vcpu-1gb")
    run = drift.run(SagaStatus.RUNNING, deployment_id=SHOP)
    await drift.tell_run(run)
    await drift.tell(RESIZED)
    await drift.settled()
    assert not await drift.drifts()
    await drift.tell_run(drift.run(SagaStatus.ROLLED_BACK, run, left=[left(WEB, {"size_slug": "s-4vcpu-8gb"}, 3)]))
    await drift.settled()
    assert await drift.drifts() == [("size_slug", "s-1vcpu-1gb", "s-4vcpu-8gb")]


async def test_what_is_retired_drifts_no_more(drift: Drifting) -> None:
    await drift.tell(WEB)
    await drift.record(WEB, size_slug="s-2vcpu-2gb")
    assert len(await drift.drifts()) == 1
    await drift.tell_run(drift.run(SagaStatus.COMPLETED, deployment_id=SHOP, left=[left(WEB, None)]))
    assert (len(await drift.drifts()), len(await drift.drifts("stale"))) == (0, 1)
    await drift.tell(droplet(version=2, deleted_at=datetime.now(UTC)))
    await drift.settled()
    assert (await drift.detect())["open"] == 0


async def test_two_first_words_at_once_about_a_resource_both_count(drift: Drifting) -> None:
    await drift.tell(WEB)
    runs = [
        drift.run(SagaStatus.COMPLETED, left=[left(WEB, spec)], finished_at=LONG_AGO + timedelta(days=n))
        for n, spec in enumerate(({"size_slug": "s-1vcpu-1gb", "state": "active"}, {"state": "off"}))
    ]
    ready, db = asyncio.Barrier(2), drift.db

    async def heed(run: SagaRun) -> None:
        async with db.transaction() as conn:
            await conn.execute("select")
            await ready.wait()
            await watching.on_run([Received(SagaCompleted(run=run), Meta(uuid7(), datetime.now(UTC)))], conn)

    await asyncio.gather(*map(heed, runs))
    row = (await drift.fetch("select spec, spec_version from cloud_provisioned"))[0]
    assert tuple(row) == ({"size_slug": "s-1vcpu-1gb", "state": "off"}, 2)


async def test_what_was_said_before_an_operator_spoke_counts_no_more(drift: Drifting) -> None:
    await drift.tell(WEB)
    await drift.record(WEB, region="syd1")
    late = [left(WEB, {"size_slug": "s-4vcpu-8gb"}), left(WEB, {"region": "fra1"}), left(WEB, None)]
    for each in late:
        await drift.tell_run(drift.run(SagaStatus.COMPLETED, left=[each], finished_at=LONG_AGO))
    assert await drift.value("select spec from cloud_provisioned where retired_at is null") == {"region": "syd1"}
    await drift.tell_run(drift.run(SagaStatus.COMPLETED, left=[late[0]]))
    assert await drift.value("select spec ->> 'size_slug' from cloud_provisioned") == "s-4vcpu-8gb"


async def test_an_old_word_of_a_run_changes_nothing(drift: Drifting) -> None:
    await drift.tell(WEB)
    await drift.record(WEB, size_slug="s-1vcpu-1gb")
    begun = drift.run(SagaStatus.RUNNING, deployment_id=SHOP)
    await drift.tell_run(drift.run(SagaStatus.COMPLETED, begun))
    await drift.put(SagaStarted(run=begun))
    await drift.tell(RESIZED)
    await drift.settled()
    assert await drift.drifts() == [("size_slug", "s-1vcpu-1gb", "s-4vcpu-8gb")]


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_runs_may_be_heard_of_in_any_order(drift: Drifting, order: tuple[int, ...]) -> None:
    await drift.tell(droplet(version=9))
    specs: list[dict[str, Any]] = [
        {"size_slug": "s-1vcpu-1gb", "region": "syd1", "state": "active"},
        {"size_slug": "s-4vcpu-8gb"},
        {"state": "off"},
    ]
    runs = [
        drift.run(SagaStatus.COMPLETED, left=[left(WEB, spec)], finished_at=LONG_AGO + timedelta(days=n))
        for n, spec in enumerate(specs)
    ]
    for n in order:
        await drift.tell_run(runs[n])
    assert await drift.value("select spec from cloud_provisioned") == {
        "size_slug": "s-4vcpu-8gb", "region": "syd1", "state": "off",
    }  # fmt: skip


SAID = st.builds(
    Said,
    st.just(WEB.id),
    st.none() | st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), min_size=1),
    st.integers(0, 9).map(lambda n: LONG_AGO + timedelta(days=n)),
    st.just(uuid7()),
    st.integers(1, 9),
)


@given(st.lists(SAID, min_size=1, max_size=6, unique_by=lambda said: said.at), st.randoms(use_true_random=False))
def test_a_spec_is_the_same_in_whatever_order_and_however_often_runs_are_heard_of(said: list[Said], dice: Any) -> None:
    in_order = shuffled = Spec(WEB.id, {}, 0, None, None, LONG_AGO, None, {}, 0, None)
    for each in sorted(said, key=lambda each: each.at):
        in_order = with_said(in_order, each)
    again = [*said, *said]
    dice.shuffle(again)
    for each in again:
        shuffled = with_said(shuffled, each)
    assert (shuffled.retired_at is None) is (in_order.retired_at is None)
    if in_order.retired_at is None:
        assert shuffled.fields == in_order.fields
        assert shuffled.seen_version == in_order.seen_version
