"""`arcadia republish`: a service tells the current state of everything again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli import services, settings
from cli.errors import Failed
from cli.operators import who

if TYPE_CHECKING:
    from shared.config import Settings

console = Console(stderr=True, soft_wrap=True, highlight=False)


def republish(name: Annotated[str, typer.Argument(metavar="SERVICE", help="A service's name.")]) -> None:
    """Send the current state of all that a service owns again, for a consumer that is new or begins anew.

    The service must be running: its relay publishes.
    """
    (name,) = services.chosen([name])
    sent = asyncio.run(_republish(name, settings.load()))
    console.print(f"{sent} events are in the outbox of {name}; `arcadia status` shows it empty when all are out")


async def _republish(name: str, chosen: Settings) -> int:
    from shared.db import Database
    from shared.republish import OutboxStuck, republish

    service = services.load(name)
    if not service.republishers:
        raise Failed(f"{name} owns nothing that others follow by events, so there is nothing to tell again")
    database = await Database.of_service(chosen, name)
    try:
        with console.status(f"reading {name}") as line:
            return await republish(service, database, who(), lambda sent: line.update(f"{sent} events"))
    except OutboxStuck as error:
        raise Failed(
            f"{error}\n  Is the service running? arcadia status. What was sent stays sent; begin again."
        ) from None
    finally:
        await database.close()
