"""Resources at the provider, and syncs of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, ConfigDict, Field

from contracts.inventory import LinkResource, Parent, Resource, SyncInventory, UnlinkResource
from contracts.kinds import ResourceKind
from services.gateway.documentation import ALWAYS, INVALID, NOT_FOUND, PROVIDER, answer
from services.gateway.gateway import ApiRequest
from services.gateway.operations import submit
from services.gateway.paging import LIMIT, after
from services.gateway.problems import not_found
from services.gateway.routes.operations import write
from services.gateway.routes.vocabulary import (
    OPERATORS,
    STORABLE,
    Cursor,
    Key,
    Limit,
    Name,
    Routes,
    Time,
    Word,
    json_answer,
)

_EVENTS = 1000

# Litestar keeps the name `state` to itself.
State = Annotated[
    str | None,
    QueryParameter(
        name="state",
        max_length=255,
        pattern=STORABLE,
        description="As the provider says; or `deleted`.",
        required=False,
    ),
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
    tenant_id: str | None = Field(
        description="The deployment's tenant when linked, else the project's, else a tag's (`tenant:<id>`), else the "
        "parent's."
    )
    deployment_id: UUID | None
    first_seen_at: datetime
    last_seen_at: datetime
    stale_strike_count: int = Field(description="Complete syncs in a row that did not see it; at three it is deleted.")
    deleted_at: datetime | None
    version: int
    parent: Parent | None = Field(
        description="What it was taken of, or the Kubernetes cluster that made it and with which it is attributed."
    )


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


class SyncRequest(BaseModel):
    kind: ResourceKind | None = Field(default=None, description="Default: all kinds, and the projects.")


class LinkRequest(BaseModel):
    deployment_id: UUID = Field(examples=["019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f14"])
    effective_from: Time | None = Field(default=None, description="Default: now. May lie in the past.")
    tenant_id: Name | None = Field(default=None, description="The deployment's tenant, where it is not known here yet.")


class UnlinkRequest(BaseModel):
    effective_from: Time | None = Field(default=None, description="Default: now. May lie in the past.")


class SyncAnswer(BaseModel):
    """What each walk found, by kind: seen, discovered, updated, restored, struck, deleted, held, complete."""

    model_config = ConfigDict(extra="allow")


class AttributedAnswer(BaseModel):
    resource: Resource


# Litestar leaves what is null out of examples, so these say what is rarely said: of a droplet linked, and gone.
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
    "deployment_id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f14",
    "first_seen_at": "2026-11-01T10:15:03Z",
    "last_seen_at": "2026-11-01T10:15:03Z",
    "stale_strike_count": 3,
    "deleted_at": "2026-11-02T12:15:04Z",
    "version": 3,
    "parent": {"kind": "kubernetes_cluster", "provider_id": "bd5f5959-5e1e-4205-a714-a914373942af"},
}
_EVENT = {
    "id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f13",
    "resource_id": _RESOURCE["id"],
    "event_type": "deleted",
    "changes": {},
    "reason": "missing from three complete walks",
    "actor": "scheduler",
    "tenant_id": "acme",
    "version": 3,
    "occurred_at": "2026-11-02T12:15:04Z",
}
_WALKED = {"droplet": {"seen": 5, "discovered": 1, "updated": 0, "struck": 0, "deleted": 0, "complete": True}}


@get(
    responses=ALWAYS
    | {
        200: answer(ResourceList, "A page.", {"resources": [_RESOURCE], "count": 1, "next": "AZqfPmoMfD6PXg1qWwyfEQ"}),
        422: INVALID,
    },
)
async def list_resources(
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

    What is gone from the provider is left out, unless `state` is `deleted`. `q`: part of the name, or provider's id.
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
    "/{resource_id:uuid}",
    responses=ALWAYS
    | {200: answer(ResourceAnswer, "The resource.", {"resource": _RESOURCE, "events": [_EVENT]}), 404: NOT_FOUND},
)
async def get_resource(request: ApiRequest, resource_id: FromPath[UUID]) -> ASGIResponse:
    """Show a resource, also one that is gone, with what happened to it."""
    found = await request.gateway.views.find_resource(request.user, resource_id, events=_EVENTS)
    if found is None:
        raise not_found("resource", resource_id)
    return json_answer(found)


@post(
    "/sync",
    opt=OPERATORS,
    status_code=200,
    responses=write(answer(SyncAnswer, "The walks are done.", _WALKED)) | {502: PROVIDER},
)
async def sync_inventory(
    request: ApiRequest, data: JSONBody[SyncRequest | None] = None, key: Key = None
) -> ASGIResponse:
    """Mirror what is at the provider now. A long walk is answered with 202; the operation has the numbers when done."""
    return await submit(request, SyncInventory(kind=data.kind if data else None), key)


@post(
    "/{resource_id:uuid}/link",
    opt=OPERATORS,
    status_code=200,
    responses=write(answer(AttributedAnswer, "The resource now.")),
)
async def link_resource(
    request: ApiRequest, resource_id: FromPath[UUID], data: JSONBody[LinkRequest], key: Key = None
) -> ASGIResponse:
    """Attribute a resource to a deployment."""
    return await submit(request, LinkResource(resource_id=resource_id, **dict(data)), key)


@post(
    "/{resource_id:uuid}/unlink",
    opt=OPERATORS,
    status_code=200,
    responses=write(answer(AttributedAnswer, "The resource now.")),
)
async def unlink_resource(
    request: ApiRequest, resource_id: FromPath[UUID], data: JSONBody[UnlinkRequest | None] = None, key: Key = None
) -> ASGIResponse:
    """End a resource's attribution."""
    since = data.effective_from if data else None
    return await submit(request, UnlinkResource(resource_id=resource_id, effective_from=since), key)


router = Routes(
    "/inventory",
    route_handlers=[list_resources, get_resource, sync_inventory, link_resource, unlink_resource],
    tags=["inventory"],
)
