"""Syncs that were held because an implausible share of a kind had vanished. Operators only."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from litestar import get, post
from litestar.params import FromPath, FromQuery
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, Field

from contracts.inventory import DecideHeldSync
from services.gateway.documentation import ALWAYS, FORBIDDEN, INVALID, answer
from services.gateway.gateway import ApiRequest
from services.gateway.operations import submit
from services.gateway.paging import LIMIT, after
from services.gateway.routes.operations import write
from services.gateway.routes.vocabulary import OPERATORS, Cursor, Key, Limit, Routes, json_answer


class HeldSync(BaseModel):
    """A complete sync that missed an implausible share of its kind. Nobody is struck until an operator decides."""

    id: UUID
    kind: str
    known: int = Field(description="How many it should have seen.")
    missing: int
    resource_ids: list[UUID] = Field(description="Those that would be struck.")
    status: Literal["open", "approved", "rejected", "superseded"]
    held_at: datetime
    decided_at: datetime | None
    decided_by: str | None


class HeldSyncList(BaseModel):
    held_syncs: list[HeldSync]
    count: int
    next: str | None


class DecidedSync(BaseModel):
    id: UUID
    kind: str
    missing: int
    status: Literal["approved", "rejected"]


class DecidedAnswer(BaseModel):
    held_sync: DecidedSync
    struck: int
    deleted: int


_ID = "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f21"
_HELD = {
    "id": _ID,
    "kind": "droplet",
    "known": 40,
    "missing": 20,
    "resource_ids": ["019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f11"],
    "status": "approved",
    "held_at": "2026-11-01T10:15:09Z",
    "decided_at": "2026-11-01T10:40:21Z",
    "decided_by": "ops@platform.example",
}
_PAGE = {"held_syncs": [_HELD], "count": 1, "next": "AZqfPmoMfD6PXg1qWwyfIQ"}
_DECIDED = {
    "held_sync": {"id": _ID, "kind": "droplet", "missing": 20, "status": "approved"},
    "struck": 20,
    "deleted": 0,
}


@get(opt=OPERATORS, responses=ALWAYS | {200: answer(HeldSyncList, "A page.", _PAGE), 403: FORBIDDEN, 422: INVALID})
async def list_held_syncs(
    request: ApiRequest,
    status: FromQuery[Literal["open", "approved", "rejected", "superseded"] | None] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> ASGIResponse:
    """List held syncs, decided ones too unless `status` says otherwise."""
    views = request.gateway.views
    return json_answer(await views.held_syncs(status=status, after=after(cursor), limit=limit))


@post(
    "/{held_sync_id:uuid}/approve",
    opt=OPERATORS,
    status_code=200,
    responses=write(answer(DecidedAnswer, "Approved.", _DECIDED)),
)
async def approve_held_sync(request: ApiRequest, held_sync_id: FromPath[UUID], key: Key = None) -> ASGIResponse:
    """Let the missing resources be struck."""
    return await submit(request, DecideHeldSync(held_sync_id=held_sync_id, approve=True), key)


@post(
    "/{held_sync_id:uuid}/reject", opt=OPERATORS, status_code=200, responses=write(answer(DecidedAnswer, "Rejected."))
)
async def reject_held_sync(request: ApiRequest, held_sync_id: FromPath[UUID], key: Key = None) -> ASGIResponse:
    """Hold the sync to be mistaken: nothing is struck by it."""
    return await submit(request, DecideHeldSync(held_sync_id=held_sync_id, approve=False), key)


router = Routes(
    "/inventory/held-syncs",
    route_handlers=[list_held_syncs, approve_held_sync, reject_held_sync],
    tags=["inventory"],
)
