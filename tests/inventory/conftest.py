"""One stand-in of the provider for all tests of this folder, as good as new for each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from dev.digitalocean import settings as stand_in
from dev.digitalocean.running import RunningStandIn, running_stand_in
from shared.config import Settings
from tests.inventory.world import Inventory, world


@pytest.fixture(scope="session")
def provider() -> Iterator[RunningStandIn]:
    with running_stand_in(droplets=0, projects=1) as running:
        yield running


@pytest.fixture
async def inventory(
    settings: Settings, provider: RunningStandIn, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Inventory]:
    """The service with an empty provider, rate limits off, no lag, and strikes that may follow at once."""
    monkeypatch.setenv("DO_API_TOKEN", provider.token)
    there = {"do_api_url": provider.url, "do_rate_limit": 0.0, "inventory_strike_minutes": 0.0}
    async with provider.control() as control:
        defaults = stand_in.Settings().model_dump(mode="json")
        await control.reset(
            **defaults | {"droplets": 0, "projects": 1, "list_lag": 0, "rate_hour": 0, "rate_minute": 0}
        )
        async with world(settings.model_copy(update=there), control) as inventory:
            yield inventory
