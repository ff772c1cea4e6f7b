"""Deployments: what a tenant runs. What is done to their subscriptions is in `subscriptions.py`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from litestar import get, patch, post
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, Field

from contracts.deployments import (
    Authority,
    CreateDeployment,
    DeploymentState,
    DeploymentSummary,
    DisplayName,
    Notes,
    Provisioning,
    Reason,
    Slug,
    TransitionDeployment,
    UpdateDeployment,
    Word,
)
from contracts.sagas import SagaSummary
from contracts.subscriptions import SubscriptionSummary
from services.gateway import deployment_store
from services.gateway.auth import Identity
from services.gateway.documentation import ALWAYS, FORBIDDEN, INVALID, NOT_FOUND, answer, problem
from services.gateway.gateway import ApiRequest
from services.gateway.operations import submit
from services.gateway.paging import LIMIT, after
from services.gateway.problems import Invalid, Problem, forbidden, invalid, not_found
from services.gateway.routes.operations import EXAMPLE, OperationAnswer, write
from services.gateway.routes.vocabulary import Cursor, Key, Limit, Name, Routes, json_answer
from shared.config import Settings
from shared.ids import uuid7

_EVENTS = 1000

# Litestar keeps the name `state` to itself.
State = Annotated[DeploymentState | None, QueryParameter(name="state", required=False)]


class DeploymentEventView(BaseModel):
    """A deployment went from one state to another; its creation has no `from_state`."""

    from_state: DeploymentState | None
    to_state: DeploymentState
    reason: str | None
    actor: str | None = Field(description="Who did it: a caller's e-mail address, or a service.")
    occurred_at: datetime


class DeploymentList(BaseModel):
    deployments: list[DeploymentSummary]
    count: int
    next: str | None


class DeploymentAnswer(BaseModel):
    deployment: DeploymentSummary


class ProvisionedAnswer(BaseModel):
    """A deployment that is being built, and the saga that builds it."""

    deployment: DeploymentSummary
    saga: SagaSummary


class DeploymentShown(BaseModel):
    deployment: DeploymentSummary
    subscription: SubscriptionSummary | None
    events: list[DeploymentEventView] = Field(description=f"The {_EVENTS} newest, newest first.")
    saga: SagaSummary | None = Field(description="The newest run that provisions or changes it.")


class CreateRequest(BaseModel):
    slug: Slug
    display_name: DisplayName | None = Field(default=None, description="Default: the slug.")
    region: Word | None = Field(default=None, examples=["syd1"])
    llm_mode: Word | None = Field(default=None, examples=["platform"])
    template_code: Word | None = Field(default=None, examples=["wordpress"])
    template_version: Word | None = None
    tenant_id: Name | None = Field(default=None, description="Counts from operators only. Default: the caller's own.")
    trial: bool = Field(default=False, description="Begin in `trial`. Counts from operators only.")
    provision: bool = Field(default=False, description="Have it built: a droplet, and a name.")


class TransitionRequest(BaseModel):
    to_state: DeploymentState
    reason: Reason | None = None
    notes: Notes | None = None


class UpdateRequest(BaseModel):
    """What is left out stays as it is."""

    display_name: DisplayName | None = None
    billing_action_suspended: bool | None = Field(default=None, description="Operators only.")


class FieldErrors(BaseModel):
    """An error. `error`: what is wrong with each field, `{field: [messages]}`; or a stable key."""

    error: dict[str, list[str]] | str
    type: str
    title: str
    status: int
    detail: str


_ID = "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f14"
DEPLOYMENT = {
    "id": _ID,
    "tenant_id": "acme",
    "slug": "shop",
    "display_name": "Acme's shop",
    "region": "syd1",
    "state": "active",
    "state_since": "2026-11-01T10:15:03Z",
    "llm_mode": "platform",
    "template_code": "wordpress",
    "billing_action_suspended": False,
}
SUBSCRIPTION = {
    "id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f15",
    "status": "active",
    "plan_version_id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f16",
    "current_period_start": "2026-11-01T00:00:00Z",
    "current_period_end": "2026-12-01T00:00:00Z",
    "trial_ends_at": "2026-11-15T00:00:00Z",
    "addons": [
        {
            "addon_id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f17",
            "resource_kind": "spaces_gb_month",
            "qty": 50,
            "price_cents": 750,
        }
    ],
}
_PAGE = {"deployments": [DEPLOYMENT], "count": 1, "next": "AZqfPmoMfD6PXg1qWwyfEQ"}
_MOVED = {
    "from_state": "active",
    "to_state": "paused",
    "reason": "a quiet month",
    "actor": "ann@acme.example",
    "occurred_at": "2026-11-01T10:15:03Z",
}
_RUN = {
    "id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f18",
    "kind": "provision_deployment",
    "status": "pending",
    "current_step": 0,
    "error": None,
    "steps": [],
}
_SHOWN = {"deployment": DEPLOYMENT, "subscription": SUBSCRIPTION, "events": [_MOVED], "saga": _RUN}

_BEING_BUILT = answer(
    ProvisionedAnswer | OperationAnswer,
    "It is being built (`provision`); or accepted: see the operation named in `Location`.",
    {"deployment": {**DEPLOYMENT, "state": "provisioning"}, "saga": _RUN},
    EXAMPLE,
)
_BY_FIELD = ResponseSpec(
    data_container=FieldErrors,
    generate_examples=False,
    description="Some values cannot be used, or the tenant has the slug already; see `error`.",
    media_type="application/problem+json",
)
_NO_WAY = problem(
    422, "invalid_transition", "No such way leads from its state.", **{"from": "paused", "to": "archived"}
)


def authority_of(identity: Identity) -> Authority:
    """By what right a caller asks."""
    return Authority.OPERATOR if identity.operator else Authority.TENANT


async def unseen(request: ApiRequest, deployment_id: UUID) -> Problem:
    """Why a caller does not see a deployment: it is another tenant's, or there is none."""
    if await deployment_store.find_owner(request.gateway.views, deployment_id) is None:
        return not_found("deployment", deployment_id)
    return forbidden(f"The deployment {deployment_id} is another tenant's.")


