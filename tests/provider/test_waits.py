"""What the service waits for, however much its time is shortened."""

from __future__ import annotations

import pytest

from services.provider.access import Patience, access
from services.provider.app import LEASE, service
from shared.config import Settings


@pytest.mark.parametrize("scale", [1, 0.5, 1 / 20, 1 / 1000])
async def test_a_lease_outlasts_the_longest_call_however_much_time_is_shortened(
    scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DO_API_TOKEN", "dop_v1_of_nobody")
    settings = Settings(
        database_url="postgresql://nobody@nowhere/none",
        kafka_bootstrap_servers=["nowhere:1"],
        do_api_url="http://nowhere",
        provider_time_scale=scale,
    )
    async with access(settings) as provider:
        lease = service.leased(settings, LEASE).total_seconds()
        assert provider.do.call_timeout < lease
        assert lease <= max(LEASE.total_seconds() * scale, 4)


def test_what_takes_long_is_looked_at_less_and_less_often() -> None:
    pauses = [Patience().poll_after(waited_s).total_seconds() for waited_s in (-1, 0, 20, 60, 600)]

    assert pauses == [2, 2, 5, 15, 15]
    assert Patience().scaled(0.1).poll_after(600).total_seconds() == 1.5
