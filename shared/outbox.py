"""The outbox: messages are rows of the transaction that causes them; `relay.py` publishes them."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Self, TypeAlias
from uuid import UUID

import structlog
from asyncpg import DivisionByZeroError, Record, UniqueViolationError

from contracts.message import Envelope, Event, Message, Reply
from contracts.topics import TOPICS
from shared import inbox
from shared.db import Connection, Unbegun
from shared.ids import uuid7
from shared.inbox import Recorded
from shared.outcome import Meta, Outcome, Send, Tombstone
from shared.telemetry import current_traceparent
from shared.wire import encode

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Row:
    """One message to publish. `payload` None is a tombstone."""

    id: UUID
    topic: str
    key: str
    type: str
    payload: bytes | None


_MOST_KNOWN = 100  # more than that are no lone messages that somebody waits for: nobody carries them back and forth
_MOST_BEFORE = 128
WRITTEN = f"""
  coalesce(array_agg(id), '{{}}') as ids, coalesce(array_agg(position), '{{}}') as positions,
  array(select position from outbox order by position limit {_MOST_BEFORE}) as before
"""
"""What `Written` is made of, of those that a statement inserted. `before`: what is there without them."""

Stored: TypeAlias = tuple[int, str, str, bytes | None]
"""A message in the outbox: its position, topic, key and payload."""


@dataclass(frozen=True)
class Written:
    """What a statement put into the outbox; nothing, where that is much.

    `before`: the positions of what it saw there; None where that is much, or not known. `since`: when it began, by the
    monotonic clock.
    """

    rows: list[Stored]
    before: list[int] | None
    since: float

    @classmethod
    def of(cls, rows: Sequence[Row], inserted: Record, since: float) -> Self:
        """Of rows of which some were inserted: ids, positions and `before`."""
        if len(rows) > _MOST_KNOWN:
            return cls([], None, since)
        row_of = {row.id: row for row in rows}
        stored = [
            (position, (row := row_of[id]).topic, row.key, row.payload)
            for id, position in zip(inserted["ids"], inserted["positions"], strict=True)
        ]
        before = inserted["before"]
        return cls(stored, before if before is not None and len(before) < _MOST_BEFORE else None, since)


@dataclass(frozen=True)
class Sender:
    """Makes outbox rows in the name of one service."""

    service: str

    def rows(self, outcome: Outcome, cause: Meta) -> list[Row]:
        """The rows of an outcome's events and commands, in that order."""
        events = [self.event(event, cause) for event in outcome.events]
        return events + [self.command(send, cause) for send in outcome.commands]

    def event(self, event: Event | Tombstone, cause: Meta) -> Row:
        """An event's row, or a tombstone's."""
        if isinstance(event, Tombstone):
            return Row(uuid7(), event.topic, event.key, "tombstone", None)
        return self._row(event, event.TOPIC, cause, tenantid=event.tenant(), sequence=event.sequence())

    def command(self, send: Send, cause: Meta) -> Row:
        """A command's row: tenant, actor and correlation are the cause's unless the command says otherwise."""
        return self._row(
            send.command,
            send.command.TOPIC,
            cause,
            id=send.id,
            tenantid=send.tenant_id or cause.tenant_id,
            actor=send.actor or cause.actor,
            correlationid=send.correlation_id or cause.correlation_id,
            replyto=send.reply_to,
            expires=send.expires,
        )

    def reply(self, to: Envelope, outcome: Recorded, now: datetime) -> Row | None:
        """The row of the reply to a command; None where nobody wants one, or not on a topic of replies."""
        if to.replyto is None:
            return None
        if (topic := TOPICS.get(to.replyto)) is None or topic.kind != "replies":
            # It would block the outbox for good: Kafka takes nothing for a topic that does not exist.
            log.warning("no reply to a topic that is not declared for replies", topic=to.replyto, id=str(to.id))
            return None
        reply = Reply(
            command_id=to.id,
            command_type=to.type,
            correlation_id=to.correlationid or to.id,
            status=outcome.status,
            result=outcome.result,
            code=outcome.code,
            detail=outcome.detail,
        )
        return self._row(reply, to.replyto, meta_of(to, now), tenantid=to.tenantid)

    def announce(self, event: Event, topic: str, cause: Meta) -> Row:
        """The row of an event that goes to a topic other than its class's own."""
        return self._row(event, topic, cause, tenantid=event.tenant(), sequence=event.sequence())

    def _row(self, message: Message, topic: str, cause: Meta, *, id: UUID | None = None, **extensions: object) -> Row:
        id = id or uuid7()
        attributes = {
            "actor": cause.actor,
            "correlationid": cause.correlation_id or cause.message_id,
            "causationid": cause.message_id,
            "traceparent": current_traceparent() or cause.traceparent,
        }
        given = {name: value for name, value in extensions.items() if value is not None}
        envelope = Envelope.of(
            message, id=id, source=f"/arcadia/{self.service}", time=cause.now, **{**attributes, **given}
        )
        return Row(id, topic, envelope.subject, envelope.type, encode(envelope))


def meta_of(envelope: Envelope, now: datetime) -> Meta:
    """What a handler may know of a message."""
    return Meta(
        message_id=envelope.id,
        now=now,
        tenant_id=envelope.tenantid,
        actor=envelope.actor,
        correlation_id=envelope.correlationid or envelope.id,
        traceparent=envelope.traceparent,
        reply_to=envelope.replyto,
        expires=envelope.expires,
        sent_at=envelope.time,
    )


