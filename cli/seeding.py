"""`arcadia seed-catalog`: something to sell."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

from cli import settings
from cli.operators import who

if TYPE_CHECKING:
    from shared.config import Settings


def seed_catalog() -> None:
    """Put the plans and addons to begin with on sale. What is there already stays as it is; so repeat it at will.

    The deployments service publishes what is new as soon as it runs.
    """
    events = asyncio.run(_seed(settings.load()))
    typer.echo(f"{events} events" if events else "Nothing to do: every plan and addon is there.")


async def _seed(chosen: Settings) -> int:
    from datetime import UTC, datetime

    from services.deployments.seed import seed
    from shared import outbox
    from shared.db import Database
    from shared.ids import uuid7
    from shared.outbox import Sender
    from shared.outcome import Meta

    database = await Database.of_service(chosen, "deployments")
    try:
        async with database.transaction() as conn:
            meta = Meta(uuid7(), datetime.now(UTC), actor=who())
            rows = Sender("deployments").rows(await seed(conn, meta), meta)
            await outbox.insert(conn, rows)
        await database.pool.execute('notify "deployments_outbox"')
    finally:
        await database.close()
    return len(rows)
