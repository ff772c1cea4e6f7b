"""The relay: the outbox goes out in order, from one process at a time, whoever dies or hangs."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer

from shared.bus import tail
from shared.db import Database
from shared.publisher import PUBLISH_ERRORS, Publisher, partition_of
from shared.relay import LEASE_S, Relay
from shared.wire import MAX_MESSAGE_BYTES
from tests.runtime.probe import POKES, Poke, Probe, until

_INSERT = """
    insert into outbox (id, aggregatetype, aggregateid, type, payload)
    select gen_random_uuid(), $1, 'key ' || n % $3, 'x', convert_to(n::text, 'UTF8') from generate_series(1, $2::int) n
"""


@asynccontextmanager
async def relaying(probe: Probe, *, leading: bool = True) -> AsyncIterator[Relay]:
    """A relay in a process of its own, as far as the relay can tell."""
    database = await Database.of_service(probe.settings, "probe")
    relay = Relay(probe.settings, database, "probe")
    running = asyncio.create_task(relay.run())
    try:
        if leading:
            await until(lambda: _leads(relay), LEASE_S + 4, "the relay does not lead")
        yield relay
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await database.close()


async def _leads(relay: Relay) -> bool:
    return relay.leading


async def _insert_and_wait(probe: Probe) -> None:
    await probe.database.pool.execute(_INSERT, POKES, 1, 1)
    await sent(probe, 10)


async def sent(probe: Probe, seconds: float) -> None:
    """Wait until the outbox is empty."""
    await probe.row("select 1 where not exists (select from outbox)", seconds=seconds)


async def test_a_large_outbox_goes_out_once_and_in_order_per_key(own_probe: Probe) -> None:
    count, keys = 20_000, 50
    await own_probe.database.pool.execute(_INSERT, POKES, count, keys)
    async with relaying(own_probe):
        await sent(own_probe, 20)
    values = [int(value) for value in await own_probe.read(POKES) if value]
    assert sorted(values) == list(range(1, count + 1))
    for key in range(keys):
        line = [value for value in values if value % keys == key]
        assert line == sorted(line)


@pytest.mark.usefixtures("no_polls")
async def test_a_large_outbox_goes_out_without_a_pause(own_probe: Probe) -> None:
    await own_probe.database.pool.execute(_INSERT, POKES, 12_000, 50)
    async with relaying(own_probe):
        await sent(own_probe, 20)


async def test_what_waits_for_its_deletion_is_not_sent_again_and_does_not_grow(
    own_probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.relay._DELETE_AFTER_S", 60)  # a leader that has no rest: the test's own pauses are some
    count = 150
    async with relaying(own_probe) as relay, asyncio.timeout(30), tail(own_probe.settings, [POKES]) as published:
        for number in range(count):
            await own_probe.database.pool.execute(_INSERT.replace("n::text", "$4"), POKES, 1, 1, str(number))
            relay.wake()
            assert (await published.getone()).value == str(number).encode()
        left = await own_probe.database.pool.fetchval("select count(*) from outbox")
    assert 0 < left <= 65
    assert len(await own_probe.read(POKES)) == count


async def test_what_was_sent_is_deleted_in_a_moment_of_rest(own_probe: Probe) -> None:
    async with relaying(own_probe) as relay:
        await own_probe.database.pool.execute(_INSERT, POKES, 3, 1)
        relay.wake()
        await sent(own_probe, 2)


async def test_the_largest_message_goes_out_comes_in_and_holds_up_nothing(own_probe: Probe) -> None:
    largest = b"x" * MAX_MESSAGE_BYTES
    await own_probe.database.pool.execute(
        "insert into outbox (id, aggregatetype, aggregateid, type, payload) values ($1, $2, $3, 'x', $4)",
        uuid4(),
        POKES,
        "a key of some length",
        largest,
    )
    await own_probe.database.pool.execute(_INSERT, POKES, 3, 1)
    async with relaying(own_probe):
        await sent(own_probe, 10)
    values = await own_probe.read(POKES)
    assert sorted(len(value or b"") for value in values) == [1, 1, 1, MAX_MESSAGE_BYTES]


async def test_a_large_command_is_handled(probe: Probe) -> None:
    text = "x" * 3_000_000
    (id,) = await probe.send(Poke(name="large", note=text))
    assert (await probe.reply(id)).result == {"note": text}


async def test_of_two_publishers_of_one_name_the_older_puts_nothing_after_the_newer(own_probe: Probe) -> None:
    settings = own_probe.settings
    async with Publisher.open(settings, "twice") as older, Publisher.open(settings, "twice") as newer:
        await older.send_all([(POKES, "key", b"old")], 5)  # harmless: the newer one says it again
        await newer.send_all([(POKES, "key", b"old"), (POKES, "key", b"new")], 5)
        with pytest.raises(PUBLISH_ERRORS):
            await older.send_all([(POKES, "key", b"old")], 5)
    assert await own_probe.read(POKES) == [b"old", b"old", b"new"]


async def test_what_a_hung_leader_still_holds_goes_nowhere_when_it_wakes(own_probe: Probe) -> None:
    async with Publisher.open(own_probe.settings, "probe-relay") as hung:
        await own_probe.database.pool.execute(_INSERT, POKES, 2, 1)
        async with relaying(own_probe):
            await sent(own_probe, 10)
        with pytest.raises(PUBLISH_ERRORS):
            await hung.send_all([(POKES, "key 0", b"1")], 5)
    assert await own_probe.read(POKES) == [b"1", b"2"]


async def test_a_leader_makes_itself_known_to_the_broker_anew_before_that_forgets_it(
    own_probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.relay.PUBLISHER_LIFE_S", 0.5)  # an hour
    async with relaying(own_probe):
        await _insert_and_wait(own_probe)
        async with Publisher.open(own_probe.settings, "probe-relay") as between:
            await asyncio.sleep(1.5)
            await _insert_and_wait(own_probe)
            with pytest.raises(PUBLISH_ERRORS):
                await between.send_all([(POKES, "key 0", b"old")], 5)
    assert await own_probe.read(POKES) == [b"1", b"1"]


async def test_a_dead_leaders_lease_is_waited_out_and_no_longer(own_probe: Probe) -> None:
    await own_probe.database.pool.execute(
        "insert into relay_lease (holder, expires_at) values ($1, now() + interval '2 s')", uuid4()
    )
    await own_probe.database.pool.execute(_INSERT, POKES, 1, 1)
    began = time.monotonic()
    async with relaying(own_probe):
        assert time.monotonic() - began > 1.5
        await sent(own_probe, 3)
    assert time.monotonic() - began < 2 + LEASE_S / 4 + 3


async def test_a_leader_that_stops_hands_over_at_once(own_probe: Probe) -> None:
    handed_over = []
    for _ in range(2):
        await own_probe.database.pool.execute(_INSERT, POKES, 1, 1)
        began = time.monotonic()
        async with relaying(own_probe):
            handed_over.append(time.monotonic() - began)
            await sent(own_probe, 5)
    assert handed_over[1] < LEASE_S / 4


async def test_a_commit_in_a_replica_that_does_not_lead_goes_out_at_once(own_probe: Probe) -> None:
    """By the notification: the leader's own look comes every 250 ms."""
    async with relaying(own_probe), relaying(own_probe, leading=False) as other:
        assert not other.leading
        await asyncio.sleep(0.5)  # until it listens
        times = []
        async with tail(own_probe.settings, [POKES]) as published, asyncio.timeout(30):
            for _ in range(11):
                await asyncio.sleep(0.03)
                await own_probe.database.pool.execute(_INSERT, POKES, 1, 1)
                committed = time.monotonic()
                other.wake()
                await published.getone()
                times.append(time.monotonic() - committed)
    assert statistics.median(times) < 0.08, times


