"""One batch inside its transaction: what is claimed, handled, answered, held and given up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from contracts.message import Command, Envelope
from shared import dead_letters, inbox, jobs, metrics, outbox
from shared.db import CONTENTION, OUTAGES, Connection
from shared.dead_letters import Failure, Held
from shared.delivery import Delivery
from shared.inbox import Recorded
from shared.outbox import Row, Sender, meta_of
from shared.outcome import Meta, Outcome, Received, Refused
from shared.service import Job, Service

log = structlog.get_logger(__name__)


class Batch:
    """Collects what a batch's handling decided; `write` puts it into the transaction at the end, set by set."""

    def __init__(
        self,
        service: Service[Any],
        sender: Sender,
        conn: Connection,
        now: datetime,
        *,
        retrying: Held | None = None,
        contention_is_failure: bool = False,
    ) -> None:
        self.rows: list[Row] = []
        self.jobs: list[tuple[Job, Delivery]] = []
        self.failures = 0
        self._service = service
        self._sender = sender
        self._conn = conn
        self._now = now
        self._retrying = retrying
        self._passes_through = OUTAGES if contention_is_failure else (*OUTAGES, *CONTENTION)
        self._fresh: set[UUID] = set()
        self._held_lines: set[tuple[str, str]] = set()
        self._recorded: dict[UUID, Recorded] = {}
        self._hold: list[tuple[Delivery, Failure | None]] = []
        self._dead: list[tuple[Delivery, Failure]] = []
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lines: list[dict[str, Any]] = []

    async def claim(self, deliveries: Sequence[Delivery]) -> None:
        """Claim what the inbox guards, answer what was handled before, and learn which keys are held back."""
        guarded = [d.known[0] for d in deliveries if d.once_only]
        if guarded:
            self._fresh = await inbox.claim(self._conn, guarded, self._now)
            await self._answer_again([e for e in guarded if e.id not in self._fresh])
        self._held_lines = await dead_letters.held_lines(self._conn, {d.line for d in deliveries})

    async def _answer_again(self, envelopes: Sequence[Envelope]) -> None:
        """A repeated command gets the answer it got; where that is not known yet, it comes when it is."""
        decided = await inbox.find_outcomes(self._conn, [e.id for e in envelopes]) if envelopes else {}
        for envelope in envelopes:
            self._counts[envelope.type, "duplicate"] += 1
            if outcome := decided.get(envelope.id):
                self._reply(envelope, outcome)

    def to_handle(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """What is left to do, each message once: not the unreadable, not what was claimed before."""
        unclaimed = set(self._fresh)
        todo = []
        for delivery in deliveries:
            if delivery.unreadable:
                self._bury(delivery, Failure(delivery.unreadable.reason, delivery.unreadable.detail))
            elif not delivery.once_only:
                todo.append(delivery)
            elif (id := delivery.known[0].id) in unclaimed:
                unclaimed.remove(id)
                todo.append(delivery)
        return todo

    async def handle(self, run: Sequence[Delivery]) -> None:
        """Handle a run of deliveries of one handler. Raises only what concerns the whole batch."""
        run = [delivery for delivery in run if not self._waits(delivery)]
        if not run:
            return
        if (unreadable := run[0].unreadable) is not None:  # a replayed one that still is
            self._fail(run[0], Failure(unreadable.reason, unreadable.detail))
            return
        message = run[0].known[1]
        if isinstance(message, Command) and self._expired(run[0]):
            self._decide(run[0], Recorded("refused", code="expired"), Outcome())
        elif job := self._service.jobs.get(type(message)):
            self.jobs += [(job, delivery) for delivery in run]
            self._note(run[0], "queued")
        elif type(message) in self._service.batch_handlers:
            await self._handle_set(run)
        elif type(message) in self._service.handlers:
            await self._handle_one(run[0])
        else:
            self._unhandled(run[0])

    def _waits(self, delivery: Delivery) -> bool:
        """Hold a delivery back behind an earlier one of its key. (One that is being retried waits for nothing.)"""
        if self._retrying or delivery.line not in self._held_lines:
            return False
        self._hold.append((delivery, None))
        return True

    def _expired(self, delivery: Delivery) -> bool:
        expires = delivery.known[0].expires
        return expires is not None and expires < self._now

    async def _handle_one(self, delivery: Delivery) -> None:
        envelope, message = delivery.known
        handler = self._service.handlers[type(message)]
        try:
            async with self._conn.transaction():
                outcome = await handler(message, self._conn, meta_of(envelope, self._now)) or Outcome()
        except Refused as refusal:
            self._decide(delivery, Recorded("refused", code=refusal.code, detail=refusal.detail or None), Outcome())
        except self._passes_through:
            raise
        except Exception as error:
            self._unless_cut_off(error)
            self._fail(delivery, _bug(delivery, error))
        else:
            self._decide(delivery, Recorded("pending" if outcome.pending else "ok", outcome.result), outcome)

    async def _handle_set(self, run: Sequence[Delivery]) -> None:
        """A run through its batch handler; a failing run is halved until the culprit is alone."""
        run = [delivery for delivery in run if not self._waits(delivery)]
        if not run:
            return
        handler = self._service.batch_handlers[type(run[0].known[1])]
        received = [Received(message, meta_of(envelope, self._now)) for envelope, message in (d.known for d in run)]
        try:
            async with self._conn.transaction():
                outcome = await handler(received, self._conn) or Outcome()
        except self._passes_through:
            raise
        except Exception as error:
            self._unless_cut_off(error)
            if len(run) == 1:
                self._fail(run[0], _bug(run[0], error))
                return
            await self._handle_set(run[: len(run) // 2])
            await self._handle_set(run[len(run) // 2 :])
        else:
            self._decide_all(run, received, outcome)

    def _unless_cut_off(self, error: Exception) -> None:
        """An error on a connection that is closed is the outage's, not the message's."""
        if self._conn.is_closed():
            raise ConnectionResetError(f"the database closed the connection: {error}") from error

    def _decide_all(self, run: Sequence[Delivery], received: Sequence[Received[Any]], outcome: Outcome) -> None:
        self.rows += self._sender.rows(outcome, received[0].meta)
        for delivery in run:
            envelope = delivery.known[0]
            self._counts[envelope.type, "ok"] += 1
            if delivery.once_only:
                self._recorded[envelope.id] = Recorded("ok")
                self._reply(envelope, Recorded("ok"))

    def _decide(self, delivery: Delivery, recorded: Recorded, outcome: Outcome) -> None:
        envelope = delivery.known[0]
        self.rows += self._sender.rows(outcome, meta_of(envelope, self._now))
        self._note(delivery, recorded.status, recorded.code)
        if delivery.once_only:
            self._reply(envelope, recorded)
            if recorded.status != "pending":
                self._recorded[envelope.id] = recorded

    def _reply(self, envelope: Envelope, recorded: Recorded) -> None:
        reply = self._sender.reply(envelope, recorded, self._now)
        if reply is not None:
            self.rows.append(reply)

    def _unhandled(self, delivery: Delivery) -> None:
        """An event nobody here subscribed to is not ours to fail on; a command to us that nobody handles is."""
        message = delivery.known[1]
        if isinstance(message, Command):
            self._bury(delivery, Failure("unhandled", f"{self._service.name} has no handler for {message.TYPE}"))

    def _fail(self, delivery: Delivery, failure: Failure) -> None:
        """Hold a failing message for another attempt; what comes after it under its key waits."""
        self.failures += 1
        self._held_lines.add(delivery.line)
        self._hold.append((delivery, failure))
        self._note(delivery, "held", failure.detail)

    def _bury(self, delivery: Delivery, failure: Failure, attempts: int = 1) -> None:
        """Give a message up: announce it, and answer whoever waits for it."""
        self.failures += 1
        self._dead.append((delivery, failure))
        self._announce(delivery, failure, attempts)

    def _announce(self, delivery: Delivery, failure: Failure, attempts: int) -> None:
        event = dead_letters.announcement(self._service.name, delivery, failure, attempts, self._now)
        envelope = delivery.envelope
        meta = meta_of(envelope, self._now) if envelope else Meta(event.dead_letter_id, self._now)
        self.rows.append(self._sender.announce(event, jobs.dead_letters_topic(self._service.name), meta))
        self._note(delivery, "dead", f"{failure.reason}: {failure.detail}")
        if envelope is not None and envelope.replyto is not None:
            detail = {"dead_letter_id": str(event.dead_letter_id), "reason": failure.detail}
            self._recorded[envelope.id] = Recorded("failed", code=failure.reason, detail=detail)
            self._reply(envelope, self._recorded[envelope.id])

    def _note(self, delivery: Delivery, outcome: str, why: str | None = None) -> None:
        envelope = delivery.envelope
        type_ = envelope.type if envelope else "unreadable"
        self._counts[type_, outcome] += 1
        line: dict[str, Any] = {"type": type_, "key": delivery.key, "outcome": outcome, "topic": delivery.origin.topic}
        line |= {"partition": delivery.origin.partition, "offset": delivery.origin.offset}
        if envelope:
            line |= {"id": str(envelope.id), "tenant": envelope.tenantid, "correlation": str(envelope.correlationid)}
        self._lines.append(line | ({"why": why} if why else {}))

    async def write(self) -> None:
        """Write everything that was decided."""
        if self._retrying:
            await self._write_retried(self._retrying)
        else:
            await self._write_held()
        if self.jobs:
            await jobs.insert(self._conn, self.jobs)
        if self._recorded:
            await self._record()
        await outbox.insert(self._conn, self.rows)

    async def _record(self) -> None:
        # A command that was given up before it could be claimed (its type or data was unknown) has no row yet.
        unclaimed = [d.envelope for d, _ in self._dead if d.envelope and d.envelope.id in self._recorded]
        if unclaimed:
            await inbox.claim(self._conn, unclaimed, self._now)
        await inbox.record(self._conn, self._recorded, self._now)

    async def _write_held(self) -> None:
        if self._hold:
            await dead_letters.hold(self._conn, self._hold, self._now)
        if self._dead:
            await dead_letters.bury(self._conn, self._dead, self._now)

    async def _write_retried(self, held: Held) -> None:
        """A held message was handled, or failed again, perhaps for the last time."""
        failure = next((failure for _, failure in (*self._hold, *self._dead) if failure), None)
        if failure is None:
            await dead_letters.delete_held(self._conn, held.id)
        elif self._dead:
            await dead_letters.mark_dead(self._conn, held, failure, self._now)
        elif await dead_letters.mark_failed_again(self._conn, held, failure, self._now):
            self._announce(held.delivery, failure, held.attempts + 1)

    def report(self, seconds: float) -> None:
        """Count and log, once the transaction is committed."""
        for (type_, outcome), count in self._counts.items():
            metrics.HANDLED.labels(self._service.name, type_, outcome).inc(count)
        metrics.BATCH_SECONDS.labels(self._service.name).observe(seconds)
        for line in self._lines:
            (log.error if line["outcome"] in {"held", "dead"} else log.info)(
                "handled", **line, seconds=round(seconds, 4)
            )


def _bug(delivery: Delivery, error: Exception) -> Failure:
    log.exception("handler failed", type=delivery.known[0].type, id=str(delivery.known[0].id), key=delivery.key)
    return Failure("bug", f"{type(error).__name__}: {error}")
