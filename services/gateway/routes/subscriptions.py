"""What a deployment is subscribed to."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from litestar import delete, get, post
from litestar.params import FromPath, JSONBody
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, Field

from contracts.deployments import DeploymentSummary, Reason
from contracts.kinds import BillingKind
from contracts.money import Currency
from contracts.subscriptions import (
    AttachAddon,
    CancelSubscription,
    ChangePlanVersion,
    DetachAddon,
    PlanChange,
    Subscribe,
    SubscriptionStatus,
    SubscriptionSummary,
    UncancelSubscription,
)
from services.gateway import deployment_store
from services.gateway.documentation import ALWAYS, FORBIDDEN, NOT_FOUND, answer
from services.gateway.gateway import ApiRequest
from services.gateway.operations import submit
from services.gateway.problems import Invalid, invalid, not_found
from services.gateway.routes.deployments import DEPLOYMENT, SUBSCRIPTION, authority_of, unseen
from services.gateway.routes.operations import write
from services.gateway.routes.vocabulary import Key, Name, Routes, Time, json_answer

_EVENTS = 1000
_OF_A_SUBSCRIPTION = ("subscription_not_found", "subscription_cancelled")


class SubscribeRequest(BaseModel):
    plan_code: Name = Field(examples=["studio"])
    addons: list[Name] = Field(default_factory=list, max_length=100, description="Codes, each once.")
    trial_ends_at: Time | None = Field(default=None, description="Operators only. Default: there is no trial.")


class AddonRequest(BaseModel):
    code: Name = Field(examples=["storage_50gb"])


class PlanRequest(BaseModel):
    """One of the two: a plan, whose active version it will be, or a version."""

    plan_code: Name | None = Field(default=None, examples=["pro"])
    plan_version_id: UUID | None = None
    dry_run: bool = Field(default=False, description="Only tell what it would mean.")


class CancelRequest(BaseModel):
    at: Literal["now", "period_end"] = "period_end"
    reason: Reason | None = None


class SubscriptionAnswer(BaseModel):
    subscription: SubscriptionSummary


class PlanAnswer(BaseModel):
    subscription: SubscriptionSummary
    change: PlanChange
    dry_run: bool


class CancelAnswer(BaseModel):
    subscription: SubscriptionSummary
    deployment: DeploymentSummary
    cancel_at: datetime | None = Field(description="When both will be cancelled, where that is still to come.")


class SubscriptionView(BaseModel):
    """A subscription with its terms."""

    id: UUID
    deployment_id: UUID
    status: SubscriptionStatus
    plan_version_id: UUID
    current_period_start: datetime
    current_period_end: datetime
    trial_ends_at: datetime | None
    cancel_at: datetime | None = Field(description="When it will be cancelled, where somebody asked for that.")
    started_at: datetime
    ended_at: datetime | None
    plan_code: str
    plan_name: str
    number: int = Field(description="The number of the plan's version.")
    base_price_cents: int
    currency: Currency
    tenant_id: str | None = Field(default=None, description="Told to operators.")


class SubscribedAddonView(BaseModel):
    """An addon that is attached, with quantity and price as they were then."""

    id: UUID
    subscription_id: UUID
    addon_id: UUID
    resource_kind: BillingKind
    qty: int
    price_cents: int
    currency: Currency
    attached_at: datetime
    code: str
    name: str


class SubscriptionEventView(BaseModel):
    """Something that happened to a subscription."""

    id: UUID
    subscription_id: UUID
    event_type: str
    detail: dict[str, Any]
    reason: str | None
    actor: str | None
    occurred_at: datetime
    tenant_id: str | None = Field(default=None, description="Told to operators.")


class SubscriptionShown(BaseModel):
    subscription: SubscriptionView
    addons: list[SubscribedAddonView]
    events: list[SubscriptionEventView] = Field(description=f"The {_EVENTS} newest, newest first.")


_ANSWER = {"subscription": SUBSCRIPTION}
_CHANGE = {
    "from_plan_code": "studio",
    "from_version_id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f16",
    "to_plan_code": "pro",
    "to_version_id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f18",
    "currency": "AUD",
    "base_price_cents": {"old": 5000, "new": 12000},
    "items": [
        {
            "resource_kind": "dns_zones",
            "included_qty": {"old": 5, "new": 20},
            "overage_unit": {"old": 1, "new": 1},
            "overage_price_cents": {"old": 100, "new": 80},
            "hard_cap_qty": {"old": 50, "new": 100},
        }
    ],
    "effective_from": "2026-11-01T00:00:00Z",
}
_CHANGED = {"subscription": SUBSCRIPTION, "change": _CHANGE, "dry_run": True}
_CANCELLED = {"subscription": SUBSCRIPTION, "deployment": DEPLOYMENT, "cancel_at": "2026-12-01T00:00:00Z"}


@get(
    "/{deployment_id:uuid}/subscription",
    responses=ALWAYS | {200: answer(SubscriptionShown, "The subscription."), 403: FORBIDDEN, 404: NOT_FOUND},
)
async def get_subscription(request: ApiRequest, deployment_id: FromPath[UUID]) -> ASGIResponse:
    """Show a deployment's subscription with its terms, its addons and what happened to it."""
    views, who = request.gateway.views, request.user
    found = await deployment_store.find_subscription(views, who, deployment_id, events=_EVENTS)
    if found is not None:
        return json_answer(found)
    if await deployment_store.find_deployment(views, who, deployment_id, events=1) is None:
        raise await unseen(request, deployment_id)
    raise not_found("subscription of the deployment", deployment_id)


