"""Sagas: what takes many steps, how far it is, and what an operator can do about it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import orjson
from litestar import get, post
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.response import Stream
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, Field

from contracts.sagas import (
    UNFINISHED,
    CancelSaga,
    RetrySaga,
    SagaKind,
    SagaStatus,
    SagaSummary,
    StartSaga,
    WriteOffSaga,
)
from services.gateway import deployment_store, saga_store
from services.gateway.documentation import ALWAYS, INVALID, NOT_FOUND, answer
from services.gateway.gateway import ApiRequest
from services.gateway.operations import submit
from services.gateway.paging import LIMIT, after
from services.gateway.problems import Invalid, invalid, not_found
from services.gateway.routes.operations import EXAMPLE, OperationAnswer, write
from services.gateway.routes.vocabulary import OPERATORS, Cursor, Key, Limit, Name, Routes, Word, json_answer
from shared.ids import uuid7

_LOOK_S = 0.3
_ALIVE_S = 15.0
_UNFINISHED = {str(status) for status in UNFINISHED}


class SagaList(BaseModel):
    sagas: list[SagaSummary]
    count: int
    next: str | None = None


class SagaAnswer(BaseModel):
    saga: SagaSummary


class SagaShown(BaseModel):
    saga: SagaSummary
    plan: list[str] = Field(description="All its steps by name, those too that have not begun.")
    inputs: dict[str, Any] = Field(description="What it was begun with.")
    context: dict[str, Any] = Field(description="What its steps have found out.")
    deployment_id: UUID | None = None
    tenant_id: str | None
    actor: str | None = Field(description="In whose name it acts.")
    cancel_requested: bool
    created_at: datetime
    finished_at: datetime | None = None
    version: int = Field(description="Grows with every change.")


class StreamedEvent(BaseModel):
    """A server-sent event. `saga`: `data` is what `GET /sagas/{id}` gives; `end`: there is nothing more to come."""

    event: Literal["saga", "end"]
    data: str = Field(description="JSON.")
    id: str | None = Field(default=None, description="The run's version.")


class StartRequest(BaseModel):
    kind: SagaKind = Field(examples=["exercise"])
    inputs: dict[str, Any] = Field(default_factory=dict, examples=[{"steps": ["echo", "echo"], "say": "hello"}])
    deployment_id: UUID | None = Field(default=None, description="Which it is about. Default: as the inputs say.")
    tenant_id: Name | None = Field(default=None, description="Whose run it is. Default: its deployment's tenant's.")


SAGA = {
    "id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f18",
    "kind": "exercise",
    "status": "rolled_back",
    "current_step": 0,
    "error": {"compensate_from_idx": 0, "reason": "step_failed:fail"},
    "steps": [
        {
            "index": 0,
            "name": "echo",
            "status": "compensated",
            "attempts": 1,
            "started_at": "2026-11-01T10:15:03Z",
            "finished_at": "2026-11-01T10:15:04Z",
            "error": None,
        },
        {
            "index": 1,
            "name": "fail",
            "status": "failed",
            "attempts": 1,
            "started_at": "2026-11-01T10:15:04Z",
            "finished_at": "2026-11-01T10:15:04Z",
            "error": {"code": "asked_to_fail", "detail": None},
        },
    ],
}
_PAGE = {"sagas": [SAGA], "count": 1, "next": None}
_SHOWN = {
    "saga": SAGA,
    "plan": ["echo", "fail", "echo"],
    "inputs": {"steps": ["echo", "fail", "echo"], "say": "hello"},
    "context": {"echoed_at_step_0": "hello"},
    "deployment_id": None,
    "tenant_id": "platform",
    "actor": "ops@platform.example",
    "cancel_requested": False,
    "created_at": "2026-11-01T10:15:03Z",
    "finished_at": "2026-11-01T10:15:05Z",
    "version": 4,
}
_BEGUN = answer(
    SagaAnswer | OperationAnswer,
    "Begun; or accepted: see the operation named in `Location`.",
    {"saga": SAGA | {"status": "running", "current_step": 0, "error": None, "steps": []}},
    EXAMPLE,
)
_STREAM = ResponseSpec(
    data_container=StreamedEvent,
    generate_examples=False,
    media_type="text/event-stream",
    description="Server-sent events: `saga`, with the run as `GET /sagas/{id}` shows it, now and after each change; "
    "`end`, once it has ended.",
)


def begins(*codes: str) -> dict[int, ResponseSpec]:
    """What a route that begins a saga may answer."""
    return write(_BEGUN, "deployment_busy", *codes) | {202: _BEGUN}


@get(responses=ALWAYS | {200: answer(SagaList, "A page, the newest first.", _PAGE), 422: INVALID})
async def list_sagas(
    request: ApiRequest,
    *,
    status: FromQuery[SagaStatus | None] = None,
    kind: Word = None,
    deployment: FromQuery[UUID | None] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> ASGIResponse:
    """List sagas: an operator's are all, a tenant's those of its own deployments."""
    page = await saga_store.list_sagas(
        request.gateway.views,
        request.user,
        status=status,
        kind=kind,
        deployment=deployment,
        before=after(cursor),
        limit=limit,
    )
    return json_answer(page)


@post(opt=OPERATORS, status_code=202, responses=begins("unknown_saga_kind", "invalid_inputs"))
async def start_saga(request: ApiRequest, data: JSONBody[StartRequest], key: Key = None) -> ASGIResponse:
    """Begin a saga. Operators only."""
    deployment_id = _deployment_of(data)
    command = StartSaga(
        saga_id=uuid7(),
        kind=data.kind,
        inputs=data.inputs,
        deployment_id=deployment_id,
        tenant_id=data.tenant_id or await _owner(request, deployment_id),
    )
    return await submit(request, command, key, ok=202)


def _deployment_of(data: StartRequest) -> UUID | None:
    """Which deployment a run is about: as it is said, or as the flow's inputs name it. Raises `Problem`."""
    named = data.inputs.get("deployment_id")
    try:
        named = UUID(named) if isinstance(named, str) else None
    except ValueError:  # for the service to refuse, with the name of the flow
        named = None
    if None not in {named, data.deployment_id} and named != data.deployment_id:
        raise invalid(Invalid("body", "deployment_id", "is another than that of the inputs"))
    return data.deployment_id or named


