"""Resources at the provider, and syncs of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, ConfigDict, Field

from contracts.inventory import DecideHeldSync, LinkResource, Resource, SyncInventory, UnlinkResource
from contracts.kinds import ResourceKind
from services.gateway.documentation import ALWAYS, FORBIDDEN, INVALID, NOT_FOUND, PROVIDER, WRITES, answer
from services.gateway.gateway import ApiRequest
from services.gateway.operations import submit
from services.gateway.paging import LIMIT, after
from services.gateway.problems import not_found
from services.gateway.routes.operations import ACCEPTED
from services.gateway.routes.vocabulary import Cursor, Key, Limit, Name, Time, Word, json_answer

_EVENTS = 1000
OPERATORS = {"operators_only": True}


# Litestar keeps the name `state` to itself.
State = Annotated[
    str | None,
    QueryParameter(name="state", max_length=255, description="As the provider says; or `deleted`.", required=False),
]


class ResourceView(BaseModel):
    """A resource at the provider, as last seen."""

    id: UUID
    kind: ResourceKind
    provider: str
    provider_id: str
    name: str
    region: str | None
    state: str | None
    size_slug: str | None
    tags: list[str]
    attrs: dict[str, Any] = Field(description="What is special to the kind.")
    project_id: UUID | None
    tenant_id: str | None = Field(description="The deployment's tenant when linked, else the project's.")
    deployment_id: UUID | None
    first_seen_at: datetime
    last_seen_at: datetime
    stale_strike_count: int = Field(description="Complete syncs in a row that did not see it; at three it is deleted.")
    deleted_at: datetime | None
    version: int


class ResourceEventView(BaseModel):
    """Something that happened to a resource."""

    id: UUID
    resource_id: UUID
    event_type: str
    changes: dict[str, Any]
    reason: str | None
    actor: str | None
    tenant_id: str | None
    version: int
    occurred_at: datetime


class ResourceList(BaseModel):
    resources: list[ResourceView]
    count: int
    next: str | None


class ResourceAnswer(BaseModel):
    resource: ResourceView
    events: list[ResourceEventView] = Field(description=f"The {_EVENTS} newest, newest first.")


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


class SyncRequest(BaseModel):
    kind: ResourceKind | None = Field(default=None, description="Default: all kinds, and the projects.")


class LinkRequest(BaseModel):
    deployment_id: UUID
    effective_from: Time | None = Field(default=None, description="Default: now. May lie in the past.")
    tenant_id: Name | None = Field(default=None, description="The deployment's tenant, where it is not known here yet.")


class UnlinkRequest(BaseModel):
    effective_from: Time | None = Field(default=None, description="Default: now. May lie in the past.")


class SyncAnswer(BaseModel):
    """What each walk found, by kind: seen, discovered, updated, restored, struck, deleted, held, complete."""

    model_config = ConfigDict(extra="allow")


class AttributedAnswer(BaseModel):
    resource: Resource


class DecidedSync(BaseModel):
    id: UUID
    kind: str
    missing: int
    status: Literal["approved", "rejected"]


class DecidedAnswer(BaseModel):
    held_sync: DecidedSync
    struck: int
    deleted: int


_RESOURCE = {
    "id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f11",
    "kind": "droplet",
    "provider": "digitalocean",
    "provider_id": "3164444",
    "name": "web-1",
    "region": "syd1",
    "state": "active",
    "size_slug": "s-1vcpu-2gb",
    "tags": ["web"],
    "attrs": {"memory_mb": 2048, "vcpus": 1},
    "project_id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f12",
    "tenant_id": "acme",
    "deployment_id": None,
    "first_seen_at": "2026-11-01T10:15:03Z",
    "last_seen_at": "2026-11-01T10:15:03Z",
    "stale_strike_count": 0,
    "deleted_at": None,
    "version": 1,
}
_EVENT = {
    "id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f13",
    "resource_id": _RESOURCE["id"],
    "event_type": "discovered",
    "changes": {},
    "reason": None,
    "actor": "scheduler",
    "tenant_id": "acme",
    "version": 1,
    "occurred_at": "2026-11-01T10:15:03Z",
}
_LIST_ANSWER = answer(ResourceList, "A page.", {"resources": [_RESOURCE], "count": 1, "next": None})
_ANSWER = answer(ResourceAnswer, "The resource.", {"resource": _RESOURCE, "events": [_EVENT]})
_SYNC = WRITES | {200: answer(SyncAnswer, "The walks are done."), 202: ACCEPTED, 502: PROVIDER}
_ATTRIBUTE = WRITES | {200: answer(AttributedAnswer, "The resource as it is now."), 202: ACCEPTED}
_DECIDE = WRITES | {200: answer(DecidedAnswer, "What came of it."), 202: ACCEPTED}


@get("/inventory", tags=["inventory"], operation_id="resources", responses=ALWAYS | {200: _LIST_ANSWER, 422: INVALID})
async def resources(
    *,
    request: ApiRequest,
    kind: FromQuery[ResourceKind | None] = None,
    region: Word = None,
    resource_state: State = None,
    deployment: FromQuery[UUID | None] = None,
    tag: Word = None,
    q: Word = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> ASGIResponse:
    """List resources: an operator's are all, a tenant's its own.

    What is gone from the provider is left out, unless `state` is `deleted`. `q`: part of the name or provider's id.
    """
    page = await request.gateway.views.resources(
        request.user,
        kind=kind,
        region=region,
        state=resource_state,
        deployment=deployment,
        tag=tag,
        q=q,
        after=after(cursor),
        limit=limit,
    )
    return json_answer(page)


@get(
    "/inventory/{resource_id:uuid}",
    tags=["inventory"],
    operation_id="resource",
    responses=ALWAYS | {200: _ANSWER, 404: NOT_FOUND},
)
async def resource(request: ApiRequest, resource_id: FromPath[UUID]) -> ASGIResponse:
    """Show a resource, also one that is gone, with what happened to it."""
    found = await request.gateway.views.find_resource(request.user, resource_id, events=_EVENTS)
    if found is None:
        raise not_found("resource", resource_id)
    return json_answer(found)


@post("/inventory/sync", tags=["inventory"], operation_id="sync", responses=_SYNC, opt=OPERATORS)
async def sync(request: ApiRequest, data: JSONBody[SyncRequest | None] = None, key: Key = None) -> ASGIResponse:
    """Mirror what is at the provider now. A long walk is answered with 202; the operation has the numbers when done."""
    return await submit(request, SyncInventory(kind=data.kind if data else None), key)


@post(
    "/inventory/{resource_id:uuid}/link", tags=["inventory"], operation_id="link", responses=_ATTRIBUTE, opt=OPERATORS
)
async def link(
    request: ApiRequest, resource_id: FromPath[UUID], data: JSONBody[LinkRequest], key: Key = None
) -> ASGIResponse:
    """Attribute a resource to a deployment."""
    return await submit(request, LinkResource(resource_id=resource_id, **dict(data)), key)


@post(
    "/inventory/{resource_id:uuid}/unlink",
    tags=["inventory"],
    operation_id="unlink",
    responses=_ATTRIBUTE,
    opt=OPERATORS,
)
async def unlink(
    request: ApiRequest, resource_id: FromPath[UUID], data: JSONBody[UnlinkRequest | None] = None, key: Key = None
) -> ASGIResponse:
    """End a resource's attribution."""
    since = data.effective_from if data else None
    return await submit(request, UnlinkResource(resource_id=resource_id, effective_from=since), key)


