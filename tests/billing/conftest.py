"""A stand-in of the provider for this folder, and the service at work for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from dev.digitalocean.running import RunningStandIn, running_stand_in
from shared.config import Settings
from tests.billing.world import Billing, world


@pytest.fixture(scope="session")
def stand_in() -> Iterator[RunningStandIn]:
    with (
        running_stand_in(droplets=20, projects=2, speed=0, rate_hour=0, rate_minute=0) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("DO_BILLING_TOKEN", running.token)
        yield running


@pytest.fixture
async def billing(settings: Settings, stand_in: RunningStandIn) -> AsyncIterator[Billing]:
    fitting = settings.model_copy(update={"do_api_url": stand_in.url, "do_rate_limit": 0.0})
    async with stand_in.control() as control, world(fitting, control) as there:
        await control.disarm()
        yield there
