"""The provider service at work beside a stand-in of the provider, seen from outside."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from contracts.message import Envelope, Message
from contracts.provider import OPERATIONS, CreateDroplet, ProviderCommand, UndoOperation, operation_tag
from dev.digitalocean import settings as stand_in
from dev.digitalocean.control import Control, TrueDroplet
from services.provider.access import Patience, Provider, provider
from services.provider.app import MIGRATIONS, service
from shared.bus import tail
from shared.config import Settings
from shared.db import Database
from shared.ids import uuid7
from shared.inbox import Recorded
from shared.migrate import migrate
from shared.process import running
from shared.service import Service
from tests.ledger.world import environment
from tests.sending import Sending

Row = asyncpg.Record

CHECKOUT = Path(__file__).parents[2]

SPEED = 20
"""How fast the provider's time runs in these tests, and how much shorter the service waits."""

PATIENCE = replace(Patience().scaled(1 / SPEED), start_s=1.0)
"""(A machine that is busy with tests may take its time between noting a write down and sending it.)"""

LEASE = timedelta(seconds=5)

EMPTY = stand_in.Settings().model_dump(mode="json") | {
    "droplets": 0, "others": 0, "projects": 1, "speed": SPEED, "list_lag": 0, "tag_lag": 0, "delete_lag": 0,
    "create_seconds": 20, "rate_hour": 0, "rate_minute": 0,
}  # fmt: skip
"""A provider with nothing but its default project, without lags and limits."""


def create(operation: UUID | None = None, **fields: Any) -> CreateDroplet:
    """A create, of an operation of its own where none is named."""
    wanted = {"name": "web-1", "region": "nyc3", "size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64"} | fields
    return CreateDroplet(operation_id=operation or uuid7(), **wanted)


def undo(operation: UUID, own: UUID | None = None) -> UndoOperation:
    """The undoing of an operation."""
    return UndoOperation(operation_id=own or uuid7(), undoes=operation)


