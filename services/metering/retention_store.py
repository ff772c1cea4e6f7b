"""Every SQL statement that forgets. Some rows at a go: nobody waits for long."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TypeAlias

import asyncpg

from shared.db import Connection

Row: TypeAlias = asyncpg.Record

Kept: TypeAlias = Mapping[str, date]
"""The first day of each billing kind that is kept."""


async def delete_old_records(conn: Connection, table: str, kept: Kept, limit: int) -> int:
    """Forget observations, or what superseded ones were. Gives how many went."""
    status = await conn.execute(
        f"""
        delete from {table} where ctid = any(array(
          select u.ctid from {table} u
          join unnest($1::text[], $2::date[]) k(resource_kind, kept) using (resource_kind)
          where u.period_start < $3::date at time zone 'UTC' and u.period_start < k.kept at time zone 'UTC'
          limit $4 for update of u skip locked))
        """,
        list(kept),
        list(kept.values()),
        max(kept.values()),
        limit,
    )
    return int(status.split()[-1])


async def delete_old_days(conn: Connection, kept: Kept, limit: int) -> list[Row]:
    """Forget days of usage; gives those that went."""
    return await conn.fetch(
        """
        delete from usage_days where (day, deployment_id, resource_kind) in (
          select u.day, u.deployment_id, u.resource_kind from usage_days u
          join unnest($1::text[], $2::date[]) k(resource_kind, kept) using (resource_kind)
          where u.day < $3 and u.day < k.kept
          limit $4 for update of u skip locked)
        returning day, deployment_id, resource_kind
        """,
        list(kept),
        list(kept.values()),
        max(kept.values()),
        limit,
    )


async def delete_old_segments(conn: Connection, kept: date, limit: int) -> int:
    """Forget whose resources were in a time of which no day is metered any more. Gives how many went."""
    status = await conn.execute(
        """
        delete from segments where ctid = any(array(
          select ctid from segments where until < $1::date at time zone 'UTC' limit $2 for update skip locked))
        """,
        kept,
        limit,
    )
    return int(status.split()[-1])


async def delete_old_conflicts(conn: Connection, kept: date, limit: int) -> int:
    """Forget conflicts of long ago. Gives how many went."""
    status = await conn.execute(
        """
        delete from usage_conflicts where position in (
          select position from usage_conflicts where seen_at < $1::date at time zone 'UTC' order by seen_at limit $2
          for update skip locked)
        """,
        kept,
        limit,
    )
    return int(status.split()[-1])
