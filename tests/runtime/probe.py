"""A service whose handlers each test writes itself, and the world around it as a stranger sees it.

Commands go in by a plain aiokafka producer, answers and announcements are read by a plain consumer; what happened is in
the tables.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from asyncpg import Record

from contracts import topics
from contracts.message import Command, Envelope, Event, Message, Reply
from contracts.runtime import DeadLettered
from contracts.topics import TOPICS
from shared import process
from shared.bus import ensure_topics, tail
from shared.config import Settings
from shared.db import Connection, Database
from shared.ids import uuid7
from shared.jobs import JobRun
from shared.migrate import migrate
from shared.outcome import Meta, Outcome, Received, Refused
from shared.service import JobHandler, Service, Work
from shared.wire import decode, encode

COMMANDS = topics.commands("probe", "name")
POKES = topics.events("probe", "pokes", "name")
REPLIES = topics.replies("probe-test")
DEAD_LETTERS = topics.dead_letters("probe")
MIGRATIONS = {"probe": Path(__file__).parent / "migrations"}


class _Named:
    name: str

    def key(self) -> str:
        return self.name


class Poke(_Named, Command):
    """Handled one by one."""

    TYPE: ClassVar[str] = "arcadia.probe.poke.v1"
    TOPIC: ClassVar[str] = COMMANDS

    name: str
    note: str = ""
    number: int = 0


class Count(_Named, Command):
    """Handled in sets."""

    TYPE: ClassVar[str] = "arcadia.probe.count.v1"
    TOPIC: ClassVar[str] = COMMANDS

    name: str
    note: str = ""


class Tally(_Named, Command):
    """Handled in sets, each with an outcome of its own."""

    TYPE: ClassVar[str] = "arcadia.probe.tally.v1"
    TOPIC: ClassVar[str] = COMMANDS

    name: str
    note: str = ""


class Errand(_Named, Command):
    """A job."""

    TYPE: ClassVar[str] = "arcadia.probe.errand.v1"
    TOPIC: ClassVar[str] = COMMANDS

    name: str
    note: str = ""


class Orphan(_Named, Command):
    """Nobody handles it."""

    TYPE: ClassVar[str] = "arcadia.probe.orphan.v1"
    TOPIC: ClassVar[str] = COMMANDS

    name: str


class Poked(_Named, Event):
    """Projected in sets."""

    TYPE: ClassVar[str] = "arcadia.probe.poked.v1"
    TOPIC: ClassVar[str] = POKES

    name: str
    version: int

    def sequence(self) -> int:
        return self.version


class Overheard(_Named, Event):
    """On the same topic; nobody subscribed to it."""

    TYPE: ClassVar[str] = "arcadia.probe.overheard.v1"
    TOPIC: ClassVar[str] = POKES

    name: str

    def sequence(self) -> int:
        return 1


Act = Callable[[Any, Connection, Meta], Awaitable[Outcome | None]]


class Acts(dict[str, Any]):
    """What the handlers do with a message of a name; without an act they note that it came."""

    def on(self, name: str) -> Callable[[Any], Any]:
        """Register an act: of `(message, conn, meta)` for commands and events, of `(errand, run)` for jobs."""

        def register(act: Any) -> Any:
            self[name] = act
            return act

        return register


async def note(message: Any, conn: Connection, meta: Meta) -> Outcome:
    """The act where there is no other."""
    text = getattr(message, "note", None)
    await conn.execute("insert into effects (message_id, name, note) values ($1, $2, $3)",
                       meta.message_id, message.name, text)  # fmt: skip
    return Outcome(result={"note": text})


def probe_service(acts: Acts, keys: dict[str, Any]) -> Service[None]:
    """The service; its handlers do what `acts` says when a message comes. `keys`: of errands, where not their name."""
    service: Service[None] = Service("probe")

    @service.on(Poke)
    async def poke(cmd: Poke, conn: Connection, meta: Meta) -> Outcome | None:
        act: Act = acts.get(cmd.name, note)
        return await act(cmd, conn, meta)

    @service.on_batch(Count)
    async def count(received: Sequence[Received[Count]], conn: Connection) -> None:
        for each in received:
            act: Act = acts.get(each.message.name, note)
            await act(each.message, conn, each.meta)

    @service.on_batch(Tally)
    async def tally(received: Sequence[Received[Tally]], conn: Connection) -> list[Outcome | Refused]:
        outcomes: list[Outcome | Refused] = []
        for each in received:
            act: Act = acts.get(each.message.name, note)
            try:
                outcomes.append(await act(each.message, conn, each.meta) or Outcome())
            except Refused as refusal:
                outcomes.append(refusal)
        return outcomes

    @service.on_batch(Poked)
    async def on_poked(received: Sequence[Received[Poked]], conn: Connection) -> None:
        for each in received:
            if act := acts.get(each.message.name):
                await act(each.message, conn, each.meta)
        newest = {each.message.name: each.message.version for each in received}
        await conn.execute(
            """
            insert into seen as s (name, version) select * from unnest($1::text[], $2::bigint[])
            on conflict (name) do update set version = excluded.version where s.version < excluded.version
            """,
            *zip(*sorted(newest.items()), strict=True),
        )

    @service.job(Errand, lease=timedelta(seconds=2), concurrency=3, key=lambda e: keys.get(e.name, e.name))
    async def errand(cmd: Errand, run: JobRun[None]) -> Outcome | Work | None:
        async def work(conn: Connection, meta: Meta) -> Outcome:
            return await note(cmd, conn, meta)

        act: JobHandler | None = acts.get(cmd.name)
        return await act(cmd, run) if act else work

    return service


class Probe:
    """The world around the probe service."""

    def __init__(self, settings: Settings, database: Database, producer: AIOKafkaProducer) -> None:
        self.settings = settings
        self.database = database
        self.acts = Acts()
        self.keys: dict[str, Any] = {}
        self.service = probe_service(self.acts, self.keys)
        self.replies: dict[UUID, list[Reply]] = defaultdict(list)
        self.announced: dict[UUID, list[DeadLettered]] = defaultdict(list)
        self._producer = producer

    async def produce(self, *records: tuple[bytes | None, bytes | None], topic: str = COMMANDS, partition: int = 0,
                      headers: Sequence[tuple[str, bytes]] = ()) -> list[int]:  # fmt: skip
        """Put (key, value) records into one Kafka batch, so that they arrive together. Gives their offsets."""
        batch = self._producer.create_batch()
        for key, value in records:
            assert batch.append(key=key, value=value, timestamp=None, headers=list(headers)) is not None, (
                "batch is full"
            )
        sent = await self._producer.send_batch(batch, self.settings.kafka_prefix + topic, partition=partition)
        base = (await sent).offset
        return list(range(base, base + len(records)))

    async def send(self, *messages: Message, **attributes: Any) -> list[UUID]:
        """Send messages of one topic in one batch; `attributes` are the envelopes'. Gives their ids."""
        envelopes = [envelope_of(message, **attributes) for message in messages]
        await self.produce(*map(record_of, envelopes), topic=messages[0].TOPIC)
        return [envelope.id for envelope in envelopes]

    async def outcome(self, id: UUID, seconds: float = 15, *, status: str | None = None) -> Record:
        """A command's decided outcome; with `status`, once it is that."""
        query = "select * from inbox where id = $1 and status <> 'pending' and status = coalesce($2, status)"
        return await self.row(query, id, status, seconds=seconds)

    async def reply(self, id: UUID, seconds: float = 15, *, count: int = 1) -> Reply:
        """The latest reply to a command, once there are `count`."""

        async def replied() -> bool:
            return len(self.replies[id]) >= count

        await until(replied, seconds, f"{len(self.replies[id])} replies to {id}")
        return self.replies[id][-1]

    async def row(self, query: str, *arguments: Any, seconds: float = 15) -> Record:
        """The first row of a query, as soon as there is one."""
        found: list[Record] = []

        async def there() -> bool:
            found[:] = await self.database.pool.fetch(query, *arguments)
            return bool(found)

        await until(there, seconds, f"no row: {query} {arguments}")
        return found[0]

    async def effects(self, name: str) -> list[str | None]:
        """The notes that the handlers left under a name, in order."""
        rows = await self.database.pool.fetch("select note from effects where name = $1 order by position", name)
        return [row["note"] for row in rows]

    async def dead_letter(self, offset: int, *, topic: str = COMMANDS, partition: int = 0,
                          status: str = "dead", seconds: float = 15) -> Record:  # fmt: skip
        """The dead letter of a record, once it has the status."""
        return await self.row(
            """
            select * from dead_letters
            where topic = $1 and partition = $2 and record_offset = $3 and status = $4
            """,
            self.settings.kafka_prefix + topic,
            partition,
            offset,
            status,
            seconds=seconds,
        )

    async def announcement(self, dead_letter_id: UUID) -> DeadLettered:
        """What the dead-letters topic says of a dead letter, at first."""

        async def announced() -> bool:
            return bool(self.announced[dead_letter_id])

        await until(announced, 15, f"{dead_letter_id} is not announced")
        return self.announced[dead_letter_id][0]

    @asynccontextmanager
    async def owner(self) -> AsyncIterator[Connection]:
        """A connection of the schema's owner, as migrations have it."""
        conn = await asyncpg.connect(self.settings.role_url("probe_owner"))
        try:
            yield conn
        finally:
            await conn.close()

    async def committed(self, topic: str) -> int:
        """How many records of a topic the service's group has committed."""
        return sum((await self._commits(topic)).values())

    async def _commits(self, topic: str) -> dict[int, int]:
        """How many records of each partition of a topic."""
        group = f"{self.settings.kafka_prefix}arcadia.probe.{'commands' if topic == COMMANDS else 'events'}"
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.kafka_bootstrap_servers)
        try:
            await admin.start()
            offsets = await admin.list_consumer_group_offsets(group)
        finally:
            await admin.close()
        return {
            tp.partition: o.offset
            for tp, o in offsets.items()
            if tp.topic == self.settings.kafka_prefix + topic and o.offset > 0
        }

    async def drained(self, topic: str) -> None:
        """Wait until the group has committed all there is. (What others send meanwhile may be committed too.)"""
        async with tail(self.settings, [topic]) as consumer:
            ends: dict[TopicPartition, int] = await consumer.end_offsets(list(consumer.assignment()))
        behind: dict[int, str] = {}

        async def drained() -> bool:
            commits = await self._commits(topic)
            behind.clear()
            for tp, end in ends.items():
                if (done := commits.get(tp.partition, 0)) < end:
                    behind[tp.partition] = f"{done} of {end}"
            return not behind

        try:
            await until(drained, 15, f"{topic} is not drained")
        except AssertionError as error:
            raise AssertionError(f"{error}; committed by partition: {behind}") from error

    async def read(self, topic: str, *, key: str | None = None) -> list[bytes | None]:
        """The values on a topic (of one key)."""
        async with tail(self.settings, [topic], since_ms=0) as consumer:
            ends = await consumer.end_offsets(list(consumer.assignment()))
            values: list[bytes | None] = []
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                found = await consumer.getmany(timeout_ms=200)
                records = [record for records in found.values() for record in records]
                values += [record.value for record in records if key is None or record.key == key.encode()]
            return values

    async def envelopes(self, topic: str, *, key: str | None = None) -> list[Envelope]:
        """The same, as envelopes."""
        return [decode(value)[0] for value in await self.read(topic, key=key) if value]

    async def caught_up(self, seconds: float = 20) -> None:
        """Wait until everything that was sent before is handled: a marker per partition has come through."""
        marks = [(f"mark-{n}-{uuid7()}", n) for n in range(self.settings.kafka_partitions)]
        for name, partition in marks:
            await self.produce(record_of(envelope_of(Poke(name=name))), partition=partition)
        for name, _ in marks:
            await self.row("select 1 from effects where name = $1", name, seconds=seconds)

    def hear(self, value: bytes | None) -> None:
        """Sort what is read from the topics of replies and dead letters."""
        _, message = decode(value or b"")
        if isinstance(message, Reply):
            self.replies[message.command_id].append(message)
        elif isinstance(message, DeadLettered):
            self.announced[message.dead_letter_id].append(message)


