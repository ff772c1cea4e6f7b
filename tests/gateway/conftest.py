"""One database with a fleet, one gateway on it and a service that answers, for tests that need none of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from dev.stack import Stack
from services.deployments.app import service as deployments
from services.drift.app import service as drift
from services.gateway.app import serving
from services.gateway.gateway import Gateway
from services.sagas.app import service as sagas
from shared.config import Settings
from shared.process import running
from tests.conftest import new_database, settings_for
from tests.gateway.answering import answering, charging, metering, sweeping
from tests.gateway.world import ACME, GLOBEX, OPERATOR, World, client, world


@pytest.fixture(scope="package")
async def there(stack: Stack) -> AsyncIterator[World]:
    """A database with a fleet, for all tests of the gateway."""
    async with world(settings_for(stack, await new_database(stack))) as made:
        yield made


@pytest.fixture(scope="package")
async def gateway(there: World) -> AsyncIterator[Gateway]:
    """A gateway on it."""
    async with serving(there.settings) as gateway:
        yield gateway


@pytest.fixture(scope="package")
async def inventory(there: World) -> AsyncIterator[None]:
    """The services that answer its commands."""
    async with AsyncExitStack() as services:
        for service in (answering, sweeping, charging, metering, deployments, sagas, drift):
            await services.enter_async_context(running(service, there.settings))
        yield


@pytest.fixture
async def alone(settings: Settings) -> AsyncIterator[World]:
    """A database with a fleet, for one test alone."""
    async with world(settings) as made:
        yield made


@pytest.fixture
async def operator(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with client(gateway, OPERATOR) as http:
        yield http


@pytest.fixture
async def acme(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with client(gateway, ACME) as http:
        yield http


@pytest.fixture
async def globex(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with client(gateway, GLOBEX) as http:
        yield http


@pytest.fixture
async def stranger(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with client(gateway, None) as http:
        yield http
