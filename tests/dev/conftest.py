"""DigitalOcean's own client, of the stand-in that a module's `stand_in` is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pydo
import pytest
from azure.core.pipeline.policies import HeadersPolicy

from dev.digitalocean.running import RunningStandIn


@pytest.fixture(scope="module")
def client(stand_in: RunningStandIn) -> Iterator[Any]:
    # Its usual policy sends a token over TLS only.
    plain = HeadersPolicy({"Authorization": f"Bearer {stand_in.token}"})
    options: dict[str, Any] = {"authentication_policy": plain, "retry_total": 0, "use_env_settings": False}
    with pydo.Client(stand_in.token, endpoint=stand_in.url, **options) as client:
        yield client
