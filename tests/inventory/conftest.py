"""One stand-in of the provider and one running service for most tests of this folder, each time as good as new."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from dev.digitalocean.running import RunningStandIn, running_stand_in
from dev.stack import Stack
from shared.config import Settings
from tests.conftest import new_database, settings_for
from tests.inventory.world import Inventory, at_the_stand_in, service_with, world


@pytest.fixture(scope="session")
def provider() -> Iterator[RunningStandIn]:
    with running_stand_in(droplets=0, projects=1) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DO_API_TOKEN", running.token)
        yield running


@pytest.fixture(scope="session")
async def shared_inventory(stack: Stack, provider: RunningStandIn) -> AsyncIterator[Inventory]:
    """The service, for all tests that let their jobs come to an end."""
    settings = at_the_stand_in(settings_for(stack, await new_database(stack)), provider.url)
    async with provider.control() as control, world(settings, control) as inventory:
        yield inventory


@pytest.fixture
async def inventory(shared_inventory: Inventory) -> Inventory:
    """The service, empty tables, an empty provider."""
    await shared_inventory.begin_anew()
    return shared_inventory


@pytest.fixture
async def own_inventory(
    settings: Settings, provider: RunningStandIn, request: pytest.FixtureRequest
) -> AsyncIterator[Inventory]:
    """A service of this test's own, with its own settings: `parametrize("own_inventory", [{...}], indirect=True)`."""
    fitting = at_the_stand_in(settings, provider.url, **getattr(request, "param", {}))
    async with provider.control() as control, world(fitting, control) as inventory:
        yield inventory


@pytest.fixture
async def hasty_inventory(settings: Settings, provider: RunningStandIn) -> AsyncIterator[Inventory]:
    """A service of this test's own, which soon gives a call to the provider up."""
    fitting = at_the_stand_in(settings, provider.url)
    async with provider.control() as control, world(fitting, control, service_with(delay_scale=0.01)) as inventory:
        yield inventory
