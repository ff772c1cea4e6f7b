"""The deployments service on a database of its own: whole, with Kafka, or its handlers alone in transactions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from contracts.message import Command, Event
from services.deployments.app import MIGRATIONS, service
from services.deployments.seed import seed
from shared import outbox
from shared.config import Settings
from shared.db import Connection, Database
from shared.ids import uuid7
from shared.inbox import Recorded, find_outcomes
from shared.migrate import migrate
from shared.outbox import Sender
from shared.outcome import Meta, Outcome, Received, Refused, Send, Tombstone

Row = asyncpg.Record


@dataclass
class Deployments:
    """A migrated database with the seeded catalog. `said`: every event that `do` was given, in order."""

    settings: Settings
    db: Database
    said: list[Event]

    async def fetch(self, query: str, *arguments: Any) -> list[Row]:
        return await self.db.pool.fetch(query, *arguments)

    async def do(
        self, command: Command, *, now: datetime | None = None, actor: str = "ann@acme.test", tenant: str = "acme"
    ) -> dict[str, Any]:
        """Handle a command as the runtime does, in a transaction, at a time; gives its result. Raises `Refused`."""
        meta = Meta(uuid7(), now or datetime.now(UTC), tenant_id=tenant, actor=actor)
        async with self.db.transaction() as conn:
            outcome = await _handled(command, conn, meta)
        self.said += [event for event in outcome.events if not isinstance(event, Tombstone)]
        return outcome.result or {}

    async def refusal(self, command: Command, **how: Any) -> Refused:
        """The refusal of a command that must be refused."""
        try:
            result = await self.do(command, **how)
        except Refused as refused:
            return refused
        raise AssertionError(f"{command!r} was not refused: {result}")

    async def send(self, *commands: Command, actor: str = "ann@acme.test", **send: Any) -> list[UUID]:
        """Put commands on the bus, in this order, for a service that runs."""
        ids = [uuid7() for _ in commands]
        sends = [Send(command, id=id, actor=actor, **send) for command, id in zip(commands, ids, strict=True)]
        rows = Sender("test").rows(Outcome(commands=sends), Meta(uuid7(), datetime.now(UTC)))
        async with self.db.transaction() as conn:
            await outbox.insert(conn, rows)
        return ids

    async def outcome(self, id: UUID, seconds: float = 30) -> Recorded:
        """A command's outcome, waited for."""
        async with asyncio.timeout(seconds):
            while True:
                async with self.db.connection() as conn:
                    if found := await find_outcomes(conn, [id]):
                        return found[id]
                await asyncio.sleep(0.02)


async def _handled(command: Command, conn: Connection, meta: Meta) -> Outcome:
    if handler := service.handlers.get(type(command)):
        return await handler(command, conn, meta) or Outcome()
    if batch_handler := service.batch_handlers.get(type(command)):
        decided = await batch_handler([Received(command, meta)], conn)
        assert isinstance(decided, Sequence)
        (alone,) = decided
        if isinstance(alone, Refused):
            raise alone
        return alone
    run = _Run(conn, meta)
    outcome = await service.jobs[type(command)].run(command, run)  # type: ignore[arg-type]
    assert isinstance(outcome, Outcome)
    return Outcome(result=outcome.result, events=[*run.events, *outcome.events])


class _Run:
    """What a job gets, with all its parts in one transaction."""

    resources = None
    progress: dict[str, Any] | None = None

    def __init__(self, conn: Connection, meta: Meta) -> None:
        self.meta = meta
        self.events: list[Event | Tombstone] = []
        self._conn = conn

    async def apply(self, work: Any, *, progress: Any = None) -> None:
        outcome = await work(self._conn, self.meta) or Outcome()
        self.events += outcome.events


@asynccontextmanager
async def world(settings: Settings, *, seeded_at: datetime | None = None) -> AsyncIterator[Deployments]:
    """The service's schema with the seeded catalog; the service itself does not run."""
    await migrate(settings, {"deployments": MIGRATIONS})
    db = await Database.of_service(settings, "deployments")
    try:
        meta = Meta(uuid7(), seeded_at or datetime.now(UTC), actor="a test")
        async with db.transaction() as conn:
            outcome = await seed(conn, meta)
            await outbox.insert(conn, Sender("deployments").rows(outcome, meta))
        yield Deployments(settings, db, [event for event in outcome.events if isinstance(event, Event)])
    finally:
        await db.close()
