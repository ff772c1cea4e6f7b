"""Publishing to Kafka: in order, each message known to be there, and by the newest publisher of a name alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from struct import Struct
from typing import Self, TypeAlias

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from shared.bus import CLOSE_S, MAX_RECORD_BYTES, begun, connection, ended, stopped
from shared.config import Settings

PUBLISH_ERRORS = (KafkaError, TimeoutError)
"""What publishing raises while the broker is away, or when another process has taken over (`ProducerFenced`)."""

_PRODUCER_START_S = 15.0

_Pair: TypeAlias = tuple[bytes, bytes | None]
_WORD = Struct("<I")


class Publisher:
    """An idempotent producer that only the newest of its name may be: the broker fences the others.

    A process that hangs in the middle of a batch and wakes later cannot put old state after new: a partition refuses
    what comes from an earlier producer of the name than it has heard of. (Not so with the mock broker.)
    """

    def __init__(self, producer: AIOKafkaProducer, settings: Settings) -> None:
        self._producer = producer
        self._prefix = settings.kafka_prefix

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, name: str) -> AsyncIterator[Self]:
        """Connect, and take the name over from all earlier publishers."""
        producer = AIOKafkaProducer(
            **connection(settings),
            client_id=settings.kafka_prefix + name,
            transactional_id=None if settings.kafka_mock else settings.kafka_prefix + name,
            enable_idempotence=True,
            acks="all",
            max_batch_size=256 * 1024,  # aiokafka's 16 KiB makes a request of every few messages
            max_request_size=MAX_RECORD_BYTES,
            request_timeout_ms=10_000,
        )
        try:
            async with asyncio.timeout(_PRODUCER_START_S):
                await begun(producer.start())
            # The name was for the producer id, whose epoch the broker has raised. Transactions would add three round
            # trips to each batch and guard nothing more (docs/decisions/0007).
            producer._txn_manager.transactional_id = None
            yield cls(producer, settings)
        finally:
            await _abandon(producer)

    async def send_all(self, messages: Sequence[tuple[str, str, bytes | None]], timeout_s: float) -> None:
        """Publish (topic, key, value) in order per key, and wait for the broker's word on all of them.

        Raises what `PUBLISH_ERRORS` lists; then some may be published, and the publisher is of no more use.
        """
        async with asyncio.timeout(timeout_s):
            lines = await self._lines(messages)
            await asyncio.gather(*(self._send_line(line, pairs) for line, pairs in lines.items()))

    async def _lines(self, messages: Sequence[tuple[str, str, bytes | None]]) -> dict[tuple[str, int], list[_Pair]]:
        """The messages by topic and partition. The producer's own `send` costs three times as much per message."""
        topics = {topic for topic, *_ in messages}
        counts = {topic: len(await self._producer.partitions_for(self._prefix + topic)) for topic in topics}
        lines: dict[tuple[str, int], list[_Pair]] = {}
        for topic, text, value in messages:
            key = text.encode()
            line = (self._prefix + topic, partition_of(key, counts[topic]))
            lines.setdefault(line, []).append((key, value))
        return lines

    async def _send_line(self, line: tuple[str, int], pairs: Sequence[_Pair]) -> None:
        topic, partition = line
        acknowledged = []
        batch = self._producer.create_batch()
        for key, value in pairs:
            if batch.append(key=key, value=value, timestamp=None) is None:  # full
                acknowledged.append(await self._producer.send_batch(batch, topic, partition=partition))
                batch = self._producer.create_batch()
                batch.append(key=key, value=value, timestamp=None)
        acknowledged.append(await self._producer.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*acknowledged)


def partition_of(key: bytes, count: int) -> int:
    """The partition of a key among `count`, as Kafka's own clients choose it: Java's `Utils.murmur2`, positive, modulo.

    (aiokafka's takes 14 us for a UUID, a quarter of a whole publication; this takes a third of that.)
    """
    multiplier, mask = 0x5BD1E995, 0xFFFFFFFF
    length = len(key)
    hashed = 0x9747B28C ^ length
    for (word,) in _WORD.iter_unpack(key[: length & ~3]):
        mixed = word * multiplier & mask
        hashed = hashed * multiplier & mask ^ (mixed ^ mixed >> 24) * multiplier & mask
    if rest := key[length & ~3 :]:
        hashed = (hashed ^ int.from_bytes(rest, "little")) * multiplier & mask
    hashed = (hashed ^ hashed >> 13) * multiplier & mask
    return ((hashed ^ hashed >> 15) & 0x7FFFFFFF) % count


async def _abandon(producer: AIOKafkaProducer) -> None:
    """Close a producer without delivering what it still holds: that is in the outbox, and another may have sent it."""
    await ended(producer._sender.close(), CLOSE_S)
    await stopped(producer.stop(), producer.client)
