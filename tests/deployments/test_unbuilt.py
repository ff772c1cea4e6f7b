"""A deployment whose saga is refused is cancelled: through Kafka, with the services that decide it."""

from __future__ import annotations

import asyncio
from typing import ClassVar
from uuid import UUID

from contracts.deployments import CreateDeployment
from services.deployments.app import MIGRATIONS as DEPLOYMENTS
from services.deployments.app import service as deployments
from services.sagas.app import MIGRATIONS as SAGAS
from services.sagas.app import service as sagas
from shared.config import Settings
from shared.db import Database
from shared.ids import uuid7
from shared.migrate import migrate
from shared.process import running
from tests.deployments.world import SMALL
from tests.sending import Sending


class Created(Sending):
    CALLER: ClassVar[str] = "mo@acme.test"

    def __init__(self, db: Database) -> None:
        self.db = db

    async def create(self) -> UUID:
        """A deployment that is to be built, once its saga is asked for."""
        id = uuid7()
        command = CreateDeployment(tenant_id="acme", slug="shop", display_name="Shop", saga_id=id, provision=SMALL)
        (sent,) = await self.send(command)
        result = (await self.outcome(sent)).result or {}
        return UUID(result["deployment"]["id"])

    async def until(self, state: str) -> None:
        async with asyncio.timeout(30):
            while await self.db.pool.fetchval("select state from cloud_deployments") != state:
                await asyncio.sleep(0.05)


async def test_a_deployment_that_another_run_has_taken_before_its_saga_began_is_cancelled(settings: Settings) -> None:
    await migrate(settings, {"deployments": DEPLOYMENTS, "sagas": SAGAS})
    db, of_sagas = [await Database.of_service(settings, name) for name in ("deployments", "sagas")]
    try:
        async with running(deployments, settings):
            created = Created(db)
            await of_sagas.pool.execute(
                """
                insert into saga_runs (id, kind, flow_version, status, deployment_id, steps, current_step, inputs,
                  context, engine, cancel_requested, created_at, version)
                values ($1, 'exercise', 1, 'running', $2, '{echo}', 0, '{}', '{}', '{}', false, now(), 1)
                """,
                uuid7(),
                await created.create(),
            )
            async with running(sagas, settings):
                await created.until("cancelled")
        assert await db.pool.fetchval("select saga_id is null and version = 2 from cloud_deployments")
    finally:
        await db.close()
        await of_sagas.close()
