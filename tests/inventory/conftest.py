"""One stand-in of the provider for all tests of this folder, as good as new for each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from dev.digitalocean.running import RunningStandIn, running_stand_in
from shared.config import Settings
from tests.inventory.world import Inventory, at_the_stand_in, world


@pytest.fixture(scope="session")
def provider() -> Iterator[RunningStandIn]:
    with running_stand_in(droplets=0, projects=1) as running:
        yield running


@pytest.fixture
async def inventory(
    settings: Settings, provider: RunningStandIn, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[Inventory]:
    """The service and an empty provider.

    Other settings of the service are given by `@pytest.mark.parametrize("inventory", [{...}], indirect=True)`.
    """
    monkeypatch.setenv("DO_API_TOKEN", provider.token)
    fitting = at_the_stand_in(settings, provider.url, **getattr(request, "param", {}))
    async with provider.control() as control, world(fitting, control) as inventory:
        yield inventory
