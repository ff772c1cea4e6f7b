"""Every SQL statement of the scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

import asyncpg

from shared.db import Connection

Row: TypeAlias = asyncpg.Record


async def list_slots(conn: Connection) -> dict[str, Row]:
    """All schedules that were ever known, by name."""
    return {row["name"]: row for row in await conn.fetch("select name, cron, last_slot from slots")}


async def upsert_slot(conn: Connection, name: str, cron: str, next_at: datetime) -> None:
    """Enter a new schedule, or one whose times have changed."""
    await conn.execute(
        """
        insert into slots (name, cron, next_at) values ($1, $2, $3)
        on conflict (name) do update set cron = excluded.cron, next_at = excluded.next_at
        where slots.cron <> excluded.cron
        """,
        name,
        cron,
        next_at,
    )


async def lock_due(conn: Connection, names: Sequence[str], now: datetime) -> list[Row]:
    """Those of the schedules that are due, left out that another replica is serving at this moment."""
    return await conn.fetch(
        """
        select name, cron, next_at from slots where name = any($1::text[]) and next_at <= $2
        order by next_at, name for update skip locked
        """,
        names,
        now,
    )


async def mark_served(conn: Connection, name: str, slot: datetime, next_at: datetime, now: datetime) -> None:
    """A slot's command went out; the schedule is due again at `next_at`."""
    await conn.execute(
        "update slots set last_slot = $2, next_at = $3, fired_at = $4 where name = $1", name, slot, next_at, now
    )