def envelope_of(
    message: Message, *, id: UUID | None = None, replyto: str | None = REPLIES, **attributes: Any
) -> Envelope:
    """An envelope as a stranger would make it."""
    attributes.setdefault("sequence", message.sequence() if isinstance(message, Event) else None)
    replyto = None if isinstance(message, Event) else replyto
    return Envelope.of(message, id=id or uuid7(), source="/test", time=datetime.now(UTC), replyto=replyto, **attributes)


def record_of(envelope: Envelope) -> tuple[bytes, bytes]:
    """Key and value."""
    return envelope.subject.encode(), encode(envelope)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float, otherwise: str) -> None:
    """Wait for a condition. Raises AssertionError."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not await condition():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"after {seconds} s: {otherwise}")
        await asyncio.sleep(0.02)


@asynccontextmanager
async def probing(settings: Settings) -> AsyncIterator[Probe]:
    """The probe's schema and topics and the world around them; no service runs yet."""
    await migrate(settings, MIGRATIONS)
    await ensure_topics(settings, [topic for name, topic in TOPICS.items() if "probe" in name])
    servers = settings.kafka_bootstrap_servers
    database = await Database.of_service(settings, "probe")
    producer = AIOKafkaProducer(bootstrap_servers=servers, max_batch_size=1 << 22, max_request_size=1 << 22)
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest", fetch_max_wait_ms=20)
    await producer.start()
    await consumer.start()
    listened = [settings.kafka_prefix + topic for topic in (REPLIES, DEAD_LETTERS)]
    consumer.assign([TopicPartition(topic, n) for topic in listened for n in range(settings.kafka_partitions)])
    probe = Probe(settings, database, producer)
    listening = asyncio.create_task(_listen(consumer, probe))
    try:
        yield probe
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await consumer.stop()
        await producer.stop()
        await database.close()


async def _listen(consumer: AIOKafkaConsumer, probe: Probe) -> None:
    async for record in consumer:
        probe.hear(record.value)


@asynccontextmanager
async def at_work(probe: Probe) -> AsyncIterator[process.Process]:
    """The probe service at work in this process."""
    async with process.running(probe.service, probe.settings) as running:
        yield running
