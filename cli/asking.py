"""A command of an operator's, by the outbox of the service that handles it: no gateway and no token is needed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from cli import settings
from cli.errors import Failed
from cli.lines import said
from cli.operators import who
from contracts.message import Command

if TYPE_CHECKING:
    from shared.db import Database
    from shared.inbox import Recorded

_LOOK_S = 0.3


async def ask(service: str, command: Command, *, seconds: float, see: str) -> dict[str, Any]:
    """Put a command on the bus and wait for its result. Raises `Failed`, with what an operator is to `see` then."""
    from shared import outbox
    from shared.db import Database
    from shared.ids import uuid7
    from shared.outbox import Sender
    from shared.outcome import Meta, Outcome, Send

    id = uuid7()
    sending = Outcome(commands=[Send(command, id=id, correlation_id=id)])
    database = await Database.of_service(settings.load(), service)
    try:
        async with database.transaction() as conn:
            await outbox.insert(conn, Sender(service).rows(sending, Meta(uuid7(), datetime.now(UTC), actor=who())))
        async with asyncio.timeout(seconds):
            outcome = await _outcome(database, id)
    except TimeoutError:
        words = f"no answer within {seconds:.0f} s; it stays asked\n  Is the service running? arcadia status"
        raise Failed(words) from None
    finally:
        await database.close()
    if outcome.status != "ok":
        raise Failed(f"{outcome.code}: {said(outcome.detail)}\n  See: {see}")
    return outcome.result or {}


async def _outcome(database: Database, id: UUID) -> Recorded:
    from shared.inbox import find_outcomes

    while True:
        async with database.connection() as conn:
            if outcome := (await find_outcomes(conn, [id])).get(id):
                return outcome
        await asyncio.sleep(_LOOK_S)
