"""The deployments service on a database of its own: whole, with Kafka, or its handlers alone in transactions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg

from contracts.deployments import Provisioning
from contracts.message import Command, Event
from services.deployments.app import MIGRATIONS, service
from services.deployments.seed import seed
from shared import outbox
from shared.config import Settings
from shared.db import Connection, Database
from shared.ids import uuid7
from shared.migrate import migrate
from shared.outbox import Sender
from shared.outcome import Meta, Outcome, Received, Refused, Tombstone
from tests.sending import Sending

Row = asyncpg.Record

SMALL = Provisioning(region="syd1", size="s-1vcpu-1gb", image="ubuntu-24-04-x64", domain="apps.test")


@dataclass
class Deployments(Sending):
    """A migrated database with the seeded catalog.

    `said`: every event that `do` was given, in order; `sent`: every command.
    """

    CALLER = "ann@acme.test"

    settings: Settings
    db: Database
    said: list[Event]
    sent: list[Command] = field(default_factory=list)

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
        self.sent += [send.command for send in outcome.commands]
        return outcome.result or {}

    async def refusal(self, command: Command, **how: Any) -> Refused:
        """The refusal of a command that must be refused."""
        try:
            result = await self.do(command, **how)
        except Refused as refused:
            return refused
        raise AssertionError(f"{command!r} was not refused: {result}")


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
    # (What a job gets is a worker's; `_Run` has of it what these jobs ask for.)
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