@post(
    "/{deployment_id:uuid}/subscribe",
    status_code=201,
    responses=write(
        answer(SubscriptionAnswer, "Subscribed.", _ANSWER),
        "plan_or_version_not_found",
        "addon_not_found",
        "subscription_exists",
        "deployment_ended",
        "currency_mismatch",
        "addon_repeated",
        "trial_ends_in_past",
        status=201,
    ),
)
async def subscribe(
    request: ApiRequest, deployment_id: FromPath[UUID], data: JSONBody[SubscribeRequest], key: Key = None
) -> ASGIResponse:
    """Subscribe a deployment to a plan, at the price that it has now. A deployment has one subscription."""
    command = Subscribe(
        deployment_id=deployment_id,
        authority=authority_of(request.user),
        plan_code=data.plan_code,
        addons=data.addons,
        trial_ends_at=data.trial_ends_at,
    )
    return await submit(request, command, key, ok=201)


@post(
    "/{deployment_id:uuid}/addons",
    status_code=201,
    responses=write(
        answer(SubscriptionAnswer, "Attached.", _ANSWER),
        *_OF_A_SUBSCRIPTION,
        "addon_not_found",
        "addon_attached",
        "currency_mismatch",
        status=201,
    ),
)
async def attach_addon(
    request: ApiRequest, deployment_id: FromPath[UUID], data: JSONBody[AddonRequest], key: Key = None
) -> ASGIResponse:
    """Attach an addon, at the price that it has now."""
    who = authority_of(request.user)
    return await submit(request, AttachAddon(deployment_id=deployment_id, authority=who, code=data.code), key, ok=201)


@delete(
    "/{deployment_id:uuid}/addons/{addon_id:uuid}",
    status_code=200,
    responses=write(answer(SubscriptionAnswer, "Detached.", _ANSWER), *_OF_A_SUBSCRIPTION, "addon_not_attached"),
)
async def detach_addon(
    request: ApiRequest, deployment_id: FromPath[UUID], addon_id: FromPath[UUID], key: Key = None
) -> ASGIResponse:
    """Detach an addon, by the id that it has in the catalog."""
    who = authority_of(request.user)
    return await submit(request, DetachAddon(deployment_id=deployment_id, authority=who, addon_id=addon_id), key)


@post(
    "/{deployment_id:uuid}/plan",
    status_code=200,
    responses=write(
        answer(PlanAnswer, "Changed; with `dry_run`: what it would mean.", _CHANGED),
        *_OF_A_SUBSCRIPTION,
        "plan_or_version_not_found",
        "version_not_active",
        "currency_mismatch",
    ),
)
async def change_plan(
    request: ApiRequest, deployment_id: FromPath[UUID], data: JSONBody[PlanRequest], key: Key = None
) -> ASGIResponse:
    """Change to another plan or version. It counts for the whole of the current period, whose base is not divided."""
    if (data.plan_code is None) == (data.plan_version_id is None):
        raise invalid(Invalid("body", "plan_code", "give it or `plan_version_id`, one of the two"))
    who = authority_of(request.user)
    return await submit(request, ChangePlanVersion(deployment_id=deployment_id, authority=who, **dict(data)), key)


@post(
    "/{deployment_id:uuid}/cancel",
    status_code=200,
    responses=write(
        answer(CancelAnswer, "Cancelled, or to be cancelled.", _CANCELLED), *_OF_A_SUBSCRIPTION, "deployment_busy"
    ),
)
async def cancel_subscription(
    request: ApiRequest, deployment_id: FromPath[UUID], data: JSONBody[CancelRequest | None] = None, key: Key = None
) -> ASGIResponse:
    """Cancel the subscription, and the deployment with it: now, or (by default) with the end of the period."""
    wanted, who = data or CancelRequest(), authority_of(request.user)
    command = CancelSubscription(deployment_id=deployment_id, authority=who, at=wanted.at, reason=wanted.reason)
    return await submit(request, command, key)


@post(
    "/{deployment_id:uuid}/uncancel",
    status_code=200,
    responses=write(answer(CancelAnswer, "It goes on."), *_OF_A_SUBSCRIPTION, "not_to_be_cancelled"),
)
async def uncancel_subscription(request: ApiRequest, deployment_id: FromPath[UUID], key: Key = None) -> ASGIResponse:
    """Let a subscription go on that was to be cancelled with the end of its period."""
    who = authority_of(request.user)
    return await submit(request, UncancelSubscription(deployment_id=deployment_id, authority=who), key)


router = Routes(
    "/deployments",
    route_handlers=[
        get_subscription,
        subscribe,
        attach_addon,
        detach_addon,
        change_plan,
        cancel_subscription,
        uncancel_subscription,
    ],
    tags=["subscriptions"],
)
