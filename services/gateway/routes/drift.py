"""Where what is differs from what was asked for, and what an operator decides about it. Operators only."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, Field

from contracts.drift import (
    AcceptDrift,
    AcceptSurge,
    DetectDrift,
    Drift,
    DriftStatus,
    RevertDrift,
    Severity,
    SnoozeDrift,
    Surge,
    Version,
)
from contracts.kinds import ResourceKind
from services.gateway import drift_store
from services.gateway.documentation import ALWAYS, FORBIDDEN, INVALID, NOT_FOUND, answer
from services.gateway.drift_store import Wanted
from services.gateway.gateway import ApiRequest
from services.gateway.operations import submit
from services.gateway.paging import LIMIT, after
from services.gateway.problems import not_found
from services.gateway.routes.drift_specs import SPEC, SpecView
from services.gateway.routes.operations import EXAMPLE, OperationAnswer, write
from services.gateway.routes.vocabulary import OPERATORS, Cursor, Key, Limit, Routes, Time, Word, json_answer


class SurgeView(Surge):
    open: int = Field(description="How many of its drifts are open now.")


class DriftList(BaseModel):
    drift: list[Drift]
    count: int
    next: str | None = None
    surges: list[SurgeView] = Field(description="Very many drifts alike, each of these one thing to look at.")


class DriftHappening(BaseModel):
    what: str = Field(
        description="detected, value (what is has changed), snoozed, woken, reverting, reopened, accepted, reverted, "
        "stale."
    )
    detail: dict[str, Any] | None
    actor: str | None
    at: datetime


class DriftShown(BaseModel):
    drift: Drift
    events: list[DriftHappening] = Field(description="What happened to it, in order.")
    spec: SpecView = Field(description="What the resource is to be now.")


class DriftAnswer(BaseModel):
    drift: Drift


class SurgeList(BaseModel):
    surges: list[SurgeView]
    count: int
    next: str | None = None


class DecideRequest(BaseModel):
    version: Version | None = Field(
        default=None, description="The drift's, as it was seen: where it is another now, nothing is done."
    )


class SnoozeRequest(BaseModel):
    until: Time | None = Field(description="When it is to be in the inbox again; null: now.")


class DetectRequest(BaseModel):
    resource_id: UUID | None = Field(default=None, description="Default: all.")


class DetectAnswer(BaseModel):
    specs: int = Field(description="So many were compared.")
    open: int = Field(description="So many drifts are open.")
    detected: int
    changed: int
    closed: int


class AcceptedAnswer(BaseModel):
    accepted: int


DRIFT = {
    "id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f61",
    "resource_id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f02",
    "kind": "droplet",
    "provider_id": "536572909",
    "name": "shop.acme",
    "deployment_id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f10",
    "tenant_id": "acme",
    "field": "size_slug",
    "desired": "s-1vcpu-1gb",
    "live": "s-2vcpu-2gb",
    "status": "open",
    "severity": "high",
    "monthly_delta_cents": 1200,
    "surge_id": None,
    "detected_at": "2026-11-27T10:15:03Z",
    "changed_at": "2026-11-27T10:15:03Z",
    "closed_at": None,
    "snoozed_until": None,
    "is_reverting": False,
    "revert_saga_id": None,
    "revert_error": None,
    "spec_version": 3,
    "version": 1,
}
_SURGE = {
    "id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f70",
    "kind": "droplet",
    "field": "region",
    "drifts": 50000,
    "specs": 100000,
    "example": {"resource_id": DRIFT["resource_id"], "name": "shop.acme", "desired": "syd1", "live": "syd2"},
    "began_at": "2026-11-27T10:15:03Z",
    "ended_at": None,
    "version": 2,
    "open": 49998,
}
_INBOX = {"drift": [DRIFT], "count": 1, "next": None, "surges": [_SURGE]}
_SHOWN = {
    "drift": DRIFT,
    "events": [{"what": "detected", "detail": None, "actor": None, "at": "2026-11-27T10:15:03Z"}],
    "spec": SPEC,
}
_DETECTED = {"specs": 120, "open": 3, "detected": 1, "changed": 0, "closed": 0}
_ACCEPTED = DRIFT | {"status": "accepted", "closed_at": "2026-11-27T10:20:00Z", "version": 2}
_BEGUN = answer(
    DriftAnswer | OperationAnswer,
    "A saga is to bring it back, named in `revert_saga_id`; or accepted: see the operation named in `Location`.",
    {"drift": DRIFT | {"is_reverting": True, "revert_saga_id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f18", "version": 2}},
    EXAMPLE,
)


@get(
    opt=OPERATORS,
    responses=ALWAYS | {200: answer(DriftList, "A page, the newest first.", _INBOX), 403: FORBIDDEN, 422: INVALID},
)
async def list_drift(
    request: ApiRequest,
    *,
    status: FromQuery[DriftStatus] = DriftStatus.OPEN,
    kind: FromQuery[ResourceKind | None] = None,
    field: Word = None,
    severity: FromQuery[Severity | None] = None,
    resource: FromQuery[UUID | None] = None,
    deployment: FromQuery[UUID | None] = None,
    surge: FromQuery[UUID | None] = None,
    snoozed: FromQuery[bool] = False,
    gathered: FromQuery[bool] = False,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> ASGIResponse:
    """List drifts: by default the inbox, those that are open, without what is snoozed (`snoozed`) and without the parts
    of surges (`gathered`), which are told of as such."""
    wanted = Wanted(status, kind, field, severity, resource, deployment, surge, snoozed, gathered)
    return json_answer(await drift_store.list_drift(request.gateway.views, wanted, before=after(cursor), limit=limit))


@get(
    "/{drift_id:uuid}",
    opt=OPERATORS,
    responses=ALWAYS | {200: answer(DriftShown, "The drift.", _SHOWN), 403: FORBIDDEN, 404: NOT_FOUND},
)
async def get_drift(request: ApiRequest, drift_id: FromPath[UUID]) -> ASGIResponse:
    """Show a drift, what happened to it, and what its resource is to be."""
    found = await drift_store.find_drift(request.gateway.views, drift_id)
    if found is None:
        raise not_found("drift", drift_id)
    return json_answer(found)


@post(
    "/{drift_id:uuid}/accept",
    opt=OPERATORS,
    status_code=200,
    responses=write(
        answer(DriftAnswer, "What is, is what is asked for.", {"drift": _ACCEPTED}),
        "not_open",
        "being_reverted",
        "drift_changed",
    ),
)
async def accept_drift(
    request: ApiRequest, drift_id: FromPath[UUID], data: JSONBody[DecideRequest | None] = None, key: Key = None
) -> ASGIResponse:
    """Accept a drift: the live value becomes what is asked for. Of what is gone, nothing is asked any more."""
    return await submit(request, AcceptDrift(drift_id=drift_id, version=data and data.version), key)


@post(
    "/{drift_id:uuid}/revert",
    opt=OPERATORS,
    status_code=202,
    responses=write(_BEGUN, "not_revertible", "not_open", "being_reverted", "drift_changed", "resource_busy")
    | {202: _BEGUN},
)
async def revert_drift(
    request: ApiRequest, drift_id: FromPath[UUID], data: JSONBody[DecideRequest | None] = None, key: Key = None
) -> ASGIResponse:
    """Revert a drift: a saga brings a droplet's size, name, tags or power back. Anything else is refused as such."""
    return await submit(request, RevertDrift(drift_id=drift_id, version=data and data.version), key, ok=202)


