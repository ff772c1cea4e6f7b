"""What can be bought, and at what price. Everybody reads it; operators write it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import get, post
from litestar.params import FromPath, JSONBody, PathParameter, QueryParameter
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, Field, StringConstraints, TypeAdapter, ValidationError

from contracts.catalog import (
    Addon,
    Code,
    CreateAddon,
    CreatePlan,
    DraftPlanVersion,
    Label,
    MigrateSubscriptions,
    Plan,
    PlanItem,
    PlanItems,
    PlanVersion,
    PublishPlanVersion,
    SetResourcePrice,
    VersionStatus,
)
from contracts.kinds import BillingKind
from contracts.money import PRICE_PATTERN, Cents, Currency, Quantity
from contracts.subscriptions import PlanChange
from services.gateway import deployment_store
from services.gateway.documentation import ALWAYS, FORBIDDEN, INVALID, NOT_FOUND, answer
from services.gateway.gateway import ApiRequest
from services.gateway.operations import submit
from services.gateway.paging import LIMIT, after
from services.gateway.problems import Invalid, invalid, not_found
from services.gateway.routes.operations import write
from services.gateway.routes.vocabulary import OPERATORS, Cursor, Key, Limit, Routes, Time, json_answer

PriceText = Annotated[
    str,
    StringConstraints(pattern=PRICE_PATTERN),
    Field(
        description="Cents, which may have decimals; as text, because a JSON number is not exact.", examples=["0.0021"]
    ),
]
_TIME: TypeAdapter[datetime] = TypeAdapter(Time)
PlanCode = Annotated[str, PathParameter(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class Terms(BaseModel):
    """A plan's version."""

    id: UUID
    number: int
    status: VersionStatus
    base_price_cents: int
    currency: Currency
    published_at: datetime | None
    retired_at: datetime | None
    items: list[PlanItem]


class PlanOffer(BaseModel):
    """A plan. `active_version` is what a new subscriber gets; null, to operators only: it is not on sale."""

    id: UUID
    code: str
    name: str
    active_version: Terms | None


class PlanList(BaseModel):
    plans: list[PlanOffer]
    count: int


class TermsInUse(Terms):
    subscribers: int


class PlanHistory(BaseModel):
    id: UUID
    code: str
    name: str
    versions: list[TermsInUse] = Field(description="The newest first.")


class PlanShown(BaseModel):
    plan: PlanHistory


class AddonOffer(BaseModel):
    """What can be bought beside a plan."""

    id: UUID
    code: str
    name: str
    resource_kind: BillingKind
    qty: int
    price_cents: int
    currency: Currency


class AddonList(BaseModel):
    addons: list[AddonOffer]
    count: int


class PriceView(BaseModel):
    """What a unit costs where no plan covers it."""

    resource_kind: BillingKind
    unit_price_cents: str
    currency: Currency
    effective_from: datetime
    effective_until: datetime | None
    actor: str | None = Field(default=None, description="Who set it. Told to operators.")
    recorded_at: datetime | None = Field(default=None, description="When. Told to operators.")


class PriceList(BaseModel):
    resource_prices: list[PriceView]
    count: int


class RetiredVersion(BaseModel):
    plan_version_id: UUID
    plan_code: str
    number: int
    base_price_cents: int
    currency: Currency
    retired_at: datetime
    subscribers: int


class RetiredSubscriber(BaseModel):
    subscription_id: UUID
    deployment_id: UUID
    tenant_id: str
    slug: str
    plan_version_id: UUID
    plan_code: str
    number: int
    base_price_cents: int
    currency: Currency
    retired_at: datetime


class RetiredList(BaseModel):
    versions: list[RetiredVersion] = Field(description="All that still have subscribers.")
    subscribers: list[RetiredSubscriber] = Field(description="A page of them.")
    count: int
    next: str | None


class PlanRequest(BaseModel):
    code: Code
    name: Label = Field(examples=["Studio"])


class VersionRequest(BaseModel):
    base_price_cents: Cents = Field(examples=[5500])
    currency: Currency
    items: PlanItems = Field(max_length=100)


class AddonRequest(BaseModel):
    code: Code
    name: Label = Field(examples=["50 GB of object storage"])
    resource_kind: BillingKind
    qty: Annotated[Quantity, Field(ge=1)]
    price_cents: Cents
    currency: Currency


class PriceRequest(BaseModel):
    resource_kind: BillingKind
    unit_price_cents: PriceText
    currency: Currency
    effective_from: Time | None = Field(default=None, description="Default: now.")


