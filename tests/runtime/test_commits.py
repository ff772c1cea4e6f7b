"""Offsets are committed beside the handling: late at times, never lost for good, and never another consumer's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError

from shared.bus import Records, _Commits
from tests.runtime.probe import COMMANDS, Poke, Probe, at_work

A, B = TopicPartition("t", 0), TopicPartition("t", 1)


class Consumer:
    """What `_Commits` needs of aiokafka's, and as particular as that is. `committed`: what the broker was told."""

    def __init__(self) -> None:
        self.assigned = {A, B}
        self.committed: list[dict[TopicPartition, int]] = []
        self.errors: list[Exception] = []
        self.answers = asyncio.Event()
        self.answers.set()

    def assignment(self) -> set[TopicPartition]:
        return self.assigned

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        if not offsets:
            raise ValueError(offsets)  # as aiokafka does
        if self.errors:
            raise self.errors.pop()
        await self.answers.wait()
        self.committed.append(offsets)


def records(*of: tuple[TopicPartition, int]) -> Records:
    return tuple(ConsumerRecord(*tp, offset, 0, 0, b"", b"", None, 0, 0, ()) for tp, offset in of)


def commits(consumer: Any) -> _Commits:
    made = _Commits()
    made.consumer = consumer
    return made


@asynccontextmanager
async def committing(made: _Commits) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(made.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.bus._COMMIT_EVERY_S", 0.01)


async def test_what_was_handled_is_committed_once() -> None:
    consumer = Consumer()
    made = commits(consumer)
    async with committing(made):
        await made.handled(records((A, 4), (B, 8), (A, 5)))
        await asyncio.sleep(0.1)
    assert consumer.committed == [{A: 6, B: 9}]


async def test_when_all_of_it_is_anothers_by_now_nothing_is_committed_and_all_goes_on() -> None:
    consumer = Consumer()
    made = commits(consumer)
    async with committing(made) as task:
        consumer.assigned = {B}
        await made.handled(records((A, 4)))
        await asyncio.sleep(0.05)
        await made.handled(records((B, 8)))
        await asyncio.sleep(0.05)
        assert not task.done()
    consumer.assigned = set()
    await made.handled(records((B, 9)))
    await made.at_once()
    assert consumer.committed == [{B: 9}]


async def test_after_a_failure_of_any_kind_it_is_tried_again() -> None:
    consumer = Consumer()
    consumer.errors = [RuntimeError(), CommitFailedError(), TimeoutError()]
    made = commits(consumer)
    async with committing(made):
        await made.handled(records((A, 4)))
        await asyncio.sleep(0.15)
    assert consumer.committed == [{A: 5}]


async def test_a_commit_that_was_cut_short_is_made_up_for_at_the_end() -> None:
    consumer = Consumer()
    consumer.answers.clear()
    made = commits(consumer)
    async with committing(made):
        await made.handled(records((A, 4)))
        await asyncio.sleep(0.05)
    consumer.answers.set()
    await made.at_once()
    assert consumer.committed == [{A: 5}]


async def test_what_was_handled_during_a_commit_is_for_the_next() -> None:
    consumer = Consumer()
    consumer.answers.clear()
    made = commits(consumer)
    async with committing(made):
        await made.handled(records((A, 4), (B, 1)))
        await asyncio.sleep(0.05)
        await made.handled(records((A, 5)))
        consumer.answers.set()
        await asyncio.sleep(0.05)
    assert consumer.committed == [{A: 5, B: 2}, {A: 6}]


async def test_a_partition_that_goes_is_committed_before_and_is_forgotten() -> None:
    """When it comes back, another may have gone on: the old offset over the new one would bring all that again."""
    consumer = Consumer()
    made = commits(consumer)
    consumer.errors = [CommitFailedError()]
    await made.handled(records((A, 4), (B, 1)))
    await made.on_partitions_revoked({A})
    await made.at_once()
    assert consumer.committed == [{B: 2}]
    await made.handled(records((A, 5)))
    await made.on_partitions_revoked({A})
    assert consumer.committed[1:] == [{A: 6}]


async def test_before_a_partition_goes_to_another_consumer_the_broker_knows_what_was_handled(
    own_probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.bus._COMMIT_EVERY_S", 3600)
    async with at_work(own_probe):
        for id in await own_probe.send(*(Poke(name=f"poke-{n}") for n in range(5))):
            await own_probe.outcome(id)
        assert await own_probe.committed(COMMANDS) == 0
        async with at_work(own_probe):
            await own_probe.drained(COMMANDS)
