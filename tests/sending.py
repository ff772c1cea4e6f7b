"""What the worlds of services have in common: commands and news go onto the bus, and outcomes are looked up."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from contracts.deployments import Deployment, DeploymentCreated, DeploymentState
from contracts.message import Command, Envelope, Event, Message
from shared import outbox
from shared.bus import tail
from shared.config import Settings
from shared.db import Database
from shared.ids import uuid7
from shared.inbox import Recorded, find_outcomes
from shared.outbox import Sender
from shared.outcome import Meta, Outcome, Send


class Sending:
    """A service's world into which somebody sends commands: `CALLER`, unless it is said who."""

    CALLER: ClassVar[str]
    db: Database

    async def send(self, *commands: Command, **send: Any) -> list[UUID]:
        """Put commands on the bus, in this order, for a service that runs."""
        ids = [uuid7() for _ in commands]
        send = {"actor": self.CALLER} | send
        sends = [Send(command, id=id, **send) for command, id in zip(commands, ids, strict=True)]
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


async def told_on(settings: Settings, since: datetime, *classes: type[Message]) -> list[Envelope]:
    """What is on the bus of these classes since a time: each message once, in the order of their ids."""
    types, found = {cls.TYPE for cls in classes}, dict[UUID, Envelope]()
    topics = sorted({cls.TOPIC for cls in classes})
    async with tail(settings, topics, since_ms=int(since.timestamp() * 1000)) as consumer, asyncio.timeout(20):
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                told = [Envelope.model_validate_json(record.value) for record in records if record.value]
                found |= {each.id: each for each in told if each.type in types}
    return sorted(found.values(), key=lambda each: each.id)


def deployment(id: UUID, tenant: str, slug: str) -> Event:
    """The news of a deployment."""
    now = datetime.now(UTC)
    state = Deployment(
        id=id,
        tenant_id=tenant,
        slug=slug,
        display_name=slug,
        region=None,
        state=DeploymentState.ACTIVE,
        state_since=now,
        llm_mode=None,
        template_code=None,
        billing_action_suspended=False,
        template_version=None,
        saga_id=None,
        created_at=now,
        version=1,
    )
    return DeploymentCreated(deployment=state)
