"""DNS records: one of a name and type, whatever was there, and afterwards exactly what was there again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contracts.provider import RemoveDnsRecord, UpsertDnsRecord
from dev.digitalocean.faults import Fault
from dev.digitalocean.running import RunningStandIn
from shared.ids import uuid7
from shared.process import running
from tests.provider.world import PATIENCE, Provisioning, process, service_with, undo, within

ZONE = "acme.example"
WRITES = ("POST", "PATCH", "DELETE")
Content = tuple[str, int]

BEFORE: list[list[Content]] = [
    [],
    [("198.51.100.1", 1800)],
    [("203.0.113.7", 300)],
    [("198.51.100.1", 1800), ("198.51.100.1", 1800), ("198.51.100.2", 600)],
    [("203.0.113.7", 300), ("203.0.113.7", 300), ("203.0.113.7", 60)],
]


def upsert(data: str = "203.0.113.7", name: str = "shop", **fields: Any) -> UpsertDnsRecord:
    return UpsertDnsRecord(operation_id=uuid7(), domain=ZONE, name=name, data=data, **fields)


def remove(name: str = "shop") -> RemoveDnsRecord:
    return RemoveDnsRecord(operation_id=uuid7(), domain=ZONE, name=name)


async def zone(provisioning: Provisioning, before: list[Content], **settings: Any) -> None:
    """A zone with these records of the name `shop`, and others that are nobody's business."""
    await provisioning.provider.set(**settings)
    others = [{"type": "A", "name": "www", "data": "192.0.2.1"}, {"type": "TXT", "name": "shop", "data": "hello"}]
    shop = [{"type": "A", "name": "shop", "data": data, "ttl": ttl} for data, ttl in before]
    await provisioning.provider.add_zone(ZONE, *others, *shop)


async def contents(provisioning: Provisioning, name: str = "shop", type: str = "A") -> list[Content]:
    """What there is of a name and type, whatever lists show."""
    records = await provisioning.provider.records(ZONE)
    return sorted((each.data, each.ttl) for each in records if (each.name, each.type) == (name, type))


async def others_are_untouched(provisioning: Provisioning) -> None:
    assert await contents(provisioning, "www") == [("192.0.2.1", 1800)]
    assert await contents(provisioning, "shop", "TXT") == [("hello", 1800)]


async def written(provisioning: Provisioning) -> int:
    """How many writes were asked for."""
    return sum([(await provisioning.asked(method, "/v2/domains")).total() for method in WRITES])


@pytest.mark.parametrize("lag", [0, 40])
@pytest.mark.parametrize("before", BEFORE)
async def test_whatever_was_there_becomes_one_record_and_is_put_back(
    provisioning: Provisioning, before: list[Content], lag: float
) -> None:
    await zone(provisioning, before, records_lag=lag)
    command = upsert()

    result = await provisioning.ok(command)

    (record,) = [r for r in await provisioning.provider.records(ZONE) if (r.name, r.type) == ("shop", "A")]
    assert (record.data, record.ttl) == ("203.0.113.7", 300)
    assert result == {"record_id": record.id, "fqdn": "shop.acme.example"}

    await provisioning.ok(undo(command.operation_id))

    assert await contents(provisioning) == sorted(before)
    await others_are_untouched(provisioning)


@pytest.mark.parametrize("effect", ["lost", "late"])
@pytest.mark.parametrize("nth", range(2))
async def test_a_write_whose_answer_is_lost_is_not_done_twice(
    provisioning: Provisioning, effect: Any, nth: int
) -> None:
    before = BEFORE[3]
    await zone(provisioning, before)
    for method in WRITES:
        await provisioning.provider.arm(Fault(effect=effect, seconds=30, method=method, path="/v2/domains/*",
                                              after=nth, count=1))  # fmt: skip
    command = upsert()

    await provisioning.ok(command, 60)

    assert await contents(provisioning) == [("203.0.113.7", 300)]
    row = await provisioning.operation(command.operation_id)
    assert sorted(map(tuple, row["before"].values())) == sorted(before)
    await provisioning.provider.disarm()
    await provisioning.ok(undo(command.operation_id), 60)
    assert await contents(provisioning) == sorted(before)


