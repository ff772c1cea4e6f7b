"""The provider's projects: whose each is, and what for. Operators only."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from litestar import Request, get, patch
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, Field

from contracts.inventory import ClassifyProject
from services.gateway.auth import Identity
from services.gateway.documentation import ALWAYS, CONFLICT, FAILED, FORBIDDEN, INVALID, NOT_FOUND, TOO_LARGE, answer
from services.gateway.operations import submit
from services.gateway.paging import LIMIT, after
from services.gateway.problems import Invalid, invalid
from services.gateway.routes.inventory import OPERATORS, Done
from services.gateway.routes.operations import ACCEPTED
from services.gateway.routes.reading import Cursor, Limit, Name, json_answer


class Project(BaseModel):
    """A project at the provider, as last seen, with what an operator said of it."""

    id: UUID
    provider: str
    provider_id: str
    name: str
    description: str
    environment: str | None
    is_default: bool
    tenant_id: str | None
    purpose: str | None
    first_seen_at: datetime
    last_seen_at: datetime
    deleted_at: datetime | None
    version: int


class ProjectList(BaseModel):
    projects: list[Project]
    count: int
    next: str | None


class ClassifyRequest(BaseModel):
    tenant_id: Name | None = Field(default=None, description="Whose it is; null: nobody's. Left out: as it was.")
    purpose: Name | None = Field(default=None, description="What it is for; null: unknown. Left out: as it was.")


@get(
    "/projects",
    tags=["projects"],
    operation_id="projects",
    responses=ALWAYS | {200: answer(ProjectList, "A page."), 403: FORBIDDEN, 422: INVALID},
    opt=OPERATORS,
)
async def projects(request: Request[Identity, Any, Any], limit: Limit = LIMIT, cursor: Cursor = None) -> ASGIResponse:
    """List the projects that are at the provider."""
    return json_answer(await request.app.state.gateway.views.projects(after=after(cursor), limit=limit))


@patch(
    "/projects/{project_id:uuid}",
    tags=["projects"],
    operation_id="classify_project",
    responses=ALWAYS
    | {
        200: answer(Done, "Done."),
        202: ACCEPTED,
        403: FORBIDDEN,
        404: NOT_FOUND,
        409: CONFLICT,
        413: TOO_LARGE,
        422: INVALID,
        500: FAILED,
    },
    opt=OPERATORS,
)
async def classify(request: Request[Identity, Any, Any], project_id: UUID, data: ClassifyRequest) -> ASGIResponse:
    """Say whose a project is, or what it is for. Its resources' tenants follow."""
    fields = sorted(data.model_fields_set)
    if not fields:
        raise invalid(Invalid("body", "", "says neither `tenant_id` nor `purpose`"))
    command = ClassifyProject(project_id=project_id, fields=fields, **dict(data))
    return await submit(request, command)


ROUTES = [projects, classify]
