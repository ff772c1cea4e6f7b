"""Stand-ins of the provider and of finance for this folder, and the service at work for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from dev.finance.running import RunningFinance, running_finance

from dev.digitalocean.running import RunningStandIn, running_stand_in
from shared.config import Settings
from tests.billing.world import Billing, at, world


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


@pytest.fixture
async def billing(settings: Settings, stand_in: RunningStandIn, finance: RunningFinance) -> AsyncIterator[Billing]:
    """The service, with a provider and a finance service that are as good as new."""
    async with stand_in.control() as provider, finance.control() as books:
        await provider.reset()
        await books.reset()
        async with world(at(settings, stand_in, finance), provider, books) as there:
            yield there
