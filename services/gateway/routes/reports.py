"""What operators ask of the inventory as a whole: how fresh it is, and what in it is nobody's. Operators only."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from litestar import get
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, Field

from contracts.kinds import ResourceKind
from services.gateway.documentation import ALWAYS, FORBIDDEN, INVALID, answer
from services.gateway.gateway import ApiRequest
from services.gateway.paging import LIMIT, after
from services.gateway.routes.vocabulary import OPERATORS, Cursor, Limit, Routes, json_answer

_WALKED = ["project", *ResourceKind]


class Coverage(BaseModel):
    """How fresh what is known of a kind is."""

    kind: str = Field(description="A kind of resource, or `project`.")
    resources: int
    status: Literal["fresh", "stale", "failing", "held", "never"] = Field(
        description="`stale`: no complete walk for two hours. `failing`: the last walk failed, or did not see "
        "everything. `held`: an operator has to decide a held sync. `never`: it was not walked yet."
    )
    complete_at: datetime | None = Field(description="When the last walk began that saw everything.")
    age_seconds: int | None = Field(description="How long ago that is.")
    last_status: str | None = Field(description="How the last walk ended: complete, held, incomplete, failed.")
    last_started_at: datetime | None
    last_finished_at: datetime | None
    doubts: list[str] = Field(description="Why the last walk did not see everything, or failed.")
    held_sync_id: UUID | None


class Health(BaseModel):
    status: Literal["ok", "attention"]
    kinds: list[Coverage]
    count: int


class Orphan(BaseModel):
    """A resource that is linked to no deployment, attached or assigned to nothing, or taken of what is gone."""

    id: UUID
    kind: ResourceKind
    provider_id: str
    name: str
    region: str | None
    project_id: UUID | None
    tenant_id: str | None
    first_seen_at: datetime
    last_seen_at: datetime
    reason: str
    monthly_usd_cents: int | None = Field(description="What it costs a month, in US cents; null: unknown.")


class OrphanList(BaseModel):
    orphans: list[Orphan]
    count: int
    next: str | None
    monthly_usd_cents: int = Field(description="What all orphans cost a month, also those on other pages.")
    unpriced: int = Field(description="So many are not in that sum: their price is not known.")


_COVERAGE = {
    "kind": "droplet",
    "resources": 300,
    "status": "held",
    "complete_at": "2026-11-01T10:15:03Z",
    "age_seconds": 610,
    "last_status": "held",
    "last_started_at": "2026-11-01T10:15:03Z",
    "last_finished_at": "2026-11-01T10:15:09Z",
    "doubts": [],
    "held_sync_id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f21",
}
_ORPHAN = {
    "id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f11",
    "kind": "volume",
    "provider_id": "506f78a4-e098-11e5-ad9f-000f53306ae1",
    "name": "data-00001",
    "region": "syd1",
    "project_id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f12",
    "tenant_id": "acme",
    "first_seen_at": "2026-11-01T10:15:03Z",
    "last_seen_at": "2026-11-02T10:15:03Z",
    "reason": "attached to no droplet",
    "monthly_usd_cents": 1000,
}
_PAGE = {"orphans": [_ORPHAN], "count": 1, "next": "AZqfPmoMfD6PXg1qWwyfEQ", "monthly_usd_cents": 1000, "unpriced": 0}


@get(
    "/health",
    opt=OPERATORS,
    responses=ALWAYS
    | {200: answer(Health, "Every kind.", {"status": "attention", "kinds": [_COVERAGE], "count": 1}), 403: FORBIDDEN},
)
async def inventory_health(request: ApiRequest) -> ASGIResponse:
    """Tell of each kind how fresh it is: its last complete walk, and whether it fails or waits for a decision."""
    return json_answer(await request.gateway.views.coverage(_WALKED))


@get(
    "/orphans",
    opt=OPERATORS,
    responses=ALWAYS | {200: answer(OrphanList, "A page.", _PAGE), 403: FORBIDDEN, 422: INVALID},
)
async def list_orphans(request: ApiRequest, limit: Limit = LIMIT, cursor: Cursor = None) -> ASGIResponse:
    """List what nobody owns and still costs: loose volumes and reserved IPs, and snapshots of what is gone."""
    return json_answer(await request.gateway.views.orphans(after=after(cursor), limit=limit))


router = Routes("/inventory", route_handlers=[inventory_health, list_orphans], tags=["inventory"])