@pytest.mark.parametrize("effect", ["lost", "late", "reset"])
async def test_one_record_comes_of_a_create_whose_answer_is_lost(provisioning: Provisioning, effect: Any) -> None:
    await zone(provisioning, [], records_lag=30)
    await provisioning.provider.arm(
        Fault(effect=effect, seconds=30, method="POST", path="/v2/domains/*/records", count=1)
    )

    await provisioning.ok(upsert(), 60)

    assert await contents(provisioning) == [("203.0.113.7", 300)]
    assert await written(provisioning) == (2 if effect == "reset" else 1)


@pytest.mark.parametrize("effect", ["late", "slow", "hang"])
async def test_an_upsert_under_way_is_undone_for_good(provisioning: Provisioning, effect: Any) -> None:
    before = BEFORE[1]
    await zone(provisioning, before)
    seconds = 60 if effect == "late" else 1.5
    fault = Fault(effect=effect, seconds=seconds, method="PATCH", path="/v2/domains/*", count=1)
    await provisioning.provider.arm(fault)
    command = upsert()
    (upserting,) = await provisioning.send(command)
    await provisioning.until_asked("PATCH", "/v2/domains")

    await provisioning.ok(undo(command.operation_id), 60)

    assert (await provisioning.outcome(upserting)).code == "operation_cancelled"
    assert await contents(provisioning) == before
    await provisioning.provider.advance(600)  # nothing is to come
    assert await contents(provisioning) == before


async def test_an_upsert_that_comes_after_its_undoing_is_refused(provisioning: Provisioning) -> None:
    await zone(provisioning, BEFORE[1])
    command = upsert()
    await provisioning.ok(undo(command.operation_id))

    assert await provisioning.refused(command) == "operation_cancelled"
    assert await contents(provisioning) == BEFORE[1]


async def test_all_records_are_removed_and_put_back(provisioning: Provisioning) -> None:
    await zone(provisioning, BEFORE[3])
    command = remove()

    assert await provisioning.ok(command) == {"removed": 3}
    assert await contents(provisioning) == []
    await provisioning.ok(undo(command.operation_id))

    assert await contents(provisioning) == sorted(BEFORE[3])
    await others_are_untouched(provisioning)


async def test_what_a_person_did_meanwhile_is_no_obstacle(provisioning: Provisioning) -> None:
    await zone(provisioning, BEFORE[1])
    command = upsert()
    made = await provisioning.ok(command)
    await provisioning.provider.delete_record(made["record_id"])

    await provisioning.ok(undo(command.operation_id))

    assert await contents(provisioning) == BEFORE[1]


async def test_what_was_so_already_is_not_put_back(provisioning: Provisioning) -> None:
    await zone(provisioning, [("203.0.113.7", 300)])
    command = upsert()
    made = await provisioning.ok(command)
    await provisioning.provider.change_record(made["record_id"], data="198.51.100.9")

    assert await provisioning.ok(undo(command.operation_id)) == {"undone": []}

    assert await contents(provisioning) == [("198.51.100.9", 300)]


async def test_a_record_that_lists_do_not_show_yet_is_removed(provisioning: Provisioning) -> None:
    await zone(provisioning, [], records_lag=40)
    await provisioning.ok(upsert())

    assert await provisioning.ok(remove()) == {"removed": 1}

    assert await contents(provisioning) == []


async def test_a_record_that_lists_do_not_show_yet_is_changed_and_put_back(provisioning: Provisioning) -> None:
    await zone(provisioning, [], records_lag=40)
    first, second = upsert("203.0.113.1"), upsert("203.0.113.2")

    await provisioning.ok(first)
    await provisioning.ok(second)

    assert await contents(provisioning) == [("203.0.113.2", 300)]
    await provisioning.ok(undo(second.operation_id))
    assert await contents(provisioning) == [("203.0.113.1", 300)]


