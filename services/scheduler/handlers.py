"""The scheduler's one piece of work."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from services.scheduler import store
from services.scheduler.schedules import SCHEDULES, Schedule
from shared.db import Connection
from shared.ids import derived_id
from shared.outcome import Outcome, Send


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
        following = schedule.after(slot)
        await store.mark_served(conn, schedule.name, slot, following, now)
        expires = following if schedule.expires else None
        sends.append(Send(schedule.command(slot), id=derived_id("slot", schedule.name, slot), expires=expires))
    return Outcome(commands=sends) if sends else None


async def _enter_what_is_new(conn: Connection, now: datetime, schedules: Sequence[Schedule]) -> None:
    """A schedule that is new, or whose times have changed, begins with its next slot from now."""
    known = await store.list_slots(conn)
    for schedule in schedules:
        row = known.get(schedule.name)
        if row is None or row["cron"] != schedule.cron:
            await store.upsert_slot(conn, schedule.name, schedule.cron, schedule.after(now))
