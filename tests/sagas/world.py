"""The sagas service on a database of its own, with Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from contracts.message import Command
from contracts.sagas import StartSaga
from services.sagas.app import MIGRATIONS, service
from shared.config import Settings
from shared.db import Database
from shared.ids import uuid7
from shared.migrate import migrate
from shared.process import running
from tests.sending import Sending

Row = asyncpg.Record


@dataclass
class Sagas(Sending):
    """A migrated database, and commands for the service."""

    CALLER = "ops@arcadia.test"

    settings: Settings
    db: Database

    async def fetch(self, query: str, *arguments: Any) -> list[Row]:
        return await self.db.pool.fetch(query, *arguments)

    async def begin(self, kind: str, inputs: dict[str, Any], **start: Any) -> UUID:
        """Ask for a run; gives its id."""
        id = uuid7()
        await self.send(StartSaga(saga_id=id, kind=kind, inputs=inputs, **start))
        return id

    async def exercise(self, *steps: str) -> UUID:
        """Ask for a run of steps that need nobody."""
        return await self.begin("exercise", {"steps": list(steps)})

    async def answer(self, command: Command) -> dict[str, Any]:
        """What a command is answered with. Raises AssertionError where it was refused."""
        (id,) = await self.send(command)
        outcome = await self.outcome(id)
        assert outcome.status == "ok", outcome
        return outcome.result or {}

    async def ended(self, id: UUID, seconds: float = 30) -> Row:
        """A run, once it has ended."""
        async with asyncio.timeout(seconds):
            while True:
                for row in await self.fetch("select * from saga_runs where id = $1 and finished_at is not null", id):
                    return row
                await asyncio.sleep(0.02)

    async def ledger(self, id: UUID) -> Sequence[Row]:
        """A run's ledger, step by step."""
        return await self.fetch("select * from saga_step_results where saga_id = $1 order by step_idx", id)

    async def statuses(self, id: UUID) -> list[str]:
        """The ledger's statuses, step by step."""
        return [row["status"] for row in await self.ledger(id)]


@asynccontextmanager
async def world(settings: Settings) -> AsyncIterator[Sagas]:
    """The service's schema; the service itself does not run."""
    await migrate(settings, {"sagas": MIGRATIONS})
    db = await Database.of_service(settings, "sagas")
    try:
        yield Sagas(settings, db)
    finally:
        await db.close()


@asynccontextmanager
async def at_work(settings: Settings) -> AsyncIterator[Sagas]:
    """The service at work in this process."""
    async with world(settings) as there, running(service, settings):
        yield there
