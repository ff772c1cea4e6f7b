"""Kafka: every setting of FastStream and aiokafka in one place, with the fact that made it so.

Sources: measurements with faststream 0.7.8 and aiokafka 0.14.0, whose defaults lose messages (docs/decisions/0003).
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import ConsumerStoppedError, KafkaError, TopicAlreadyExistsError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaAckableMessage
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from contracts.topics import Topic
from shared.config import Settings
from shared.wire import MAX_MESSAGE_BYTES

log = structlog.get_logger(__name__)

Record: TypeAlias = "ConsumerRecord[bytes, bytes]"
Records: TypeAlias = tuple[Record, ...]

MAX_RECORD_BYTES = MAX_MESSAGE_BYTES + 64 * 1024  # its key and its batch's head come on top

CLOSE_S = 2.0

_MAX_RECORDS = 500
_IDLE_POLL_MS = 200
_REFETCH_MS = 100
# A fetch that goes out without a busy partition makes that partition wait: with aiokafka's 500 ms, p50 is 543 ms.
_FETCH_MAX_WAIT_MS = 50
_COMMIT_S = 5.0
_COMMIT_EVERY_S = 0.5
_GRACE_S = 20.0  # for the batch in hand, at the end
_LEADERS_S = 30.0


def connection(settings: Settings) -> dict[str, Any]:
    """aiokafka's arguments for reaching the broker."""
    secure = settings.kafka_security.endswith("SSL")
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "security_protocol": settings.kafka_security,
        "ssl_context": ssl.create_default_context(cafile=settings.kafka_ca_file) if secure else None,
    }
    if settings.kafka_security.startswith("SASL"):
        arguments |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_username,
            "sasl_plain_password": settings.kafka_password and settings.kafka_password.get_secret_value(),
        }
    return arguments


def _security(settings: Settings) -> BaseSecurity | None:
    """The same for FastStream."""
    arguments = connection(settings)
    context = arguments["ssl_context"]
    if not settings.kafka_security.startswith("SASL"):
        return BaseSecurity(ssl_context=context) if context else None
    mechanism = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}
    return mechanism[settings.kafka_sasl_mechanism](
        username=arguments["sasl_plain_username"] or "",
        password=arguments["sasl_plain_password"] or "",
        ssl_context=context,
        use_ssl=context is not None,
    )


