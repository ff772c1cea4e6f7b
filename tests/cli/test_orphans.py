"""`arcadia sweep-orphans`, at an installation with real servers."""

from __future__ import annotations

import asyncio

import pytest

from cli import orphans
from dev.digitalocean.faults import Fault
from dev.digitalocean.running import RunningStandIn
from tests.cli.conftest import Shell

ORPHAN = {
    "droplet_id": 536572909,
    "name": "shop.\x1b[31macme",
    "operation_id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f19",
    "reason": "undone",
    "since": "2026-11-01T10:15:03Z",
    "monthly_cents": 600,
    "destroyed": True,
    "error": None,
}
FORBIDDEN = Fault(effect="status", status=403, message="You are not authorized", path="/v2/droplets", method="GET")


def test_nothing_is_found_where_all_have_somebody(arcadia: Shell) -> None:
    said = arcadia("sweep-orphans")
    assert (said.code, said.err) == (0, "")
    assert said.out == "0 of them, 0 destroyed; what is left costs 0.00 USD a month\n"


def test_a_provider_that_refuses_is_named_with_where_to_look(arcadia: Shell, provider: RunningStandIn) -> None:
    async def forbid(forbidden: bool) -> None:
        async with provider.control() as control:
            await (control.arm(FORBIDDEN) if forbidden else control.disarm())

    asyncio.run(forbid(True))
    try:
        said = arcadia("sweep-orphans")
    finally:
        asyncio.run(forbid(False))
    assert said.code == 1
    assert "See: arcadia dead-letters list" in said.err


def test_what_is_found_is_shown_with_its_costs(capsys: pytest.CaptureFixture[str]) -> None:
    left = ORPHAN | {"destroyed": False, "monthly_cents": 1200, "reason": "pending", "error": "locked"}
    orphans._say({"orphans": [ORPHAN, left], "complete": False})
    first, _, second, summary, warning = capsys.readouterr().out.splitlines()
    assert first.split() == ["droplet", "name", "since", "USD", "a", "month", "why", "operation"]
    assert second.split()[-1] == "locked"
    assert summary == "2 of them, 1 destroyed; what is left costs 12.00 USD a month"
    assert "run it again" in warning
