"""Stand-ins of the provider and of finance for this folder, and the service at work for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from dev.digitalocean.running import RunningStandIn, running_stand_in
from dev.finance.running import RunningFinance, running_finance
from dev.stack import Stack
from tests.billing.world import Billing, at, world
from tests.conftest import new_database, settings_for


@pytest.fixture(scope="session")
def stand_in() -> Iterator[RunningStandIn]:
    with (
        running_stand_in(droplets=20, projects=2, speed=0, rate_hour=0, rate_minute=0) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("DO_BILLING_TOKEN", running.token)
        yield running


@pytest.fixture(scope="session")
def finance() -> Iterator[RunningFinance]:
    with running_finance() as running:
        yield running


@pytest.fixture(scope="session")
async def shared_billing(stack: Stack, stand_in: RunningStandIn, finance: RunningFinance) -> AsyncIterator[Billing]:
    """The service, for all tests that let their jobs come to an end."""
    settings = at(settings_for(stack, await new_database(stack)), stand_in, finance)
    async with stand_in.control() as provider, finance.control() as books, world(settings, provider, books) as there:
        yield there


@pytest.fixture
async def billing(shared_billing: Billing) -> Billing:
    """The service, empty tables, a provider and a finance service that are as good as new."""
    await shared_billing.begin_anew()
    return shared_billing
