"""All services that drift goes through, with a gateway before them and a provider behind: as an operator meets them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from dev.digitalocean.control import Control, TrueDroplet
from services.deployments.app import service as deployments
from services.drift.app import service as drift
from services.gateway.app import serving
from services.inventory.app import service as inventory
from services.provider.app import service as provider
from services.sagas.app import service as sagas
from shared.config import Settings
from shared.migrate import migrate
from shared.process import running
from tests.deployments.system import of_gateways
from tests.gateway.world import ACME, OPERATOR, client

_SERVICES = Path(__file__).parents[2] / "services"
_SCHEMAS = ("inventory", "deployments", "sagas", "billing", "metering", "provider", "drift", "gateway")
SPEED = 20


@dataclass
class System:
    """An operator's client and a tenant's, and the provider as it really is."""

    operator: httpx.AsyncClient
    acme: httpx.AsyncClient
    provider: Control

    async def get(self, path: str, **params: Any) -> dict[str, Any]:
        """What an operator reads."""
        answer = await self.operator.get(f"/api/v1{path}", params=params)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def do(self, method: str, path: str, body: Mapping[str, Any] | None = None, status: int = 200) -> Any:
        """What an operator does, when it is done."""
        answer = await self.operator.request(method, f"/api/v1{path}", json=body)
        if answer.status_code == 202 and "operation" in answer.json():
            answer = await self._done(answer.headers["location"])
        assert answer.status_code == status, answer.text
        return answer.json()

    async def _done(self, location: str) -> httpx.Response:
        raise AssertionError(f"{location} takes longer than anybody waits: {(await self.operator.get(location)).text}")

    async def sync(self) -> None:
        """Have the inventory see how the droplets are."""
        await self.do("POST", "/inventory/sync", {"kind": "droplet"})

    async def resource(self, droplet: TrueDroplet) -> dict[str, Any]:
        """A droplet, as the inventory has it, with its history."""
        rows = (await self.get("/inventory", kind="droplet"))["resources"]
        (id,) = [row["id"] for row in rows if row["provider_id"] == str(droplet.id)]
        return await self.get(f"/inventory/{id}")

    async def drifts(self, count: int, **params: Any) -> list[dict[str, Any]]:
        """The inbox, when there are so many in it."""
        async with asyncio.timeout(30):
            while True:
                found = (await self.get("/drift", **params))["drift"]
                if len(found) == count:
                    return list(found)
                await asyncio.sleep(0.1)

    async def closed(self, drift: Mapping[str, Any], status: str, seconds: float = 60) -> dict[str, Any]:
        """A drift, when it has come to a status."""
        async with asyncio.timeout(seconds):
            while True:
                shown = await self.get(f"/drift/{drift['id']}")
                if shown["drift"]["status"] == status:
                    return shown
                await asyncio.sleep(0.1)

    async def ended(self, saga_id: str | UUID, seconds: float = 60) -> dict[str, Any]:
        """A saga, when it is over."""
        async with asyncio.timeout(seconds):
            while True:
                answer = await self.operator.get(f"/api/v1/sagas/{saga_id}")
                if answer.status_code == 200 and answer.json()["finished_at"]:
                    body: dict[str, Any] = answer.json()
                    return body
                await asyncio.sleep(0.1)


@asynccontextmanager
async def system(settings: Settings, control: Control) -> AsyncIterator[System]:
    """Everything at work in this process, on a database of its own; the provider is there already."""
    settings = of_gateways(settings).model_copy(update={"provider_time_scale": 1 / SPEED})
    await migrate(settings, {name: _SERVICES / name / "migrations" for name in _SCHEMAS})
    async with AsyncExitStack() as stack:
        for service in (deployments, inventory, provider, sagas, drift):
            await stack.enter_async_context(running(service, settings))
        gateway = await stack.enter_async_context(serving(settings))
        operator, tenant = [await stack.enter_async_context(client(gateway, token)) for token in (OPERATOR, ACME)]
        yield System(operator, tenant, control)
