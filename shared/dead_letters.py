"""What could not be handled: held back with everything of its key while it is tried again, then left to an operator."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self
from uuid import UUID

from contracts.runtime import DeadLettered, Reason
from shared.db import Connection
from shared.delivery import Delivery, Origin

BACK_OFF = (timedelta(seconds=0.2), timedelta(seconds=1), timedelta(seconds=4))
"""The pauses between attempts at a message that fails by a bug; after the last it is dead."""

_LONGEST_DETAIL = 2000

WINDOW = timedelta(minutes=10)
"""Dead letters younger than this, and undecided, count towards the limit at which the consumer stops."""


@dataclass(frozen=True)
class Failure:
    """Why a message cannot be handled, now or for good."""

    reason: Reason
    detail: str

    @classmethod
    def of(cls, reason: Reason, detail: str) -> Self:
        """`detail` is made `storable`."""
        return cls(reason, storable(detail))


def storable(text: str) -> str:
    """The text, cut to what a person reads, without the characters that no text column takes."""
    return text[:_LONGEST_DETAIL].encode(errors="replace").decode().replace("\0", "\ufffd")


@dataclass(frozen=True)
class Held:
    """The first held message of its line."""

    id: UUID
    delivery: Delivery
    attempts: int


async def is_anything_held(conn: Connection) -> bool:
    """Whether `held_lines` is worth asking: nearly never, and this sends no keys."""
    held: bool = await conn.fetchval("select exists (select from dead_letters where status = 'held')")
    return held


async def held_lines(conn: Connection, deliveries: Sequence[Delivery]) -> set[tuple[str, str]]:
    """Which (topic, key) of these have something held, so that what comes after must wait behind it."""
    lines = {delivery.line for delivery in deliveries}
    rows = await conn.fetch(
        """
        select distinct topic, key from dead_letters
        where status = 'held' and (topic, key) in (select * from unnest($1::text[], $2::text[]))
        """,
        [topic for topic, _ in lines],
        [key for _, key in lines],
    )
    return {(row["topic"], row["key"]) for row in rows}


async def find_known(conn: Connection, ids: Collection[UUID]) -> set[UUID]:
    """Which of these dead letters there are already: their records were delivered before."""
    return {row["id"] for row in await conn.fetch("select id from dead_letters where id = any($1::uuid[])", ids)}


async def hold(conn: Connection, held: Sequence[tuple[Delivery, Failure | None]], now: datetime) -> None:
    """Hold messages back: those with a failure for their next attempt, the others behind them."""
    await _insert(conn, [delivery for delivery, _ in held], "held", now)
    await conn.execute(
        """
        update dead_letters set reason = f.reason, detail = f.detail, attempts = 1, next_attempt_at = $4
        from unnest($1::uuid[], $2::text[], $3::text[]) as f(id, reason, detail)
        where dead_letters.id = f.id and dead_letters.attempts = 0
        """,
        [delivery.dead_letter_id for delivery, failure in held if failure],
        [failure.reason for _, failure in held if failure],
        [failure.detail for _, failure in held if failure],
        now + BACK_OFF[0],
    )


async def bury(conn: Connection, dead: Sequence[tuple[Delivery, Failure]], now: datetime, *, attempts: int = 1) -> None:
    """Give messages up, after so many attempts."""
    await _insert(conn, [delivery for delivery, _ in dead], "dead", now)
    await conn.execute(
        """
        update dead_letters set status = 'dead', reason = f.reason, detail = f.detail, given_up_at = $4,
          attempts = $5
        from unnest($1::uuid[], $2::text[], $3::text[]) as f(id, reason, detail)
        where dead_letters.id = f.id and given_up_at is null and decided_at is null
        """,
        [delivery.dead_letter_id for delivery, _ in dead],
        [failure.reason for _, failure in dead],
        [failure.detail for _, failure in dead],
        now,
        attempts,
    )


async def _insert(conn: Connection, deliveries: Sequence[Delivery], status: str, now: datetime) -> None:
    envelopes = [delivery.envelope for delivery in deliveries]
    await conn.execute(
        """
        insert into dead_letters
          (id, topic, partition, record_offset, key, raw, message_id, type, tenant_id, status, next_attempt_at)
        select d.*, $10::text, $11::timestamptz
        from unnest($1::uuid[], $2::text[], $3::int[], $4::bigint[], $5::text[], $6::bytea[], $7::uuid[], $8::text[],
                    $9::text[]) as d
        on conflict (id) do nothing
        """,
        [d.dead_letter_id for d in deliveries],
        [d.origin.topic for d in deliveries],
        [d.origin.partition for d in deliveries],
        [d.origin.offset for d in deliveries],
        [d.key for d in deliveries],
        [d.raw for d in deliveries],
        [e and e.id for e in envelopes],
        [e and e.type for e in envelopes],
        [e and e.tenantid for e in envelopes],
        status,
        now,
    )


async def lock_next_held(conn: Connection) -> Held | None:
    """The next held message that is due and first of its line, locked; None when there is none."""
    row = await conn.fetchrow(
        """
        select id, topic, partition, record_offset, key, raw, attempts from dead_letters h
        where status = 'held' and next_attempt_at <= now() and not exists (
          select from dead_letters b
          where b.status = 'held' and b.topic = h.topic and b.key = h.key and b.position < h.position)
        order by position limit 1
        for update skip locked
        """
    )
    if row is None:
        return None
    origin = Origin(row["topic"], row["partition"], row["record_offset"])
    return Held(row["id"], Delivery.of(origin, row["key"], row["raw"]), row["attempts"])


async def delete_held(conn: Connection, id: UUID) -> None:
    """Forget a held message: it was handled."""
    await conn.execute("delete from dead_letters where id = $1", id)


async def mark_failed_again(conn: Connection, held: Held, failure: Failure, now: datetime) -> None:
    """Count one more failed attempt, and wait for the next."""
    await conn.execute(
        "update dead_letters set attempts = $2, next_attempt_at = $3, reason = $4, detail = $5 where id = $1",
        held.id,
        held.attempts + 1,
        now + BACK_OFF[held.attempts],
        failure.reason,
        failure.detail,
    )


async def mark_dead(conn: Connection, held: Held, failure: Failure, now: datetime) -> None:
    """Leave a held message to the operator."""
    await conn.execute(
        """
        update dead_letters set status = 'dead', attempts = attempts + 1, given_up_at = $2, reason = $3, detail = $4
        where id = $1
        """,
        held.id,
        now,
        failure.reason,
        failure.detail,
    )


async def count_failing(conn: Connection, limit: int) -> int:
    """How many messages fail: still tried, or dead since lately and undecided.

    At the limit the consumer stops, in every process and over restarts: from then on what is dead counts however old it
    becomes, until none of it is left undecided.
    """
    count: int = await conn.fetchval(
        """
        with since as (
          select coalesce((select counted_from from consumer_stop), now() - $1::interval) as moment
        ), failing as (
          select count(*) as n from dead_letters, since
          where status = 'held' and attempts > 0 or status = 'dead' and given_up_at > moment
        ), stop as (
          insert into consumer_stop (counted_from) select moment from since, failing where n >= $2
          on conflict do nothing
        ), go_on as (
          delete from consumer_stop using failing where n = 0
        )
        select n from failing
        """,
        WINDOW,
        limit,
    )
    return count


async def get_raw(conn: Connection, id: UUID) -> bytes:
    """The record's value as it came."""
    raw: bytes = await conn.fetchval("select raw from dead_letters where id = $1", id)
    return raw


