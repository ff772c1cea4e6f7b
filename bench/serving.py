"""What benchmarks stand on: servers as processes of their own, a database, and load on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from cli.services import migrations
from dev.stack import Stack
from dev.tokens import DEVELOPMENT_SECRET, mint
from shared.config import Settings
from shared.migrate import migrate
from tests.conftest import new_database

CONNECTIONS = 64
ROUNDS = 7
_SECONDS = 2.0
_CHECKOUT = Path(__file__).parents[1]

Requests = list[list[str]] | list[list[list[str]]]
"""What `http_load` takes."""


def in_turns(ours: int, bare: int, requests: Requests) -> list[tuple[dict[str, float], dict[str, float]]]:
    """Both in turns, so that a slow moment of the machine hits both, and each as often the first."""
    pairs = []
    for turn in range(ROUNDS):
        first, second = (ours, bare) if turn % 2 else (bare, ours)
        one, other = load(first, requests), load(second, requests)
        pairs.append((one, other) if turn % 2 else (other, one))
    return pairs


def load(
    port: int, requests: Requests, *, connections: int = CONNECTIONS, seconds: float = _SECONDS
) -> dict[str, float]:
    """Keep a server busy for a while, from a process of its own; what `http_load` gives."""
    command = [sys.executable, "-m", "bench.http_load", str(port), str(connections), str(seconds)]
    done = subprocess.run(
        command, input=json.dumps(requests).encode(), stdout=subprocess.PIPE, check=True, cwd=_CHECKOUT, timeout=120
    )
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


@asynccontextmanager
async def fresh_database(stack: Stack) -> AsyncIterator[str]:
    """The address of an empty database, which is dropped at the end."""
    url = await new_database(stack)
    try:
        yield url
    finally:
        admin = await asyncpg.connect(stack.database_url)
        await admin.execute(f'drop database "{urlsplit(url).path[1:]}" with (force)')
        await admin.close()


async def database(stack: Stack) -> Settings:
    """The settings of a fresh database with every service's schema."""
    url = await new_database(stack)
    settings = Settings(database_url=url, kafka_bootstrap_servers=[stack.kafka_bootstrap_servers])
    await migrate(settings, migrations())
    return settings


def authorization(tenant: str) -> str:
    """The header of somebody of a tenant."""
    return f"Bearer {mint(tenant, f'dev@{tenant}.example')}"


@contextmanager
def server(command: list[str], settings: Settings, port: int, path: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that serves HTTP on a port, until the block ends; it is ready when `path` is answered."""
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "KAFKA_BOOTSTRAP_SERVERS": ",".join(settings.kafka_bootstrap_servers),
        "KAFKA_PREFIX": settings.kafka_prefix,
        "JWT_SECRETS": json.dumps([DEVELOPMENT_SECRET]),
        "GATEWAY_PORT": str(port),
        "HEALTH_PORT": "0" if "gateway" in command else str(port),
        "RATE_LIMIT_PER_MINUTE": "0",
        "LOG_LEVEL": "WARNING",
    }
    process = subprocess.Popen([sys.executable, *command], env=environment, cwd=_CHECKOUT)
    try:
        _wait(f"http://127.0.0.1:{port}{path}")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


@contextmanager
def service_process(name: str, settings: Settings, token: str) -> Iterator[subprocess.Popen[bytes]]:
    """A service as `arcadia run` runs it, with the provider's token, until the block ends."""
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "KAFKA_BOOTSTRAP_SERVERS": ",".join(settings.kafka_bootstrap_servers),
        "KAFKA_PREFIX": settings.kafka_prefix,
        "DO_API_URL": settings.do_api_url,
        "DO_RATE_LIMIT": str(settings.do_rate_limit),
        "DO_API_TOKEN": token,
        "LOG_LEVEL": "WARNING",
    }
    command = [sys.executable, "-m", "cli.main", "run", name]
    with subprocess.Popen(command, cwd=_CHECKOUT, env=environment) as process:
        try:
            yield process
        finally:
            process.terminate()


def _wait(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=1)  # noqa: S310 - loopback
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"{url} does not answer")
