"""Storing what was accepted, for all who ask at the same time in one go.

Alone, a request waits for nobody. Under load many share a statement and its commit, which is what writes cost most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar
from uuid import UUID

from services.gateway import store
from services.gateway.answers import Answer
from services.gateway.store import Operation
from shared.db import Database, DatabaseAway
from shared.outbox import Row, Written

Item = TypeVar("Item")
Result = TypeVar("Result")

_AT_ONCE = 200


class Acceptance:
    """Writes operations, each with its command, and their final answers."""

    def __init__(self, database: Database, wake_relay: Callable[[Written], None]) -> None:
        self._database = database
        self._wake_relay = wake_relay
        self._accept = Together(self._accept_all)
        self._keep = Together(self._keep_all)

    async def accept(self, operation: Operation, command: Row) -> Operation:
        """Store an operation and its command; gives it, or the one of the same id that was stored before."""
        return await self._accept((operation, command))

    async def keep(self, operation_id: UUID, answer: Answer) -> Answer:
        """Keep an operation's final answer; gives the one that is kept: the first."""
        return await self._keep((operation_id, answer))

    async def _accept_all(self, wanted: Sequence[tuple[Operation, Row]]) -> list[Operation]:
        first = {operation.id: (operation, row) for operation, row in reversed(wanted)}
        ordered = [first[id] for id in sorted(first)]  # two gateways that have the same wait, and cannot deadlock
        async with self._database.connection() as conn:
            inserted, written = await store.insert_operations(conn, ordered)
            earlier = await store.list_operations(conn, sorted(first.keys() - inserted))
        if inserted:
            self._wake_relay(written)
        return [earlier.get(operation.id) or first[operation.id][0] for operation, _ in wanted]

    async def _keep_all(self, answers: Sequence[tuple[UUID, Answer]]) -> list[Answer]:
        first = dict(reversed(answers))
        async with self._database.connection() as conn:
            kept = await store.mark_answered(conn, [(id, *first[id]) for id in sorted(first)])
        return [kept.get(id, answer) for id, answer in answers]


class Together(Generic[Item, Result]):
    """Calls `work` for one item after the other, and for all at once that came while it was busy."""

    def __init__(self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]) -> None:
        self._work = work
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        """What comes of an item. Raises what `work` raises."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._worker is None:
            self._worker = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
                await self._done([each for each in batch if not each[1].done()])  # not for those who gave up meanwhile
        finally:
            self._worker = None

    async def _done(self, batch: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        """Do the work for these; where it fails, for each alone, so that nobody suffers from another's item."""
        if not batch:
            return
        try:
            results = await self._work([item for item, _ in batch])
        except Exception as error:
            if len(batch) == 1 or isinstance(error, DatabaseAway):  # then each alone would wait for it in its turn
                for _, future in batch:
                    _end(future, error)
            else:
                for each in batch:
                    await self._done([each] if not each[1].done() else [])
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)


def _end(future: asyncio.Future[Result], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
