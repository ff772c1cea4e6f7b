"""The scheduler's one piece of work."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import structlog

from contracts.message import Command
from services.scheduler import store
from services.scheduler.schedules import SCHEDULES, Schedule
from shared.db import Connection
from shared.ids import derived_id
from shared.outcome import Outcome, Send

log = structlog.get_logger(__name__)


async def send_what_is_due(
    conn: Connection, now: datetime, schedules: Sequence[Schedule] = SCHEDULES
) -> Outcome | None:
    """Send the commands of one slot of each schedule that is due. None where none is."""
    await _enter_what_is_new(conn, now, schedules)
    declared = {schedule.name: schedule for schedule in schedules}
    sends = []
    for row in await store.lock_due(conn, list(declared), now):
        schedule = declared[row["name"]]
        slot = schedule.due(row["next_at"], now)
        if (command := _command(schedule, slot)) is None:
            continue
        following = schedule.after(slot)
        await store.mark_served(conn, schedule.name, slot, following, now)
        expires = following if schedule.expires else None
        sends.append(Send(command, id=derived_id("slot", schedule.name, slot), expires=expires))
    return Outcome(commands=sends) if sends else None


def _command(schedule: Schedule, slot: datetime) -> Command | None:
    """The command of a slot. One that cannot be made is no other schedule's misfortune; its slot stays due."""
    try:
        return schedule.command(slot)
    except Exception:
        log.exception("a scheduled command cannot be made; its slot waits", schedule=schedule.name, slot=slot)
        return None


async def _enter_what_is_new(conn: Connection, now: datetime, schedules: Sequence[Schedule]) -> None:
    """A new schedule begins with its next slot from now; one whose times have changed, with the next after its last."""
    known = await store.list_slots(conn)
    for schedule in schedules:
        row = known.get(schedule.name)
        if row is None or row["cron"] != schedule.cron:
            last_slot = row and row["last_slot"]
            await store.upsert_slot(conn, schedule.name, schedule.cron, schedule.after(last_slot or now))
