"""The drift service at work, for all tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dev.stack import Stack
from tests.conftest import new_database, settings_for
from tests.drift.world import Drifting, world


@pytest.fixture(scope="session")
async def shared_drift(stack: Stack) -> AsyncIterator[Drifting]:
    """The service, for all tests that let its jobs come to an end."""
    async with world(settings_for(stack, await new_database(stack))) as there:
        yield there


@pytest.fixture
async def drift(shared_drift: Drifting) -> Drifting:
    """The service, with empty tables."""
    await shared_drift.begin_anew()
    return shared_drift
