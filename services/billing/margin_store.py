"""Every SQL statement about what margin is made of beside quotes and lines: who held resources, and exchange rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias
from uuid import UUID

import asyncpg

from contracts.quotes import SetFxRate
from services.billing.holders import Told
from shared.db import Connection
from shared.outcome import Meta

Row: TypeAlias = asyncpg.Record


async def replace_links(conn: Connection, told: Mapping[UUID, Told]) -> None:
    """Keep who held resources: what is told takes the place of all that was known of its time."""
    await conn.execute(
        """
        with told as (select * from unnest($1::uuid[], $2::timestamptz[]) t(resource_id, begin)),
        gone as (
          delete from resource_links l using told t where l.resource_id = t.resource_id and l.since >= t.begin)
        update resource_links l set until = t.begin from told t
        where l.resource_id = t.resource_id and l.since < t.begin and (l.until is null or l.until > t.begin)
        """,
        list(told),
        [each.begin for each in told.values()],
    )
    links = [(id, link) for id, each in told.items() for link in each.links]
    await conn.execute(
        """
        insert into resource_links (resource_id, since, until, deployment_id)
        select * from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::uuid[])
        """,
        [id for id, _ in links],
        [link.since for _, link in links],
        [link.until for _, link in links],
        [link.deployment_id for _, link in links],
    )


async def find_fx_rate(conn: Connection, cmd: SetFxRate) -> Row | None:
    """What that day's rate is said to be."""
    return await conn.fetchrow(
        """
        select * from fx_rates where from_currency = $1 and to_currency = $2 and effective_from = $3
        order by version desc limit 1
        """,
        cmd.from_currency,
        cmd.to_currency,
        cmd.effective_from,
    )


async def insert_fx_rate(conn: Connection, cmd: SetFxRate, meta: Meta) -> Row:
    """Keep what is said of a day's rate."""
    row: Row | None = await conn.fetchrow(
        """
        insert into fx_rates (from_currency, to_currency, effective_from, rate, actor, set_at, version)
        select $1, $2, $3, $4, $5, $6, coalesce(max(version), 0) + 1 from fx_rates
        where from_currency = $1 and to_currency = $2 and effective_from = $3
        returning *
        """,
        cmd.from_currency,
        cmd.to_currency,
        cmd.effective_from,
        cmd.rate,
        meta.actor,
        meta.now,
    )
    if row is None:
        raise LookupError("an insert has given no row")
    return row


async def lock_fx_rates(conn: Connection) -> list[Row]:
    """The rates that count; nobody sets one until this transaction ends."""
    await conn.execute("lock table fx_rates in share row exclusive mode")
    return await conn.fetch("select * from v1_all_fx_rates order by from_currency, to_currency, effective_from")
