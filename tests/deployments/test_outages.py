"""What is asked while the service, or Kafka, is down is accepted, done once when it is back, and its outcome shown."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from contracts.deployments import Authority, CreateDeployment, DeploymentState, TransitionDeployment
from dev.stack import Stack
from services.deployments.app import service
from shared.config import Settings
from shared.process import running
from tests.conftest import settings_for
from tests.deployments.system import System, system


async def _created(there: System, slug: str) -> UUID:
    answer = await there.tenants[0].post("/api/v1/deployments", json={"slug": slug})
    assert answer.status_code == 201, answer.text
    return UUID(answer.json()["deployment"]["id"])


async def test_while_the_service_is_down_commands_wait_and_then_run_once(settings: Settings) -> None:
    async with system(settings, replicas=0) as there:
        async with running(service, there.world.settings):
            id = await _created(there, "shop")
        headers, body = {"idempotency-key": str(uuid4())}, {"to_state": "paused", "reason": "a quiet month"}
        path = f"/api/v1/deployments/{id}/transition"
        accepted, twin = await asyncio.gather(*(http.post(path, json=body, headers=headers) for http in there.tenants))
        assert (accepted.status_code, twin.status_code) == (202, 202)
        assert accepted.headers["location"] == twin.headers["location"]
        assert accepted.json()["operation"]["status"] == "pending"
        async with running(service, there.world.settings):
            operation = await there.ended(accepted.headers["location"])
            again = await there.tenants[1].post(path, json=body, headers=headers)
        assert (operation["status"], operation["result"]) == ("ok", again.json())
        assert (again.status_code, again.json()["deployment"]["state"]) == (200, "paused")
        await _moved_once(there, id)


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """Servers of this test's own: their Kafka is stopped meanwhile."""
    with Stack(f"deployments-{os.getpid()}", ephemeral=True) as stack:
        yield stack


@pytest.mark.timeout(240)
async def test_while_kafka_is_down_commands_wait_and_then_run_once(own_stack: Stack) -> None:
    async with system(settings_for(own_stack, own_stack.database_url), gateways=1, replicas=1) as there:
        id = await _created(there, "shop")
        await asyncio.to_thread(own_stack.kafka.stop)
        accepted = await there.tenants[0].post(f"/api/v1/deployments/{id}/transition", json={"to_state": "paused"})
        assert accepted.status_code == 202, accepted.text
        shown = await there.tenants[0].get(f"/api/v1/deployments/{id}")
        assert (shown.status_code, shown.json()["deployment"]["state"]) == (200, "active")
        await asyncio.to_thread(own_stack.kafka.start)
        operation = await there.ended(accepted.headers["location"], seconds=120)
        assert (operation["status"], operation["result"]["deployment"]["state"]) == ("ok", "paused")
        await _moved_once(there, id)


async def _moved_once(there: System, id: UUID) -> None:
    rows = await there.world.fetch(
        "select from_state, to_state, actor from cloud_deployment_events where deployment_id = $1 order by id", id
    )
    assert [tuple(row) for row in rows] == [
        (None, "active", "ann@acme.test"),
        ("active", "paused", "ann@acme.test"),
    ]


async def test_a_command_whose_time_is_over_is_refused_and_not_run(settings: Settings) -> None:
    async with system(settings, gateways=1, replicas=1) as there:
        id = await _created(there, "shop")
        past = datetime.now(UTC) - timedelta(seconds=1)
        paused = TransitionDeployment(deployment_id=id, authority=Authority.OPERATOR, to_state=DeploymentState.PAUSED)
        another = CreateDeployment(tenant_id="acme", slug="late", display_name="Late")
        for command in await there.world.send(paused, another, expires=past):
            outcome = await there.world.outcome(command)
            assert (outcome.status, outcome.code) == ("refused", "expired")
        rows = await there.world.fetch("select slug, state from cloud_deployments")
        assert [tuple(row) for row in rows] == [("shop", "active")]
