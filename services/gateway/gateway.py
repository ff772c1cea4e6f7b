"""What a running gateway has: its own database and outbox, the views of the others, the replies, and who may enter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import ClientException

from contracts.runtime import GATEWAY_REPLIES
from services.gateway.acceptance import Acceptance
from services.gateway.auth import Identity, Verifier
from services.gateway.limits import RateLimit
from services.gateway.store import Views
from shared.config import Settings
from shared.db import Database
from shared.migrate import OPERATOR_ROLE, TENANT_ROLE
from shared.outbox import Sender
from shared.process import Process, cancelled, guarded, patiently, running
from shared.replies import Replies
from shared.service import Service


@dataclass(frozen=True)
class Gateway:
    """A gateway at work in this process. It reads without the broker; writes are durable and wait for it."""

    process: Process
    views: Views
    replies: Replies
    verifier: Verifier
    limit: RateLimit
    acceptance: Acceptance
    settings: Settings
    url: str | None = None

    @property
    def name(self) -> str:
        return self.process.name

    @property
    def database(self) -> Database:
        return self.process.database

    @property
    def sender(self) -> Sender:
        return self.process.sender

    async def alive(self) -> Mapping[str, str | None]:
        """Whether the process is well."""
        return await self.process.alive()

    async def ready(self) -> Mapping[str, str | None]:
        """Whether requests can be answered. The broker is not asked: the gateway works without it."""
        for pool in (self.views.tenant, self.views.operator):
            async with pool.connection() as conn:
                await conn.fetchval("select 1")
        return {"database": None}


class ApiRequest(Request[Identity, Any, State]):
    """A request to a gateway; `user` is who asks, once it was admitted."""

    @property
    def gateway(self) -> Gateway:
        """The gateway that it reached."""
        gateway: Gateway = self.app.state.gateway
        return gateway

    async def json(self) -> Any:
        """The body. Raises `ClientException` where it is no JSON (Litestar's own lets these two through)."""
        try:
            return await super().json()
        except (UnicodeDecodeError, RecursionError) as error:
            raise ClientException(f"the body is no JSON: {error}") from None


@asynccontextmanager
async def opened(service: Service[Any], settings: Settings, verifier: Verifier) -> AsyncIterator[Gateway]:
    """A gateway without its HTTP server, until the block ends. Waits for the database as long as it takes."""
    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(running(service, settings))
        tenant, operator = [await _pool(stack, service, settings, role) for role in (TENANT_ROLE, OPERATOR_ROLE)]
        replies = Replies(settings, GATEWAY_REPLIES)
        stack.push_async_callback(cancelled, [asyncio.create_task(guarded(replies.run))])
        limit = RateLimit(settings.rate_limit_per_minute)
        acceptance = Acceptance(process.database, process.relay.wake)
        yield Gateway(process, Views(tenant, operator), replies, verifier, limit, acceptance, settings)


async def _pool(stack: AsyncExitStack, service: Service[Any], settings: Settings, role: str) -> Database:
    pool: Database = await patiently(lambda: Database.of_service(settings, service.name, role=role), "database")
    stack.push_async_callback(pool.close)
    return pool