async def test_what_has_changed_since_it_was_read_is_read_again(no_replica: Provisioning) -> None:
    """Whoever has read is frozen until its hold has lapsed, and another one has been there."""
    await zone(no_replica, [])
    lists = {"method": "GET", "path": "/v2/domains/*"}
    await no_replica.provider.arm(Fault(effect="slow", seconds=3, count=1, **lists))
    frozen, other = upsert("203.0.113.1"), upsert("203.0.113.2")
    async with running(service_with(replace(PATIENCE, hold_s=0.5, call_s=10)), no_replica.settings):
        (id,) = await no_replica.send(frozen)
        await no_replica.until_asked("GET", "/v2/domains")
        await no_replica.ok(other)
        await no_replica.outcome(id)

    assert await contents(no_replica) == [("203.0.113.1", 300)]
    row = await no_replica.operation(frozen.operation_id)
    assert list(row["before"].values()) == [["203.0.113.2", 300]]


async def test_what_another_operation_has_not_finished_is_not_taken_for_done(provisioning: Provisioning) -> None:
    await zone(provisioning, [("198.51.100.1", 300), ("198.51.100.2", 300)])
    removing = remove()
    await provisioning.ok(removing)
    await provisioning.provider.arm(
        Fault(effect="hang", seconds=1, method="POST", path="/v2/domains/*", after=1, count=1)
    )
    (undoing,) = await provisioning.send(undo(removing.operation_id))
    await provisioning.until_asked("POST", "/v2/domains", times=2)

    await provisioning.ok(upsert("198.51.100.1"), 60)

    assert (await provisioning.outcome(undoing)).status == "ok"
    assert await contents(provisioning) == [("198.51.100.1", 300)]


async def test_what_may_still_be_undone_is_waited_for(provisioning: Provisioning) -> None:
    await zone(provisioning, BEFORE[1])
    await provisioning.provider.arm(Fault(effect="hang", seconds=1, method="PATCH", path="/v2/domains/*", count=1))
    hung = upsert("203.0.113.1")
    await provisioning.send(hung)
    await provisioning.until_asked("PATCH", "/v2/domains")
    (undoing,) = await provisioning.send(undo(hung.operation_id))
    await provisioning.until("select exists (select from operations where kind = 'undo-operation')")
    following = upsert("203.0.113.2")

    await provisioning.ok(following, 60)

    assert (await provisioning.outcome(undoing)).status == "ok"
    assert await contents(provisioning) == [("203.0.113.2", 300)]
    undone, row = [await provisioning.operation(each.operation_id) for each in (hung, following)]
    assert undone["updated_at"] < row["sent_at"]


async def test_an_undoing_that_has_done_nothing_expires_and_may_be_asked_again(provisioning: Provisioning) -> None:
    await zone(provisioning, BEFORE[1])
    await provisioning.provider.arm(Fault(effect="hang", seconds=1, method="PATCH", path="/v2/domains/*", count=1))
    hung = upsert()
    (upserting,) = await provisioning.send(hung)
    await provisioning.until_asked("PATCH", "/v2/domains")
    undoing = undo(hung.operation_id)

    assert await provisioning.refused(undoing, expires=within(1.5)) == "expired"

    assert (await provisioning.outcome(upserting)).code == "operation_cancelled"
    await provisioning.ok(undoing)
    assert await provisioning.status(hung.operation_id) == ("cancelled", True)


async def test_the_apex_a_wildcard_and_names_are_found_by_their_full_names(provisioning: Provisioning) -> None:
    await zone(provisioning, [])
    for name, full_name in (("@", ZONE), ("*", f"*.{ZONE}"), ("a.b", f"a.b.{ZONE}")):
        for address in ("203.0.113.7", "203.0.113.8"):
            assert (await provisioning.ok(upsert(address, name)))["fqdn"] == full_name
        assert await contents(provisioning, name) == [("203.0.113.8", 300)]


async def test_other_spellings_of_the_same_are_not_written_again(provisioning: Provisioning) -> None:
    await zone(provisioning, [])
    for data, kind, name in (("Target.Example", "CNAME", "c"), ("2001:DB8::0001", "AAAA", "six")):
        first = await provisioning.ok(upsert(data, name, record_type=kind))
        before = await written(provisioning)
        again = upsert(data.lower() + ("." if kind == "CNAME" else ""), name, record_type=kind)
        assert await provisioning.ok(again) == first
        assert await written(provisioning) == before


async def test_a_domain_that_is_not_there_is_not_found(provisioning: Provisioning) -> None:
    for command in (upsert(), remove()):
        assert await provisioning.refused(command) == "domain_not_found"