@get(
    "/inventory/held-syncs",
    tags=["inventory"],
    operation_id="held_syncs",
    responses=ALWAYS | {200: answer(HeldSyncList, "A page."), 403: FORBIDDEN, 422: INVALID},
    opt=OPERATORS,
)
async def held_syncs(
    request: ApiRequest,
    status: FromQuery[Literal["open", "approved", "rejected", "superseded"] | None] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> ASGIResponse:
    """List the syncs that were held because an implausible share of a kind had vanished."""
    views = request.gateway.views
    return json_answer(await views.held_syncs(status=status, after=after(cursor), limit=limit))


@post(
    "/inventory/held-syncs/{held_sync_id:uuid}/approve",
    tags=["inventory"],
    operation_id="approve_held_sync",
    responses=_DECIDE,
    opt=OPERATORS,
)
async def approve(request: ApiRequest, held_sync_id: FromPath[UUID], key: Key = None) -> ASGIResponse:
    """Let the missing resources of a held sync be struck."""
    return await submit(request, DecideHeldSync(held_sync_id=held_sync_id, approve=True), key)


@post(
    "/inventory/held-syncs/{held_sync_id:uuid}/reject",
    tags=["inventory"],
    operation_id="reject_held_sync",
    responses=_DECIDE,
    opt=OPERATORS,
)
async def reject(request: ApiRequest, held_sync_id: FromPath[UUID], key: Key = None) -> ASGIResponse:
    """Hold the sync to be mistaken: nothing is struck by it."""
    return await submit(request, DecideHeldSync(held_sync_id=held_sync_id, approve=False), key)


ROUTES = [resources, resource, sync, link, unlink, held_syncs, approve, reject]