@pytest.mark.parametrize("key", [b"", b"a", b"account-7", b"01a1fdf0-f2c4-79e2-b5bb-843793529e7f", "Grüße".encode()])
async def test_the_relay_chooses_the_partition_that_kafkas_clients_choose(own_probe: Probe, key: bytes) -> None:
    topic = own_probe.settings.kafka_prefix + POKES
    producer = AIOKafkaProducer(bootstrap_servers=own_probe.settings.kafka_bootstrap_servers)
    await producer.start()
    sent = await producer.send_and_wait(topic, b"x", key=key)
    count = len(await producer.partitions_for(topic))
    await producer.stop()
    assert partition_of(key, count) == sent.partition


async def test_a_tail_from_now_misses_nothing_that_comes_after(own_probe: Probe) -> None:
    async with tail(own_probe.settings, [POKES]) as consumer:
        await own_probe.database.pool.execute(_INSERT, POKES, 5, 5)
        async with relaying(own_probe), asyncio.timeout(10):
            values = {(await consumer.getone()).value for _ in range(5)}
    assert values == {b"1", b"2", b"3", b"4", b"5"}


async def test_a_tail_ends_even_where_its_consumer_does_not(own_probe: Probe) -> None:
    began = time.monotonic()
    async with tail(own_probe.settings, [POKES]) as consumer:
        end, consumer.stop = consumer.stop, asyncio.Event().wait
    assert time.monotonic() - began < 10
    assert not any(conn.connected() for conn in consumer._client._conns.values())
    await asyncio.wait({asyncio.ensure_future(end())})  # its tasks end as they may