async def _owner(request: ApiRequest, deployment_id: UUID | None) -> str | None:
    """Whose deployment that is, so that its tenant sees the run. Raises `Problem` where there is none."""
    if deployment_id is None:
        return None
    owner = await deployment_store.find_owner(request.gateway.views, deployment_id)
    if owner is None:
        raise not_found("deployment", deployment_id)
    return owner


@get("/{saga_id:uuid}", responses=ALWAYS | {200: answer(SagaShown, "The saga.", _SHOWN), 404: NOT_FOUND})
async def get_saga(request: ApiRequest, saga_id: FromPath[UUID]) -> ASGIResponse:
    """Show a saga: how far it is, what it was begun with, and what it has found out."""
    return json_answer(await _found(request, saga_id))


async def _found(request: ApiRequest, saga_id: UUID) -> str:
    found = await saga_store.find_saga(request.gateway.views, request.user, saga_id)
    if found is None:
        raise not_found("saga", saga_id)
    return found


@get("/{saga_id:uuid}/events", responses=ALWAYS | {200: _STREAM, 404: NOT_FOUND})
async def follow_saga(request: ApiRequest, saga_id: FromPath[UUID]) -> Stream:
    """Follow a saga's progress as server-sent events, until it has ended, or the caller's token is over."""
    first = await _found(request, saga_id)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return Stream(_events(request, saga_id, first), media_type="text/event-stream", headers=headers)


async def _events(request: ApiRequest, saga_id: UUID, shown: str) -> AsyncIterator[bytes]:
    """The run now, and again whenever it is another. (A look costs one row; whoever reconnects begins with now.)"""
    told, silent = None, 0.0
    while time.time() < request.user.expires_at:
        run = orjson.loads(shown)
        if run["version"] != told:
            told, silent = run["version"], 0.0
            yield b"id: %d\nevent: saga\ndata: %s\n\n" % (told, orjson.dumps(run))
        if run["saga"]["status"] not in _UNFINISHED:
            yield b"event: end\ndata: {}\n\n"
            return
        await asyncio.sleep(_LOOK_S)
        silent += _LOOK_S
        if silent > _ALIVE_S:
            silent = 0.0
            yield b": nothing new\n\n"
        shown = await _found(request, saga_id)


@post(
    "/{saga_id:uuid}/cancel",
    opt=OPERATORS,
    status_code=200,
    responses=write(
        answer(SagaAnswer, "It is undone after the step under way, unless that is its last.", {"saga": SAGA}),
        "not_cancellable",
    ),
)
async def cancel_saga(request: ApiRequest, saga_id: FromPath[UUID], key: Key = None) -> ASGIResponse:
    """Stop a saga after the step under way, and undo it. Operators only."""
    return await submit(request, CancelSaga(saga_id=saga_id), key)


@post(
    "/{saga_id:uuid}/retry",
    opt=OPERATORS,
    status_code=200,
    responses=write(answer(SagaAnswer, "It goes on.", {"saga": SAGA}), "not_retryable", "deployment_busy"),
)
async def retry_saga(request: ApiRequest, saga_id: FromPath[UUID], key: Key = None) -> ASGIResponse:
    """Let a failed saga go on: with what could not be undone, or past the point of no return. Operators only."""
    return await submit(request, RetrySaga(saga_id=saga_id), key)


class WriteOffRequest(BaseModel):
    reason: str = Field(min_length=1, max_length=1000, pattern=r"^[^\x00]*$", description="What was done instead.")


@post(
    "/{saga_id:uuid}/write-off",
    opt=OPERATORS,
    status_code=200,
    responses=write(answer(SagaAnswer, "Nobody waits for it any more.", {"saga": SAGA}), "not_failed"),
)
async def write_off_saga(
    request: ApiRequest, saga_id: FromPath[UUID], data: JSONBody[WriteOffRequest], key: Key = None
) -> ASGIResponse:
    """Give a failed saga up whose rest was seen to by hand; its deployment is let go as it is. Operators only."""
    return await submit(request, WriteOffSaga(saga_id=saga_id, reason=data.reason), key)


router = Routes(
    "/sagas",
    route_handlers=[list_sagas, start_saga, get_saga, follow_saga, cancel_saga, retry_saga, write_off_saga],
    tags=["sagas"],
)