def within(seconds: float) -> datetime:
    """A time from now on."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


@dataclass
class Provisioning(Sending):
    """A running service, its database, and what a person could do at the provider."""

    CALLER = "sagas"

    settings: Settings
    db: Database
    provider: Control
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def begin_anew(self) -> None:
        """Empty the tables and the provider. What is on the bus stays there, and is not looked at any more."""
        await self.provider.reset(**EMPTY)
        admin = await asyncpg.connect(self.settings.database_url.get_secret_value())
        await admin.execute(
            "truncate provider.operations, provider.inbox, provider.jobs, provider.dead_letters cascade"
        )
        await admin.close()
        self.began = datetime.now(UTC)

    async def ask(self, command: ProviderCommand, seconds: float = 30, **send: Any) -> Recorded:
        """Send a command and wait for what comes of it."""
        (id,) = await self.send(command, **send)
        return await self.outcome(id, seconds)

    async def ok(self, command: Any, seconds: float = 30, **send: Any) -> dict[str, Any]:
        """Send a command that is to end well, within so many seconds; gives its result."""
        recorded = await self.ask(command, seconds, **send)
        assert recorded.status == "ok", recorded
        return recorded.result or {}

    async def refused(self, command: Any, seconds: float = 30, **send: Any) -> str | None:
        """Send a command that is to be refused; gives the code."""
        recorded = await self.ask(command, seconds, **send)
        assert recorded.status == "refused", recorded
        return recorded.code

    async def operation(self, id: UUID) -> Row:
        """A row of the ledger."""
        rows: list[Row] = await self.db.pool.fetch("select * from operations where id = $1", id)
        return rows[0]

    async def status(self, id: UUID) -> tuple[str, bool]:
        """An operation's status, and whether it is undone."""
        row = await self.operation(id)
        return row["status"], row["undone"]

    async def until(self, query: str, *arguments: Any, seconds: float = 30) -> None:
        """Wait until a query says that something is so."""
        async with asyncio.timeout(seconds):
            while not await self.db.pool.fetchval(query, *arguments):
                await asyncio.sleep(0.02)

    async def until_sent(self, operation: UUID) -> None:
        """Wait until an operation's write is noted down as sent."""
        await self.until("select exists (select from operations where id = $1 and status = 'sent')", operation)

    async def droplets(self, operation: UUID | None = None) -> list[TrueDroplet]:
        """The droplets that are there, or those that an operation made."""
        there = (await self.provider.truth()).droplets
        return [each for each in there if operation is None or operation_tag(operation) in each.tags]

    async def asked(self, method: str, path: str = "/v2/droplets") -> Counter[int | None]:
        """How often the provider was asked for something, by its answers."""
        entries = (await self.provider.requests(path)).requests
        return Counter(entry.status for entry in entries if entry.method == method)

    async def until_asked(self, method: str, path: str = "/v2/droplets", times: int = 1) -> None:
        """Wait until the provider has been asked for something."""
        async with asyncio.timeout(30):
            while (await self.asked(method, path)).total() < times:
                await asyncio.sleep(0.02)

    async def told(self, operation: UUID, last: str) -> list[Envelope]:
        """What the bus tells of an operation, until it has this status."""
        found: list[Envelope] = []
        async for envelope in self._bus():
            if envelope.subject == str(operation):
                found.append(envelope)
                if envelope.data["operation"]["status"] == last:
                    break
        return found

    async def published(self, cls: type[Message], count: int) -> list[Envelope]:
        """The first so many messages of a class."""
        found: list[Envelope] = []
        async for envelope in self._bus():
            found += [envelope] if envelope.type == cls.TYPE else []
            if len(found) == count:
                break
        return found

    async def _bus(self) -> AsyncIterator[Envelope]:
        """Each message once: a relay that was held up while it sent may well send again."""
        since_ms = int(self.began.timestamp() * 1000)
        seen: set[UUID] = set()
        async with tail(self.settings, [OPERATIONS], since_ms=since_ms) as consumer, asyncio.timeout(20):
            async for record in consumer:
                if record.value is not None:
                    envelope = Envelope.model_validate_json(record.value)
                    if envelope.id not in seen:
                        seen.add(envelope.id)
                        yield envelope


def service_with(waits: Patience = PATIENCE, lease: timedelta = LEASE) -> Service[Provider]:
    """The service, with these waits, and jobs that are soon taken over from a process that was killed."""
    jobs = {command: replace(job, lease=lease) for command, job in service.jobs.items()}
    return replace(service, resources=partial(provider, waits=waits), jobs=jobs)


@asynccontextmanager
async def world(
    settings: Settings, control: Control, services: tuple[Service[Provider], ...] | None = None
) -> AsyncIterator[Provisioning]:
    """The service at work on a schema of its own, and an empty provider. None runs where `services` is empty."""
    await control.reset(**EMPTY)
    await migrate(settings, {"provider": MIGRATIONS})
    db = await Database.of_service(settings, "provider")
    try:
        async with _all_running(settings, services if services is not None else (service_with(),)):
            yield Provisioning(settings, db, control)
    finally:
        await db.close()


@asynccontextmanager
async def _all_running(settings: Settings, services: tuple[Service[Provider], ...]) -> AsyncIterator[None]:
    if not services:
        yield
        return
    async with running(services[0], settings), _all_running(settings, services[1:]):
        yield


def at_the_stand_in(settings: Settings, url: str) -> Settings:
    """Settings for this stand-in: no limit on our side."""
    return settings.model_copy(update={"do_api_url": url, "do_rate_limit": 0.0})


@contextmanager
def process(settings: Settings, token: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The service in a process of its own, which can be killed."""
    with log.open("ab") as out:
        replica = subprocess.Popen(
            [sys.executable, "-m", "tests.provider"],
            cwd=CHECKOUT,
            env=environment(settings)
            | {"DO_API_URL": settings.do_api_url, "DO_RATE_LIMIT": "0", "DO_PROVISIONING_TOKEN": token},
            stdin=subprocess.PIPE,  # it ends when this closes
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield replica
    finally:
        replica.kill()
        replica.communicate()