class MigrationRequest(BaseModel):
    from_version_id: UUID | None = Field(default=None, description="Those of this version alone. Default: of all.")
    to_version_id: UUID | None = Field(
        default=None, description="To this version alone, as the dry run named it. Default: whichever is active then."
    )
    dry_run: bool = Field(default=False, description="Only tell what it would mean.")


class PlanAnswer(BaseModel):
    plan: Plan


class VersionInPlan(PlanVersion):
    plan_code: str


class VersionAnswer(BaseModel):
    version: VersionInPlan


class AddonAnswer(BaseModel):
    addon: Addon


class PriceSince(BaseModel):
    effective_from: datetime
    unit_price_cents: str
    currency: Currency


class PricesOfKind(BaseModel):
    resource_kind: BillingKind
    prices: list[PriceSince] = Field(description="All that it ever had or will have, the oldest first.")
    version: int


class PricesAnswer(BaseModel):
    resource_prices: PricesOfKind


class MigratedVersion(BaseModel):
    subscriptions: int
    change: PlanChange


class MigrationAnswer(BaseModel):
    plan_code: str
    to_version_id: UUID
    subscriptions: int = Field(description="How many are moved, or would be.")
    changes: list[MigratedVersion] = Field(description="What it means, for each version that they are on.")
    dry_run: bool


_VERSION_ID = "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f16"
_ITEM = {
    "resource_kind": "droplet_hours",
    "included_qty": 1500,
    "overage_unit": 1,
    "overage_price_cents": 2,
    "hard_cap_qty": 7500,
}
_TERMS: dict[str, Any] = {
    "id": _VERSION_ID,
    "number": 1,
    "status": "retired",
    "base_price_cents": 5000,
    "currency": "AUD",
    "published_at": "2026-11-01T10:15:03Z",
    "retired_at": "2026-11-21T08:00:00Z",
    "items": [_ITEM],
}
_PLAN = {"id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f19", "code": "studio", "name": "Studio"}
_PLANS = {"plans": [_PLAN | {"active_version": _TERMS}], "count": 1}
_ADDON = {
    "id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f17",
    "code": "storage_50gb",
    "name": "50 GB of object storage",
    "resource_kind": "spaces_gb_month",
    "qty": 50,
    "price_cents": 750,
    "currency": "AUD",
}
_PRICE = {
    "resource_kind": "backup_gb_month",
    "unit_price_cents": "2.5",
    "currency": "AUD",
    "effective_from": "2026-11-01T00:00:00Z",
    "effective_until": "2027-01-01T00:00:00Z",
}


@get("/plans", responses=ALWAYS | {200: answer(PlanList, "All plans.", _PLANS)})
async def list_plans(request: ApiRequest) -> ASGIResponse:
    """List the plans that are on sale, the cheapest first, each with what it includes; to operators all plans."""
    return json_answer(await deployment_store.list_plans(request.gateway.views, request.user))


@get(
    "/plans/{code:str}",
    opt=OPERATORS,
    responses=ALWAYS
    | {
        200: answer(PlanShown, "The plan.", {"plan": _PLAN | {"versions": [_TERMS | {"subscribers": 3}]}}),
        403: FORBIDDEN,
        404: NOT_FOUND,
        422: INVALID,
    },
)
async def get_plan(request: ApiRequest, code: PlanCode) -> ASGIResponse:
    """Show a plan with all its versions, drafts and retired ones too, and how many are subscribed to each."""
    found = await deployment_store.find_plan(request.gateway.views, code)
    if found is None:
        raise not_found("plan", code)
    return json_answer(found)


@post(
    "/plans", opt=OPERATORS, status_code=201, responses=write(answer(PlanAnswer, "Created."), "plan_exists", status=201)
)
async def create_plan(request: ApiRequest, data: JSONBody[PlanRequest], key: Key = None) -> ASGIResponse:
    """Name a plan. It goes on sale with its first version."""
    return await submit(request, CreatePlan(**dict(data)), key, ok=201)


@post(
    "/plans/{code:str}/versions",
    opt=OPERATORS,
    status_code=201,
    responses=write(answer(VersionAnswer, "Drafted."), "plan_not_found", status=201),
)
async def draft_plan_version(
    request: ApiRequest, code: PlanCode, data: JSONBody[VersionRequest], key: Key = None
) -> ASGIResponse:
    """Write down terms for a plan. They bind nobody before they are published."""
    return await submit(request, DraftPlanVersion(plan_code=code, **dict(data)), key, ok=201)


