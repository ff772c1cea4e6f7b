"""The billing service on a database of its own, with Kafka and stand-ins of the provider and of finance."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
from pydantic import SecretStr

from contracts.billing import DiscoverInvoices, IngestInvoice
from contracts.inventory import Resource, ResourceDiscovered
from contracts.kinds import ResourceKind
from contracts.message import Command, Event
from dev.digitalocean.control import Control
from dev.digitalocean.running import RunningStandIn
from dev.finance.control import FinanceControl
from dev.finance.running import RunningFinance
from services.billing.app import MIGRATIONS, service
from shared import outbox
from shared.config import Settings
from shared.db import Database
from shared.ids import derived_id, uuid7
from shared.inbox import Recorded
from shared.migrate import migrate
from shared.outbox import Sender
from shared.outcome import Meta, Outcome, Send
from shared.process import running
from tests.sending import Sending, told_on

Told = TypeVar("Told", bound=Event)

APRIL = "2026-04"
"""The newest month that is invoiced."""


def at(settings: Settings, stand_in: RunningStandIn, finance: RunningFinance | None) -> Settings:
    """The settings of a service that knows these and signs what finance believes."""
    return settings.model_copy(
        update={
            "do_api_url": stand_in.url,
            "do_rate_limit": 0.0,
            "finance_url": finance and finance.url,
            "jwt_secrets": [SecretStr(finance.secret)] if finance else [],
        }
    )


@dataclass
class Billing(Sending):
    """A running service, its database, and what a person could do at the provider and see in finance."""

    CALLER = "olga@example.com"

    settings: Settings
    db: Database
    provider: Control
    finance: FinanceControl
    began: datetime = field(default_factory=partial(datetime.now, UTC))

    async def begin_anew(self) -> None:
        """Empty the tables, the provider and finance. What is on the bus stays there, and is not looked at any more."""
        await self.fetch("delete from jobs where status = 'queued'")
        await self.until("not exists (select from jobs where status = 'running')")
        admin = await asyncpg.connect(self.settings.database_url.get_secret_value())
        tables = await admin.fetchval(
            """
            select string_agg(format('billing.%I', tablename), ', ') from pg_tables
            where schemaname = 'billing' and tablename not in ('schema_migrations', 'relay_lease', 'processes')
            """
        )
        await admin.execute(f"truncate {tables} cascade")
        await admin.close()
        await self.provider.reset()
        await self.finance.reset()
        self.began = datetime.now(UTC)

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        return await self.db.pool.fetch(query, *arguments)

    async def ask(self, command: Command, **send: Any) -> Recorded:
        """Send a command and wait for what comes of it."""
        (id,) = await self.send(command, **send)
        return await self.outcome(id)

    async def send_again(self, id: UUID, command: Command) -> None:
        """Put a command on the bus once more, under the id that it had."""
        sends = [Send(command, id=id, actor=self.CALLER)]
        rows = Sender("test").rows(Outcome(commands=sends), Meta(uuid7(), datetime.now(UTC)))
        async with self.db.transaction() as conn:
            await outbox.insert(conn, rows)

    async def tell(self, *events: Event) -> None:
        """Put events of others on the bus."""
        rows = Sender("test").rows(Outcome(events=events), Meta(uuid7(), datetime.now(UTC)))
        async with self.db.transaction() as conn:
            await outbox.insert(conn, rows)

    async def told(self, cls: type[Told]) -> list[Told]:
        """What the service has told of a class since the test began: each once, in the order of the versions."""
        await self.until("not exists (select from outbox)")
        found = [cls.model_validate(each.data) for each in await told_on(self.settings, self.began, cls)]
        return sorted(found, key=lambda event: event.sequence())

    async def until(self, condition: str, *arguments: Any, seconds: float = 60) -> None:
        """Wait until a condition on the tables holds."""
        async with asyncio.timeout(seconds):
            while not await self.db.pool.fetchval(f"select {condition}", *arguments):
                await asyncio.sleep(0.05)

    async def invoice(self, period: str = APRIL) -> Any:
        """The row of the one invoice of a month."""
        (row,) = await self.fetch("select * from cloud_invoices where to_char(period, 'YYYY-MM') = $1", period)
        return row

    async def lines(self, period: str = APRIL) -> list[Any]:
        """A month's lines, in their order, as operators see them."""
        return await self.fetch(
            "select * from v1_all_cost_lines where to_char(period, 'YYYY-MM') = $1 order by invoice_id, line", period
        )

    async def discover(self) -> None:
        """Have every invoice taken in, ingested and brought to an end in finance."""
        assert (await self.ask(DiscoverInvoices())).status == "ok"
        await self.until("not exists (select from cloud_invoices where ingest_status = 'pending')")
        await self.until("not exists (select from cloud_invoices where push_status = 'pending' and ingests > 0)")

    async def only(self, *lines: dict[str, Any], csv: str | None = None, credits: str = "0") -> UUID:
        """Have April's invoice alone known, with these lines at the provider; nothing is ingested yet. Gives its id."""
        april = next(each for each in await self.provider.invoices() if each.invoice_period == APRIL)
        changed = await self.provider.change_invoice(
            april.invoice_uuid, lines=list(lines), credits=credits, **({} if csv is None else {"csv": csv})
        )
        id = uuid7()
        await self.fetch(
            """
            insert into cloud_invoices
              (id, provider, invoice_uuid, number, period, currency, amount_cents, issued_at, discovered_at)
            values ($1, 'digitalocean', $2, $3, '2026-04-01', 'USD', $4, now(), now())
            """,
            id,
            april.invoice_uuid,
            april.invoice_id,
            int(changed.amount * 100),
        )
        return id

    async def ingested(self, id: UUID) -> dict[str, Any]:
        """What an ingest of an invoice answers, when finance has it too."""
        outcome = await self.ask(IngestInvoice(invoice_id=id, again=True))
        assert (outcome.status, outcome.code) == ("ok", None), outcome
        await self.until("push_status <> 'pending' from cloud_invoices where id = $1", id)
        return outcome.result or {}

    async def tell_resources(self, *resources: Resource) -> None:
        """Tell of resources, and wait until the service knows of them."""
        await self.tell(*(ResourceDiscovered(resource=each) for each in resources))
        for each in resources:
            await self.until("exists (select from resources where id = $1 and version >= $2)", each.id, each.version)


