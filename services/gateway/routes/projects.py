"""The provider's projects: whose each is, and what for. Operators only."""

from __future__ import annotations

from uuid import UUID

from litestar import get, patch
from litestar.params import FromPath, JSONBody
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, Field

from contracts.inventory import ClassifyProject, Project
from services.gateway.documentation import ALWAYS, FORBIDDEN, INVALID, answer
from services.gateway.gateway import ApiRequest
from services.gateway.operations import submit
from services.gateway.paging import LIMIT, after
from services.gateway.problems import Invalid, invalid
from services.gateway.routes.operations import write
from services.gateway.routes.vocabulary import OPERATORS, Cursor, Key, Limit, Name, Routes, json_answer


class ProjectList(BaseModel):
    projects: list[Project]
    count: int
    next: str | None


class ClassifiedAnswer(BaseModel):
    project: Project
    resources_changed: int = Field(description="Resources whose tenant changed with it.")


class ClassifyRequest(BaseModel):
    """What is left out stays as it is."""

    tenant_id: Name | None = Field(
        default=None, description="Whose it is; null: nobody's. Left out: as it was.", examples=["acme"]
    )
    purpose: Name | None = Field(default=None, description="What it is for; null: unknown. Left out: as it was.")


@get(opt=OPERATORS, responses=ALWAYS | {200: answer(ProjectList, "A page."), 403: FORBIDDEN, 422: INVALID})
async def list_projects(request: ApiRequest, limit: Limit = LIMIT, cursor: Cursor = None) -> ASGIResponse:
    """List the projects that are at the provider."""
    return json_answer(await request.gateway.views.projects(after=after(cursor), limit=limit))


@patch("/{project_id:uuid}", opt=OPERATORS, responses=write(answer(ClassifiedAnswer, "The project now.")))
async def classify_project(
    request: ApiRequest, project_id: FromPath[UUID], data: JSONBody[ClassifyRequest], key: Key = None
) -> ASGIResponse:
    """Say whose a project is, or what it is for. Its resources' tenants follow."""
    fields = sorted(data.model_fields_set)
    if not fields:
        raise invalid(Invalid("body", "", "says neither `tenant_id` nor `purpose`"))
    return await submit(request, ClassifyProject(project_id=project_id, fields=fields, **dict(data)), key)


router = Routes("/projects", route_handlers=[list_projects, classify_project], tags=["projects"])
