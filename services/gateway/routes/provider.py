"""What was left at the provider and nobody has. Operators only."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from litestar import post
from litestar.params import JSONBody
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, Field

from contracts.provider import SweepOrphans
from services.gateway.documentation import PROVIDER, answer
from services.gateway.gateway import ApiRequest
from services.gateway.operations import submit
from services.gateway.routes.operations import write
from services.gateway.routes.vocabulary import OPERATORS, Key, Routes


class SweepRequest(BaseModel):
    destroy: bool = Field(default=False, description="Destroy what an operation made that is undone, or made twice.")


class Orphan(BaseModel):
    """A droplet that an operation is said to have made, and that nobody has."""

    droplet_id: int
    name: str
    operation_id: UUID
    reason: Literal["undone", "cancelled", "refused", "pending", "made_twice", "unknown_operation"]
    since: datetime
    monthly_cents: int | None = Field(default=None, description="What it costs in a month, in US cents.")
    destroyed: bool
    error: str | None = Field(default=None, description="Why it could not be destroyed, where that was asked for.")


class OrphanReport(BaseModel):
    orphans: list[Orphan]
    complete: bool = Field(description="Whether the provider's list was read to its end.")


_REPORT = {
    "orphans": [
        {
            "droplet_id": 536572909,
            "name": "shop.acme",
            "operation_id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f19",
            "reason": "undone",
            "since": "2026-11-01T10:15:03Z",
            "monthly_cents": 600,
            "destroyed": True,
        }
    ],
    "complete": True,
}


@post(
    "/sweep-orphans",
    opt=OPERATORS,
    status_code=200,
    responses=write(answer(OrphanReport, "What was found.", _REPORT)) | {502: PROVIDER},
)
async def sweep_orphans(
    request: ApiRequest, data: JSONBody[SweepRequest | None] = None, key: Key = None
) -> ASGIResponse:
    """Look for droplets that operations left behind. Nothing is destroyed unless asked; what is young is left alone."""
    return await submit(request, SweepOrphans(destroy=bool(data and data.destroy)), key)


router = Routes("/provider", route_handlers=[sweep_orphans], tags=["provider"])
