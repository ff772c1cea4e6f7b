"""Metering a day: when all is known, it is observed in one transaction, summed up, and told page by page."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

from contracts.metering import DayOfUsage, Granularity, MeterDay, UsageMetered
from services.metering import store
from services.metering.domain import KINDS, RETENTION_DAYS, Slot, slots_of
from services.metering.store import Row
from shared.catchup import CatchUp
from shared.db import Connection
from shared.jobs import JobRun
from shared.outcome import Meta, Outcome, Refused
from shared.steps import Said, transact

_PAGE = 500


async def meter_day(cmd: MeterDay, run: JobRun[CatchUp]) -> Outcome:
    """Observe a day that is over. Raises `PutOff` while what was on the bus before is not handled."""
    if cmd.day >= run.meta.now.astimezone(UTC).date():
        raise Refused("day_not_over", day=cmd.day.isoformat())
    progress = run.progress or {}
    result: dict[str, Any] = progress.get("result", {})
    if not result:
        await _catch_up(run, progress.get("ends"))
        result = await transact(run, partial(observe, cmd.day), progress=lambda: {"result": result})
    while await transact(run, _tell, progress={"result": result}) == _PAGE:  # what comes meanwhile is told by the clock
        pass
    return Outcome(result=result)


async def _catch_up(run: JobRun[CatchUp], ends: dict[str, int] | None) -> None:
    """Wait until that is handled which was on the bus when this was begun."""
    if ends is None:
        ends = await run.resources.ends()
        await transact(run, _nothing, progress={"ends": ends})
    await run.resources.wait(ends)


async def _nothing(conn: Connection, meta: Meta) -> tuple[None, Said]:
    return None, ()


async def observe(day: date, conn: Connection, meta: Meta) -> tuple[dict[str, Any], Said]:
    """One transaction: a day is observed and summed up. Gives the answer to the command. Raises `Refused`."""
    meterings = await store.lock_day(conn, day, meta.now)  # from here on, nobody says that it be metered otherwise
    slots = await _slots(conn, day, meta.now)
    if meterings == 1:
        count = await store.insert_usage(conn, day, slots, meta.now)
        found = {"observations": count, "added": count, "corrected": 0, "withdrawn": 0}
    else:
        found = dict(await store.correct_usage(conn, day, slots, meta.now))
    unmeasured = await store.count_unmeasured(conn, day)
    await store.mark_metered(conn, day, found["observations"], unmeasured)
    await store.sum_day(conn, day, {slot.resource_kind for slot in slots})
    return {"day": day.isoformat(), **found, "unmeasured": unmeasured}, ()


async def _slots(conn: Connection, day: date, now: datetime) -> list[Slot]:
    """The periods of a day that are observed, of all kinds that are still kept. Raises `Refused` where none is."""
    today = now.astimezone(UTC).date()
    config, of_today = await store.list_config(conn, day), await store.list_config(conn, today)
    slots = []
    for kind in KINDS.values():
        said = config.get(kind)
        if today - day <= timedelta(days=retention_of(of_today.get(kind))):
            slots += slots_of(kind, Granularity(said["granularity"] if said else Granularity.DAILY), day)
    if not slots:
        raise Refused("day_forgotten", day=day.isoformat())
    return slots


def retention_of(config: Row | None) -> int:
    """For how many days a kind is kept, by what holds today."""
    return config["retention_days"] if config else RETENTION_DAYS


async def _tell(conn: Connection, meta: Meta) -> tuple[int, Said]:
    rows = await store.take_untold(conn, _PAGE)
    return len(rows), [UsageMetered(usage=usage_of(row)) for row in rows]


def usage_of(row: Row) -> DayOfUsage:
    """A deployment's day as others get it."""
    return DayOfUsage.model_validate({name: row[name] for name in DayOfUsage.model_fields})
