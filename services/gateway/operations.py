"""The write path: a request becomes an operation and a command in one transaction, and waits a little for the outcome.

Whatever happens after that transaction, the command runs once: a caller who heard nothing repeats the request with the
same `Idempotency-Key`, or asks for the operation.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from litestar.response.base import ASGIResponse

from contracts.message import Command, Reply
from contracts.runtime import GATEWAY_REPLIES
from services.gateway import store
from services.gateway.answers import Answer, answer_to, is_final
from services.gateway.auth import Identity
from services.gateway.gateway import ApiRequest, Gateway
from services.gateway.problems import MEDIA_TYPE, Problem
from services.gateway.store import Operation
from shared import outbox
from shared.db import Connection, DatabaseAway
from shared.ids import derived_id, uuid7
from shared.inbox import Recorded
from shared.outcome import Meta, Outcome, Send

FORGOTTEN_AFTER = timedelta(days=30)
"""How long an operation without an idempotency key is remembered. One with a key is remembered for good."""

# The looks at the outcome: at the first the reply has usually come and cut the pause short; the others are for replies
# that passed while Kafka, or this instance's way to it, was down.
_PAUSES_S = (0.25, 0.5, 0.75, 1.0, 1.0, 1.5)


async def submit(request: ApiRequest, command: Command, key: str | None, *, ok: int = 200) -> ASGIResponse:
    """Send a command on behalf of a request, and answer with what came of it, or with 202 and where to ask.

    `key`: the idempotency key; the same key and request get the same answer, whichever instance they reach and however
    often. `ok`: the status when it was done. Raises `Problem` where the key was used for another request.
    """
    gateway = request.gateway
    wanted = await _operation(request, command, key)
    async with gateway.replies.expect(wanted.id) as replied:
        operation = await _accept(gateway, wanted, command, request.state.request_id)
        status, body = operation.answer or await _awaited(gateway, operation, replied, ok)
    headers = {"location": f"/api/v1/operations/{operation.id}", "x-correlation-id": str(operation.id)}
    media_type = MEDIA_TYPE if status >= 400 else "application/json"
    return ASGIResponse(body=body, status_code=status, headers=headers, media_type=media_type)


async def _operation(request: ApiRequest, command: Command, key: str | None) -> Operation:
    tenant = request.user.tenant_id
    return Operation(
        id=derived_id("operation", tenant, key) if key else uuid7(),
        tenant_id=tenant,
        idempotency_key=key,
        request_hash=request_hash(request.method, request.url.path, await request.body()),
        actor=request.user.email,
        operators_only=request.user.operator,  # its answer may tell of any tenant, and its key is the operators'
        service=command.TOPIC.split(".")[1],
        command_type=command.TYPE,
        accepted_at=datetime.now(UTC),
    )


def request_hash(method: str, path: str, body: bytes) -> bytes:
    """What makes two requests the same: method, path, and the JSON of the body whatever its spacing and order."""
    # No body, or one that the route does not read, or deeper than can be written again: then its bytes count.
    with suppress(orjson.JSONDecodeError, orjson.JSONEncodeError):
        body = orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(b"\n".join((method.encode(), path.encode(), body))).digest()


async def _accept(gateway: Gateway, wanted: Operation, command: Command, request_id: UUID) -> Operation:
    """Store the operation and its command, or find the one that the same key and request made before."""
    operation = await gateway.acceptance.accept(wanted, _command_row(gateway, wanted, command, request_id))
    if operation.request_hash != wanted.request_hash or operation.operators_only != wanted.operators_only:
        detail = "This Idempotency-Key was used for another request; take a new key for a new request."
        raise Problem(422, "idempotency_key_reused", detail)
    return operation


def _command_row(gateway: Gateway, operation: Operation, command: Command, request_id: UUID) -> outbox.Row:
    send = Send(command, id=operation.id, reply_to=GATEWAY_REPLIES)
    cause = Meta(request_id, operation.accepted_at, operation.tenant_id, operation.actor, operation.id)
    return gateway.sender.command(send, cause)


async def _awaited(gateway: Gateway, operation: Operation, replied: asyncio.Future[Reply], ok: int) -> Answer:
    for pause in _PAUSES_S:
        await asyncio.wait({replied}, timeout=pause)
        with suppress(DatabaseAway):  # the command is accepted, so an outage from here on is no error of the request
            outcome = await _outcome(gateway, operation, replied)
            if outcome is not None:
                return await _kept(gateway, operation, outcome, ok)
    return 202, orjson.dumps({"operation": describe(operation, None)}, option=orjson.OPT_UTC_Z)


async def _outcome(gateway: Gateway, operation: Operation, replied: asyncio.Future[Reply]) -> Recorded | None:
    """What the reply says; where none was heard, what the service has written down."""
    if not replied.done():
        return await gateway.views.find_outcome(operation.service, operation.id)
    reply = replied.result()
    return Recorded(reply.status, reply.result, reply.code, reply.detail)


async def _kept(gateway: Gateway, operation: Operation, outcome: Recorded, ok: int) -> Answer:
    """The answer. Where a key may ask for it again it is kept, because it is to stay the same for good."""
    answer = answer_to(outcome, operation.id, ok)
    if operation.idempotency_key is None or not is_final(outcome):
        return answer
    try:
        return await gateway.acceptance.keep(operation.id, answer)
    except DatabaseAway:  # the service has its outcome still, and the next who asks gets the same from that
        return answer


def describe(operation: Operation, outcome: Recorded | None) -> dict[str, Any]:
    """An operation as its callers see it. What there is not is left out."""
    members = {
        "id": str(operation.id),
        "status": outcome.status if outcome else "pending",
        "command": operation.command_type,
        "accepted_at": operation.accepted_at,
        "result": outcome and outcome.result,
        "error": outcome and outcome.code,
        "detail": outcome and outcome.detail,
    }
    return {name: value for name, value in members.items() if value is not None}


async def find(gateway: Gateway, identity: Identity, id: UUID) -> dict[str, Any] | None:
    """An operation with what came of it; None where there is none that the caller may know of."""
    async with gateway.database.connection() as conn:
        operation = (await store.list_operations(conn, [id])).get(id)
    if operation is None or not _visible(operation, identity):
        return None
    return describe(operation, await gateway.views.find_outcome(operation.service, operation.id))


def _visible(operation: Operation, identity: Identity) -> bool:
    return identity.operator or (operation.tenant_id == identity.tenant_id and not operation.operators_only)


async def forget_old(conn: Connection, now: datetime) -> Outcome | None:
    """Forget operations that nobody can ask for by a key."""
    gone = await store.delete_forgettable(conn, now - FORGOTTEN_AFTER, limit=5000)
    return Outcome() if gone else None
