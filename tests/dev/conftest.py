"""Clients of the stand-in that a module's `stand_in` is: its control, plain HTTP, and DigitalOcean's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pydo
import pytest
from azure.core.pipeline.policies import HeadersPolicy

from dev.digitalocean.control import Control
from dev.digitalocean.running import RunningStandIn


@pytest.fixture(scope="module")
async def control(stand_in: RunningStandIn) -> AsyncIterator[Control]:
    async with stand_in.control() as control:
        yield control


@pytest.fixture(scope="module")
async def api(stand_in: RunningStandIn) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {stand_in.token}"}
    async with httpx.AsyncClient(base_url=f"{stand_in.url}/v2", headers=headers, timeout=5, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def client(stand_in: RunningStandIn) -> Iterator[Any]:
    # Its usual policy sends a token over TLS only.
    plain = HeadersPolicy({"Authorization": f"Bearer {stand_in.token}"})
    options: dict[str, Any] = {"authentication_policy": plain, "retry_total": 0, "use_env_settings": False}
    with pydo.Client(stand_in.token, endpoint=stand_in.url, **options) as client:
        yield client
