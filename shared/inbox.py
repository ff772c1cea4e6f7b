"""The inbox: a command is claimed by its id once, and its outcome is kept beside it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import orjson

from contracts.message import Envelope
from contracts.runtime import GATEWAY_REPLIES
from shared.db import Connection, to_json
from shared.wire import holds_nul

Status = Literal["pending", "ok", "refused", "failed"]

KEPT = timedelta(days=30)
"""How long an outcome is kept that answers for no idempotency key: longer than any topic keeps the command itself."""


@dataclass(frozen=True)
class Recorded:
    """A command's outcome, as its caller gets it."""

    status: Status
    result: dict[str, Any] | None = None
    code: str | None = None
    detail: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Raise where the outcome cannot be kept: its handler should hear of it, not the batch."""
        for value in (self.result, self.detail):
            if value and holds_nul(raw := to_json(value), orjson.loads(raw)):
                raise ValueError("an outcome holds the character U+0000, which PostgreSQL cannot keep")


async def claim(conn: Connection, envelopes: Sequence[Envelope], now: datetime) -> tuple[set[UUID], bool]:
    """Claim messages by id. Gives the ids that were new; the others are handled, or in somebody's hands, already.

    And whether anything is held back (`dead_letters.held_lines`), as it is then.

    This is the first statement of a careful batch's transaction, with the messages `in_order`: a consumer that lost
    its partition, and the one that got it, wait for one another here and cannot deadlock.
    """
    (row,) = await conn.fetch(
        "select fresh, anything_held from claim_commands($1, $2, $3, $4, $5, $6)", *claim_columns(envelopes, now)
    )
    return set(row["fresh"]), row["anything_held"]


def in_order(envelopes: Iterable[Envelope]) -> list[Envelope]:
    """Each message once, in the order in which all claim them, so that none deadlock."""
    return sorted({e.id: e for e in envelopes}.values(), key=lambda e: e.id)


def claim_columns(envelopes: Sequence[Envelope], now: datetime) -> tuple[Sequence[object], ...]:
    """What a claim says of each: id, type, tenant, correlation, where the reply goes, how long its outcome is kept."""
    return (
        [e.id for e in envelopes],
        [e.type for e in envelopes],
        [e.tenantid for e in envelopes],
        [e.correlationid for e in envelopes],
        [e.replyto for e in envelopes],
        [None if _answers_for_key(e) else now + KEPT for e in envelopes],
    )


def outcome_columns(outcomes: Collection[Recorded]) -> tuple[Sequence[object], ...]:
    """What is kept of each outcome: status, result, code, detail."""
    return (
        [o.status for o in outcomes],
        [o.result for o in outcomes],
        [o.code for o in outcomes],
        [o.detail for o in outcomes],
    )


def _answers_for_key(envelope: Envelope) -> bool:
    """Whether a command's outcome is the answer to an idempotency key, for good: its id is derived from that."""
    return envelope.replyto == GATEWAY_REPLIES and envelope.id.version == 5


async def find_outcomes(conn: Connection, ids: Sequence[UUID]) -> dict[UUID, Recorded]:
    """The decided outcomes among these ids; what is still pending is left out."""
    rows = await conn.fetch(
        "select id, status, result, code, detail from inbox where id = any($1::uuid[]) and status <> 'pending'", ids
    )
    return {r["id"]: Recorded(r["status"], r["result"], r["code"], r["detail"]) for r in rows}


async def delete_expired(conn: Connection, limit: int = 5000) -> int:
    """Forget outcomes that are past their time, some at a go. Gives how many went."""
    rows = await conn.fetch(
        """
        delete from inbox where id in (
          select id from inbox where expires_at < now() order by expires_at limit $1 for update skip locked
        ) returning 1
        """,
        limit,
    )
    return len(rows)
