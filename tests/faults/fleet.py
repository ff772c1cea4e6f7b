"""All services as processes that can be killed, at a provider with faults, and deployments that are to be built."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from cli.services import migrations
from contracts.deployments import CreateDeployment, Provisioning
from contracts.message import Command
from dev.digitalocean.control import Control
from dev.digitalocean.faults import Fault
from dev.digitalocean.running import RunningStandIn
from dev.stack import free_port
from dev.tokens import DEVELOPMENT_SECRET
from shared import outbox
from shared.config import Settings
from shared.db import Database
from shared.ids import uuid7
from shared.migrate import migrate
from shared.outbox import Sender
from shared.outcome import Meta, Outcome, Send
from tests.ledger.world import Replica, until

Row = asyncpg.Record

SERVICES = ("sagas", "provider", "deployments", "inventory", "gateway")
"""Two processes of each."""

ZONE = "apps.example.com"
SPEED = 20
"""How fast the provider's time runs, and how much shorter the service waits."""

UNSETTLED_S = 600
"""After so many of the provider's seconds without a write nothing there is on its way any more."""

STAND_IN: dict[str, Any] = {
    "droplets": 0,
    "projects": 1,
    "speed": SPEED,
    "rate_hour": 0,
    "rate_minute": 0,
    "list_lag": 10,
    "tag_lag": 20,
    "read_lag": 5,
    "networks_lag": 10,
    "records_lag": 5,
}
"""A provider with nothing but its default project, which shows late what was written."""

WRITES = ("POST", "PUT", "DELETE")


def weather(seed: int) -> list[Fault]:
    """What goes wrong at the provider: the answers that get lost and the writes that come late are the worst of it."""
    faults = [
        Fault(effect="status", status=503, probability=0.04),
        Fault(effect="status", status=500, probability=0.02),
        Fault(effect="burst", seconds=1, probability=0.02),
        Fault(effect="edge_gateway", probability=0.01),
        Fault(effect="hang", seconds=3, probability=0.01),
        Fault(effect="reset", probability=0.02),
        Fault(effect="placement_fails", path="/v2/droplets", method="POST", probability=0.08),
        Fault(effect="action_errors", path="/v2/droplets/*", method="DELETE", probability=0.1),
        Fault(
            effect="status",
            status=422,
            message="Data can't be blank",
            path=f"/v2/domains/{ZONE}/records",
            method="POST",
            probability=0.15,
        ),
        Fault(effect="lost", path="/v2/droplets", method="POST", probability=0.2),
        *(Fault(effect="lost", method=method, probability=0.1) for method in WRITES),
        *(Fault(effect="late", seconds=40, hangs=0.5, method=method, probability=0.04) for method in WRITES),
    ]
    return [fault.model_copy(update={"seed": seed + n}) for n, fault in enumerate(faults)]


@dataclass
class Wanted:
    """A deployment that is to be built, by its saga."""

    saga_id: UUID
    command: CreateDeployment


def wanted(count: int) -> list[Wanted]:
    """Deployments of several tenants."""
    built = Provisioning(region="nyc3", size="s-1vcpu-1gb", image="ubuntu-24-04-x64", domain=ZONE)
    ids = [uuid7() for _ in range(count)]
    return [
        Wanted(
            id,
            CreateDeployment(
                tenant_id=f"tenant-{n % 5}", slug=f"app-{n}", display_name=f"App {n}", saga_id=id, provision=built
            ),
        )
        for n, id in enumerate(ids)
    ]


@dataclass
class Fleet:
    """Everything at work, seen from outside: each service's schema by name, and the provider as it is."""

    schemas: dict[str, Database]
    provider: Control
    logs: Path
    replicas: list[Replica] = field(default_factory=list)

    async def rows(self, schema: str, query: str, *arguments: Any) -> list[Row]:
        return await self.schemas[schema].pool.fetch(query, *arguments)

    async def send(self, ids: Sequence[UUID], commands: Sequence[Command]) -> None:
        """Put commands on the bus, as the gateway does; under the same ids again they are the same."""
        sends = [Send(command, id=id, tenant_id=None) for id, command in zip(ids, commands, strict=True)]
        rows = Sender("test").rows(Outcome(commands=sends), Meta(uuid7(), datetime.now(UTC)))
        async with self.schemas["gateway"].transaction() as conn:
            await outbox.insert(conn, rows)

    async def settled(self, count: int, seconds: float) -> None:
        """Wait until so many runs have ended, and nobody has anything left to do."""
        unfinished = """
            select count(*) filter (where finished_at is null), count(*),
              array_agg(steps[current_step + 1] || ' ' || status || ' due ' || coalesce(due_at::text, '-') || ' '
                || engine::text) filter (where finished_at is null)
            from saga_runs
            """
        ended: list[Any] = []

        async def all_ended() -> bool:
            (ended[:],) = await self.rows("sagas", unfinished)
            return ended[:2] == [0, count]

        def otherwise() -> str:
            return f"{ended[0]} of {ended[1]} runs are unfinished, of {count} asked for: {ended[2]}"

        await until(all_ended, seconds, otherwise)
        for schema in SERVICES:
            await until(partial(self._is_idle, schema), seconds, lambda schema=schema: f"{schema} is not done")

    async def _is_idle(self, schema: str) -> bool:
        jobs = await self.rows(schema, "select 1 from jobs where status in ('queued', 'running')")
        return not jobs and not await self.rows(schema, "select 1 from outbox")


@asynccontextmanager
async def fleet(settings: Settings, stand_in: RunningStandIn, logs: Path) -> AsyncIterator[Fleet]:
    """All services, each as its own processes; they end with the block."""
    await migrate(settings, migrations())
    async with AsyncExitStack() as stack:
        schemas = {name: await Database.of_service(settings, name) for name in SERVICES}
        for database in schemas.values():
            stack.push_async_callback(database.close)
        control = await stack.enter_async_context(stand_in.control())
        there = Fleet(schemas, control, logs)
        stack.callback(_kill_all, there.replicas)
        for name, n in product(SERVICES, range(2)):
            log, also = logs / f"{name}-{n}.log", _environment(stand_in)
            there.replicas.append(Replica(name, settings, log, module="tests.replica", also=also))
        yield there


def _environment(stand_in: RunningStandIn) -> dict[str, str]:
    return {
        "DO_API_URL": stand_in.url,
        "DO_API_TOKEN": stand_in.token,
        "DO_RATE_LIMIT": "0",
        "PROVIDER_TIME_SCALE": str(1 / SPEED),
        "JWT_SECRETS": json.dumps([DEVELOPMENT_SECRET]),
        "GATEWAY_PORT": str(free_port()),
        "PROVISION_DOMAIN": ZONE,
        "PROVISION_REGION": "nyc3",
    }


def _kill_all(replicas: Sequence[Replica]) -> None:
    for replica in replicas:
        replica.kill()
