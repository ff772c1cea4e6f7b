"""What resources are to be, how drift in a field is taken, and what is nobody's. Operators only."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from litestar import delete, get, put
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, Field

from contracts.drift import (
    FieldName,
    RecordSpec,
    RemoveRule,
    ResourceSpec,
    RetireSpec,
    SetRule,
    Severity,
    Spec,
)
from contracts.kinds import ResourceKind
from services.gateway import drift_store
from services.gateway.documentation import ALWAYS, FORBIDDEN, INVALID, NOT_FOUND, answer
from services.gateway.gateway import ApiRequest
from services.gateway.operations import submit
from services.gateway.paging import LIMIT, after
from services.gateway.problems import not_found
from services.gateway.routes.operations import write
from services.gateway.routes.vocabulary import OPERATORS, STORABLE, Cursor, Key, Limit, Routes, json_answer


class SpecView(ResourceSpec):
    kind: ResourceKind | None = Field(description="Null, as the next five, while the resource is not known.")
    provider_id: str | None
    name: str | None
    deployment_id: UUID | None
    tenant_id: str | None


class SpecList(BaseModel):
    specs: list[SpecView]
    count: int
    next: str | None = None


class SpecShown(BaseModel):
    spec: SpecView


class SpecAnswer(BaseModel):
    spec: ResourceSpec


class SpecRequest(BaseModel):
    spec: Spec


class Rule(BaseModel):
    kind: ResourceKind | None = Field(description="Null: of all kinds for which there is no rule of their own.")
    field: str
    severity: Severity
    ignore: bool = Field(description="Whether drift in the field does not count at all.")
    reason: str | None
    actor: str | None = Field(description="Who set it; null where it came with the system.")
    set_at: datetime


class RuleList(BaseModel):
    rules: list[Rule]
    count: int


class RuleAnswer(BaseModel):
    rule: Rule


class RuleRequest(BaseModel):
    kind: ResourceKind | None = Field(default=None, description="Default: all kinds that have no rule of their own.")
    severity: Severity
    ignore: bool = False
    reason: str | None = Field(default=None, max_length=1000, pattern=STORABLE)


class Removed(BaseModel):
    removed: bool


class Unmanaged(BaseModel):
    id: UUID
    kind: ResourceKind
    provider_id: str
    name: str
    tenant_id: str | None = Field(description="Whose project it is in, where that is known.")
    size_slug: str | None
    region: str | None
    first_seen_at: datetime
    monthly_usd_cents: int | None = Field(description="What it costs a month, in US cents; null: unknown.")


class UnmanagedList(BaseModel):
    unmanaged: list[Unmanaged]
    count: int
    next: str | None = None
    monthly_usd_cents: int = Field(description="What all of it costs a month, also on other pages.")
    unpriced: int = Field(description="For so many the price is unknown: what they cost comes on top.")


_RECORDED: dict[str, Any] = {
    "resource_id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f02",
    "spec": {"size_slug": "s-1vcpu-1gb", "region": "syd1", "tags": ["tenant:acme"], "state": "active"},
    "spec_version": 3,
    "saga_id": None,
    "actor": "ops@platform.example",
    "recorded_at": "2026-11-27T10:00:00Z",
    "retired_at": None,
}
SPEC = _RECORDED | {
    "kind": "droplet",
    "provider_id": "536572909",
    "name": "shop.acme",
    "deployment_id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f10",
    "tenant_id": "acme",
}
_RULE = {
    "kind": "droplet",
    "field": "name",
    "severity": "low",
    "ignore": True,
    "reason": "The blue team renames them by the day.",
    "actor": "ops@platform.example",
    "set_at": "2026-11-27T10:00:00Z",
}
_UNMANAGED = {
    "id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f80",
    "kind": "droplet",
    "provider_id": "536572910",
    "name": "somebodys-experiment",
    "tenant_id": None,
    "size_slug": "s-2vcpu-2gb",
    "region": "syd1",
    "first_seen_at": "2026-11-01T10:15:03Z",
    "monthly_usd_cents": 1800,
}
_UNMANAGED_PAGE = {"unmanaged": [_UNMANAGED], "count": 1, "next": None, "monthly_usd_cents": 1800, "unpriced": 0}


@get(
    "/specs",
    opt=OPERATORS,
    responses=ALWAYS
    | {
        200: answer(SpecList, "A page.", {"specs": [SPEC], "count": 1, "next": None}),
        403: FORBIDDEN,
        422: INVALID,
    },
)
async def list_specs(request: ApiRequest, limit: Limit = LIMIT, cursor: Cursor = None) -> ASGIResponse:
    """List what resources are to be: of those of which anything is asked."""
    return json_answer(await drift_store.list_specs(request.gateway.views, after=after(cursor), limit=limit))


@get(
    "/specs/{resource_id:uuid}",
    opt=OPERATORS,
    responses=ALWAYS | {200: answer(SpecShown, "The spec.", {"spec": SPEC}), 403: FORBIDDEN, 404: NOT_FOUND},
)
async def get_spec(request: ApiRequest, resource_id: FromPath[UUID]) -> ASGIResponse:
    """Show what a resource is to be, or was to be until nothing was asked of it any more."""
    found = await drift_store.find_spec(request.gateway.views, resource_id)
    if found is None:
        raise not_found("spec", resource_id)
    return json_answer(found)


@put(
    "/specs/{resource_id:uuid}",
    opt=OPERATORS,
    status_code=200,
    responses=write(answer(SpecAnswer, "It is to be so.", {"spec": _RECORDED})),
)
async def record_spec(
    request: ApiRequest, resource_id: FromPath[UUID], data: JSONBody[SpecRequest], key: Key = None
) -> ASGIResponse:
    """Say what a resource is to be that was made by hand, or that sagas have made otherwise. It is compared at once."""
    return await submit(request, RecordSpec(resource_id=resource_id, spec=data.spec), key)


@delete(
    "/specs/{resource_id:uuid}",
    opt=OPERATORS,
    status_code=200,
    responses=write(answer(SpecAnswer, "Nothing is asked.", {"spec": _RECORDED}), "no_spec"),
)
async def retire_spec(request: ApiRequest, resource_id: FromPath[UUID], key: Key = None) -> ASGIResponse:
    """Ask nothing of a resource any more; its drifts are over."""
    return await submit(request, RetireSpec(resource_id=resource_id), key)


@get(
    "/rules",
    opt=OPERATORS,
    responses=ALWAYS | {200: answer(RuleList, "All of them.", {"rules": [_RULE], "count": 1}), 403: FORBIDDEN},
)
async def list_rules(request: ApiRequest) -> ASGIResponse:
    """List how drift in each field is taken. Where nothing is said of one, it matters `medium`."""
    return json_answer(await drift_store.list_rules(request.gateway.views))


@put(
    "/rules/{field:str}",
    opt=OPERATORS,
    status_code=200,
    responses=write(answer(RuleAnswer, "It is so from now on.", {"rule": _RULE})),
)
async def set_rule(
    request: ApiRequest, field: FromPath[FieldName], data: JSONBody[RuleRequest], key: Key = None
) -> ASGIResponse:
    """Say how much drift in a field matters, or that it does not count: what is open of it is over then."""
    return await submit(request, SetRule(field=field, **dict(data)), key)


@delete(
    "/rules/{field:str}",
    opt=OPERATORS,
    status_code=200,
    responses=write(answer(Removed, "It is no more.", {"removed": True})),
)
async def remove_rule(
    request: ApiRequest, field: FromPath[FieldName], kind: FromQuery[ResourceKind | None] = None, key: Key = None
) -> ASGIResponse:
    """Take a rule back: that of a kind, or the one for all kinds."""
    return await submit(request, RemoveRule(kind=kind, field=field), key)


@get(
    "/unmanaged",
    opt=OPERATORS,
    responses=ALWAYS | {200: answer(UnmanagedList, "A page.", _UNMANAGED_PAGE), 403: FORBIDDEN, 422: INVALID},
)
async def list_unmanaged(
    request: ApiRequest,
    *,
    kind: FromQuery[ResourceKind | None] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> ASGIResponse:
    """List what exists at the provider and is nobody's: linked to no deployment, and nothing is asked of it."""
    page = await drift_store.list_unmanaged(request.gateway.views, kind=kind, after=after(cursor), limit=limit)
    return json_answer(page)


router = Routes(
    "/drift",
    route_handlers=[
        list_specs,
        get_spec,
        record_spec,
        retire_spec,
        list_rules,
        set_rule,
        remove_rule,
        list_unmanaged,
    ],
    tags=["drift"],
)
