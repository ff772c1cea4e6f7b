"""The billing service on a database of its own, with Kafka and a stand-in of the provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from contracts.message import Command
from dev.digitalocean.control import Control
from services.billing.app import MIGRATIONS, service
from shared.config import Settings
from shared.db import Database
from shared.inbox import Recorded
from shared.migrate import migrate
from shared.process import running
from tests.sending import Sending


@dataclass
class Billing(Sending):
    """A running service, its database, and what a person could do at the provider."""

    CALLER = "olga@example.com"

    settings: Settings
    db: Database
    provider: Control

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        return await self.db.pool.fetch(query, *arguments)

    async def ask(self, command: Command, **send: Any) -> Recorded:
        """Send a command and wait for what comes of it."""
        (id,) = await self.send(command, **send)
        return await self.outcome(id)


@asynccontextmanager
async def world(settings: Settings, provider: Control) -> AsyncIterator[Billing]:
    """The service at work in this process."""
    await migrate(settings, {"billing": MIGRATIONS})
    db = await Database.of_service(settings, "billing")
    try:
        async with running(service, settings):
            yield Billing(settings, db, provider)
    finally:
        await db.close()
