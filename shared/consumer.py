"""The consumer: a batch of records in, one transaction, offsets committed after it.

Four fates of what goes wrong (design of the runtime, docs/architecture.md):

    a refusal (`Refused`)           is an answer: the reply says so, nothing else happens
    an unreadable message           is dead at once, with its origin
    an outage of database or broker is waited out with growing pauses that hold no transaction
    a bug                           holds back its key alone for some more attempts, then the message is dead

Past a limit of failing messages the consumer stops, so that a bad deploy does not drain a topic.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import structlog

from contracts.message import Message
from shared import dead_letters, metrics
from shared.batch import Batch
from shared.bus import Records
from shared.db import CONTENTION, OUTAGES, Database
from shared.delivery import Delivery, delivered
from shared.outbox import Sender
from shared.service import Service
from shared.telemetry import span

log = structlog.get_logger(__name__)

DEAD_LETTER_LIMIT = 100
_RETRY_IN_PLACE_S = 120.0  # then the batch is handed back: longer than max.poll.interval would cost the membership
_LONGEST_PAUSE_S = 5.0
_CONTENTION_TRIES = 5
_STOPPED_LOOK_S = 1.0
_HELD_POLL_S = 0.2
_HELD_IDLE_S = 2.0


class Stopped(Exception):
    """Too many messages fail: the batch is not handled until an operator has decided, or the code is mended."""


class Consumer:
    """Handles batches for one service in this process. `wake` is called after each commit."""

    def __init__(
        self,
        service: Service[Any],
        database: Database,
        wake: Callable[[Batch], None],
        *,
        dead_letter_limit: int = DEAD_LETTER_LIMIT,
    ) -> None:
        self.service = service
        self.stopped = False
        self.busy_since: float | None = None
        self._database = database
        self._sender = Sender(service.name)
        self._wake = wake
        self._limit = dead_letter_limit
        self._look_at_limit = True
        self._held_due = asyncio.Event()

    async def handle(self, records: Records) -> None:
        """Handle a batch to its end: when this returns, everything in it is committed or kept as held or dead."""
        deliveries = [delivery for record in records if (delivery := delivered(record))]
        self.busy_since = time.monotonic()
        try:
            with span(f"{self.service.name} batch", records=len(records)):
                await self._persist(deliveries)
        finally:
            self.busy_since = None

    async def _persist(self, deliveries: Sequence[Delivery]) -> None:
        """Try until it is committed, or until the batch is better handed back."""
        deadline = time.monotonic() + _RETRY_IN_PLACE_S
        contended = 0
        for pause in _pauses():
            try:
                await self._check_limit()
                return await self._commit(deliveries, split=contended >= _CONTENTION_TRIES)
            except CONTENTION as error:
                contended += 1
                self._retrying("contention", error)
            except Stopped as error:
                self._stop(error)
                pause = _STOPPED_LOOK_S  # noqa: PLW2901 - an operator's decision should be seen soon
            except OUTAGES as error:
                self._retrying("outage", error)
            if time.monotonic() > deadline:
                raise TimeoutError("the batch could not be committed in time; it will be delivered again")
            await asyncio.sleep(pause)
        return None

    async def _commit(self, deliveries: Sequence[Delivery], *, split: bool) -> None:
        """The whole batch in one transaction. `split`: contention is then treated as the message's own failure."""
        started = time.monotonic()
        async with self._database.transaction() as conn:
            batch = Batch(self.service, self._sender, conn, datetime.now(UTC), contention_is_failure=split)
            await batch.claim(deliveries)
            for run in _runs(self.service, batch.to_handle(deliveries)):
                await batch.handle(run)
            if batch.failures > self._limit:
                raise Stopped(f"{batch.failures} messages of one batch fail")
            await batch.write()
        self._look_at_limit = self._look_at_limit or batch.failures > 0
        if batch.failures:
            self._held_due.set()
        self._wake(batch)
        batch.report(time.monotonic() - started)

    async def _check_limit(self) -> None:
        if not self._look_at_limit:
            return
        async with self._database.connection() as conn:
            failing = await dead_letters.count_recent(conn)
        if failing >= self._limit:
            raise Stopped(f"{failing} messages failed lately")
        self._look_at_limit = failing > 0
        if self.stopped:
            log.info("consumer goes on", service=self.service.name)
        self.stopped = False
        metrics.STOPPED.labels(self.service.name).set(0)

    def _stop(self, reason: Exception) -> None:
        self._look_at_limit = True
        metrics.STOPPED.labels(self.service.name).set(1)
        if not self.stopped:
            log.error(
                "consumer stopped: too many messages fail",
                service=self.service.name,
                reason=str(reason),
                remedy=f"arcadia dead-letters list {self.service.name}; mend the cause; then replay or discard them",
            )
        self.stopped = True

    def _retrying(self, reason: str, error: BaseException) -> None:
        metrics.RETRIES.labels(self.service.name, reason).inc()
        log.warning(
            "batch tried again", service=self.service.name, reason=reason, error=f"{type(error).__name__}: {error}"
        )

    async def retry_held(self) -> None:
        """Try held messages again when they are due, until cancelled."""
        while True:
            try:
                handled = await self._retry_one_held()
            except (*OUTAGES, *CONTENTION) as error:
                self._retrying("outage", error)
                handled = False
            if not handled:
                await self._rest_until_held()

    async def _rest_until_held(self) -> None:
        async with self._database.connection() as conn:
            waiting = await conn.fetchval("select exists (select from dead_letters where status = 'held')")
        with suppress(TimeoutError):
            await asyncio.wait_for(self._held_due.wait(), _HELD_POLL_S if waiting else _HELD_IDLE_S)
        self._held_due.clear()

    async def _retry_one_held(self) -> bool:
        async with self._database.transaction() as conn:
            held = await dead_letters.lock_next_held(conn)
            if held is None:
                return False
            batch = Batch(self.service, self._sender, conn, datetime.now(UTC), retrying=held)
            await batch.handle([held.delivery])
            await batch.write()
        self._look_at_limit = True
        self._wake(batch)
        batch.report(0.0)
        return True


def _runs(service: Service[Any], deliveries: Sequence[Delivery]) -> Iterator[list[Delivery]]:
    """Consecutive deliveries of one batch handler together, all others alone; the order stays."""

    def run_key(delivery: Delivery) -> object:
        message: Message | None = delivery.message
        return (message and service.batch_handlers.get(type(message))) or delivery

    for _, run in groupby(deliveries, key=run_key):
        yield list(run)


def _pauses() -> Iterator[float]:
    """Growing pauses with jitter, without end."""
    pause = 0.05
    while True:
        yield pause * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, guards nothing
        pause = min(_LONGEST_PAUSE_S, pause * 2)
