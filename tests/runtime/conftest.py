"""One world for all tests that leave the service well; a world of its own for each that does not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import structlog

from dev.stack import Stack
from shared import log
from shared.config import Settings
from tests.conftest import new_database, settings_for
from tests.ledger.world import World, world
from tests.runtime.probe import Probe, at_work, probing


@pytest.fixture(scope="session", autouse=True)
def plain_logs() -> None:
    """Logs as in production, but for the cache: a logger that keeps its processors cannot be listened to."""
    log.configure(Settings(database_url="postgresql://localhost", kafka_bootstrap_servers=["-"], log_format="console"))
    structlog.configure(cache_logger_on_first_use=False)


@pytest.fixture(scope="session")
async def probe(stack: Stack) -> AsyncIterator[Probe]:
    """The probe service at work, shared: use names of your own."""
    # These tests make many dead letters; those about the limit have worlds of their own.
    settings = settings_for(stack, await new_database(stack)).model_copy(update={"dead_letter_limit": 1000})
    async with probing(settings) as probe, at_work(probe):
        yield probe


@pytest.fixture(scope="module")
async def replicas(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Two replicas of the ledger as processes, shared by a module."""
    async with world(settings_for(stack, await new_database(stack)), tmp_path_factory.mktemp("logs")) as there:
        there.start("ledger", 2)
        yield there


@pytest.fixture
async def own_probe(settings: Settings) -> AsyncIterator[Probe]:
    """A probe of this test's own; the service is not at work yet."""
    async with probing(settings.model_copy(update={"kafka_partitions": 4})) as probe:
        yield probe


@pytest.fixture
def no_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes out was told to the relay: its own look, which finds all a quarter of a second later, is far off."""
    monkeypatch.setattr("shared.relay._POLL_S", 60)
