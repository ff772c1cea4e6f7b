"""`arcadia seed-catalog`: something to sell."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
    typer.echo(report(asyncio.run(_seed(settings.load()))))


def report(events: Sequence[object]) -> str:
    """What went on sale, for a person."""
    from contracts.catalog import AddonCreated, PlanVersionPublished

    found = {
        "plan": [event.plan.code for event in events if isinstance(event, PlanVersionPublished)],
        "addon": [event.addon.code for event in events if isinstance(event, AddonCreated)],
    }
    named = [f"the {what}{'s' * (len(codes) > 1)} {', '.join(codes)}" for what, codes in found.items() if codes]
    return f"On sale now: {'; '.join(named)}." if named else "Nothing to do: every plan and addon is there."


async def _seed(chosen: Settings) -> Sequence[object]:
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
            outcome = await seed(conn, meta)
            await outbox.insert(conn, Sender("deployments").rows(outcome, meta))
        await database.pool.execute('notify "deployments_outbox"')
    finally:
        await database.close()
    return outcome.events
