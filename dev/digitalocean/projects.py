"""Projects: every resource is in exactly one, and what names none is in the default one."""

from __future__ import annotations

from dev.digitalocean.clock import stamp
from dev.digitalocean.family import ByHand, Family
from dev.digitalocean.http import Answer, Json, Problem, Request, Route, answer, no_content, not_found, unprocessable
from dev.digitalocean.paging import page
from dev.digitalocean.state import Project, World

OWNER_ID = 258_992
ENVIRONMENTS = ("Development", "Staging", "Production")
LONGEST = {"name": 175, "description": 255, "purpose": 255}


def add_project(
    world: World,
    name: str,
    *,
    description: str = "",
    purpose: str = "",
    environment: str = "",
    is_default: bool = False,
) -> Project:
    """A new, empty project."""
    now = world.clock.now()
    project = Project(world.new_uuid(), name, description, purpose, environment, now, now, is_default)
    world.projects[project.id] = project
    return project


def assign(world: World, project: Project, urn: str) -> bool:
    """Put a resource into a project, out of the one it was in; False where it is there already."""
    before = world.project_of.get(urn)
    if before is project:
        return False
    if before:
        del before.members[urn]
    project.members[urn] = world.clock.now()
    world.project_of[urn] = project
    return True


def forget(world: World, urn: str) -> None:
    """Take a resource that is gone out of its project."""
    project = world.project_of.pop(urn, None)
    if project:
        del project.members[urn]


def remove_project(world: World, project: Project) -> None:
    """Delete a project that holds nothing; the default one stays."""
    if project.members or project.is_default:
        raise Problem(
            412, "precondition_failed", "cannot delete a project with resources. move or remove the resources first"
        )
    del world.projects[project.id]


def change_project(world: World, project: Project, body: Json) -> None:
    """Set what the body names, after looking at all of it."""
    check_fields(world, body, project)
    if body.get("is_default"):
        world.default_project().is_default = False
        project.is_default = True
    for name in ("name", "description", "purpose", "environment"):
        if name in body:
            setattr(project, name, body[name])
    project.updated_at = world.clock.now()


def check_fields(world: World, body: Json, project: Project | None = None) -> None:
    """Refuse values that a project cannot have; names are unique."""
    for name, longest in LONGEST.items():
        value = body.get(name, "")
        if not isinstance(value, str) or len(value) > longest:
            raise unprocessable(f"{name} must be a text of at most {longest} characters")
    if not body.get("name", project and project.name):
        raise unprocessable("name is required")
    if body.get("environment", "") not in ("", *ENVIRONMENTS):
        raise unprocessable("environment must be Development, Staging or Production")
    if any(other is not project and other.name == body.get("name") for other in world.projects.values()):
        raise Problem(409, "conflict", "name is already in use")


def body_of(world: World, project: Project) -> Json:
    """A project; its resources are a list of their own."""
    return {
        "id": project.id,
        "owner_uuid": world.owner_uuid,
        "owner_id": OWNER_ID,
        "name": project.name,
        "description": project.description,
        "purpose": project.purpose,
        "environment": project.environment,
        "is_default": project.is_default,
        "created_at": stamp(project.created_at),
        "updated_at": stamp(project.updated_at),
    }


def _list_projects(world: World, request: Request) -> Answer:
    return page(request, "projects", list(world.projects.values()), lambda project: body_of(world, project))


def _get_project(world: World, request: Request) -> Answer:
    return answer({"project": body_of(world, _asked(world, request))})


def _create_project(world: World, request: Request) -> Answer:
    body = request.json()
    for name in ("name", "purpose"):
        if not body.get(name):
            raise unprocessable(f"{name} is required")
    check_fields(world, body)
    project = add_project(world, body["name"])
    change_project(world, project, body)
    return answer({"project": body_of(world, project)}, 201)


def _put_project(world: World, request: Request) -> Answer:
    body = request.json()
    for name in ("name", "description", "purpose", "environment", "is_default"):
        if name not in body:
            raise unprocessable(f"{name} is required")
    return _changed(world, request, body)


def _patch_project(world: World, request: Request) -> Answer:
    return _changed(world, request, request.json())


