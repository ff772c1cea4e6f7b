"""What the service does by itself: telling of usage, metering days again, keeping to its retention, telling all again.

usage_records, superseded_usage_records, usage_days     as metering_config says of their kind; 400 days otherwise
segments                                                for as long as any kind is kept
usage_conflicts                                         400 days

usage_reports are kept for good: a report that comes again must not count again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from contracts.kinds import BillingKind
from contracts.message import Event
from contracts.metering import USAGE, MeterDay, MeteringConfigRepublished, UsageMetered, UsageRepublished, key_of
from services.metering import retention_store, store
from services.metering.domain import RETENTION_DAYS
from services.metering.handlers import config_of
from services.metering.metering import retention_of, usage_of
from shared.db import Connection
from shared.outcome import Outcome, Send, Tombstone

_DAYS_AT_ONCE = 62
_SCHEDULED = timedelta(hours=6)  # a day is metered in the night after it; what is missing then, was missed
_PAGE = 500
_ROWS_AT_ONCE = 10_000
_BEFORE_ALL = (date.min, UUID(int=0), "")


async def meter_dirty_days(conn: Connection, now: datetime) -> Outcome | None:
    """Have days metered again of which something else is known than when they were metered."""
    days = await store.take_dirty(conn, _DAYS_AT_ONCE)
    return Outcome(commands=[Send(MeterDay(day=day)) for day in days]) if days else None


async def meter_missed_days(conn: Connection, now: datetime) -> Outcome | None:
    """Have days metered that nobody metered in time: their command was given up, or never came."""
    days = await store.take_missed(conn, (now - _SCHEDULED).astimezone(UTC).date(), now)
    return Outcome(commands=[Send(MeterDay(day=day)) for day in days]) if days else None


async def tell_usage(conn: Connection, now: datetime) -> Outcome | None:
    """Tell of days of usage that were not told yet as they are."""
    rows = await store.take_untold(conn, _PAGE)
    return Outcome(events=[UsageMetered(usage=usage_of(row)) for row in rows]) if rows else None


async def forget_old_usage(conn: Connection, now: datetime) -> Outcome | None:
    """Forget what is past its retention, a part of it at a time."""
    today = now.astimezone(UTC).date()
    config = await store.list_config(conn, today)
    kept: retention_store.Kept = {
        str(kind): today - timedelta(days=retention_of(config.get(kind))) for kind in BillingKind
    }
    days = await retention_store.delete_old_days(conn, kept, _PAGE)
    gone = [
        len(days),
        await retention_store.delete_old_records(conn, "usage_records", kept, _ROWS_AT_ONCE),
        await retention_store.delete_old_records(conn, "superseded_usage_records", kept, _ROWS_AT_ONCE),
        await retention_store.delete_old_segments(conn, min(kept.values()), _ROWS_AT_ONCE),
        await retention_store.delete_old_conflicts(conn, today - timedelta(days=RETENTION_DAYS), _ROWS_AT_ONCE),
    ]
    return Outcome(events=[Tombstone(USAGE, key_of(*row)) for row in days]) if any(gone) else None


async def republish_usage(conn: Connection) -> AsyncIterator[Sequence[Event]]:
    """Every day of usage, in pages."""
    after = _BEFORE_ALL
    while rows := await store.lock_days_after(conn, after, _PAGE):
        yield [UsageRepublished(usage=usage_of(row)) for row in rows]
        last = rows[-1]
        after = (last["day"], last["deployment_id"], last["resource_kind"])


async def republish_configs(conn: Connection) -> AsyncIterator[Sequence[Event]]:
    """All that operators said of kinds."""
    if rows := await store.lock_config(conn):
        yield [MeteringConfigRepublished(metering_config=config_of(row)) for row in rows]
