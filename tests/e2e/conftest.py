"""All services as processes of their own, on the session's stack, with stand-ins of their own."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cli.services import migrations
from dev.demo.stage import Stage, gateway_ready, services_running
from dev.digitalocean.running import running_stand_in
from dev.finance.running import running_finance
from dev.stack import free_port
from dev.tokens import DEVELOPMENT_SECRET
from shared.config import Settings
from shared.migrate import migrate


@pytest.fixture
async def system(settings: Settings, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Everything at work. Strikes may follow one another at once: a test does not wait for half an hour.

    More for the services' environment: `parametrize("system", [{...}], indirect=True)`.
    """
    await migrate(settings, migrations())
    with running_stand_in(droplets=5, projects=2, seed=1) as provider, running_finance() as finance:
        environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": settings.database_url.get_secret_value(),
            "KAFKA_BOOTSTRAP_SERVERS": ",".join(settings.kafka_bootstrap_servers),
            "KAFKA_PREFIX": settings.kafka_prefix,
            "DO_API_URL": provider.url,
            "DO_API_TOKEN": provider.token,
            "FINANCE_URL": finance.url,
            "JWT_SECRETS": json.dumps([DEVELOPMENT_SECRET]),
            "GATEWAY_PORT": str(free_port()),
            "INVENTORY_STRIKE_MINUTES": "0",
            "LOG_FORMAT": "console",
        } | getattr(request, "param", {})
        with services_running(tmp_path, environment):
            gateway = f"http://127.0.0.1:{environment['GATEWAY_PORT']}"
            await gateway_ready(gateway, tmp_path)
            async with provider.control() as control, finance.control() as books:
                yield Stage(settings, environment, gateway, control, books, tmp_path)
