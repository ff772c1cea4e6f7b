"""The consumer: a batch of records in, one transaction, offsets committed after it.

Four fates of what goes wrong (design of the runtime, docs/architecture.md):

    a refusal (`Refused`)           is an answer: the reply says so, nothing else happens
    an unreadable message           is dead at once, with its origin
    an outage of database or broker is waited out with growing pauses that hold no transaction
    a bug                           holds back its key alone for some more attempts, then the message is dead

Past a limit of failing messages the consumer stops, so that a bad deploy does not drain a topic: the batch in hand is
tried again, or handed back to be fetched again, until an operator has decided enough of them, however long that takes.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, NoReturn

import structlog

from contracts.message import Message
from shared import dead_letters, metrics
from shared.batch import Batch, CareNeeded
from shared.bus import Records
from shared.db import CONTENTION, Connection, Database, DatabaseAway, is_away
from shared.dead_letters import Failure, Held
from shared.delivery import Delivery, delivered
from shared.outbox import Sender
from shared.pause import jittered, pause
from shared.service import Service
from shared.telemetry import span

log = structlog.get_logger(__name__)

_RETRY_IN_PLACE_S = 120.0  # then the batch is handed back: longer than max.poll.interval would cost the membership
_LONGEST_PAUSE_S = 5.0
_APART = 10  # messages in a transaction whose contention is their own; their time-outs stay within the poll interval
_TRIES = 5  # of a batch, before a single message of it is blamed
_LIMIT_LOOK_S = 1.0  # an operator's decision, and another process's stop, should be seen soon
_HELD_POLL_S = 0.2
_HELD_IDLE_S = 2.0


class Stopped(Exception):
    """Too many messages fail: the batch is not handled until an operator has decided, or the code is mended."""


class TooManyFailures(Exception):
    """More of a batch's messages fail than the limit leaves room for: it is handled in parts, as far as that goes."""


class HandedBack(Exception):
    """The batch could not be committed in time, or the process is to end: its records will be delivered again."""


