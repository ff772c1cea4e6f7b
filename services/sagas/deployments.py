"""The flows about deployments and their droplets: built, suspended, resumed, retired, resized, reverted."""

from __future__ import annotations

import hashlib
import re
from functools import partial
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from contracts.deployments import Authority, DeploymentState
from contracts.message import Command
from contracts.provider import (
    AwaitDroplet,
    CreateDroplet,
    DestroyDroplet,
    DropletName,
    PowerOffDroplet,
    PowerOnDroplet,
    RemoveDnsRecord,
    RenameDroplet,
    ResizeDroplet,
    RetagDroplet,
    Tag,
    UpsertDnsRecord,
)
from services.sagas.domain import Json, Plan, State, Step
from services.sagas.flow import Flow, Inputs
from services.sagas.steps import Droplet, at_provider, hold, keep, link, look, move, naming, register, release, unlink

_TAG = re.compile(r"^[a-zA-Z0-9_:-]{1,255}$")
_LABEL = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")


class OfDeployment(Inputs):
    """What all flows about a deployment are begun with. `authority`: by what right it was asked."""

    deployment_id: UUID
    authority: Authority = Authority.OPERATOR
    reason: str | None = Field(default=None, max_length=255)


class ProvisionInputs(Inputs):
    """What is to be built. `domain`: the zone in which it gets a name; None: it gets none."""

    deployment_id: UUID
    tenant_id: str = Field(min_length=1, max_length=255)
    slug: str = Field(min_length=1, max_length=63)
    region: str = Field(min_length=1, max_length=64)
    size: str = Field(min_length=1, max_length=64)
    image: str = Field(min_length=1, max_length=255)
    domain: str | None = None


class PowerInputs(OfDeployment):
    droplets: list[Droplet] = Field(max_length=50)


class OffboardInputs(PowerInputs):
    """`domain`: the zone in which it may have a name; None: it has none."""

    tenant_id: str = Field(min_length=1, max_length=255)
    slug: str = Field(min_length=1, max_length=63)
    domain: str | None = None


class RevertInputs(Inputs):
    """Which drift is reverted, and what its droplet is to be again: the one of the last four that is given.

    `deployment_id` None: the droplet is nobody's.
    """

    drift_id: UUID
    droplet: Droplet
    size_slug: str | None = Field(default=None, min_length=1, max_length=64)
    name: DropletName | None = None
    tags: list[Tag] | None = None
    state: Literal["active", "off"] | None = None
    deployment_id: UUID | None = None
    authority: Authority = Authority.OPERATOR

    @model_validator(mode="after")
    def _of_one_field(self) -> Self:
        if len(self.wanted()) != 1:
            raise ValueError("exactly one of size_slug, name, tags, state says what the droplet is to be")
        return self

    def wanted(self) -> dict[str, Any]:
        """The field that is brought back, with its value."""
        return self.model_dump(include={"size_slug", "name", "tags", "state"}, exclude_none=True)


class ResizeInputs(Inputs):
    """`disk`: grow the disk too, which cannot be undone. `deployment_id` None: the droplet is nobody's."""

    droplet: Droplet
    size: str = Field(min_length=1, max_length=64)
    disk: bool = False
    deployment_id: UUID | None = None
    authority: Authority = Authority.OPERATOR


def host_name(slug: str, tenant_id: str) -> str:
    """A deployment's name within the zone: the slug is the tenant's own, so the tenant's name comes after it."""
    return f"{slug}.{label_of(tenant_id)}"


def label_of(tenant_id: str) -> str:
    """A tenant's id as a DNS label (RFC 1123). One that is none gets a part of its hash, so that no two are alike."""
    if _LABEL.match(tenant_id):
        return tenant_id
    plain = re.sub(r"[^a-z0-9]+", "-", tenant_id.lower()).strip("-")[:40].strip("-")
    return "-".join(filter(None, [plain, hashlib.sha256(tenant_id.encode()).hexdigest()[:8]]))


def _tags(it: ProvisionInputs) -> list[str]:
    """What the provider's console shows of it. The tenant's, where a tag can name it: the link says whose it is."""
    tags = [f"deployment:{it.deployment_id}", f"tenant:{it.tenant_id}"]
    return [tag for tag in tags if _TAG.match(tag)]


