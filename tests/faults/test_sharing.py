"""Two processes of every service share the work, and one of each may die in the middle of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dev.digitalocean.running import RunningStandIn, running_stand_in
from dev.tokens import mint
from shared.config import Settings
from shared.ids import uuid7
from tests.faults.fleet import STAND_IN, ZONE, Fleet, fleet
from tests.ledger.world import Replica


@pytest.fixture
def stand_in() -> Iterator[RunningStandIn]:
    with running_stand_in(**STAND_IN) as running:
        yield running


async def build(gateway: Replica) -> str:
    """Ask a gateway for a deployment, once it is up; gives the saga that builds it."""
    headers = {"authorization": f"Bearer {mint('acme', 'ann@acme.test')}", "idempotency-key": str(uuid7())}
    body = {"slug": f"app-{uuid7().hex}", "provision": True}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.also['GATEWAY_PORT']}", trust_env=False) as http:
        async with asyncio.timeout(60):
            while True:
                try:
                    answer = await http.post("/api/v1/deployments", json=body, headers=headers, timeout=30)
                except httpx.TransportError:
                    await asyncio.sleep(0.2)
                    continue
                assert answer.status_code == 202, answer.text
                started: dict[str, Any] = answer.json()
                if "saga" in started:
                    return str(started["saga"]["id"])
                await asyncio.sleep(0.2)  # accepted, and not decided yet: the same key asks for the outcome


def has_worked(replica: Replica) -> bool:
    return "] handled " in replica.log.read_text()


async def completed(there: Fleet) -> int:
    (row,) = await there.rows("sagas", "select count(*) from saga_runs where status = 'completed'")
    return int(row[0])


@pytest.mark.timeout(300)
async def test_two_of_every_service_share_the_work_and_one_of_each_may_die(
    settings: Settings, stand_in: RunningStandIn, tmp_path: Path
) -> None:
    async with fleet(settings.model_copy(update={"log_level": "INFO"}), stand_in, tmp_path) as there:
        await there.provider.add_zone(ZONE)
        gateways = [each for each in there.replicas if each.service == "gateway"]
        others = [each for each in there.replicas if each.service != "gateway"]
        count = 0
        while not all(map(has_worked, others)):
            assert count < 60, [each.log.name for each in others if not has_worked(each)]
            await asyncio.gather(*(build(gateway) for gateway in gateways))
            await there.settled(count := count + 2, seconds=60)
        await asyncio.gather(*(build(gateways[n % 2]) for n in range(12)))
        for replica in there.replicas[::2]:
            replica.kill()
        await asyncio.gather(*(build(gateways[1]) for _ in range(6)))
        await there.settled(count + 18, seconds=120)
        assert await completed(there) == count + 18
        assert len(await there.provider.droplets()) == count + 18
        await there.provider.advance(600)
        names = [each for each in await there.provider.records(ZONE) if each.type == "A"]
        assert len(names) == count + 18
