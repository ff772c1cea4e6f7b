"""What cannot be read is dead at once, with its origin; its neighbours are handled."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import confluent_kafka
import orjson
import pytest
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import CorruptRecordException

from shared.ids import uuid7
from shared.wire import encode
from tests.runtime.probe import (
    COMMANDS,
    POKES,
    REPLIES,
    Overheard,
    Poke,
    Poked,
    Probe,
    at_work,
    envelope_of,
    record_of,
    until,
)


def raw(**changes: Any) -> bytes:
    """The JSON of a command, with attributes changed or (None) left out."""
    envelope = orjson.loads(record_of(envelope_of(Poke(name="raw")))[1])
    return orjson.dumps({name: value for name, value in (envelope | changes).items() if value is not None})


POISON = {
    "no JSON": (b"\xff\xfe{", "undecodable"),
    "an empty value": (b"", "undecodable"),
    "JSON of another shape": (b"[1, 2]", "undecodable"),
    "no type": (raw(type=None), "undecodable"),
    "an id that is none": (raw(id="seven"), "undecodable"),
    "a time without its offset": (raw(expires="2026-01-01T00:00:00"), "undecodable"),
    "NUL in an attribute": (raw(tenantid="a\0b"), "undecodable"),
    "an attribute without end": (raw(tenantid="a" * 3_000_000), "undecodable"),
    "too deep": (b'{"data":' * 50_000 + b"1" + b"}" * 50_000, "undecodable"),
    "an unknown type": (raw(type="arcadia.probe.later.v9"), "unknown_type"),
    "invalid data": (raw(data={"name": 7}), "invalid"),
    "NUL in the data": (raw(data={"name": "raw", "note": "a\0b"}), "invalid"),
}


@pytest.mark.parametrize("case", POISON)
async def test_poison_is_dead_at_once_with_its_origin_and_its_neighbours_are_handled(probe: Probe, case: str) -> None:
    value, reason = POISON[case]
    name = f"neighbour of {case}"
    before, after = (envelope_of(Poke(name=name, note=note)) for note in ("before", "after"))
    _, offset, _ = await probe.produce(record_of(before), (name.encode(), value), record_of(after))
    dead = await probe.dead_letter(offset, seconds=5)
    assert (dead["reason"], bytes(dead["raw"])) == (reason, value)
    assert (await probe.outcome(before.id))["status"] == (await probe.outcome(after.id))["status"] == "ok"
    assert await probe.effects(name) == ["before", "after"]
    announced = await probe.announcement(dead["id"])
    assert (announced.topic, announced.partition, announced.offset) == (dead["topic"], 0, offset)
    assert (announced.reason, announced.service, announced.attempts) == (reason, "probe", 1)


@pytest.mark.parametrize("case", ["an unknown type", "invalid data", "NUL in the data"])
async def test_who_waits_for_a_poisoned_command_is_told_its_dead_letter(probe: Probe, case: str) -> None:
    id = uuid7()
    value, reason = POISON[case]
    value = orjson.dumps(orjson.loads(value) | {"id": str(id), "replyto": REPLIES, "tenantid": "a"})
    (offset,) = await probe.produce((b"raw", value))
    reply = await probe.reply(id)
    dead = await probe.dead_letter(offset)
    assert (reply.status, reply.code) == ("failed", reason)
    assert reply.detail is not None
    assert reply.detail["dead_letter_id"] == str(dead["id"])
    outcome = await probe.outcome(id)
    assert (outcome["status"], outcome["code"], outcome["tenant_id"]) == ("failed", reason, "a")


async def test_the_reason_names_the_field_and_not_its_value(probe: Probe) -> None:
    (offset,) = await probe.produce((b"raw", raw(data={"name": ["a secret"]})))
    dead = await probe.dead_letter(offset)
    assert "name" in dead["detail"]
    assert "secret" not in dead["detail"]


async def test_a_poisoned_command_without_replyto_ends_failed_too(probe: Probe) -> None:
    id = uuid7()
    await probe.produce((b"raw", raw(id=str(id), data={}, replyto=None)))
    assert (await probe.outcome(id))["status"] == "failed"
    assert probe.replies[id] == []


async def test_a_poisoned_record_that_comes_twice_is_one_dead_letter(probe: Probe) -> None:
    """The relay publishes a command again when it dies before it could delete it."""
    id = uuid7()
    value = raw(id=str(id), data={})
    await probe.produce((b"raw", value), (b"raw", value))
    await probe.caught_up()
    assert await probe.database.pool.fetchval("select count(*) from dead_letters where message_id = $1", id) == 1


async def test_a_command_handled_before_is_not_undone_by_code_that_cannot_read_it(probe: Probe) -> None:
    """While a deployment rolls, a handled command can be delivered again, to a replica of the old code."""
    (id,) = await probe.send(Poke(name="rolling", note="once"))
    assert (await probe.reply(id)).status == "ok"
    await probe.produce((b"rolling", raw(id=str(id), type="arcadia.probe.later.v9")))
    assert (await probe.reply(id, count=2)).status == "ok"
    assert (await probe.outcome(id))["status"] == "ok"
    assert await probe.database.pool.fetchval("select count(*) from dead_letters where message_id = $1", id) == 0


async def test_a_tombstone_a_strange_header_and_a_strange_key_do_no_harm(probe: Probe) -> None:
    odd, unkeyed, plain = (envelope_of(Poke(name="strange", note=note)) for note in ("odd", "unkeyed", "plain"))
    records = [(b"gone", None), (b"\xff\x00\xfe", encode(odd)), (None, encode(unkeyed)), record_of(plain)]
    await probe.produce(*records, headers=[("latin", b"\xe9\xff"), ("", b"")])
    await probe.produce((b"gone", None), topic=POKES)
    await probe.outcome(plain.id)
    assert await probe.effects("strange") == ["odd", "unkeyed", "plain"]


async def test_a_broken_record_under_a_key_with_nul_is_kept_too(probe: Probe) -> None:
    (offset,) = await probe.produce((b"a\x00b", b"broken"))
    assert (await probe.dead_letter(offset))["reason"] == "undecodable"


async def test_a_reply_wanted_on_no_topic_of_replies_does_not_block_the_others(probe: Probe) -> None:
    ids = [uuid7(), uuid7()]
    for id, topic in zip(ids, ["no such topic!", REPLIES], strict=True):
        await probe.produce(record_of(envelope_of(Poke(name="reply"), id=id, replyto=topic)))
    assert (await probe.reply(ids[1])).status == "ok"
    assert (await probe.outcome(ids[0]))["status"] == "ok"


async def test_events_that_nobody_here_wants_pass(probe: Probe) -> None:
    await probe.send(Overheard(name="passing"), Poked(name="passing", version=3))
    await probe.row("select 1 from seen where name = 'passing'")
    assert await probe.database.pool.fetchval("select count(*) from dead_letters where key = 'passing'") == 0


async def test_a_message_from_the_future_or_of_absurd_numbers_does_no_harm(probe: Probe) -> None:
    good = envelope_of(Poke(name="absurd"))
    absurd = raw(time="9999-12-31T23:59:59-23:00", sequence=10**18, data={"name": "absurd", "more": {"n": 1e308}})
    expired = raw(id=str(uuid7()), expires=datetime(1, 1, 1, tzinfo=UTC))
    await probe.produce((b"absurd", absurd.replace(b"1e308", b"1e999999")), (b"x", expired), record_of(good))
    assert (await probe.outcome(good.id))["status"] == "ok"


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_what_others_compress_is_read(probe: Probe, codec: str) -> None:
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": probe.settings.kafka_bootstrap_servers[0], "compression.type": codec}
    )
    envelope = envelope_of(Poke(name=f"by {codec}", note="x" * 1000))
    key, value = record_of(envelope)
    producer.produce(probe.settings.kafka_prefix + COMMANDS, key=key, value=value, partition=1)
    assert await asyncio.to_thread(producer.flush, 10) == 0
    assert (await probe.outcome(envelope.id))["status"] == "ok"


async def test_a_partition_that_cannot_be_read_takes_nothing_from_the_others(
    own_probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiokafka drops what it had taken from other partitions when one raises."""
    unpacked = PartitionRecords._consumer_record

    def corrupt(self: Any, tp: Any, record: Any) -> Any:
        if record.value == b"corrupt":
            raise CorruptRecordException("not what was written")
        return unpacked(self, tp, record)

    monkeypatch.setattr(PartitionRecords, "_consumer_record", corrupt)
    good = [envelope_of(Poke(name=f"order {n}")) for n in range(40)]
    for round in (good[:20], good[20:]):
        await own_probe.produce((b"corrupt", b"corrupt"), partition=2)
        for n, envelope in enumerate(round):
            await own_probe.produce(record_of(envelope), partition=(0, 1, 3)[n % 3])
    behind = envelope_of(Poke(name="behind"))
    await own_probe.produce(record_of(behind), partition=2)
    async with at_work(own_probe) as process:
        for envelope in good:
            assert (await own_probe.outcome(envelope.id))["status"] == "ok"

        async def told() -> bool:
            return f"{COMMANDS}[2] cannot be read: CorruptRecordException" in str((await process.ready())["topics"])

        await until(told, 5, "nobody says that the partition cannot be read")
        assert await own_probe.effects("behind") == []
        monkeypatch.undo()
        assert (await own_probe.outcome(behind.id))["status"] == "ok"
        assert (await process.ready())["topics"] is None
