"""The test services as processes, and what the world should look like when they are done."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from contracts.message import Command
from contracts.topics import TOPICS
from shared import outbox
from shared.bus import ensure_topics
from shared.config import Settings
from shared.db import OUTAGES, Database
from shared.ids import uuid7
from shared.migrate import migrate
from shared.outbox import Sender
from shared.outcome import Meta, Outcome, Send
from tests.ledger.messages import REPLIES
from tests.ledger.services import MIGRATIONS

CHECKOUT = Path(__file__).parents[2]


def environment(settings: Settings) -> dict[str, str]:
    """A service process's environment: these settings and nothing of the machine's own."""
    return {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "KAFKA_BOOTSTRAP_SERVERS": ",".join(settings.kafka_bootstrap_servers),
        "KAFKA_PREFIX": settings.kafka_prefix,
        "KAFKA_SESSION_TIMEOUT_S": str(settings.kafka_session_timeout_s),
        "KAFKA_PARTITIONS": str(settings.kafka_partitions),
        "DEAD_LETTER_LIMIT": str(settings.dead_letter_limit),
        "LOG_FORMAT": settings.log_format,
        "LOG_LEVEL": settings.log_level,
        "HEALTH_PORT": str(settings.health_port),
    }


@dataclass
class Replica:
    """One process of a service: a test service, or of `module` another. `also`: more for its environment."""

    service: str
    settings: Settings
    log: Path
    module: str = "tests.ledger"
    also: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start it, again after a kill."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, self.service],
                cwd=CHECKOUT,
                env={**environment(self.settings), **self.also},
                stdin=subprocess.PIPE,  # it ends when this closes: a test that is killed leaves nothing behind
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL: no farewell."""
        self.process.kill()
        self.process.communicate()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def terminate(self, seconds: float = 30) -> int:
        """SIGTERM, and its exit code."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        code = self.process.wait(seconds)
        self.process.communicate()
        return code


class World:
    """A ledger and a mirror on real servers, seen from outside."""

    def __init__(self, settings: Settings, ledger: Database, mirror: Database, logs: Path) -> None:
        self.settings = settings
        self.ledger = ledger
        self.mirror = mirror
        self.logs = logs
        self.replicas: list[Replica] = []

    def start(self, service: str, count: int = 1) -> list[Replica]:
        """Start replicas of a service."""
        names = range(len(self.replicas), len(self.replicas) + count)
        started = [Replica(service, self.settings, self.logs / f"{service}-{n}.log") for n in names]
        self.replicas += started
        return started

    async def send(self, commands: Sequence[Command], *, ids: Sequence[UUID] | None = None, **send: Any) -> list[UUID]:
        """Put commands into the ledger's outbox, as another service would into its own."""
        ids = ids or [uuid7() for _ in commands]
        sends = [Send(command, id=id, reply_to=REPLIES, **send) for command, id in zip(commands, ids, strict=True)]
        rows = Sender("test").rows(Outcome(commands=sends), Meta(uuid7(), datetime.now(UTC)))
        async with self.ledger.transaction() as conn:
            await outbox.insert(conn, rows)
        return list(ids)

    async def outcomes(self, ids: Sequence[UUID], seconds: float = 30) -> dict[UUID, str]:
        """The commands' outcomes; waits until all are decided. Raises AssertionError with what is missing."""
        found: dict[UUID, str] = {}

        async def decided() -> bool:
            rows = await self.ledger.pool.fetch(
                "select id, status from inbox where id = any($1::uuid[]) and status <> 'pending'", ids
            )
            found.update({row["id"]: row["status"] for row in rows})
            return len(found) == len(ids)

        await until(decided, seconds, lambda: f"{len(found)} of {len(ids)} commands are decided")
        return found

    async def mirrored(self, seconds: float = 30) -> None:
        """Wait until the mirror equals the ledger. Raises AssertionError."""

        async def equal() -> bool:
            query = "select name, balance, version from accounts order by name"
            return await self.ledger.pool.fetch(query) == await self.mirror.pool.fetch(query)

        await until(equal, seconds, lambda: "the mirror differs from the ledger")

    def close(self) -> None:
        for replica in self.replicas:
            if replica.running:
                replica.kill()


async def until(condition: Any, seconds: float, otherwise: Any) -> None:
    """Wait for an asynchronous condition; outages on the way count as not yet. Raises AssertionError."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            if await condition():
                return
        except OUTAGES:
            pass
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"after {seconds} s: {otherwise()}")
        await asyncio.sleep(0.05)


@asynccontextmanager
async def world(settings: Settings, logs: Path) -> AsyncIterator[World]:
    """The test services' schemas and topics, and no process yet; all processes end with the block."""
    await migrate(settings, MIGRATIONS)
    await ensure_topics(settings, [topic for name, topic in TOPICS.items() if "ledger" in name or "mirror" in name])
    ledger = await Database.of_service(settings, "ledger")
    mirror = await Database.of_service(settings, "mirror")
    there = World(settings, ledger, mirror, logs)
    try:
        yield there
    finally:
        there.close()
        await ledger.close()
        await mirror.close()


@contextmanager
def replicas_of(service: str, settings: Settings, logs: Path, count: int) -> Iterator[list[Replica]]:
    """So many processes of a service, as `arcadia run` runs it; killed at the end."""
    started = [Replica(service, settings, logs / f"{service}-{n}.log", "tests.replica") for n in range(count)]
    try:
        yield started
    finally:
        for each in started:
            each.kill()
