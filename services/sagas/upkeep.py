"""Telling everything again when asked. Runs are kept for good: they explain what was made, and why."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from contracts.message import Event
from contracts.sagas import SagaRepublished
from services.sagas import store
from shared.db import Connection

_PAGE = 500


async def republish_runs(conn: Connection) -> AsyncIterator[Sequence[Event]]:
    """Every run's state, in pages."""
    after = UUID(int=0)
    while page := await store.take_page(conn, after, _PAGE):
        yield [SagaRepublished(run=each.told()) for each in page]
        after = page[-1].run.id