def _as_built(it: ProvisionInputs) -> Json:
    """What the droplet is to be from then on. (The tag of its operation is the provider's ledger's business.)"""
    return {
        "name": host_name(it.slug, it.tenant_id),
        "region": it.region,
        "size_slug": it.size,
        "state": "active",
        "tags": _tags(it),
    }


def _provision(it: ProvisionInputs) -> Plan:
    def create(state: State) -> Command:
        return CreateDroplet(
            **naming(state, it.deployment_id),
            name=host_name(it.slug, it.tenant_id),
            region=it.region,
            size=it.size,
            image=it.image,
            tags=_tags(it),
        )

    def await_it(state: State) -> Command:
        return AwaitDroplet(**naming(state, it.deployment_id), droplet_id=state.context["droplet_id"])

    def point(state: State) -> Command | None:
        if it.domain is None:
            return None
        return UpsertDnsRecord(
            **naming(state, it.deployment_id),
            domain=it.domain,
            name=host_name(it.slug, it.tenant_id),
            data=state.context["ipv4"],
        )

    return Plan(
        [
            hold(it.deployment_id, Authority.SAGA, DeploymentState.ACTIVE, name="mark"),
            at_provider("create_droplet", create, keep=keep("droplet_id")),
            at_provider("await_droplet", await_it, revocable=False, keep=keep("ipv4"), attempts=2),
            register(_as_built(it)),
            link(it.deployment_id, it.tenant_id),
            at_provider("point_dns", point),
            move("activate", it.deployment_id, Authority.SAGA, DeploymentState.ACTIVE, "provisioned"),
        ],
        pivot="activate",
    )


def _suspend(it: PowerInputs, *, registers: bool = True) -> Plan:
    to_state = DeploymentState.SUSPENDED
    return Plan(
        [
            hold(it.deployment_id, it.authority, to_state),
            *(look(droplet) for droplet in it.droplets if registers),
            *(_power_off(it.deployment_id, droplet) for droplet in it.droplets),
            *(_registered(droplet, {"state": "off"}) for droplet in it.droplets if registers),
            move("suspend", it.deployment_id, it.authority, to_state, it.reason),
        ],
        pivot="suspend",
    )


def _resume(it: PowerInputs, *, registers: bool = True) -> Plan:
    to_state = DeploymentState.ACTIVE
    return Plan(
        [
            hold(it.deployment_id, it.authority, to_state),
            *(look(droplet) for droplet in it.droplets if registers),
            *(_power_on(it.deployment_id, droplet) for droplet in it.droplets),
            *(_registered(droplet, {"state": "active"}) for droplet in it.droplets if registers),
            move("resume", it.deployment_id, it.authority, to_state, it.reason),
        ],
        pivot="resume",
    )


def _registered(droplet: Droplet, spec: Json) -> Step:
    """Have the inventory know what has become of a droplet, and say that it is to be so."""
    return register(spec, droplet.droplet_id, name=f"register_{droplet.droplet_id}")


def _power_off(deployment_id: UUID | None, droplet: Droplet) -> Step:
    def asking(state: State) -> Command:
        return PowerOffDroplet(**naming(state, deployment_id), droplet_id=droplet.droplet_id)

    return at_provider(f"power_off_{droplet.droplet_id}", asking)


def _power_on(deployment_id: UUID | None, droplet: Droplet) -> Step:
    def asking(state: State) -> Command:
        return PowerOnDroplet(**naming(state, deployment_id), droplet_id=droplet.droplet_id)

    return at_provider(f"power_on_{droplet.droplet_id}", asking)


def _offboard(it: OffboardInputs) -> Plan:
    """What cannot be undone comes last: with the first droplet that is destroyed there is no way back."""

    def remove_dns(state: State) -> Command | None:
        if it.domain is None:
            return None
        name = host_name(it.slug, it.tenant_id)
        return RemoveDnsRecord(**naming(state, it.deployment_id), domain=it.domain, name=name)

    destroyed = [_destroy(it.deployment_id, droplet) for droplet in it.droplets]
    to_state = DeploymentState.CANCELLED
    return Plan(
        [
            hold(it.deployment_id, it.authority, to_state),
            at_provider("remove_dns", remove_dns),
            *destroyed,
            *(unlink(droplet.resource_id) for droplet in it.droplets),
            move("cancel", it.deployment_id, it.authority, to_state, it.reason),
        ],
        pivot=destroyed[0].name if destroyed else "cancel",
    )


