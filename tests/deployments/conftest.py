"""A database with the service's tables and its catalog, for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dev.stack import Stack
from shared.config import Settings
from tests.conftest import new_database, settings_for
from tests.deployments.world import Deployments, world


@pytest.fixture(scope="session")
async def shared_deployments(stack: Stack) -> AsyncIterator[Deployments]:
    """One for all tests that need no empty tables: each makes deployments and plans of its own names."""
    async with world(settings_for(stack, await new_database(stack))) as made:
        yield made


@pytest.fixture
async def deployments(shared_deployments: Deployments) -> Deployments:
    """The tables and the catalog; what was said before is forgotten."""
    shared_deployments.said.clear()
    shared_deployments.sent.clear()
    return shared_deployments


@pytest.fixture
async def own_deployments(settings: Settings) -> AsyncIterator[Deployments]:
    """Tables and a catalog of this test's own."""
    async with world(settings) as made:
        yield made