async def test_what_is_refused_half_way_leaves_everything_as_it_was(provisioning: Provisioning) -> None:
    await zone(provisioning, BEFORE[3])
    refusing = Fault(effect="status", status=422, message="no", method="DELETE", path="/v2/domains/*", after=1, count=1)
    await provisioning.provider.arm(refusing)
    command = upsert()

    assert await provisioning.refused(command) == "provider_refused"

    assert await contents(provisioning) == sorted(BEFORE[3])
    assert await provisioning.status(command.operation_id) == ("refused", False)


async def test_what_was_refused_half_way_is_tried_anew_once_lists_show_what_was_taken_back(
    provisioning: Provisioning,
) -> None:
    await zone(provisioning, BEFORE[3], records_lag=60)
    refusing = Fault(effect="status", status=422, message="no", method="DELETE", path="/v2/domains/*", after=1, count=1)
    await provisioning.provider.arm(refusing)
    command = upsert()
    assert await provisioning.refused(command) == "provider_refused"

    await provisioning.ok(command)

    assert await contents(provisioning) == [("203.0.113.7", 300)]
    await provisioning.ok(undo(command.operation_id))
    assert await contents(provisioning) == sorted(BEFORE[3])


async def test_a_refused_record_is_refused(provisioning: Provisioning) -> None:
    await zone(provisioning, BEFORE[1])

    assert await provisioning.refused(upsert("not-an-address")) == "provider_refused"
    assert await contents(provisioning) == BEFORE[1]


async def test_an_outage_only_delays(provisioning: Provisioning) -> None:
    await zone(provisioning, BEFORE[3])
    for effect in ("burst", "status"):
        await provisioning.provider.arm(
            Fault(effect=effect, status=503, seconds=1, path="/v2/domains/*", method="GET", count=1)
        )
    await provisioning.provider.arm(Fault(effect="burst", seconds=1, path="/v2/domains/*", method="PATCH", count=1))

    await provisioning.ok(upsert())

    assert await contents(provisioning) == [("203.0.113.7", 300)]


async def test_what_could_not_be_sent_in_time_is_not_sent(provisioning: Provisioning) -> None:
    await zone(provisioning, BEFORE[1])
    await provisioning.provider.arm(Fault(effect="burst", seconds=1, path="/v2/domains/*", method="PATCH"))

    assert await provisioning.refused(upsert(), expires=within(2)) == "expired"
    assert await contents(provisioning) == BEFORE[1]


async def test_commands_for_one_name_follow_one_another_at_two_replicas(two_replicas: Provisioning) -> None:
    await zone(two_replicas, BEFORE[3], records_lag=10)
    await two_replicas.provider.arm(Fault(effect="lost", probability=0.3, seed=2, method="P*", path="/v2/domains/*"))
    commands = [upsert(f"203.0.113.{n}") for n in range(5)]

    await asyncio.gather(*(two_replicas.ok(command, 120) for command in commands))

    assert len(await contents(two_replicas)) == 1
    overlapping = await two_replicas.db.pool.fetchval(
        """
        select count(*) from operations a join operations b on a.id < b.id
        where a.sent_at < b.updated_at and b.sent_at < a.updated_at
        """
    )
    assert overlapping == 0


async def test_a_killed_workers_upsert_is_finished_and_still_knows_what_was_before(
    no_replica: Provisioning, stand_in: RunningStandIn, tmp_path: Path
) -> None:
    await zone(no_replica, BEFORE[3])
    await no_replica.provider.arm(
        Fault(effect="slow", seconds=2, method="DELETE", path="/v2/domains/*", after=1, count=1)
    )
    command = upsert()
    with process(no_replica.settings, stand_in.token, tmp_path / "first.log") as victim:
        (id,) = await no_replica.send(command)
        await no_replica.until_asked("DELETE", "/v2/domains", times=2)
        victim.kill()
        victim.wait()

    with process(no_replica.settings, stand_in.token, tmp_path / "second.log"):
        assert (await no_replica.outcome(id, 60)).status == "ok"
        assert await contents(no_replica) == [("203.0.113.7", 300)]
        await no_replica.ok(undo(command.operation_id))

    assert await contents(no_replica) == sorted(BEFORE[3])
