"""One batch inside its transaction: what is claimed, handled, answered, held and given up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import structlog

from contracts.message import Command, Envelope, Message
from shared import dead_letters, inbox, job_store, metrics, outbox
from shared.db import CONTENTION, Connection, Unbegun, is_away
from shared.dead_letters import Failure, Held
from shared.delivery import Delivery
from shared.inbox import Recorded
from shared.outbox import Row, Sender, Written, meta_of
from shared.outcome import Meta, Outcome, Received, Refused
from shared.service import BatchHandler, Handler, Job, Service
from shared.telemetry import span

log = structlog.get_logger(__name__)

_PENDING = Recorded("pending")


class CareNeeded(Exception):
    """Something is not as it was hoped to be: the batch begins anew, with care."""


class Batch:
    """Collects what a batch's handling decided; `write` puts it into the transaction at the end, set by set.

    `careful`: commands are claimed first, and a run of a batch handler has a savepoint, to which it can fail. Without,
    the hope is that no command was claimed before, that nothing is held back and that nothing fails: commands are
    claimed at the end, with all that is written then, and where that hope is wrong, any method raises `CareNeeded`.
    """

    def __init__(
        self,
        service: Service[Any],
        sender: Sender,
        conn: Connection,
        now: datetime,
        *,
        retrying: Held | None = None,
        contention_is_failure: bool = False,
        careful: bool = True,
    ) -> None:
        self.rows: list[Row] = []
        self.written: Written | None = None
        self.jobs: list[tuple[Job, str, Delivery]] = []
        self.failures = 0
        self._service = service
        self._sender = sender
        self._conn = conn
        self._now = now
        self._retrying = retrying
        self._contention_is_failure = contention_is_failure
        self._careful = careful
        self._fresh: set[UUID] = set()
        self._guarded: list[Envelope] = []
        self._anything_held = False
        self._buried: set[UUID] = set()
        self._held_lines: set[tuple[str, str]] = set()
        self._recorded: dict[UUID, Recorded] = {}
        self._hold: list[tuple[Delivery, Failure | None]] = []
        self._dead: list[tuple[Delivery, Failure]] = []
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lines: list[dict[str, Any]] = []

    async def claim(self, deliveries: Sequence[Delivery]) -> None:
        """Claim what the inbox guards, answer what was handled before, and learn which keys are held back."""
        self._guarded = inbox.in_order(envelope for d in deliveries if (envelope := d.guarded))
        if not self._careful:
            self._fresh = {envelope.id for envelope in self._guarded}
            return
        if self._guarded:
            self._fresh, self._anything_held = await inbox.claim(self._conn, self._guarded, self._now)
            await self._answer_again([d.guarded for d in deliveries if d.guarded and d.guarded.id not in self._fresh])
        else:
            self._anything_held = await dead_letters.is_anything_held(self._conn)
        if broken := [d.dead_letter_id for d in deliveries if d.unreadable]:
            self._buried = await dead_letters.find_known(self._conn, broken)
        if self._anything_held:
            self._held_lines = await dead_letters.held_lines(self._conn, deliveries)

    @property
    def hopeful(self) -> bool:
        """Whether this batch needed no care, so that the next may do without."""
        return not self.failures and not self._anything_held and len(self._fresh) == len(self._guarded)

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
            if (envelope := delivery.guarded) is not None:
                if envelope.id not in unclaimed:
                    continue
                unclaimed.remove(envelope.id)
            if delivery.unreadable is None:
                todo.append(delivery)
            elif delivery.dead_letter_id not in self._buried:
                self.bury(delivery, Failure.of(delivery.unreadable.reason, delivery.unreadable.detail))
        return todo

    async def handle(self, run: Sequence[Delivery]) -> None:
        """Handle a run of deliveries of one handler. Raises only what concerns the whole batch."""
        run = [delivery for delivery in run if not self._waits(delivery) and not self._lapsed(delivery)]
        if not run:
            return
        first = run[0]
        if first.unreadable is not None:  # a replayed one that still is
            self.fail(first, Failure.of(first.unreadable.reason, first.unreadable.detail))
            return
        kind = type(first.known[1])
        if job := self._service.jobs.get(kind):
            self._queue(job, first)
        elif batch_handler := self._service.batch_handlers.get(kind):
            await self._handle_set(batch_handler, run)
        elif handler := self._service.handlers.get(kind):
            await self._handle_one(handler, first)
        else:
            self._unhandled(first)

    def _waits(self, delivery: Delivery) -> bool:
        """Hold a delivery back behind an earlier one of its key. (One that is being retried waits for nothing.)"""
        if not self._held_lines or self._retrying or delivery.line not in self._held_lines:
            return False
        self._hold.append((delivery, None))
        return True

    def _lapsed(self, delivery: Delivery) -> bool:
        """Refuse a command whose time is over."""
        envelope = delivery.envelope
        if envelope is None or envelope.expires is None or not isinstance(delivery.message, Command):
            return False
        if envelope.expires >= self._now:
            return False
        self._decide(delivery, *self._said(delivery, Recorded("refused", code="expired"), Outcome()))
        return True

    def _queue(self, job: Job, delivery: Delivery) -> None:
        try:
            self.jobs.append((job, job.key(delivery.known[1]), delivery))
        except Exception as error:
            self._require_care()
            self.fail(delivery, _bug(delivery, error))
        else:
            self._note(delivery, "queued")

    async def _handle_one(self, handler: Handler, delivery: Delivery) -> None:
        try:
            recorded, rows = await self._ask(handler, delivery)
        except Exception as error:
            if self._concerns_all(error):
                raise
            self._require_care()
            self.fail(delivery, _bug(delivery, error))
        else:
            self._decide(delivery, recorded, rows)

    async def _ask(self, handler: Handler, delivery: Delivery) -> tuple[Recorded, list[Row]]:
        """What the handler decides, made into rows under its savepoint: what cannot be said is its failure too."""
        envelope, message = delivery.known
        meta = meta_of(envelope, self._now)
        with span(envelope.type, parent=envelope.traceparent, id=str(envelope.id)):
            try:
                async with self._conn.transaction():
                    outcome = await handler(message, self._conn, meta) or Outcome()
                    return self._answered(delivery, outcome)
            except Refused as refusal:
                return self._answered(delivery, refusal)

    def _answered(self, delivery: Delivery, decided: Outcome | Refused) -> tuple[Recorded, list[Row]]:
        if isinstance(decided, Refused):
            refused = Recorded("refused", code=decided.code, detail=decided.detail or None)
            return self._said(delivery, refused, Outcome())
        recorded = Recorded("pending" if decided.pending else "ok", decided.result)
        return self._said(delivery, recorded, decided)

    def _said(self, delivery: Delivery, recorded: Recorded, outcome: Outcome) -> tuple[Recorded, list[Row]]:
        rows = self._sender.rows(outcome, meta_of(delivery.known[0], self._now))
        envelope = delivery.guarded
        reply = self._sender.reply(envelope, recorded, self._now) if envelope else None
        return recorded, [*rows, reply] if reply else rows

    async def _handle_set(self, handler: BatchHandler, run: Sequence[Delivery]) -> None:
        """A run through its batch handler; a failing run is halved until the culprit is alone."""
        run = [delivery for delivery in run if not self._waits(delivery)]
        if not run:
            return
        if self._careful and len(run) == 1:
            await self._handle_one(_of_one(handler), run[0])
            return
        try:
            decided = await self._ask_all(handler, run)
        except Exception as error:
            if self._concerns_all(error):
                raise
            self._require_care()
            await self._handle_set(handler, run[: len(run) // 2])
            await self._handle_set(handler, run[len(run) // 2 :])
        else:
            decided()

    async def _ask_all(self, handler: BatchHandler, run: Sequence[Delivery]) -> Callable[[], None]:
        """What the handler decides of a run, made into rows under one savepoint. Gives what notes it all down."""
        received = [Received(message, meta_of(envelope, self._now)) for envelope, message in (d.known for d in run)]
        async with self._conn.transaction() if self._careful else nullcontext():
            outcome = await handler(received, self._conn) or Outcome()
            if isinstance(outcome, Outcome):
                return partial(self._decide_all, run, self._sender.rows(outcome, received[0].meta))
            answered = [self._answered(delivery, each) for delivery, each in zip(run, outcome, strict=True)]
            return partial(self._decide_each, run, answered)

    def _concerns_all(self, error: Exception) -> bool:
        """Whether an error is not the message's: the database went away, or another transaction was in the way."""
        contention = isinstance(error, CONTENTION) and not self._contention_is_failure
        return contention or is_away(self._conn, error)

    def _decide_each(self, run: Sequence[Delivery], answered: Sequence[tuple[Recorded, list[Row]]]) -> None:
        for delivery, (recorded, rows) in zip(run, answered, strict=True):
            self._decide(delivery, recorded, rows)

    def _decide_all(self, run: Sequence[Delivery], rows: list[Row]) -> None:
        self.rows += rows
        self._lines.append({"type": run[0].known[0].type, "outcome": "ok", "messages": len(run)})
        self._counts.update((delivery.known[0].type, "ok") for delivery in run)
        for envelope in filter(None, (delivery.guarded for delivery in run)):
            self._recorded[envelope.id] = Recorded("ok")
            self._reply(envelope, Recorded("ok"))

    def _decide(self, delivery: Delivery, recorded: Recorded, rows: list[Row]) -> None:
        self.rows += rows
        self._note(delivery, recorded.status, recorded.code)
        if (envelope := delivery.guarded) and recorded.status != "pending":
            self._recorded[envelope.id] = recorded

    def _reply(self, envelope: Envelope, recorded: Recorded) -> None:
        reply = self._sender.reply(envelope, recorded, self._now)
        if reply is not None:
            self.rows.append(reply)

    def _unhandled(self, delivery: Delivery) -> None:
        """An event nobody here subscribed to is not ours to fail on; a command to us that nobody handles is."""
        message = delivery.known[1]
        if isinstance(message, Command):
            failure = Failure.of("unhandled", f"{self._service.name} has no handler for {message.TYPE}")
            self.bury(delivery, failure, self._retrying.attempts + 1 if self._retrying else 1)

    def fail(self, delivery: Delivery, failure: Failure) -> None:
        """Hold a failing message for another attempt, if it has one left; what comes after it under its key waits."""
        self._require_care()
        if self._retrying and self._retrying.attempts >= len(dead_letters.BACK_OFF):
            self.bury(delivery, failure, self._retrying.attempts + 1)
            return
        self.failures += 1
        self._held_lines.add(delivery.line)
        self._hold.append((delivery, failure))
        self._note(delivery, "held", failure.detail)

    def bury(self, delivery: Delivery, failure: Failure, attempts: int = 1) -> None:
        """Give a message up: announce it, and answer whoever waits for it."""
        self._require_care()
        self.failures += 1
        self._dead.append((delivery, failure))
        self._announce(delivery, failure, attempts)

    def _require_care(self) -> None:
        if not self._careful:
            raise CareNeeded

    def _announce(self, delivery: Delivery, failure: Failure, attempts: int) -> None:
        event = dead_letters.announcement(self._service.name, delivery, failure, attempts, self._now)
        envelope = delivery.envelope
        meta = meta_of(envelope, self._now) if envelope else Meta(event.dead_letter_id, self._now)
        self.rows.append(self._sender.announce(event, dead_letters.topic_of(self._service.name), meta))
        self._note(delivery, "dead", f"{failure.reason}: {failure.detail}")
        detail = {"dead_letter_id": str(event.dead_letter_id), "reason": failure.detail}
        recorded = Recorded("failed", code=failure.reason, detail=detail)
        if envelope is not None:
            self._reply(envelope, recorded)
        if (guarded := delivery.guarded) is not None:
            self._recorded[guarded.id] = recorded

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
            await job_store.insert(self._conn, self.jobs)
        if not self._careful:
            await self._write_with_claims()
        elif self.rows or self._recorded:
            self.written = await outbox.insert_with_outcomes(self._conn, self.rows, self._recorded, self._now)

    async def _write_with_claims(self) -> None:
        if not (self._guarded or self.rows or self._writes):  # events that cause nothing: a lighter question
            if await dead_letters.is_anything_held(self._conn):
                raise CareNeeded
            return
        decided = [(e, self._recorded.get(e.id, _PENDING)) for e in self._guarded]
        self.written = await outbox.insert_with_claims(self._conn, self.rows, decided, self._now)
        if self.written is None:
            raise CareNeeded

    @property
    def _writes(self) -> bool:
        return isinstance(self._conn, Unbegun) and self._conn.writing is not None

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
        else:
            await dead_letters.mark_failed_again(self._conn, held, failure, self._now)

    def report(self, seconds: float) -> None:
        """Count and log, once the transaction is committed."""
        for (type_, outcome), count in self._counts.items():
            metrics.HANDLED.labels(self._service.name, type_, outcome).inc(count)
        metrics.BATCH_SECONDS.labels(self._service.name).observe(seconds)
        for line in self._lines:
            (log.error if line["outcome"] in {"held", "dead"} else log.info)(
                "handled", **line, seconds=round(seconds, 4)
            )


def _of_one(handler: BatchHandler) -> Handler:
    """A batch handler for a message that is alone."""

    async def handle(message: Message, conn: Connection, meta: Meta) -> Outcome | None:
        decided = await handler([Received(message, meta)], conn)
        if decided is None or isinstance(decided, Outcome):
            return decided
        (alone,) = decided
        if isinstance(alone, Refused):
            raise alone
        return alone

    return handle


def _bug(delivery: Delivery, error: Exception) -> Failure:
    log.exception("handler failed", type=delivery.known[0].type, id=str(delivery.known[0].id), key=delivery.key)
    return Failure.of("bug", f"{type(error).__name__}: {error}")
