"""The drift service on a database of its own, with Kafka; what others tell is the tests'."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import asyncpg

from contracts.drift import REPLIES, DetectDrift, RecordSpec
from contracts.inventory import Resource, ResourceDeleted, ResourceDiscovered, ResourceEvent, ResourceUpdated
from contracts.kinds import ResourceKind
from contracts.message import Command, Envelope, Event, Reply
from contracts.sagas import (
    UNFINISHED,
    Left,
    SagaCompleted,
    SagaEvent,
    SagaFailed,
    SagaRolledBack,
    SagaRun,
    SagaStarted,
    SagaStatus,
)
from services.drift.app import MIGRATIONS, service
from shared import outbox
from shared.config import Settings
from shared.db import Database
from shared.ids import derived_id, uuid7
from shared.inbox import Recorded
from shared.migrate import migrate
from shared.outbox import Sender
from shared.outcome import Meta, Outcome
from shared.process import running
from shared.wire import encode
from tests.sending import Sending, told_on

SHOP = derived_id("deployment", "shop")
LONG_AGO = datetime(2026, 11, 1, tzinfo=UTC)
SIZES = {"s-1vcpu-1gb": 600, "s-2vcpu-2gb": 1800, "s-4vcpu-8gb": 4800}

_TOLD_AS: Mapping[SagaStatus, type[SagaEvent]] = {
    SagaStatus.RUNNING: SagaStarted,
    SagaStatus.COMPLETED: SagaCompleted,
    SagaStatus.ROLLED_BACK: SagaRolledBack,
    SagaStatus.FAILED: SagaFailed,
}


@dataclass
class Drifting(Sending):
    """A running service and its database."""

    CALLER = "olga@example.com"

    settings: Settings
    db: Database
    versions: count[int] = field(default_factory=lambda: count(1))
    began_at: datetime = LONG_AGO

    async def begin_anew(self) -> None:
        """Empty the tables, but for the rules that the service begins with."""
        await self.until("not exists (select from outbox)")
        self.began_at = datetime.now(UTC)
        admin = await asyncpg.connect(self.settings.database_url.get_secret_value())
        tables = await admin.fetchval(
            """
            select string_agg(format('drift.%I', tablename), ', ') from pg_tables where schemaname = 'drift'
              and tablename not in ('schema_migrations', 'relay_lease', 'processes', 'asked', 'drift_rules')
            """
        )
        while True:
            try:
                await admin.execute(f"truncate {tables} cascade")
                break
            except asyncpg.DeadlockDetectedError:  # the service looks just now
                await asyncio.sleep(0.1)
        await admin.execute("delete from drift.drift_rules where actor is not null")
        for slug, cents in SIZES.items():
            await admin.execute("insert into drift.sizes values ($1, $2, now())", slug, cents)
        await admin.close()

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        return await self.db.pool.fetch(query, *arguments)

    async def value(self, query: str, *arguments: Any) -> Any:
        return await self.db.pool.fetchval(query, *arguments)

    async def ask(self, command: Command) -> Recorded:
        """Send a command and wait for what comes of it."""
        (id,) = await self.send(command)
        return await self.outcome(id)

    async def put(self, *events: Event) -> None:
        """Put events of others on the bus."""
        rows = Sender("test").rows(Outcome(events=events), Meta(uuid7(), datetime.now(UTC)))
        async with self.db.transaction() as conn:
            await outbox.insert(conn, rows)

    async def put_on_the_bus(self, *resources: Resource) -> None:
        """Tell of resources; nobody waits until that is known."""
        await self.put(*(_event_of(each) for each in resources))

    async def tell(self, *resources: Resource) -> None:
        """Tell of resources, and wait until that is known."""
        await self.put_on_the_bus(*resources)
        for each in resources:
            await self.until("exists (select from resources where id = $1 and version >= $2)", each.id, each.version)

    async def put_resource_and(self, resource: Resource, command: Command) -> None:
        """Tell of a resource and send a command at the same moment; wait until both are handled."""
        rows = Sender("test").rows(Outcome(events=[_event_of(resource)]), Meta(uuid7(), datetime.now(UTC)))
        async with self.db.transaction() as conn:
            await outbox.insert(conn, rows)
            (id,) = await self.send(command)
        await self.outcome(id)
        await self.until("exists (select from resources where id = $1 and version = $2)", resource.id, resource.version)

    async def reply(self, reply: Reply) -> None:
        """Answer one of the service's commands."""
        envelope = Envelope.of(reply, id=uuid7(), source="/arcadia/test", time=datetime.now(UTC))
        async with self.db.transaction() as conn:
            await outbox.insert(
                conn, [outbox.Row(envelope.id, REPLIES, envelope.subject, envelope.type, encode(envelope))]
            )

    async def tell_run(self, run: SagaRun) -> None:
        """Tell of a run of a saga, and wait until that is known."""
        await self.put(_TOLD_AS[run.status](run=run))
        await self.until("exists (select from runs where id = $1 and version >= $2)", run.id, run.version)

    async def until(self, condition: str, *arguments: Any, seconds: float = 30) -> None:
        """Wait until a condition on the tables holds."""
        async with asyncio.timeout(seconds):
            while not await self.db.pool.fetchval(f"select {condition}", *arguments):
                await asyncio.sleep(0.02)

    @asynccontextmanager
    async def held_up(self, table: str) -> AsyncIterator[None]:
        """Whoever would write into a table waits until the block ends."""
        owner = await asyncpg.connect(self.settings.database_url.get_secret_value())
        try:
            await owner.execute(f"begin; lock table drift.{table} in share mode")
            yield
        finally:
            await owner.close()

    async def settled(self) -> None:
        """Wait until nothing is left to be compared."""
        await self.until(
            "not exists (select from cloud_provisioned where changed_xid is not null) "
            "and not exists (select from jobs where status in ('queued', 'running'))"
        )

    async def record(self, resource: Resource, **spec: Any) -> Recorded:
        """Say what a resource is to be, and wait until that is compared."""
        answered = await self.ask(RecordSpec(resource_id=resource.id, spec=spec))
        await self.settled()
        return answered

    async def detect(self, resource: Resource | None = None) -> dict[str, Any]:
        """Compare; gives the answer."""
        answered = await self.ask(DetectDrift(resource_id=resource and resource.id))
        assert answered.status == "ok", answered
        return answered.result or {}

    async def drifts(self, status: str = "open") -> list[tuple[str, Any, Any]]:
        """The drifts of a status: field, desired, live."""
        rows = await self.fetch(
            "select field, desired, live from cloud_drift where status = $1 order by field, detected_at", status
        )
        return [tuple(row) for row in rows]

    async def the_drift(self, field: str) -> UUID:
        """The open drift of a field of which there is one."""
        (row,) = await self.fetch("select id from cloud_drift where field = $1 and status = 'open'", field)
        id: UUID = row["id"]
        return id

    async def told(self, *classes: type[Event]) -> list[Envelope]:
        """What the service has told of these classes since the test began, as it is on the bus, in order."""
        await self.until("not exists (select from outbox)")
        return await told_on(self.settings, self.began_at, *classes)

    def run(self, status: SagaStatus, before: SagaRun | None = None, **values: Any) -> SagaRun:
        """A run of a saga, or how it goes on."""
        run: dict[str, Any] = {
            "id": uuid7(),
            "kind": "resize_droplet",
            "flow_version": 1,
            "deployment_id": None,
            "tenant_id": "acme",
            "steps": [],
            "current_step": 0,
            "inputs": {},
            "context": {},
            "cancel_requested": False,
            "error": None,
            "created_at": datetime.now(UTC),
        }
        finished_at = None if status in UNFINISHED else datetime.now(UTC)
        known = before.model_dump() if before else {}
        return SagaRun.model_validate(
            run | known | {"status": status, "finished_at": finished_at, "version": next(self.versions)} | values
        )