class Consumer:
    """Handles batches for one service in this process. `wake` is called after each commit."""

    def __init__(
        self,
        service: Service[Any],
        database: Database,
        wake: Callable[[Batch], None],
        *,
        dead_letter_limit: int,
    ) -> None:
        self.service = service
        self.stopped = False
        self._database = database
        self._sender = Sender(service.name)
        self._wake = wake
        self._limit = dead_letter_limit
        self._failing = 0
        self._hopeful = True
        self._look_again_at = 0.0
        self._held_due = asyncio.Event()
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        """Do not wait any longer for what is away: hand a batch that cannot be committed now back."""
        self._leaving.set()

    async def handle(self, records: Records) -> None:
        """Handle a batch to its end: when this returns, everything in it is committed or kept as held or dead.

        Raises `HandedBack`, or what kept the last message that was left from being given up.
        """
        deliveries = [delivery for record in records if (delivery := delivered(record))]
        with span(f"{self.service.name} batch", records=len(records)):
            await self._persist(deliveries, time.monotonic() + _RETRY_IN_PLACE_S)

    async def _persist(self, deliveries: Sequence[Delivery], deadline: float) -> None:
        """Try until it is committed, or until the batch is better handed back."""
        tries: Counter[str] = Counter()
        for seconds in _pauses():
            try:
                await self._check_limit()
                if tries["contention"] >= _TRIES:
                    return await self._commit_apart(deliveries, deadline)
                return await self._commit(deliveries)
            except HandedBack:
                raise
            except TooManyFailures:
                return await self._persist_halves(deliveries, deadline)
            except CONTENTION as error:
                self._retrying(tries, "contention", error)
            except Stopped as error:
                self._stop(error)
                await self._pause(_LIMIT_LOOK_S, deadline)
                continue
            except DatabaseAway as error:
                self._retrying(tries, "outage", error)
            except Exception as error:
                log.exception("batch failed outside its handlers", service=self.service.name)
                self._retrying(tries, "error", error)
                if tries["error"] >= _TRIES:
                    return await self._isolate(deliveries, error, deadline)
            await self._pause(seconds, deadline)
        return None

    async def _pause(self, seconds: float, deadline: float) -> None:
        await pause(self._leaving, seconds)
        if self._leaving.is_set() or time.monotonic() > deadline:
            self._hand_back()

    def _hand_back(self) -> NoReturn:
        log.warning("batch handed back", service=self.service.name)
        raise HandedBack

    async def _persist_halves(self, deliveries: Sequence[Delivery], deadline: float) -> None:
        middle = len(deliveries) // 2
        await self._persist(deliveries[:middle], deadline)
        await self._persist(deliveries[middle:], deadline)

    async def _isolate(self, deliveries: Sequence[Delivery], error: Exception, deadline: float) -> None:
        """Find the message that fails the whole batch, and give it up."""
        if len(deliveries) > 1:
            return await self._persist_halves(deliveries, deadline)
        async with self._database.transaction() as conn:
            batch = Batch(self.service, self._sender, conn, datetime.now(UTC))
            await batch.claim(deliveries)
            for delivery in batch.to_handle(deliveries):
                batch.bury(delivery, Failure.of("bug", f"{type(error).__name__}: {error}"))
            await batch.write()
        await self._committed(batch, 0.0)
        return None

    async def _commit_apart(self, deliveries: Sequence[Delivery], deadline: float) -> None:
        """Blame each message for its contention. Each may wait for its time-out, so only a few share a transaction."""
        for start in range(0, len(deliveries), _APART):
            if start and time.monotonic() > deadline:
                self._hand_back()
            await self._check_limit()
            await self._commit(deliveries[start : start + _APART], contention_is_failure=True)

    async def _commit(self, deliveries: Sequence[Delivery], *, contention_is_failure: bool = False) -> None:
        """The deliveries in one transaction: hoping that they need no care, if those before needed none."""
        if self._hopeful and not contention_is_failure:
            with suppress(CareNeeded):
                await self._transact(deliveries, careful=False)
                return
        await self._transact(deliveries, careful=True, contention_is_failure=contention_is_failure)

    async def _transact(
        self, deliveries: Sequence[Delivery], *, careful: bool, contention_is_failure: bool = False
    ) -> None:
        started = time.monotonic()
        async with self._database.transaction() if careful else self._database.unbegun() as conn:
            batch = Batch(
                self.service,
                self._sender,
                conn,
                datetime.now(UTC),
                contention_is_failure=contention_is_failure,
                careful=careful,
            )
            await batch.claim(deliveries)
            for run in _runs(self.service, batch.to_handle(deliveries)):
                await batch.handle(run)
            if self._failing + batch.failures > self._limit and len(deliveries) > 1:
                raise TooManyFailures
            await batch.write()
        self._hopeful = batch.hopeful
        await self._committed(batch, time.monotonic() - started)

    async def _committed(self, batch: Batch, seconds: float) -> None:
        if batch.failures:
            self._look_again_at = 0.0
            self._held_due.set()
        self._wake(batch)
        await asyncio.sleep(0)  # somebody waits for what the relay sends, and nobody for what is counted and logged
        batch.report(seconds)

    async def _check_limit(self) -> None:
        """Raise `Stopped` where too many messages fail, here or in another process."""
        if self._failing == 0 and time.monotonic() < self._look_again_at:
            return
        async with self._database.connection() as conn:
            self._failing = await dead_letters.count_failing(conn, self._limit)
        self._look_again_at = time.monotonic() + _LIMIT_LOOK_S
        if self._failing >= self._limit:
            raise Stopped(f"{self._failing} messages failed and are undecided")
        if self.stopped:
            log.info("consumer goes on", service=self.service.name)
        self.stopped = False
        metrics.STOPPED.labels(self.service.name).set(0)

    def _stop(self, reason: Exception) -> None:
        metrics.STOPPED.labels(self.service.name).set(1)
        if not self.stopped:
            log.error(
                "consumer stopped: too many messages fail",
                service=self.service.name,
                reason=str(reason),
                remedy=f"arcadia dead-letters list --service {self.service.name}; mend it; replay or discard them",
            )
        self.stopped = True

    def _retrying(self, tries: Counter[str], reason: str, error: BaseException) -> None:
        tries[reason] += 1
        metrics.RETRIES.labels(self.service.name, reason).inc()
        log.warning(
            "batch tried again", service=self.service.name, reason=reason, error=f"{type(error).__name__}: {error}"
        )

    async def retry_held(self) -> None:
        """Try held messages again when they are due, until cancelled."""
        tries: Counter[str] = Counter()
        while True:
            try:
                if not await self._retry_one_held():
                    await self._rest_until_held()
            except (DatabaseAway, *CONTENTION) as error:
                self._retrying(tries, "contention" if isinstance(error, CONTENTION) else "outage", error)
                await asyncio.sleep(_HELD_IDLE_S)

    async def _rest_until_held(self) -> None:
        async with self._database.connection() as conn:
            waiting = await conn.fetchval("select exists (select from dead_letters where status = 'held')")
        await pause(self._held_due, _HELD_POLL_S if waiting else _HELD_IDLE_S)
        self._held_due.clear()

    async def _retry_one_held(self) -> bool:
        async with self._database.transaction() as conn:
            held = await dead_letters.lock_next_held(conn)
            if held is None:
                return False
            started = time.monotonic()
            batch = await self._retried(conn, held)
        self._look_again_at = 0.0
        self._wake(batch)
        batch.report(time.monotonic() - started)
        return True

    async def _retried(self, conn: Connection, held: Held) -> Batch:
        """A held message's next attempt, in the transaction that has its row. Whatever fails is its own failure."""
        now = datetime.now(UTC)
        try:
            async with conn.transaction():
                batch = Batch(self.service, self._sender, conn, now, retrying=held, contention_is_failure=True)
                await batch.handle([held.delivery])
                await batch.write()
        except Exception as error:
            if is_away(conn, error):
                raise
            batch = Batch(self.service, self._sender, conn, now, retrying=held)
            batch.fail(held.delivery, Failure.of("bug", f"{type(error).__name__}: {error}"))
            await batch.write()
        return batch


def _runs(service: Service[Any], deliveries: Sequence[Delivery]) -> Iterator[list[Delivery]]:
    """Consecutive deliveries of one batch handler together, all others alone; the order stays."""

    def run_key(delivery: Delivery) -> object:
        message: Message | None = delivery.message
        return (message and service.batch_handlers.get(type(message))) or delivery

    for _, run in groupby(deliveries, key=run_key):
        yield list(run)


def _pauses() -> Iterator[float]:
    """Growing pauses with jitter, without end."""
    seconds = 0.05
    while True:
        yield jittered(seconds)
        seconds = min(_LONGEST_PAUSE_S, seconds * 2)
