"""The provider's projects: whose each is, and what for. Operators only."""

from __future__ import annotations

from uuid import UUID

from litestar import get, patch
from litestar.params import FromPath, JSONBody
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, Field

from contracts.inventory import ClassifyProject, Project
from services.gateway.documentation import ALWAYS, FORBIDDEN, INVALID, WRITES, answer
from services.gateway.gateway import ApiRequest
from services.gateway.operations import submit
from services.gateway.paging import LIMIT, after
from services.gateway.problems import Invalid, invalid
from services.gateway.routes.inventory import OPERATORS
from services.gateway.routes.operations import ACCEPTED
from services.gateway.routes.vocabulary import Cursor, Key, Limit, Name, json_answer


class ProjectList(BaseModel):
    projects: list[Project]
    count: int
    next: str | None


class ClassifiedAnswer(BaseModel):
    project: Project
    resources_changed: int = Field(description="Resources whose tenant changed with it.")


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
async def projects(request: ApiRequest, limit: Limit = LIMIT, cursor: Cursor = None) -> ASGIResponse:
    """List the projects that are at the provider."""
    return json_answer(await request.gateway.views.projects(after=after(cursor), limit=limit))


@patch(
    "/projects/{project_id:uuid}",
    tags=["projects"],
    operation_id="classify_project",
    responses=WRITES | {200: answer(ClassifiedAnswer, "The project as it is now."), 202: ACCEPTED},
    opt=OPERATORS,
)
async def classify(
    request: ApiRequest, project_id: FromPath[UUID], data: JSONBody[ClassifyRequest], key: Key = None
) -> ASGIResponse:
    """Say whose a project is, or what it is for. Its resources' tenants follow."""
    fields = sorted(data.model_fields_set)
    if not fields:
        raise invalid(Invalid("body", "", "says neither `tenant_id` nor `purpose`"))
    command = ClassifyProject(project_id=project_id, fields=fields, **dict(data))
    return await submit(request, command, key)


ROUTES = [projects, classify]