def _event_of(resource: Resource) -> ResourceEvent:
    if resource.deleted_at is not None:
        return ResourceDeleted(resource=resource)
    return (ResourceDiscovered if resource.version == 1 else ResourceUpdated)(resource=resource)


def droplet(name: str = "web", version: int = 1, **fields: Any) -> Resource:
    """A droplet of the shop's, as the inventory tells of it."""
    return resource(ResourceKind.DROPLET, name, version, **({"size_slug": "s-1vcpu-1gb", "state": "active"} | fields))


def resource(kind: ResourceKind, name: str, version: int = 1, **fields: Any) -> Resource:
    """A resource as the inventory tells of it."""
    id = derived_id("resource", kind, name)
    told: dict[str, Any] = {
        "id": id,
        "kind": kind,
        "provider": "digitalocean",
        "provider_id": str(id.int % 10**9),
        "name": name,
        "region": "syd1",
        "state": None,
        "size_slug": None,
        "tags": [],
        "attrs": {},
        "project_id": None,
        "tenant_id": "acme",
        "deployment_id": SHOP,
        "links": [],
        "first_seen_at": LONG_AGO,
        "last_seen_at": LONG_AGO + timedelta(minutes=version),
        "deleted_at": None,
        "version": version,
    }
    return Resource.model_validate(told | fields)


def left(resource: Resource, spec: Mapping[str, Any] | None, version: int | None = None) -> Left:
    """What a run leaves of a resource."""
    return Left(resource_id=resource.id, spec=spec and dict(spec), version=version or resource.version)


def keys(rows: Sequence[Mapping[str, Any]], name: str) -> set[Any]:
    """The values of a field of some rows."""
    return {row[name] for row in rows}


@asynccontextmanager
async def world(settings: Settings) -> AsyncIterator[Drifting]:
    """The service at work in this process."""
    await migrate(settings, {"drift": MIGRATIONS})
    db = await Database.of_service(settings, "drift")
    try:
        async with running(service, settings):
            yield Drifting(settings, db)
    finally:
        await db.close()