async def insert(conn: Connection, rows: Sequence[Row]) -> Written:
    """Put messages into the outbox of this transaction, in order."""
    return await insert_with_outcomes(conn, rows, {}) if rows else Written([], before=None, since=0)


async def insert_with_outcomes(
    conn: Connection, rows: Sequence[Row], outcomes: Mapping[UUID, Recorded], now: datetime | None = None
) -> Written:
    """Put messages into the outbox and the outcomes of commands beside their claims in the inbox, in one round trip."""
    since = time.monotonic()
    (inserted,) = await conn.fetch(
        f"""
        with recorded as (
          update inbox set status = o.status, result = o.result, code = o.code, detail = o.detail, decided_at = $11
          from unnest($6::uuid[], $7::text[], $8::jsonb[], $9::text[], $10::jsonb[])
            as o(id, status, result, code, detail)
          where inbox.id = o.id),
        sent as (
          insert into outbox (id, aggregatetype, aggregateid, type, payload)
          select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[])
          returning id, position)
        select {WRITTEN} from sent where $12
        """,
        *_columns(rows),
        list(outcomes),
        *inbox.outcome_columns(outcomes.values()),
        now,
        len(rows) <= _MOST_KNOWN,
    )
    return Written.of(rows, inserted, since)


async def insert_with_claims(
    conn: Connection, rows: Sequence[Row], decided: Sequence[tuple[Envelope, Recorded]], now: datetime
) -> Written | None:
    """Put messages into the outbox, and the claims of commands with their outcomes into the inbox, in one round trip.

    The last thing that is asked in its transaction, or all there is of it, with what the handlers had to write. None
    where one of the commands was claimed before, anything is held back, or what was written does not hold: then nothing
    is written, and what was written before is worth nothing.
    """
    since = time.monotonic()
    ask, writing = (conn.last, conn.writing) if isinstance(conn, Unbegun) else (conn.fetch, None)
    try:
        (inserted,) = await ask(
            _claiming(writing.ctes, writing.holds) if writing else _claiming(),
            *_columns(rows),
            *inbox.claim_columns([envelope for envelope, _ in decided], now),
            *inbox.outcome_columns([outcome for _, outcome in decided]),
            now,
            len(rows) <= _MOST_KNOWN,
            *(writing.arguments if writing else ()),
        )
    except (UniqueViolationError, DivisionByZeroError):
        return None
    return Written.of(rows, inserted, since)


@cache
def _claiming(ctes: str | None = None, holds: str = "true") -> str:
    """The statement, with what a handler has to write: its CTEs, and what must hold of them.

    It fails by a division by zero where something does not hold, so that it is all or nothing also by itself.
    """
    return f"""
        with claimed as (
          insert into inbox (id, type, tenant_id, correlation_id, reply_to, expires_at,
            status, result, code, detail, received_at, decided_at)
          select *, $16::timestamptz, case status when 'pending' then null else $16::timestamptz end
          from unnest($6::uuid[], $7::text[], $8::text[], $9::uuid[], $10::text[], $11::timestamptz[],
            $12::text[], $13::jsonb[], $14::text[], $15::jsonb[])
            as c(id, type, tenant_id, correlation_id, reply_to, expires_at, status, result, code, detail)),
        sent as (
          insert into outbox (id, aggregatetype, aggregateid, type, payload)
          select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[])
          returning id, position){f", {_renumbered(ctes, 18)}" if ctes else ""}
        select {WRITTEN}, 1 / (not exists (select from dead_letters where status = 'held'))::int,
          1 / ({_renumbered(holds, 18)})::int
        from sent where $17
        """


def _renumbered(sql: str, first: int) -> str:
    """A piece of SQL whose parameters begin at `first`."""
    return re.sub(r"\$(\d+)", lambda found: f"${int(found[1]) + first - 1}", sql)


def _columns(rows: Sequence[Row]) -> tuple[list[UUID], list[str], list[str], list[str], list[bytes | None]]:
    return (
        [row.id for row in rows],
        [row.topic for row in rows],
        [row.key for row in rows],
        [row.type for row in rows],
        [row.payload for row in rows],
    )


async def oldest(
    conn: Connection, limit: int, limit_bytes: int, besides: Collection[int] = frozenset()
) -> list[Stored]:
    """The first messages in the outbox, but for some positions: as many as fit the limits, and at least one."""
    rows = await conn.fetch(
        """
        select position, aggregatetype, aggregateid, payload
        from (
          select position, aggregatetype, aggregateid, payload,
            sum(coalesce(octet_length(payload), 0)) over (order by position rows unbounded preceding) as through
          from outbox where position <> all($3::bigint[]) order by position limit $1) o
        where through - coalesce(octet_length(payload), 0) < $2
        order by position
        """,
        limit,
        limit_bytes,
        list(besides),
    )
    return [tuple(row) for row in rows]


async def delete(conn: Connection, positions: Iterable[int]) -> None:
    """Drop what Kafka has acknowledged, for good.

    (Without waiting for the disk, a crash of the database could bring an older message back that is published again
    after a newer one of its key, which its leader knows to be published.)
    """
    await conn.execute("delete from outbox where position = any($1::bigint[])", list(positions))
