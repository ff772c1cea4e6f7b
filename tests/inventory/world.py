"""The inventory service at work beside a stand-in of the provider, seen from outside."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx

from contracts.inventory import RESOURCES, SyncInventory
from contracts.kinds import ResourceKind
from contracts.message import Command, Envelope
from dev.digitalocean import settings as stand_in
from dev.digitalocean.control import Control
from services.inventory.app import MIGRATIONS, service
from services.inventory.provider import Provider
from shared.bus import tail
from shared.config import Settings
from shared.db import Database
from shared.digitalocean import DigitalOcean, TokenResolver
from shared.inbox import Recorded
from shared.migrate import migrate
from shared.process import running
from shared.service import Service
from tests.sending import Sending

Row = asyncpg.Record

EMPTY = stand_in.Settings().model_dump(mode="json") | {
    "droplets": 0, "others": 0, "projects": 1, "list_lag": 0, "delete_lag": 0, "rate_hour": 0, "rate_minute": 0,
}  # fmt: skip
"""A provider with nothing but its default project, without lags and limits."""


@dataclass
class Inventory(Sending):
    """A running service, its database, and what a person could do at the provider."""

    CALLER = "olga@example.com"

    settings: Settings
    db: Database
    provider: Control
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def begin_anew(self) -> None:
        """Empty the tables and the provider. What is on the bus stays there, and is not looked at any more."""
        await self.provider.reset(**EMPTY)
        admin = await asyncpg.connect(self.settings.database_url.get_secret_value())
        tables = await admin.fetchval(
            """
            select string_agg(format('inventory.%I', tablename), ', ') from pg_tables
            where schemaname = 'inventory' and tablename not in ('schema_migrations', 'relay_lease', 'processes')
            """
        )
        await admin.execute(f"truncate {tables} cascade")
        await admin.close()
        self.began = datetime.now(UTC)

    async def ask(self, command: Command, **send: Any) -> Recorded:
        """Send a command and wait for what comes of it."""
        (id,) = await self.send(command, **send)
        return await self.outcome(id)

    async def ok(self, command: Command, seconds: float = 30, **send: Any) -> dict[str, Any]:
        """Send a command that is to end well, within so many seconds; gives its result."""
        (id,) = await self.send(command, **send)
        recorded = await self.outcome(id, seconds)
        assert recorded.status == "ok", recorded
        return recorded.result or {}

    async def sync(self, kind: ResourceKind | None = None) -> dict[str, Any]:
        """Sync everything, or a kind; gives the numbers."""
        return await self.ok(SyncInventory(kind=kind))

    async def fetch(self, query: str, *arguments: Any) -> list[Row]:
        return await self.db.pool.fetch(query, *arguments)

    async def resources(self, where: str = "true") -> list[Row]:
        return await self.fetch(f"select * from cloud_resources where {where} order by provider_id")

    async def events(self) -> list[str]:
        """What the history says has happened, oldest first."""
        return [
            row["event_type"] for row in await self.fetch("select event_type from cloud_resource_events order by id")
        ]

    async def until(self, query: str, *arguments: Any, seconds: float = 30) -> None:
        """Wait until a query says that something is so."""
        async with asyncio.timeout(seconds):
            while not (await self.fetch(query, *arguments))[0][0]:
                await asyncio.sleep(0.05)

    async def published(self, count: int, topic: str = RESOURCES, seconds: float = 20) -> list[Envelope]:
        """The first so many messages on a topic, partition by partition, as anybody with a Kafka client reads them."""
        found: list[Envelope] = []
        since_ms = int(self.began.timestamp() * 1000)
        async with (
            tail(self.settings, [topic], since_ms=since_ms) as consumer,
            asyncio.timeout(seconds),
        ):
            async for record in consumer:
                if record.value is not None:
                    found.append(Envelope.model_validate_json(record.value))
                if len(found) >= count:
                    break
        return found


@asynccontextmanager
async def world(
    settings: Settings, provider: Control, running_service: Service[Provider] = service
) -> AsyncIterator[Inventory]:
    """The service at work on a schema of its own, and an empty provider."""
    await provider.reset(**EMPTY)
    await migrate(settings, {"inventory": MIGRATIONS})
    db = await Database.of_service(settings, "inventory")
    try:
        async with running(running_service, settings):
            yield Inventory(settings, db, provider)
    finally:
        await db.close()


class Passing(httpx.AsyncBaseTransport):
    """Passes requests on to the stand-in, and its answers back through `through`, which may take its time."""

    def __init__(self, through: Callable[[httpx.Request, httpx.Response], Awaitable[httpx.Response]]) -> None:
        self._through = through
        self._http = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._http.handle_async_request(request)
        await answer.aread()
        return await self._through(request, answer)

    async def aclose(self) -> None:
        await self._http.aclose()


def service_with(*, transport: httpx.AsyncBaseTransport | None = None, delay_scale: float = 1.0) -> Service[Provider]:
    """The service, with another way to the provider, or with less patience between attempts."""

    @asynccontextmanager
    async def access(settings: Settings) -> AsyncIterator[Provider]:
        tokens, url = TokenResolver(os.environ, settings.do_rate_limit), settings.do_api_url
        async with DigitalOcean(tokens, "sync", base_url=url, transport=transport, delay_scale=delay_scale) as do:
            yield Provider(do, timedelta(minutes=settings.inventory_strike_minutes))

    return replace(service, resources=access)


def at_the_stand_in(settings: Settings, url: str, **changed: Any) -> Settings:
    """Settings for this stand-in: no limit on our side, and strikes that may follow at once."""
    fitting = {"do_api_url": url, "do_rate_limit": 0.0, "inventory_strike_minutes": 0.0}
    return settings.model_copy(update=fitting | changed)


def numbers(result: dict[str, Any], kind: str, *names: str) -> Sequence[int]:
    """Some of the numbers of a walk."""
    return [result[kind][name] for name in names]
