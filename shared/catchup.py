"""Whether a service has handled what was on the bus at some moment: for work that must not begin on old copies.

A service's copies of what others own lag behind: by milliseconds, or by days after an outage. Who is told to sum them
up asks for the topics' ends, and waits until the service's group has committed its way there. Offsets are committed
after the transaction that handled their records.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from shared.bus import begun, connection, group_of, partitions_of, stopped
from shared.config import Settings
from shared.jobs import PutOff

Ends: TypeAlias = Mapping[str, int]
"""The offset after the last record of each partition that has any, by `<topic>/<partition>`."""


_PATIENCE_S = 20.0
_FIRST_LOOK_S, _LOOK_S = 0.02, 0.25
_LATER = timedelta(seconds=5)


class BusAway(PutOff):
    """Kafka does not answer, or does not know its topics just now: ask again later."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Kafka does not say what is on the bus: {reason}", after=_LATER)


class CatchUp:
    """How far one service has come in the topics of some events."""

    def __init__(self, settings: Settings, service: str, topics: Sequence[str]) -> None:
        self._settings = settings
        self._group = settings.kafka_prefix + group_of(service, "events")
        self._topics = [settings.kafka_prefix + topic for topic in topics]

    async def ends(self) -> dict[str, int]:
        """Where the topics end now. Raises `BusAway`."""
        if self._settings.kafka_mock:
            return {}  # the mock tells nothing about groups
        try:
            async with self._consumer() as consumer:
                partitions = await partitions_of(consumer, self._topics)
                begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        except (KafkaError, OSError) as error:  # (a time-out is an `OSError`)
            raise BusAway(f"{type(error).__name__}: {error}") from error
        if unknown := set(self._topics) - {each.topic for each in partitions}:
            raise BusAway(f"no partitions are known of {', '.join(sorted(unknown))}")
        # A partition without records was never committed by anybody.
        return {_name(each): end for each, end in ends.items() if begins[each] < end}

    async def behind(self, ends: Ends) -> int:
        """How many records before those ends are not handled yet. Raises `BusAway`."""
        if not ends:
            return 0
        try:
            committed = await self._committed()
        except (KafkaError, OSError) as error:
            raise BusAway(f"{type(error).__name__}: {error}") from error
        reached = {_name(each): found.offset for each, found in committed.items()}
        return sum(max(0, end - max(0, reached.get(name, 0))) for name, end in ends.items())

    async def wait(self, ends: Ends) -> None:
        """Wait until all is handled that was before those ends. Raises `PutOff` where that takes long, or `BusAway`."""
        clock, pause = asyncio.get_running_loop().time, _FIRST_LOOK_S
        deadline = clock() + _PATIENCE_S
        while behind := await self.behind(ends):
            if clock() > deadline:
                raise PutOff(f"{behind} records of what others told are not handled yet", after=_LATER)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LOOK_S)

    async def _committed(self) -> Mapping[TopicPartition, Any]:
        admin = AIOKafkaAdminClient(**connection(self._settings), client_id="arcadia-catch-up")
        try:
            await begun(admin.start())
            found: Mapping[TopicPartition, Any] = await admin.list_consumer_group_offsets(self._group)
            return found
        finally:
            await stopped(admin.close(), admin._client)

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            **connection(self._settings), client_id="arcadia-catch-up", enable_auto_commit=False
        )
        try:
            await begun(consumer.start())
            yield consumer
        finally:
            await stopped(consumer.stop(), consumer._client)


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}/{partition.partition}"