@post(
    "/{drift_id:uuid}/snooze",
    opt=OPERATORS,
    status_code=200,
    responses=write(
        answer(DriftAnswer, "It is so.", {"drift": DRIFT | {"snoozed_until": "2026-12-01T09:00:00Z", "version": 2}}),
        "not_open",
        "until_is_past",
    ),
)
async def snooze_drift(
    request: ApiRequest, drift_id: FromPath[UUID], data: JSONBody[SnoozeRequest], key: Key = None
) -> ASGIResponse:
    """Leave a drift out of the inbox until a time, or until the live value is another."""
    return await submit(request, SnoozeDrift(drift_id=drift_id, until=data.until), key)


@post(
    "/detect",
    opt=OPERATORS,
    status_code=200,
    responses=write(answer(DetectAnswer, "Compared.", _DETECTED), "no_spec"),
)
async def detect_drift(
    request: ApiRequest, data: JSONBody[DetectRequest | None] = None, key: Key = None
) -> ASGIResponse:
    """Compare what is with what was asked for, all of it or one resource, and wait for what comes of that."""
    return await submit(request, DetectDrift(resource_id=data and data.resource_id), key)


@get(
    "/surges",
    opt=OPERATORS,
    responses=ALWAYS
    | {
        200: answer(SurgeList, "A page, the newest first.", {"surges": [_SURGE], "count": 1, "next": None}),
        403: FORBIDDEN,
        422: INVALID,
    },
)
async def list_surges(
    request: ApiRequest, *, ended: FromQuery[bool] = False, limit: Limit = LIMIT, cursor: Cursor = None
) -> ASGIResponse:
    """List surges: very many drifts of one kind and field within an hour. `ended`: those too of which none is open."""
    page = await drift_store.list_surges(request.gateway.views, ended=ended, before=after(cursor), limit=limit)
    return json_answer(page)


@post(
    "/surges/{surge_id:uuid}/accept",
    opt=OPERATORS,
    status_code=200,
    responses=write(answer(AcceptedAnswer, "So many were accepted.", {"accepted": 49998})),
)
async def accept_surge(request: ApiRequest, surge_id: FromPath[UUID], key: Key = None) -> ASGIResponse:
    """Accept all drifts of a surge that are open and not being reverted."""
    return await submit(request, AcceptSurge(surge_id=surge_id), key)


router = Routes(
    "/drift",
    route_handlers=[
        list_drift,
        get_drift,
        accept_drift,
        revert_drift,
        snooze_drift,
        detect_drift,
        list_surges,
        accept_surge,
    ],
    tags=["drift"],
)