class Subscription:
    """A consumer of some topics as one member of a group, by FastStream, in batches.

    `handle` gets the records of a batch. Their offsets are committed soon after it returns; when it raises, all
    partitions of the batch are rewound and it gets them again.
    """

    def __init__(
        self, settings: Settings, group: str, topics: Sequence[str], handle: Callable[[Records], Awaitable[None]]
    ) -> None:
        self.topics = list(topics)
        self._handle = handle
        self._commits = _Commits()
        self._committing: asyncio.Task[None] | None = None
        self._busy_since: float | None = None
        self._turn = 0
        self.unreadable: dict[TopicPartition, str] = {}
        """Partitions whose records cannot be unpacked, and why; what is in the others goes on."""
        self._broker = KafkaBroker(
            settings.kafka_bootstrap_servers,
            security=_security(settings),
            client_id=f"{settings.kafka_prefix}{group}",
            consumer_only=True,
            allow_auto_create_topics=False,  # FastStream would create them with one partition
            metadata_max_age_ms=60_000,  # a topic or partition that is added is seen within that
            apply_types=False,  # its dependency injection costs more than a handler
            logger=None,  # it would log every batch; the runtime has its own line
            graceful_timeout=_GRACE_S,
        )
        self._subscriber = self._broker.subscriber(
            *(settings.kafka_prefix + topic for topic in topics),
            group_id=settings.kafka_prefix + group,
            batch=True,
            max_records=_MAX_RECORDS,
            fetch_max_wait_ms=_FETCH_MAX_WAIT_MS,
            # Heartbeats share the event loop with the handlers: aiokafka's 10 s evicts a consumer that is merely busy.
            session_timeout_ms=int(settings.kafka_session_timeout_s * 1000),
            heartbeat_interval_ms=int(settings.kafka_session_timeout_s * 1000 / 5),
            auto_offset_reset="earliest",
            listener=self._commits,
            # Every other policy commits a failed message away: ACK at once, MANUAL with the next acknowledgement.
            ack_policy=AckPolicy.NACK_ON_ERROR,
            parser=self._parse,
            decoder=_undecoded,
        )
        self._subscriber(self._handled)
        # FastStream's own poll sleeps for as long again after it found nothing: records that come meanwhile wait.
        self._subscriber.get_msg = self._poll  # type: ignore[method-assign]

    async def start(self) -> None:
        """Join the group."""
        await begun(self._broker.start())
        self._committing = asyncio.create_task(self._commits.run(), name="kafka-commits")

    async def stop(self) -> None:
        """Finish the batch in hand, commit it, leave the group."""
        if self._committing:
            self._committing.cancel()
            await asyncio.wait({self._committing})
        await self._commits.at_once()
        client = self._consumer and self._consumer._client
        await stopped(self._broker.stop(), client, _GRACE_S + _COMMIT_S + CLOSE_S)

    def silent_for(self, now_ms: int) -> float | None:
        """Seconds since the broker last answered a fetch; None while a batch is in hand, or nothing is assigned.

        A ping of the broker does not see a consumer that is stuck; this does.
        """
        consumer: Any = self._consumer
        assigned = consumer.assignment() if consumer and self._busy_since is None else ()
        polls = [consumer.last_poll_timestamp(tp) for tp in assigned]
        known = [poll for poll in polls if poll and poll > 0]
        return max(0.0, (now_ms - max(known)) / 1000) if known else None

    def busy_for(self) -> float:
        """Seconds for which the batch in hand has been handled; 0 where there is none."""
        return time.monotonic() - self._busy_since if self._busy_since is not None else 0.0

    async def lag(self) -> dict[tuple[str, int], int]:
        """Records not yet handed over, by topic and partition, as far as the last fetch knows."""
        lag = {}
        consumer: Any = self._consumer
        # (All ends at once: to ask for that of a partition which was taken away meanwhile is an error.)
        ends = {tp: consumer.highwater(tp) for tp in consumer.assignment()} if consumer else {}
        for tp, end in ends.items():
            if end is not None:
                with suppress(KafkaError, TimeoutError):
                    async with asyncio.timeout(1):
                        lag[tp.topic, tp.partition] = max(0, end - await consumer.position(tp))
        return lag

    @property
    def _consumer(self) -> AIOKafkaConsumer | None:
        return self._subscriber.consumer

    async def _handled(self, records: Records) -> None:
        self._busy_since = time.monotonic()
        try:
            await self._handle(records)
        finally:
            self._busy_since = None

    async def _poll(self, consumer: AIOKafkaConsumer) -> Records:
        """The records that are there, partition by partition; of any, where it has to wait for some.

        Where a partition cannot be read, aiokafka drops what the same call took from others, and the next commit would
        pass over that: so no call may take from more than one.
        """
        failed: Exception | None = None
        try:
            records = await _taken(consumer, timeout_ms=_IDLE_POLL_MS, max_records=1)
        except ConsumerStoppedError:
            raise
        except Exception as error:  # most likely told below, by the partition it is of
            records, failed = [], error
        partitions = sorted(consumer.assignment())
        self._turn += 1  # each begins in its turn, so that a long queue in one is not all that is ever read
        first = self._turn % max(1, len(partitions))
        for tp in (*partitions[first:], *partitions[:first]):
            if room := _MAX_RECORDS - len(records):
                # (What cannot be read was thrown away by the call that found it, and has to be fetched again.)
                records += await self._read(consumer, tp, room, _REFETCH_MS if failed else 0)
        self.unreadable = {tp: why for tp, why in self.unreadable.items() if tp in partitions}
        if failed and not records:
            if not self.unreadable:
                log.warning("nothing can be read", topics=self.topics, error=repr(failed))
            await asyncio.sleep(1)
        return tuple(records)

    async def _read(self, consumer: AIOKafkaConsumer, tp: TopicPartition, room: int, timeout_ms: int) -> list[Record]:
        try:
            records = await _taken(consumer, tp, timeout_ms=timeout_ms, max_records=room)
        except ConsumerStoppedError:
            raise
        except Exception as error:  # each decompressor has its own
            if tp not in self.unreadable:
                log.error("a partition cannot be read", topic=tp.topic, partition=tp.partition, error=repr(error))
            self.unreadable[tp] = f"{tp.topic}[{tp.partition}] cannot be read: {error!r}"
            return []
        if records:
            self.unreadable.pop(tp, None)
        return records

    async def _parse(self, records: Records) -> KafkaAckableMessage:
        # FastStream's own parser decodes headers, so a header that is not UTF-8 would be read again for ever.
        self._commits.consumer = self._consumer
        batch = _Batch(raw_message=records, body=b"", headers={}, consumer=self._consumer)
        batch.commits = self._commits
        return batch


