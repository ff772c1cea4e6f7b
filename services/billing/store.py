"""Every SQL statement of the service."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import asyncpg

from services.billing.domain import Polled
from shared.db import Connection

Row: TypeAlias = asyncpg.Record


async def insert_snapshot(conn: Connection, id: UUID, polled: Polled, now: datetime) -> Row | None:
    """Keep a balance, under the id of the command that asked for it; None where that is kept already."""
    return await conn.fetchrow(
        """
        insert into cloud_balance_snapshots (id, provider, currency, month_to_date_usage_cents, account_balance_cents,
          month_to_date_balance_cents, generated_at, polled_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (id) do nothing
        returning *
        """,
        id,
        *polled,
        now,
    )


async def find_snapshot(conn: Connection, id: UUID) -> Row | None:
    """The balance that a command's answer tells."""
    return await conn.fetchrow("select * from cloud_balance_snapshots where id = $1", id)


async def list_newest(conn: Connection) -> list[Row]:
    """The newest balance of each provider."""
    return await conn.fetch(
        "select distinct on (provider) * from cloud_balance_snapshots order by provider, version desc"
    )


async def delete_old_snapshots(conn: Connection, before: datetime, limit: int) -> int:
    """Drop balances of long ago, some at a go, but never the newest. Gives how many went."""
    rows = await conn.fetch(
        """
        delete from cloud_balance_snapshots where version in (
          select version from cloud_balance_snapshots s
          where polled_at < $1
            and version < (select max(version) from cloud_balance_snapshots n where n.provider = s.provider)
          order by version limit $2 for update skip locked)
        returning 1
        """,
        before,
        limit,
    )
    return len(rows)
