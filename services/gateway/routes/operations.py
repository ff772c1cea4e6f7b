"""What came of a write."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import orjson
from litestar import get
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, Field

from services.gateway import operations
from services.gateway.documentation import ALWAYS, NOT_FOUND, answer
from services.gateway.gateway import ApiRequest
from services.gateway.problems import not_found
from services.gateway.routes.vocabulary import json_answer


class Operation(BaseModel):
    """A write that was accepted."""

    id: UUID = Field(description="Also the command's id, and the correlation id of all that it causes.")
    status: Literal["pending", "ok", "refused", "failed"]
    command: str
    accepted_at: datetime
    result: dict[str, Any] | None
    error: str | None = Field(description="A stable key, when refused or failed.")
    detail: dict[str, Any] | None


class OperationAnswer(BaseModel):
    operation: Operation


EXAMPLE = {
    "operation": {
        "id": "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f11",
        "status": "pending",
        "command": "arcadia.inventory.sync-inventory.v1",
        "accepted_at": "2026-11-01T10:15:00Z",
        "result": None,
        "error": None,
        "detail": None,
    }
}

ACCEPTED = answer(OperationAnswer, "Accepted; ask for the operation named in `Location`.", EXAMPLE)


@get(
    "/operations/{operation_id:uuid}",
    tags=["operations"],
    operation_id="operation",
    responses=ALWAYS | {200: answer(OperationAnswer, "The operation.", EXAMPLE), 404: NOT_FOUND},
)
async def operation(request: ApiRequest, operation_id: FromPath[UUID]) -> ASGIResponse:
    """Show an operation and what came of it."""
    found = await operations.find(request.gateway, request.user, operation_id)
    if found is None:
        raise not_found("operation", operation_id)
    return json_answer(orjson.dumps({"operation": found}, option=orjson.OPT_UTC_Z))


ROUTES = [operation]
