"""What the inventory service is asked, and what it tells: resources and projects as they exist at the provider."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import Field

from contracts import topics
from contracts.kinds import ResourceKind
from contracts.message import Command, Contract, Event

COMMANDS = topics.commands("inventory", "the kind for syncs; the resource's, project's or held sync's id otherwise")
RESOURCES = topics.events("inventory", "resources", "resource id")
PROJECTS = topics.events("inventory", "projects", "project id")
topics.dead_letters("inventory")


class LinkInterval(Contract):
    """A time during which a resource belonged to a deployment. `until` is None while it does; the start is included."""

    deployment_id: UUID
    since: datetime
    until: datetime | None = None


class PowerInterval(Contract):
    """A time during which a resource was in a state, in the provider's word: a droplet is on while it is `active`."""

    state: str | None
    since: datetime
    until: datetime | None = None


class SizeInterval(Contract):
    """A time during which a resource was of a size: a plan (`size_slug`), or so many gigabytes, None while unknown."""

    size_slug: str | None
    size_gb: float | None = None
    since: datetime
    until: datetime | None = None


class Parent(Contract):
    """Another resource, by its kind and the provider's id. It may be gone, or not known yet."""

    kind: ResourceKind
    provider_id: str


_TOLD = "in the current and the previous month, as syncs saw it, oldest first; nothing for the time when it was gone."


class Resource(Contract):
    """A resource at the provider, as last seen.

    `tenant_id` is that of the deployment when linked, else that of the project, else what a tag `tenant:<id>` says,
    else its parent's, else None. `attrs` holds what is special to the kind, without secrets. `deleted_at` marks a
    tombstone: gone there, restored when seen again.
    """

    id: UUID
    kind: ResourceKind
    provider: str
    provider_id: str
    name: str
    region: str | None
    state: str | None
    size_slug: str | None
    tags: list[str]
    attrs: dict[str, Any]
    project_id: UUID | None
    tenant_id: str | None
    deployment_id: UUID | None
    parent: Parent | None = Field(
        default=None,
        description="What it was taken of (a snapshot, a backup), or the Kubernetes cluster that made it. What a "
        "cluster made is attributed with the cluster, and never by itself.",
    )
    links: list[LinkInterval] = Field(description="Those that touch the current or the previous month, oldest first.")
    power: list[PowerInterval] = Field(default_factory=list, description=f"Its states {_TOLD}")
    sizes: list[SizeInterval] = Field(default_factory=list, description=f"Its sizes {_TOLD}")
    first_seen_at: datetime
    last_seen_at: datetime
    deleted_at: datetime | None
    version: int


class Project(Contract):
    """A project at the provider, with what this platform knows about it: whose it is and what it is for."""

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


class Change(Contract):
    """One field's value before and after."""

    old: Any = None
    new: Any = None


Changes = Annotated[dict[str, Change], Field(description="What changed, by field; `attrs.<name>` for a part of attrs.")]


def created_at(attrs: Mapping[str, Any]) -> datetime | None:
    """When a resource was created at the provider, where it says so."""
    try:
        time = datetime.fromisoformat(attrs["created_at"])
    except (KeyError, TypeError, ValueError):
        return None
    return time if time.tzinfo else None


class ResourceEvent(Event):
    """Any event about a resource. Subscribe to this class to project resources."""

    TOPIC: ClassVar[str] = RESOURCES

    resource: Resource
    changes: Changes = Field(default_factory=dict)
    reason: str | None = None

    def key(self) -> str:
        return str(self.resource.id)

    def sequence(self) -> int:
        return self.resource.version

    def tenant(self) -> str | None:
        return self.resource.tenant_id


class ResourceDiscovered(ResourceEvent):
    """A resource was seen for the first time."""

    TYPE: ClassVar[str] = "arcadia.inventory.resource-discovered.v1"


class ResourceUpdated(ResourceEvent):
    """A meaningful field of a resource changed at the provider."""

    TYPE: ClassVar[str] = "arcadia.inventory.resource-updated.v1"


class ResourceTagged(ResourceEvent):
    """A resource's tags changed at the provider, and nothing else did."""

    TYPE: ClassVar[str] = "arcadia.inventory.resource-tagged.v1"


class ResourceDeleted(ResourceEvent):
    """A resource was missing from three complete syncs and is held to be gone."""

    TYPE: ClassVar[str] = "arcadia.inventory.resource-deleted.v1"


class ResourceRestored(ResourceEvent):
    """A resource held to be gone was seen again."""

    TYPE: ClassVar[str] = "arcadia.inventory.resource-restored.v1"


class ResourceLinked(ResourceEvent):
    """A resource was attributed to a deployment."""

    TYPE: ClassVar[str] = "arcadia.inventory.resource-linked.v1"


class ResourceUnlinked(ResourceEvent):
    """A resource is no longer attributed to a deployment."""

    TYPE: ClassVar[str] = "arcadia.inventory.resource-unlinked.v1"


