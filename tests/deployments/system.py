"""The deployments service with gateways before it, on real Kafka and PostgreSQL, as callers over HTTP meet them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from dev.tokens import DEVELOPMENT_SECRET, OPERATOR_ROLES, mint
from services.deployments.app import service
from services.gateway.app import serving
from services.gateway.gateway import Gateway
from shared.config import Settings
from shared.migrate import migrate
from shared.process import running
from tests.deployments.world import Deployments, world

_SERVICES = Path(__file__).parents[2] / "services"
_SCHEMAS = ("inventory", "deployments", "sagas", "billing", "metering", "gateway")


@dataclass
class System:
    """Gateways and a database; the deployments service runs where a test says so."""

    world: Deployments
    gateways: Sequence[Gateway]
    operators: Sequence[httpx.AsyncClient]
    tenants: Sequence[httpx.AsyncClient]

    async def ended(self, location: str, seconds: float = 60) -> dict[str, Any]:
        """An operation when it has come to its end."""
        async with asyncio.timeout(seconds):
            while True:
                operation: dict[str, Any] = (await self.operators[0].get(location)).json()["operation"]
                if operation["status"] != "pending":
                    return operation
                await asyncio.sleep(0.1)


def of_gateways(settings: Settings) -> Settings:
    """The settings, with what gateways of a test need beside them."""
    update = {"jwt_secrets": [SecretStr(DEVELOPMENT_SECRET)], "gateway_port": 0, "rate_limit_per_minute": 0}
    return settings.model_copy(update=update)


@asynccontextmanager
async def system(settings: Settings, *, gateways: int = 2, replicas: int = 2) -> AsyncIterator[System]:
    """So many gateways, each with a client of the operators' and one of acme's, and replicas of the service."""
    settings = of_gateways(settings)
    async with AsyncExitStack() as stack:
        made = await stack.enter_async_context(world(settings))
        await migrate(settings, {name: _SERVICES / name / "migrations" for name in _SCHEMAS})
        for _ in range(replicas):
            await stack.enter_async_context(running(service, settings))
        doors = [await stack.enter_async_context(serving(settings)) for _ in range(gateways)]
        operators = [await stack.enter_async_context(operator(door)) for door in doors]
        tenants = [await stack.enter_async_context(tenant(door)) for door in doors]
        yield System(made, doors, operators, tenants)


def operator(gateway: Gateway) -> httpx.AsyncClient:
    """A client of an operator's."""
    return _client(gateway, mint("platform", "ops@arcadia.test", OPERATOR_ROLES))


def tenant(gateway: Gateway) -> httpx.AsyncClient:
    """A client of acme's."""
    return _client(gateway, mint("acme", "ann@acme.test"))


def _client(gateway: Gateway, token: str) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {token}"}
    return httpx.AsyncClient(base_url=gateway.url or "", headers=headers, timeout=30, trust_env=False)