def _destroy(deployment_id: UUID, droplet: Droplet) -> Step:
    def asking(state: State) -> Command:
        return DestroyDroplet(**naming(state, deployment_id), droplet_id=droplet.droplet_id)

    return at_provider(f"destroy_{droplet.droplet_id}", asking, revocable=False, attempts=20)


def _resize(it: ResizeInputs, *, looks: bool = True) -> Plan:
    steps = _held(
        it,
        [
            *([look(it.droplet)] if looks else []),
            *_resized(it.deployment_id, it.droplet, it.size, disk=it.disk),
            register({"size_slug": it.size}, it.droplet.droplet_id),
        ],
    )
    return Plan(steps, pivot="resize" if it.disk else None)


def _resized(deployment_id: UUID | None, droplet: Droplet, size: str, *, disk: bool = False) -> list[Step]:
    """Off, another size, and on again if it was."""

    def off(state: State) -> Command:
        return PowerOffDroplet(**naming(state, deployment_id), droplet_id=droplet.droplet_id)

    def resize(state: State) -> Command:
        return ResizeDroplet(**naming(state, deployment_id), droplet_id=droplet.droplet_id, size=size, disk=disk)

    def on(state: State) -> Command | None:
        if state.context["was"] == "off":
            return None
        return PowerOnDroplet(**naming(state, deployment_id), droplet_id=droplet.droplet_id)

    return [
        at_provider("power_off", off, keep=keep("was")),
        at_provider("resize", resize, revocable=not disk),
        at_provider("power_on", on, revocable=False),  # who undoes the two before it sees to the power
    ]


def _held(it: ResizeInputs | RevertInputs, steps: list[Step]) -> list[Step]:
    """The steps, with the deployment in hand meanwhile, where there is one."""
    if it.deployment_id is None:
        return steps
    return [hold(it.deployment_id, it.authority, None), *steps, release(it.deployment_id, it.authority)]


def _revert(it: RevertInputs) -> Plan:
    """Bring a droplet back to what it is to be, in one field."""
    droplet, deployment_id = it.droplet, it.deployment_id

    def rename(state: State) -> Command:
        return RenameDroplet(**naming(state, deployment_id), droplet_id=droplet.droplet_id, name=it.name)

    def retag(state: State) -> Command:
        return RetagDroplet(**naming(state, deployment_id), droplet_id=droplet.droplet_id, tags=it.tags)

    match it:
        case RevertInputs(size_slug=str(size)):
            steps = _resized(deployment_id, droplet, size)
        case RevertInputs(name=str()):
            steps = [at_provider("rename", rename)]
        case RevertInputs(tags=[*_]):
            steps = [at_provider("retag", retag)]
        case _:
            steps = [_power_on(deployment_id, droplet) if it.state == "active" else _power_off(deployment_id, droplet)]
    # It says nothing of what the droplet is to be: that was said before, and may have been said otherwise meanwhile.
    return Plan(_held(it, [look(droplet), *steps, register({}, droplet.droplet_id)]))


PROVISION = Flow("provision_deployment", 1, ProvisionInputs, _provision)
SUSPEND_1 = Flow("suspend_deployment", 1, PowerInputs, partial(_suspend, registers=False))
SUSPEND = Flow("suspend_deployment", 2, PowerInputs, _suspend)
RESUME_1 = Flow("resume_deployment", 1, PowerInputs, partial(_resume, registers=False))
RESUME = Flow("resume_deployment", 2, PowerInputs, _resume)
OFFBOARD = Flow("offboard_deployment", 1, OffboardInputs, _offboard)
RESIZE_1 = Flow("resize_droplet", 1, ResizeInputs, partial(_resize, looks=False))
RESIZE = Flow("resize_droplet", 2, ResizeInputs, _resize)
REVERT = Flow("revert_drift", 1, RevertInputs, _revert)