async def replay(conn: Connection, ids: Sequence[UUID], by: str) -> list[UUID]:
    """Let dead letters be handled again, by this service alone. Gives the ids that were dead and are on their way."""
    return await _decide(conn, ids, by, "held")


async def discard(conn: Connection, ids: Sequence[UUID], by: str) -> list[UUID]:
    """Decide that dead letters are not to be handled. Gives the ids that were dead."""
    return await _decide(conn, ids, by, "discarded")


async def _decide(conn: Connection, ids: Sequence[UUID], by: str, status: str) -> list[UUID]:
    rows = await conn.fetch(
        """
        update dead_letters
        set status = $2, attempts = 0, next_attempt_at = now(), given_up_at = null, decided_at = now(), decided_by = $3
        where id = any($1::uuid[]) and status = 'dead'
        returning id
        """,
        ids,
        status,
        by,
    )
    return [row["id"] for row in rows]


def topic_of(service: str) -> str:
    """The topic that announces a service's dead letters."""
    return f"arcadia.{service}.dead-letters"


def announcement(service: str, delivery: Delivery, failure: Failure, attempts: int, now: datetime) -> DeadLettered:
    """What the dead-letters topic says about a message that was given up on."""
    envelope = delivery.envelope
    return DeadLettered(
        dead_letter_id=delivery.dead_letter_id,
        service=service,
        reason=failure.reason,
        detail=failure.detail,
        topic=delivery.origin.topic,
        partition=delivery.origin.partition,
        offset=delivery.origin.offset,
        message_id=envelope and envelope.id,
        message_type=envelope and envelope.type,
        tenant_id=envelope and envelope.tenantid,
        attempts=attempts,
        given_up_at=now,
    )