def _delete_project(world: World, request: Request) -> Answer:
    remove_project(world, _asked(world, request))
    return no_content()


def _list_resources(world: World, request: Request) -> Answer:
    members = _asked(world, request).members
    return page(
        request, "resources", list(members), lambda urn: _resource(request, urn, members[urn], "ok"), always_ends=True
    )


def _assign_resources(world: World, request: Request) -> Answer:
    project = _asked(world, request)
    urns = request.json().get("resources")
    if not isinstance(urns, list) or not urns or not all(isinstance(urn, str) for urn in urns):
        raise unprocessable("resources must be a list of URNs")
    return answer({"resources": [_assigned(world, request, project, urn) for urn in urns]})


def _changed(world: World, request: Request, body: Json) -> Answer:
    project = _asked(world, request)
    change_project(world, project, body)
    return answer({"project": body_of(world, project)})


def _assigned(world: World, request: Request, project: Project, urn: str) -> Json:
    """A 200 may carry items that failed."""
    now = world.clock.now()
    if request.has_fault("service_down"):
        return _resource(request, urn, now, "service_down")
    if world.families.find_by_urn(world, urn) is None:
        return _resource(request, urn, now, "not_found")
    status = "assigned" if assign(world, project, urn) else "already_assigned"
    return _resource(request, urn, project.members[urn], status)


def _resource(request: Request, urn: str, at: float, status: str) -> Json:
    _, kind, id = [*urn.split(":", 2), "", ""][:3]
    itself = f"{request.base_url}/v2/{kind}s/{id}"
    return {"urn": urn, "assigned_at": stamp(at), "links": {"self": itself}, "status": status}


def _asked(world: World, request: Request) -> Project:
    id = request.params.get("id")
    return _by_id(world, id) if id else world.default_project()


def _by_id(world: World, id: str) -> Project:
    project = world.projects.get(id)
    if project is None:
        raise not_found()
    return project


def _routes(path: str) -> tuple[Route, ...]:
    return (
        Route("GET", path, _get_project),
        Route("PUT", path, _put_project),
        Route("PATCH", path, _patch_project),
        Route("GET", f"{path}/resources", _list_resources),
        Route("POST", f"{path}/resources", _assign_resources),
    )


def truth(world: World) -> list[Json]:
    """Every project, and how many resources are in it."""
    return [
        {"id": project.id, "name": project.name, "purpose": project.purpose, "is_default": project.is_default}
        | {"resources": len(project.members)}
        for project in world.projects.values()
    ]


def create_by_hand(world: World, _id: str, body: Json) -> Json:
    """A project at once, from what the API would take."""
    check_fields(world, body)
    project = add_project(world, body["name"])
    change_project(world, project, body)
    return body_of(world, project)


def change_by_hand(world: World, id: str, body: Json) -> Json:
    """Rename a project, and the like."""
    project = _by_id(world, id)
    change_project(world, project, body)
    return body_of(world, project)


def delete_by_hand(world: World, id: str, _body: Json) -> Json:
    """Delete a project; what is in it goes to the default one."""
    project = _by_id(world, id)
    default = world.default_project()
    if project is not default:
        for urn in list(project.members):
            assign(world, default, urn)
    remove_project(world, project)
    return {"id": id}


def insert(world: World, count: int) -> None:
    """New projects at the end of the list."""
    for _ in range(count):
        add_project(world, f"inserted-{world.new_uuid()[:8]}")


def remove(world: World, count: int) -> None:
    """The first projects, but not the default one, are gone."""
    for project in [project for project in world.projects.values() if not project.is_default][:count]:
        delete_by_hand(world, project.id, {})


_ROUTES = (
    Route("GET", "/v2/projects", _list_projects),
    Route("POST", "/v2/projects", _create_project),
    *_routes("/v2/projects/default"),
    *_routes("/v2/projects/{id}"),
    Route("DELETE", "/v2/projects/{id}", _delete_project),
)

FAMILY = Family(
    name="projects",
    routes=_ROUTES,
    by_hand=ByHand(truth, create_by_hand, change_by_hand, delete_by_hand, insert, remove),
)
