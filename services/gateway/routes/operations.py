"""What came of a write."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import orjson
from litestar import get
from litestar.openapi import ResponseSpec
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, Field

from services.gateway import operations
from services.gateway.documentation import ALWAYS, NOT_FOUND, WRITES, answer, refusals
from services.gateway.gateway import ApiRequest
from services.gateway.problems import not_found
from services.gateway.routes.vocabulary import Routes, json_answer


class Operation(BaseModel):
    """A write that was accepted."""

    id: UUID = Field(description="Also the command's id, and the correlation id of all that it causes.")
    status: Literal["pending", "ok", "refused", "failed"]
    command: str
    accepted_at: datetime
    result: dict[str, Any] | None = Field(default=None, description="What came of it, when `ok`.")
    error: str | None = Field(default=None, description="A stable key, when `refused` or `failed`.")
    detail: dict[str, Any] | None = Field(default=None, description="What else is known, when `refused` or `failed`.")


class OperationAnswer(BaseModel):
    operation: Operation


EXAMPLE = {
    "operation": {
        "id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f11",
        "status": "pending",
        "command": "arcadia.inventory.sync-inventory.v1",
        "accepted_at": "2026-11-01T10:15:00Z",
    }
}


def write(done: ResponseSpec, *codes: str, status: int = 200) -> dict[int, ResponseSpec]:
    """What a route that writes may answer. `done`: its success, and `status` that one's; `codes`: of its refusals."""
    return (
        WRITES
        | refusals(codes)
        | {
            status: done,
            202: answer(OperationAnswer, "Accepted; see the operation named in `Location`.", EXAMPLE),
        }
    )


@get(
    "/{operation_id:uuid}", responses=ALWAYS | {200: answer(OperationAnswer, "The operation.", EXAMPLE), 404: NOT_FOUND}
)
async def get_operation(request: ApiRequest, operation_id: FromPath[UUID]) -> ASGIResponse:
    """Show an operation and what came of it."""
    found = await operations.find(request.gateway, request.user, operation_id)
    if found is None:
        raise not_found("operation", operation_id)
    return json_answer(orjson.dumps({"operation": found}, option=orjson.OPT_UTC_Z))


router = Routes("/operations", route_handlers=[get_operation], tags=["operations"])