def resource(
    name: str,
    provider_id: str = "",
    *,
    kind: ResourceKind = ResourceKind.DROPLET,
    deleted: bool = False,
    created_at: str | None = "2026-01-01T00:00:00Z",
    version: int = 1,
) -> Resource:
    """A resource as the inventory tells of it. `provider_id`: default, its name."""
    seen = datetime(2026, 5, 1, tzinfo=UTC)
    return Resource(
        id=derived_id("resource", kind, provider_id or name),
        kind=kind,
        provider="digitalocean",
        provider_id=provider_id or name,
        name=name,
        region="nyc3",
        state="active",
        size_slug=None,
        tags=[],
        attrs={"created_at": created_at} if created_at else {},
        project_id=None,
        tenant_id=None,
        deployment_id=None,
        links=[],
        first_seen_at=seen,
        last_seen_at=seen,
        deleted_at=seen if deleted else None,
        version=version,
    )


async def fleet(provider: Control) -> Sequence[Resource]:
    """The provider's droplets as the inventory tells of them."""
    return [resource(each.name, str(each.id)) for each in await provider.droplets()]


@asynccontextmanager
async def world(settings: Settings, provider: Control, finance: FinanceControl) -> AsyncIterator[Billing]:
    """The service at work in this process."""
    await migrate(settings, {"billing": MIGRATIONS})
    db = await Database.of_service(settings, "billing")
    try:
        async with running(service, settings):
            yield Billing(settings, db, provider, finance)
    finally:
        await db.close()