class ResourceRepublished(ResourceEvent):
    """Nothing happened: the state is told again, for whoever rebuilds (`arcadia republish inventory`)."""

    TYPE: ClassVar[str] = "arcadia.inventory.resource-republished.v1"


class ProjectEvent(Event):
    """Any event about a project. Subscribe to this class to project projects."""

    TOPIC: ClassVar[str] = PROJECTS

    project: Project
    changes: Changes = Field(default_factory=dict)

    def key(self) -> str:
        return str(self.project.id)

    def sequence(self) -> int:
        return self.project.version

    def tenant(self) -> str | None:
        return self.project.tenant_id


class ProjectDiscovered(ProjectEvent):
    """A project was seen for the first time."""

    TYPE: ClassVar[str] = "arcadia.inventory.project-discovered.v1"


class ProjectUpdated(ProjectEvent):
    """A project changed at the provider."""

    TYPE: ClassVar[str] = "arcadia.inventory.project-updated.v1"


class ProjectDeleted(ProjectEvent):
    """A project is gone from the provider."""

    TYPE: ClassVar[str] = "arcadia.inventory.project-deleted.v1"


class ProjectClassified(ProjectEvent):
    """An operator said whose a project is, or what it is for. Its resources' tenants follow."""

    TYPE: ClassVar[str] = "arcadia.inventory.project-classified.v1"


class ProjectRepublished(ProjectEvent):
    """Nothing happened: the state is told again, for whoever rebuilds (`arcadia republish inventory`)."""

    TYPE: ClassVar[str] = "arcadia.inventory.project-republished.v1"


class SyncInventory(Command):
    """Walk the provider and mirror what is there. Answered with the numbers when the walk is done.

    `kind` None means every kind, and the projects. A walk that fails is tried again until the command expires (not at
    all where it does not), and is then answered with `complete` false and its `error`.
    """

    TYPE: ClassVar[str] = "arcadia.inventory.sync-inventory.v1"
    TOPIC: ClassVar[str] = COMMANDS

    kind: ResourceKind | None = None

    def key(self) -> str:
        return self.kind or "all"


class RegisterResource(Command):
    """Take a resource into the inventory at once, before a sync sees it. It is read from the provider by its id."""

    TYPE: ClassVar[str] = "arcadia.inventory.register-resource.v1"
    TOPIC: ClassVar[str] = COMMANDS

    kind: ResourceKind
    provider_id: str = Field(min_length=1, max_length=255)

    def key(self) -> str:
        return f"{self.kind}:{self.provider_id}"


class LinkResource(Command):
    """Attribute a resource to a deployment, from `effective_from` on (default: now; may lie in the past)."""

    TYPE: ClassVar[str] = "arcadia.inventory.link-resource.v1"
    TOPIC: ClassVar[str] = COMMANDS

    resource_id: UUID
    deployment_id: UUID
    tenant_id: str | None = Field(
        default=None,
        description="The deployment's tenant. None: as an earlier link of the deployment said, else nobody's yet.",
    )
    effective_from: datetime | None = None

    def key(self) -> str:
        return str(self.resource_id)


class UnlinkResource(Command):
    """End a resource's attribution, from `effective_from` on (default: now)."""

    TYPE: ClassVar[str] = "arcadia.inventory.unlink-resource.v1"
    TOPIC: ClassVar[str] = COMMANDS

    resource_id: UUID
    effective_from: datetime | None = None

    def key(self) -> str:
        return str(self.resource_id)


class MeasureBucket(Command):
    """List a Spaces bucket's objects, to know its size and where it is. Sent by syncs; one is measured once a day."""

    TYPE: ClassVar[str] = "arcadia.inventory.measure-bucket.v1"
    TOPIC: ClassVar[str] = COMMANDS

    bucket: str = Field(min_length=1, max_length=255)

    def key(self) -> str:
        return f"{ResourceKind.SPACES_BUCKET}:{self.bucket}"


class ClassifyProject(Command):
    """Say whose a project is and what it is for. A field that is not given stays as it is; null clears it."""

    TYPE: ClassVar[str] = "arcadia.inventory.classify-project.v1"
    TOPIC: ClassVar[str] = COMMANDS

    project_id: UUID
    tenant_id: str | None = Field(default=None, max_length=255)
    purpose: str | None = Field(default=None, max_length=255)
    fields: list[str] = Field(description="Which of `tenant_id` and `purpose` are meant to be set.")

    def key(self) -> str:
        return str(self.project_id)


class DecideHeldSync(Command):
    """Decide a sync that was held because an implausible share of a kind had vanished."""

    TYPE: ClassVar[str] = "arcadia.inventory.decide-held-sync.v1"
    TOPIC: ClassVar[str] = COMMANDS

    held_sync_id: UUID
    approve: bool

    def key(self) -> str:
        return str(self.held_sync_id)
