"""One service at work for all tests of the engine that leave it well."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.config import Settings
from tests.sagas.world import Sagas, at_work


@pytest.fixture
async def sagas(settings: Settings) -> AsyncIterator[Sagas]:
    """The service at work, for one test."""
    async with at_work(settings) as there:
        yield there
