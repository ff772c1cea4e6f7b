"""What a deployment runs on is changed by sagas: suspended, resumed, retired, resized."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
from litestar import post
from litestar.params import FromPath, JSONBody
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, Field

from contracts.deployments import Reason
from contracts.provider import SizeSlug
from contracts.sagas import StartSaga
from services.gateway import saga_store
from services.gateway.gateway import ApiRequest
from services.gateway.operations import submit
from services.gateway.problems import Invalid, invalid
from services.gateway.routes.deployments import authority_of, unseen
from services.gateway.routes.sagas import begins
from services.gateway.routes.vocabulary import OPERATORS, Key, Routes
from shared.ids import uuid7


class ChangeRequest(BaseModel):
    reason: Reason | None = None


class ResizeRequest(BaseModel):
    """`resource_id` may be left out where the deployment has one droplet."""

    size: SizeSlug
    disk: bool = Field(default=False, description="Grow the disk too. It never shrinks again.")
    resource_id: UUID | None = Field(default=None, description="Which of its droplets.")


async def _seen(request: ApiRequest, deployment_id: UUID) -> dict[str, Any]:
    """What a saga is to be told of a deployment. Raises `Problem`."""
    found = await saga_store.find_to_change(request.gateway.views, request.user, deployment_id)
    if found is None:
        raise await unseen(request, deployment_id)
    seen: dict[str, Any] = orjson.loads(found)
    return seen


async def _begin(
    request: ApiRequest, deployment_id: UUID, kind: str, inputs: dict[str, Any], *, tenant_id: str, key: str | None
) -> ASGIResponse:
    """Begin a saga about a deployment, by the caller's right."""
    inputs = {"deployment_id": str(deployment_id), "authority": authority_of(request.user), **inputs}
    command = StartSaga(saga_id=uuid7(), kind=kind, inputs=inputs, deployment_id=deployment_id, tenant_id=tenant_id)
    return await submit(request, command, key, ok=202)


@post("/{deployment_id:uuid}/suspend", status_code=202, responses=begins())
async def suspend_deployment(
    request: ApiRequest, deployment_id: FromPath[UUID], data: JSONBody[ChangeRequest | None] = None, key: Key = None
) -> ASGIResponse:
    """Switch a deployment's droplets off, and suspend it."""
    return await _switch(request, "suspend_deployment", deployment_id, data, key)


@post("/{deployment_id:uuid}/resume", status_code=202, responses=begins())
async def resume_deployment(
    request: ApiRequest, deployment_id: FromPath[UUID], data: JSONBody[ChangeRequest | None] = None, key: Key = None
) -> ASGIResponse:
    """Switch a deployment's droplets on, and make it active."""
    return await _switch(request, "resume_deployment", deployment_id, data, key)


async def _switch(
    request: ApiRequest, kind: str, deployment_id: UUID, data: ChangeRequest | None, key: str | None
) -> ASGIResponse:
    seen = await _seen(request, deployment_id)
    inputs = {"droplets": seen["droplets"], "reason": data and data.reason}
    return await _begin(request, deployment_id, kind, inputs, tenant_id=seen["tenant_id"], key=key)


@post("/{deployment_id:uuid}/offboard", status_code=202, responses=begins())
async def offboard_deployment(
    request: ApiRequest, deployment_id: FromPath[UUID], data: JSONBody[ChangeRequest | None] = None, key: Key = None
) -> ASGIResponse:
    """Destroy a deployment's droplets, remove its name, and cancel it."""
    seen = await _seen(request, deployment_id)
    inputs = seen | {"domain": request.gateway.settings.provision_domain, "reason": data and data.reason}
    return await _begin(request, deployment_id, "offboard_deployment", inputs, tenant_id=seen["tenant_id"], key=key)


@post("/{deployment_id:uuid}/resize", opt=OPERATORS, status_code=202, responses=begins())
async def resize_deployment(
    request: ApiRequest, deployment_id: FromPath[UUID], data: JSONBody[ResizeRequest], key: Key = None
) -> ASGIResponse:
    """Give one of a deployment's droplets another size. It is off meanwhile. Operators only."""
    seen = await _seen(request, deployment_id)
    chosen = [droplet for droplet in seen["droplets"] if data.resource_id in {None, UUID(droplet["resource_id"])}]
    if len(chosen) != 1:
        raise invalid(Invalid("body", "resource_id", f"must name one of its {len(seen['droplets'])} droplets"))
    inputs = {"droplet": chosen[0], "size": data.size, "disk": data.disk}
    return await _begin(request, deployment_id, "resize_droplet", inputs, tenant_id=seen["tenant_id"], key=key)


router = Routes(
    "/deployments",
    route_handlers=[suspend_deployment, resume_deployment, offboard_deployment, resize_deployment],
    tags=["deployments"],
)