@post(
    "/versions/{plan_version_id:uuid}/publish",
    opt=OPERATORS,
    status_code=200,
    responses=write(answer(VersionAnswer, "On sale."), "version_not_found", "version_retired"),
)
async def publish_plan_version(request: ApiRequest, plan_version_id: FromPath[UUID], key: Key = None) -> ASGIResponse:
    """Put a draft on sale, and retire the version before it. Nobody who is subscribed is repriced."""
    return await submit(request, PublishPlanVersion(plan_version_id=plan_version_id), key)


@get(
    "/retired-versions",
    opt=OPERATORS,
    responses=ALWAYS | {200: answer(RetiredList, "A page."), 403: FORBIDDEN, 422: INVALID},
)
async def list_retired_versions(request: ApiRequest, limit: Limit = LIMIT, cursor: Cursor = None) -> ASGIResponse:
    """Tell who is still on a version that is no longer on sale."""
    views = request.gateway.views
    return json_answer(await deployment_store.list_retired_subscribers(views, after=after(cursor), limit=limit))


@post(
    "/plans/{code:str}/migrate",
    opt=OPERATORS,
    status_code=200,
    responses=write(
        answer(MigrationAnswer, "Moved; with `dry_run`: what it would mean."),
        "plan_not_found",
        "no_active_version",
        "version_not_active",
        "currency_mismatch",
    ),
)
async def migrate_subscriptions(
    request: ApiRequest, code: PlanCode, data: JSONBody[MigrationRequest | None] = None, key: Key = None
) -> ASGIResponse:
    """Move all who are on retired versions of a plan to its active one, for the period that is running.

    Name the `to_version_id` of the dry run: then nobody is moved to a version that was published since.
    """
    wanted = data or MigrationRequest()
    return await submit(request, MigrateSubscriptions(plan_code=code, **dict(wanted)), key)


@get("/addons", responses=ALWAYS | {200: answer(AddonList, "All addons.", {"addons": [_ADDON], "count": 1})})
async def list_addons(request: ApiRequest) -> ASGIResponse:
    """List what can be bought beside a plan."""
    return json_answer(await deployment_store.list_addons(request.gateway.views, request.user))


@post(
    "/addons",
    opt=OPERATORS,
    status_code=201,
    responses=write(answer(AddonAnswer, "On sale."), "addon_exists", status=201),
)
async def create_addon(request: ApiRequest, data: JSONBody[AddonRequest], key: Key = None) -> ASGIResponse:
    """Put an addon on sale."""
    return await submit(request, CreateAddon(**dict(data)), key, ok=201)


@get(
    "/resource-prices",
    responses=ALWAYS | {200: answer(PriceList, "All kinds.", {"resource_prices": [_PRICE], "count": 1}), 422: INVALID},
)
async def list_resource_prices(
    request: ApiRequest,
    at: Annotated[datetime | None, QueryParameter(description="With its offset. Default: now.", required=False)] = None,
) -> ASGIResponse:
    """List what a unit of each kind costs at a time, where no plan covers it."""
    if at is not None:
        at = _read_time("at", at)
    views = request.gateway.views
    return json_answer(await deployment_store.list_resource_prices(views, request.user, at or datetime.now(UTC)))


def _read_time(name: str, value: datetime) -> datetime:
    """A time of the query, within the same bounds as those of bodies. Raises `Problem`."""
    try:
        return _TIME.validate_python(value)
    except ValidationError as error:
        raise invalid(Invalid("query", name, error.errors()[0]["msg"])) from None


@post(
    "/resource-prices",
    opt=OPERATORS,
    status_code=201,
    responses=write(answer(PricesAnswer, "The kind's prices now."), "price_exists", status=201),
)
async def set_resource_price(request: ApiRequest, data: JSONBody[PriceRequest], key: Key = None) -> ASGIResponse:
    """Say what a unit of a kind costs from a time on, where no plan covers it."""
    return await submit(request, SetResourcePrice.model_validate(dict(data)), key, ok=201)


router = Routes(
    "/catalog",
    route_handlers=[
        list_plans,
        get_plan,
        create_plan,
        draft_plan_version,
        publish_plan_version,
        list_retired_versions,
        migrate_subscriptions,
        list_addons,
        create_addon,
        list_resource_prices,
        set_resource_price,
    ],
    tags=["catalog"],
)
