"""The metering service on a database of its own, with Kafka; the inventory's word is the tests'."""

from __future__ import annotations

import asyncio
import calendar
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg

from contracts.inventory import (
    LinkInterval,
    PowerInterval,
    Resource,
    ResourceDiscovered,
    ResourceEvent,
    ResourceUpdated,
    SizeInterval,
)
from contracts.kinds import ResourceKind
from contracts.message import Command, Event
from contracts.metering import MeterDay
from contracts.times import midnight, month_after
from services.metering.app import MIGRATIONS, service
from shared import outbox
from shared.config import Settings
from shared.db import Database
from shared.ids import derived_id, uuid7
from shared.inbox import Recorded
from shared.migrate import migrate
from shared.outbox import Sender
from shared.outcome import Meta, Outcome
from shared.process import running
from tests.sending import Sending

Interval = tuple[Any, datetime, datetime | None]
"""What held, from when, and until when."""

SHOP, BLOG = derived_id("deployment", "shop"), derived_id("deployment", "blog")


def _last_long_month(today: date) -> date:
    """The first day of the last month of 31 days that is over."""
    first = today.replace(day=1)
    while True:
        first = (first - timedelta(days=1)).replace(day=1)
        if calendar.monthrange(first.year, first.month)[1] == 31:
            return first


MONTH = _last_long_month(datetime.now(UTC).date())
"""The month in which the tests take place."""


def at(day: int, hour: int = 0, minute: int = 0) -> datetime:
    """A time in that month."""
    return datetime(MONTH.year, MONTH.month, day, hour, minute, tzinfo=UTC)


def day(number: int) -> date:
    """A day of that month."""
    return MONTH.replace(day=number)


@dataclass(frozen=True)
class Usage:
    """A record, as far as tests look at it."""

    day: int
    hour: int
    deployment_id: UUID
    name: str
    qty: Decimal


@dataclass
class Metering(Sending):
    """A running service and its database."""

    CALLER = "olga@example.com"

    settings: Settings
    db: Database

    async def begin_anew(self) -> None:
        """Empty the tables."""
        admin = await asyncpg.connect(self.settings.database_url.get_secret_value())
        tables = await admin.fetchval(
            """
            select string_agg(format('metering.%I', tablename), ', ') from pg_tables
            where schemaname = 'metering' and tablename not in ('schema_migrations', 'relay_lease', 'processes')
            """
        )
        while True:
            try:
                await admin.execute(f"truncate {tables} cascade")
                break
            except asyncpg.DeadlockDetectedError:  # the service tells of usage just now
                await asyncio.sleep(0.1)
        await admin.close()

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        return await self.db.pool.fetch(query, *arguments)

    async def ask(self, command: Command) -> Recorded:
        """Send a command and wait for what comes of it."""
        (id,) = await self.send(command)
        return await self.outcome(id)

    async def put(self, *events: Event, told_at: datetime) -> None:
        """Put events of others on the bus, as they were told at a time."""
        rows = Sender("test").rows(Outcome(events=events), Meta(uuid7(), told_at))
        async with self.db.transaction() as conn:
            await outbox.insert(conn, rows)

    async def tell(self, *resources: Resource, told_at: datetime | None = None) -> None:
        """Tell of resources, by default as in the middle of the month; nobody waits until that is known."""
        events: list[ResourceEvent] = [
            (ResourceDiscovered if each.version == 1 else ResourceUpdated)(resource=each) for each in resources
        ]
        await self.put(*events, told_at=told_at or at(15))

    async def until(self, condition: str, *arguments: Any, seconds: float = 30) -> None:
        """Wait until a condition on the tables holds."""
        async with asyncio.timeout(seconds):
            while not await self.db.pool.fetchval(f"select {condition}", *arguments):
                await asyncio.sleep(0.05)

    async def meter(self, *numbers: int) -> list[dict[str, Any]]:
        """Have days metered, at once; gives what each answers."""
        ids = await self.send(*(MeterDay(day=day(number)) for number in numbers))
        outcomes = [await self.outcome(id, 60) for id in ids]
        assert {each.status for each in outcomes} <= {"ok"}, outcomes
        return [each.result or {} for each in outcomes]

    async def usage(self) -> list[Usage]:
        """All records of the month, in the order of their key. (Of later days that nobody metered, others come.)"""
        rows = await self.fetch(
            """
            select u.*, coalesce(r.name, '') as name from usage_records u left join resources r on r.id = u.resource_id
            where period_start < $1 order by period_start, u.deployment_id, name
            """,
            midnight(month_after(MONTH)),
        )
        return [
            Usage(
                row["period_start"].day,
                row["period_start"].hour,
                row["deployment_id"],
                row["name"],
                row["qty"].normalize() + 0,
            )
            for row in rows
        ]

    async def sums(self) -> dict[tuple[UUID, str], Decimal]:
        """What each deployment used, by billing kind."""
        rows = await self.fetch("select deployment_id, resource_kind, sum(qty) from usage_records group by 1, 2")
        return {(row[0], row[1]): row[2] for row in rows}


def resource(
    name: str,
    kind: ResourceKind = ResourceKind.DROPLET,
    *,
    links: Sequence[Interval] | None = None,
    power: Sequence[Interval] | None = None,
    sizes: Sequence[Interval] = (),
    size: float | None = None,
    version: int = 1,
    deleted_at: datetime | None = None,
) -> Resource:
    """A resource as the inventory tells of it: by default the shop's and active since the month began."""
    links = [(SHOP, at(1), None)] if links is None else links
    power = [("active", at(1), None)] if power is None else power
    sizes = sizes or ([] if size is None else [(size, at(1), None)])
    return Resource(
        id=derived_id("resource", kind, name),
        kind=kind,
        provider="digitalocean",
        provider_id=name,
        name=name,
        region="nyc3",
        state="active",
        size_slug=None,
        tags=[],
        attrs={},
        project_id=None,
        tenant_id="acme",
        deployment_id=SHOP,
        links=[LinkInterval(deployment_id=id, since=since, until=until) for id, since, until in links],
        power=[PowerInterval(state=state, since=since, until=until) for state, since, until in power],
        sizes=[SizeInterval(size_slug=None, size_gb=gb, since=since, until=until) for gb, since, until in sizes],
        first_seen_at=at(1),
        last_seen_at=at(15),
        deleted_at=deleted_at,
        version=version,
    )


@asynccontextmanager
async def world(settings: Settings) -> AsyncIterator[Metering]:
    """The service at work in this process."""
    await migrate(settings, {"metering": MIGRATIONS})
    db = await Database.of_service(settings, "metering")
    try:
        async with running(service, settings):
            yield Metering(settings, db)
    finally:
        await db.close()