class _Commits(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    """Commits the offsets of what was handled, some times a second, and beside the handling.

    A commit after each batch takes as long as the batch, and Kafka's time with it. Nobody misses one that is late: the
    next one covers it, or its records come again, and are known by `sequence` or id.
    """

    def __init__(self) -> None:
        self.consumer: AIOKafkaConsumer | None = None
        self._handled: dict[TopicPartition, int] = {}
        self._ending = False

    async def handled(self, records: Records) -> None:
        """Note that these were handled; at the end, commit them before this returns."""
        for record in records:
            self._handled[TopicPartition(record.topic, record.partition)] = record.offset + 1
        if self._ending:
            await self._commit()

    async def at_once(self) -> None:
        """Commit what there is, and from now on each batch by itself."""
        self._ending = True
        await self._commit()

    async def run(self) -> None:
        """Commit until cancelled."""
        while True:
            await asyncio.sleep(_COMMIT_EVERY_S)
            try:
                await self._commit()
            except Exception:
                log.exception("offsets are not committed")

    async def on_partitions_revoked(self, revoked: AbstractSet[TopicPartition]) -> None:
        """Commit before others get them, and forget them: here they are of the past when they come back."""
        await self._commit()
        self._handled = {tp: offset for tp, offset in self._handled.items() if tp not in revoked}

    async def on_partitions_assigned(self, assigned: AbstractSet[TopicPartition]) -> None:
        """Nothing: what is read of them begins where the group has committed."""

    async def _commit(self) -> None:
        """Commit in bounded time: aiokafka waits for as long as Kafka is away."""
        if self.consumer is None:
            return
        assigned = self.consumer.assignment()  # another consumer has the others by now
        self._handled = {tp: offset for tp, offset in self._handled.items() if tp in assigned}
        offsets = dict(self._handled)
        if not offsets:
            return
        try:
            async with asyncio.timeout(_COMMIT_S):
                await self.consumer.commit(offsets)
        except (KafkaError, TimeoutError) as error:
            log.info("offsets are not committed yet", error=f"{type(error).__name__}: {error}")
        else:
            self._handled = {tp: offset for tp, offset in self._handled.items() if offsets.get(tp) != offset}


class _Batch(KafkaAckableMessage):
    """A batch that does not wait for its commit."""

    commits: _Commits

    async def ack(self) -> None:
        await self.commits.handled(self.raw_message)
        await super(KafkaAckableMessage, self).ack()


async def _taken(consumer: AIOKafkaConsumer, *partitions: TopicPartition, **arguments: int) -> list[Record]:
    found = await consumer.getmany(*partitions, **arguments)
    return [record for records in found.values() for record in records]


async def _undecoded(message: KafkaAckableMessage) -> Records:
    return message.raw_message


async def begun(start: Awaitable[None]) -> None:
    """Wait for a start of aiokafka's. One that is cut short would leave a connection open: it may come to its end."""
    starting = asyncio.ensure_future(start)
    try:
        await asyncio.shield(starting)
    finally:
        await ended(starting, CLOSE_S)


async def ended(end: Awaitable[None], seconds: float) -> None:
    """Wait for an end of aiokafka's, but not for long.

    Now and then one of its tasks swallows the cancellation that was to end it, and is waited for, for ever.
    """
    ending = asyncio.ensure_future(end)
    await asyncio.wait({ending}, timeout=seconds)
    if not ending.done():
        ending.cancel()
    elif not ending.cancelled():
        ending.exception()  # nothing can be done about it any more


async def stopped(stop: Awaitable[None], client: AIOKafkaClient | None, seconds: float = CLOSE_S) -> None:
    """Wait for a client's end, but not for long, and close its connections in any case: a second stop would not."""
    await ended(stop, seconds)
    for conn in client._conns.values() if client else ():
        conn.close()


def group_of(service: str, kind: str) -> str:
    """The consumer group of a service's processes for its topics of a kind (`commands`, `events` or `replies`)."""
    return f"arcadia.{service}.{kind}"


async def ensure_topics(settings: Settings, topics: Sequence[Topic]) -> list[str]:
    """Create what is missing; gives the names of what was created. Existing topics stay as they are.

    Returns when every partition has a leader: a group that subscribes before may be assigned nothing, for minutes.
    """
    if settings.kafka_mock:
        return []  # its topics appear when they are used
    admin = AIOKafkaAdminClient(**connection(settings), client_id="arcadia-admin")
    try:
        await begun(admin.start())
        there = set(await admin.list_topics())
        missing = [topic for topic in topics if settings.kafka_prefix + topic.name not in there]
        new = [_new_topic(topic, settings) for topic in missing]
        if new:
            await _create(admin, new)
        await _wait_for_leaders(admin, [settings.kafka_prefix + topic.name for topic in topics])
        return sorted(topic.name for topic in missing)
    finally:
        await stopped(admin.close(), admin._client)


async def _create(admin: AIOKafkaAdminClient, new: list[NewTopic]) -> None:
    response = await admin.create_topics(new)
    for name, code, *message in response.topic_errors:
        if code and code != TopicAlreadyExistsError.errno:
            raise KafkaError(f"topic {name} could not be created: {message or code}")


async def _wait_for_leaders(admin: AIOKafkaAdminClient, names: list[str]) -> None:
    async with asyncio.timeout(_LEADERS_S):
        while True:
            described = await admin.describe_topics(names)
            if all(t["partitions"] and all(p["leader"] >= 0 for p in t["partitions"]) for t in described):
                return
            await asyncio.sleep(0.05)


def _new_topic(topic: Topic, settings: Settings) -> NewTopic:
    config = {
        "max.message.bytes": str(MAX_RECORD_BYTES),
        "min.insync.replicas": str(min(2, settings.kafka_replication)),
    }
    if topic.compacted:
        config["cleanup.policy"] = "compact"
    else:
        config["retention.ms"] = str(int(topic.retention.total_seconds() * 1000))
    return NewTopic(
        settings.kafka_prefix + topic.name, settings.kafka_partitions, settings.kafka_replication, topic_configs=config
    )


class NoSuchTopic(KafkaError):  # type: ignore[misc]  # aiokafka publishes no types
    """None of the topics to be read exists yet: the services create them when they start."""


@asynccontextmanager
async def tail(
    settings: Settings, topics: Sequence[str], *, since_ms: int | None = None
) -> AsyncIterator[AIOKafkaConsumer]:
    """Read topics outside any group: from the end, from a time in Unix milliseconds, or from the beginning (0).

    Topics that do not exist are left out; raises `NoSuchTopic` where that is all of them.
    """
    consumer = AIOKafkaConsumer(
        **connection(settings),
        client_id="arcadia-tail",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=_FETCH_MAX_WAIT_MS,
    )
    try:
        await begun(consumer.start())
        # The mock broker finds nothing by time: it begins at the beginning.
        begin = 0 if since_ms and settings.kafka_mock else since_ms
        await _seek(consumer, [settings.kafka_prefix + topic for topic in topics], begin)
        yield consumer
    finally:
        await stopped(consumer.stop(), consumer._client)


async def partitions_of(consumer: AIOKafkaConsumer, topics: Sequence[str]) -> list[TopicPartition]:
    """All partitions of topics, as the broker knows them now; none of a topic that it does not know."""
    await consumer._client.set_topics(topics)
    return [TopicPartition(t, p) for t in topics for p in sorted(consumer.partitions_for_topic(t) or ())]


async def _seek(consumer: AIOKafkaConsumer, topics: Sequence[str], since_ms: int | None) -> None:
    partitions = await partitions_of(consumer, topics)
    if not partitions:
        raise NoSuchTopic(", ".join(topics))
    consumer.assign(partitions)
    if since_ms is None:
        await consumer.seek_to_end(*partitions)
        # The end must be known before the first question is sent, or its answer could be missed.
        for partition in partitions:
            await consumer.position(partition)
    elif since_ms > 0:
        offsets = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
        ends = await consumer.end_offsets(partitions)
        for partition, found in offsets.items():
            consumer.seek(partition, found.offset if found else ends[partition])
