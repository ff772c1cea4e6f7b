"""Schedules on a real database: each slot once, whoever looks and however late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from contracts.inventory import COMMANDS, SyncInventory
from contracts.message import Envelope
from contracts.registry import topics
from services.scheduler.app import MIGRATIONS, service
from services.scheduler.handlers import send_what_is_due
from services.scheduler.schedules import SCHEDULES, Schedule
from shared import outbox
from shared.bus import ensure_topics, tail
from shared.config import Settings
from shared.db import Database
from shared.ids import derived_id
from shared.migrate import migrate
from shared.outbox import Sender
from shared.outcome import Meta, Outcome
from shared.process import running

NOON = datetime(2026, 5, 12, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def schedule(name: str = "sync", cron: str = "15 * * * *", **declared: object) -> Schedule:
    return Schedule(name, cron, lambda _: SyncInventory(), **{"catch_up": "latest", **declared})  # type: ignore[arg-type]


@pytest.fixture
async def db(settings: Settings) -> AsyncIterator[Database]:
    await migrate(settings, {"scheduler": MIGRATIONS})
    db = await Database.of_service(settings, "scheduler")
    yield db
    await db.close()


async def tick(db: Database, now: datetime, schedules: Sequence[Schedule]) -> Outcome | None:
    """One turn of one replica, as the runtime does it."""
    async with db.transaction() as conn:
        outcome = await send_what_is_due(conn, now, schedules)
        await outbox.insert(conn, Sender("scheduler").rows(outcome or Outcome(), Meta(derived_id(now), now)))
    return outcome


async def sent(db: Database) -> list[Envelope]:
    """What waits in the outbox, in its order."""
    rows = await db.pool.fetch("select payload from outbox order by position")
    return [Envelope.model_validate(orjson.loads(row["payload"])) for row in rows]


async def test_a_new_schedule_begins_with_its_next_slot(db: Database) -> None:
    assert await tick(db, NOON, [schedule()]) is None
    assert await tick(db, NOON + 14 * MINUTE, [schedule()]) is None
    assert await tick(db, NOON + 15 * MINUTE, [schedule()]) is not None
    (message,) = await sent(db)
    assert (message.type, message.id) == (SyncInventory.TYPE, derived_id("slot", "sync", NOON + 15 * MINUTE))


async def test_four_replicas_that_look_at_once_send_each_slot_once(db: Database) -> None:
    jobs = [schedule(f"job-{n}", "* * * * *", catch_up="every") for n in range(20)]
    await tick(db, NOON, jobs)

    async def replica() -> None:
        for minute in range(1, 8):
            await tick(db, NOON + minute * MINUTE, jobs)
            await asyncio.sleep(0)

    await asyncio.gather(*(replica() for _ in range(4)))
    while await tick(db, NOON + 7 * MINUTE, jobs):
        pass

    ids = [message.id for message in await sent(db)]
    assert sorted(ids) == sorted(
        derived_id("slot", job.name, NOON + minute * MINUTE) for job in jobs for minute in range(1, 8)
    )


async def test_after_downtime_only_the_latest_slot_is_served_where_it_is_all_that_matters(db: Database) -> None:
    job = schedule(expires=True)
    await tick(db, NOON, [job])
    late = NOON + timedelta(days=90, minutes=40)

    assert await tick(db, late, [job]) is not None
    assert await tick(db, late, [job]) is None

    (message,) = await sent(db)
    slot = NOON + timedelta(days=90, minutes=15)
    assert (message.id, message.expires) == (derived_id("slot", "sync", slot), slot + timedelta(hours=1))
    (row,) = await db.pool.fetch("select * from slots")
    assert (row["last_slot"], row["next_at"]) == (slot, slot + timedelta(hours=1))


async def test_after_downtime_every_slot_is_served_in_order_where_each_matters(db: Database) -> None:
    days = []
    job = Schedule("meter", "10 1 * * *", lambda slot: days.append(slot) or SyncInventory(), "every")  # type: ignore[func-returns-value]
    await tick(db, NOON, [job])

    while await tick(db, NOON + timedelta(days=90), [job]):
        pass

    first = datetime(2026, 5, 13, 1, 10, tzinfo=UTC)
    assert days == [first + timedelta(days=n) for n in range(90)]
    messages = await sent(db)
    assert [message.id for message in messages] == [derived_id("slot", "meter", day) for day in days]
    assert {message.expires for message in messages} == {None}


async def test_a_slot_that_is_due_at_this_very_moment_is_the_latest(db: Database) -> None:
    await tick(db, NOON, [schedule()])
    await tick(db, NOON + 15 * MINUTE, [schedule()])
    await tick(db, NOON + 195 * MINUTE, [schedule()])
    assert [m.id for m in await sent(db)] == [
        derived_id("slot", "sync", NOON + minutes * MINUTE) for minutes in (15, 195)
    ]


async def test_a_changed_cron_counts_from_now(db: Database) -> None:
    await tick(db, NOON, [schedule(cron="15 * * * *")])
    await tick(db, NOON + MINUTE, [schedule(cron="45 * * * *")])
    assert await tick(db, NOON + 20 * MINUTE, [schedule(cron="45 * * * *")]) is None
    assert await tick(db, NOON + 45 * MINUTE, [schedule(cron="45 * * * *")]) is not None


async def test_a_changed_cron_loses_no_slot_of_a_schedule_whose_every_slot_matters(db: Database) -> None:
    await tick(db, NOON, [schedule(cron="0 1 * * *", catch_up="every")])
    first = datetime(2026, 5, 13, 1, tzinfo=UTC)
    await tick(db, first, [schedule(cron="0 1 * * *", catch_up="every")])
    changed = schedule(cron="10 1 * * *", catch_up="every")

    while await tick(db, first + timedelta(days=3), [changed]):
        pass

    slots = [first, *(first + timedelta(days=n, minutes=10) for n in range(3))]
    assert [m.id for m in await sent(db)] == [derived_id("slot", "sync", slot) for slot in slots]


async def test_a_slot_is_not_served_before_its_time(db: Database) -> None:
    await tick(db, NOON, [schedule()])
    await tick(db, NOON + 75 * MINUTE - timedelta(microseconds=500), [schedule()])
    assert [m.id for m in await sent(db)] == [derived_id("slot", "sync", NOON + 15 * MINUTE)]


async def test_a_schedule_that_is_no_longer_declared_sends_nothing(db: Database) -> None:
    await tick(db, NOON, [schedule("old"), schedule("kept")])
    await tick(db, NOON + 15 * MINUTE, [schedule("kept")])
    assert [m.id for m in await sent(db)] == [derived_id("slot", "kept", NOON + 15 * MINUTE)]


async def test_a_command_that_cannot_be_made_holds_up_no_other_and_its_slot_waits(db: Database) -> None:
    def fails(_: datetime) -> SyncInventory:
        raise RuntimeError("no such command")

    broken = Schedule("sync", "15 * * * *", fails, "latest")
    await tick(db, NOON, [broken, schedule("other")])
    await tick(db, NOON + 15 * MINUTE, [broken, schedule("other")])
    assert await tick(db, NOON + 16 * MINUTE, [broken, schedule("other")]) is None
    assert await tick(db, NOON + 16 * MINUTE, [schedule(), schedule("other")]) is not None
    assert [m.id for m in await sent(db)] == [
        derived_id("slot", name, NOON + 15 * MINUTE) for name in ("other", "sync")
    ]


async def test_the_service_puts_a_due_command_on_its_topic(db: Database, settings: Settings) -> None:
    await ensure_topics(settings, topics())
    async with running(service, settings):
        async with asyncio.timeout(10):
            while not await db.pool.fetch("select from slots"):
                await asyncio.sleep(0.05)
        await db.pool.execute("update slots set next_at = now() - interval '2 hours'")
        async with tail(settings, [COMMANDS], since_ms=0) as consumer, asyncio.timeout(20):
            record = await consumer.getone()
    message = Envelope.model_validate_json(record.value)
    assert (message.type, message.actor, message.source) == (SyncInventory.TYPE, "scheduler", "/arcadia/scheduler")
    assert message.expires is not None
    assert message.expires > datetime.now(UTC)


def test_what_is_declared_is_complete() -> None:
    names = [declared.name for declared in SCHEDULES]
    assert len(names) == len(set(names))
    for declared in SCHEDULES:
        slot = declared.after(NOON)
        assert slot > NOON
        assert declared.due(slot, slot) == slot
        assert declared.command(slot).TOPIC
    (sync,) = (declared for declared in SCHEDULES if declared.name == "sync-inventory")
    assert (sync.after(NOON).minute, sync.catch_up, sync.expires) == (15, "latest", True)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("poll-balance", "12:07", "13:07"),
        ("sync-inventory", "12:15", "13:15"),
        ("discover-invoices", "02:23", "02:23"),
        ("roll-periods", "00:05", "00:05"),
    ],
)
def test_each_schedule_has_its_times(name: str, first: str, second: str) -> None:
    (declared,) = (each for each in SCHEDULES if each.name == name)
    one = declared.after(NOON)
    two = declared.after(one)
    assert (f"{one:%H:%M}", f"{two:%H:%M}") == (first, second)
    assert two - one == timedelta(hours=24 if first == second else 1)