@get(responses=ALWAYS | {200: answer(DeploymentList, "A page.", _PAGE), 422: INVALID})
async def list_deployments(
    request: ApiRequest, deployment_state: State = None, limit: Limit = LIMIT, cursor: Cursor = None
) -> ASGIResponse:
    """List deployments: an operator's are all, a tenant's its own."""
    page = await deployment_store.list_deployments(
        request.gateway.views, request.user, state=deployment_state, after=after(cursor), limit=limit
    )
    return json_answer(page)


@post(
    opt={"errors_by_field": True},
    status_code=201,
    responses=write(answer(DeploymentAnswer, "Created.", {"deployment": DEPLOYMENT}), status=201)
    | {202: _BEING_BUILT, 422: _BY_FIELD},
)
async def create_deployment(request: ApiRequest, data: JSONBody[CreateRequest], key: Key = None) -> ASGIResponse:
    """Create a deployment: active at once, or in trial; or provisioning, while a saga builds what it runs on (202)."""
    operator = request.user.operator
    command = CreateDeployment(
        tenant_id=(data.tenant_id if operator else None) or request.user.tenant_id,
        slug=data.slug,
        display_name=data.display_name or data.slug,
        region=data.region,
        llm_mode=data.llm_mode,
        template_code=data.template_code,
        template_version=data.template_version,
        trial=data.trial and operator,
        saga_id=uuid7() if data.provision else None,
        provision=_wanted(data, request.gateway.settings) if data.provision else None,
    )
    return await submit(request, command, key, ok=202 if data.provision else 201)


def _wanted(data: CreateRequest, settings: Settings) -> Provisioning:
    """What is to be built for a new deployment."""
    return Provisioning(
        region=data.region or settings.provision_region,
        size=settings.provision_size,
        image=settings.provision_image,
        domain=settings.provision_domain,
    )


@get(
    "/{deployment_id:uuid}",
    responses=ALWAYS | {200: answer(DeploymentShown, "The deployment.", _SHOWN), 403: FORBIDDEN, 404: NOT_FOUND},
)
async def get_deployment(request: ApiRequest, deployment_id: FromPath[UUID]) -> ASGIResponse:
    """Show a deployment with its subscription and what happened to it."""
    found = await deployment_store.find_deployment(request.gateway.views, request.user, deployment_id, events=_EVENTS)
    if found is None:
        raise await unseen(request, deployment_id)
    return json_answer(found)


@patch("/{deployment_id:uuid}", responses=write(answer(DeploymentAnswer, "The deployment now.")))
async def update_deployment(
    request: ApiRequest, deployment_id: FromPath[UUID], data: JSONBody[UpdateRequest], key: Key = None
) -> ASGIResponse:
    """Rename a deployment; operators also keep billing from suspending or cancelling it."""
    if not any(value is not None for value in dict(data).values()):
        raise invalid(Invalid("body", "", "says neither `display_name` nor `billing_action_suspended`"))
    who = authority_of(request.user)
    return await submit(request, UpdateDeployment(deployment_id=deployment_id, authority=who, **dict(data)), key)


@post(
    "/{deployment_id:uuid}/transition",
    status_code=200,
    responses=write(answer(DeploymentAnswer, "The deployment now."), "billing_action_suspended", "deployment_busy")
    | {422: _NO_WAY},
)
async def transition_deployment(
    request: ApiRequest, deployment_id: FromPath[UUID], data: JSONBody[TransitionRequest], key: Key = None
) -> ASGIResponse:
    """Bring a deployment into another state, where the map of states allows it to the caller."""
    who = authority_of(request.user)
    return await submit(request, TransitionDeployment(deployment_id=deployment_id, authority=who, **dict(data)), key)


router = Routes(
    "/deployments",
    route_handlers=[list_deployments, create_deployment, get_deployment, update_deployment, transition_deployment],
    tags=["deployments"],
)
