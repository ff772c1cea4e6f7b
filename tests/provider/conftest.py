"""One stand-in of the provider and one running service for most tests of this folder, each time as good as new."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from dev.digitalocean.running import RunningStandIn, running_stand_in
from dev.stack import Stack
from shared.config import Settings
from tests.conftest import new_database, settings_for
from tests.provider.world import Provisioning, at_the_stand_in, service_with, world


@pytest.fixture(scope="session")
def stand_in() -> Iterator[RunningStandIn]:
    with running_stand_in(droplets=0, projects=1) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DO_PROVISIONING_TOKEN", running.token)
        yield running


@pytest.fixture(scope="session")
async def shared_provisioning(stack: Stack, stand_in: RunningStandIn) -> AsyncIterator[Provisioning]:
    """The service, for all tests that let their jobs come to an end."""
    settings = at_the_stand_in(settings_for(stack, await new_database(stack)), stand_in.url)
    async with stand_in.control() as control, world(settings, control) as provisioning:
        yield provisioning


@pytest.fixture
async def provisioning(shared_provisioning: Provisioning) -> Provisioning:
    """The service, empty tables, an empty provider."""
    await shared_provisioning.begin_anew()
    return shared_provisioning


@pytest.fixture
async def two_replicas(settings: Settings, stand_in: RunningStandIn) -> AsyncIterator[Provisioning]:
    """Two replicas of the service, for this test alone."""
    fitting = at_the_stand_in(settings, stand_in.url)
    async with (
        stand_in.control() as control,
        world(fitting, control, (service_with(), service_with())) as provisioning,
    ):
        yield provisioning


@pytest.fixture
async def no_replica(settings: Settings, stand_in: RunningStandIn) -> AsyncIterator[Provisioning]:
    """All but the service, which this test starts itself."""
    fitting = at_the_stand_in(settings, stand_in.url)
    async with stand_in.control() as control, world(fitting, control, ()) as provisioning:
        yield provisioning
