"""What all tests share: one stack of real servers per session, and a database of its own for each test that asks."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import hypothesis
import pytest
from confluent_kafka.admin import AdminClient

from dev.stack import Stack
from shared.config import Settings
from shared.ids import uuid7


def pytest_configure() -> None:
    """Nothing that this machine's owner has set may steer the tests: they must not reach a real server."""
    hypothesis.settings.register_profile("tests", deadline=None)  # machines are shared
    hypothesis.settings.load_profile("tests")
    # A shell's background job ignores Ctrl-C, and so would everything that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in Settings.model_fields:
        os.environ.pop(name.upper(), None)
    for name in [name for name in os.environ if name.startswith(("DO_", "DIGITALOCEAN_", "FINANCE_", "SKYAI_"))]:
        del os.environ[name]


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """PostgreSQL and Apache Kafka for the whole session. Tests that kill a server start a stack of their own."""
    name = f"test-{os.getpid()}"
    with Stack(name, postgres_fsync=False, ephemeral=True, say=print) as running:
        yield running


@pytest.fixture(scope="session")
def kafka_admin(stack: Stack) -> AdminClient:
    """What topics are deleted by."""
    return AdminClient({"bootstrap.servers": stack.kafka_bootstrap_servers, "log_level": 0})


@pytest.fixture
async def database_url(stack: Stack, kafka_admin: AdminClient) -> AsyncIterator[str]:
    """A fresh, empty database, for one test; dropped after it, with the topics of whoever ran on it."""
    url = await new_database(stack)
    yield url
    if stack.kafka.kind != "mock":
        # Nobody waits for it. But a broker that has thousands of partitions is busy with nothing else.
        topics = [name for name in kafka_admin.list_topics(timeout=10).topics if name.startswith(prefix_of(url))]
        if topics:
            kafka_admin.delete_topics(topics)
    admin = await asyncpg.connect(stack.database_url)
    with suppress(asyncpg.PostgresError):
        await admin.execute(f'drop database "{urlsplit(url).path[1:]}" with (force)')
    await admin.close()


async def new_database(stack: Stack) -> str:
    """The address of a fresh, empty database, which is there for as long as the stack."""
    name = f"test_{uuid7().hex}"
    admin = await asyncpg.connect(stack.database_url)
    await admin.execute(f'create database "{name}"')
    await admin.close()
    return urlunsplit(urlsplit(stack.database_url)._replace(path=f"/{name}"))


def prefix_of(database_url: str) -> str:
    """What the topics of services that run on a database begin with."""
    return f"{urlsplit(database_url).path[1:]}."


def settings_for(stack: Stack, database_url: str) -> Settings:
    """The settings of services that run on this stack, in this database."""
    return Settings(
        database_url=database_url,
        kafka_bootstrap_servers=[stack.kafka_bootstrap_servers],
        kafka_prefix=prefix_of(database_url),
        kafka_partitions=2,  # as many as are told apart: each costs every test its creation
        kafka_session_timeout_s=6,
        log_format="console",
        log_level="WARNING",
    )


@pytest.fixture
def settings(stack: Stack, database_url: str) -> Settings:
    """Settings for services of this test's own."""
    return settings_for(stack, database_url)
