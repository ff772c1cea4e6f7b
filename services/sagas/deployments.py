"""The flows about deployments: built, suspended, resumed, retired, resized."""

from __future__ import annotations

import hashlib
import re
from uuid import UUID

from pydantic import Field

from contracts.deployments import Authority, DeploymentState
from contracts.message import Command
from contracts.provider import (
    AwaitDroplet,
    CreateDroplet,
    DestroyDroplet,
    PowerOffDroplet,
    PowerOnDroplet,
    RemoveDnsRecord,
    ResizeDroplet,
    UpsertDnsRecord,
)
from services.sagas.domain import Plan, State, Step
from services.sagas.flow import Flow, Inputs
from services.sagas.steps import at_provider, hold, keep, link, move, naming, register, release, unlink

_TAG = re.compile(r"^[a-zA-Z0-9_:-]{1,255}$")
_LABEL = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")


class OfDeployment(Inputs):
    """What all flows about a deployment are begun with. `authority`: by what right it was asked."""

    deployment_id: UUID
    authority: Authority = Authority.OPERATOR
    reason: str | None = Field(default=None, max_length=255)


class Droplet(Inputs):
    """A droplet of the deployment: its id at the provider, and in the inventory."""

    droplet_id: int = Field(gt=0)
    resource_id: UUID


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
            register(),
            link(it.deployment_id, it.tenant_id),
            at_provider("point_dns", point),
            move("activate", it.deployment_id, Authority.SAGA, DeploymentState.ACTIVE, "provisioned"),
        ],
        pivot="activate",
    )


def _suspend(it: PowerInputs) -> Plan:
    to_state = DeploymentState.SUSPENDED
    return Plan(
        [
            hold(it.deployment_id, it.authority, to_state),
            *(_power_off(it.deployment_id, droplet) for droplet in it.droplets),
            move("suspend", it.deployment_id, it.authority, to_state, it.reason),
        ],
        pivot="suspend",
    )


def _resume(it: PowerInputs) -> Plan:
    to_state = DeploymentState.ACTIVE
    return Plan(
        [
            hold(it.deployment_id, it.authority, to_state),
            *(_power_on(it.deployment_id, droplet) for droplet in it.droplets),
            move("resume", it.deployment_id, it.authority, to_state, it.reason),
        ],
        pivot="resume",
    )


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


def _resize(it: ResizeInputs) -> Plan:
    def off(state: State) -> Command:
        return PowerOffDroplet(**naming(state, it.deployment_id), droplet_id=it.droplet.droplet_id)

    def resize(state: State) -> Command:
        return ResizeDroplet(
            **naming(state, it.deployment_id), droplet_id=it.droplet.droplet_id, size=it.size, disk=it.disk
        )

    def on(state: State) -> Command | None:
        if state.context["was"] == "off":
            return None
        return PowerOnDroplet(**naming(state, it.deployment_id), droplet_id=it.droplet.droplet_id)

    holding = [hold(it.deployment_id, it.authority, None)] if it.deployment_id else []
    letting_go = [release(it.deployment_id, it.authority)] if it.deployment_id else []
    return Plan(
        [
            *holding,
            at_provider("power_off", off, keep=keep("was")),
            at_provider("resize", resize, revocable=not it.disk),
            at_provider("power_on", on, revocable=False),  # who undoes the two before it sees to the power
            register(it.droplet.droplet_id),
            *letting_go,
        ],
        pivot="resize" if it.disk else None,
    )


PROVISION = Flow("provision_deployment", 1, ProvisionInputs, _provision)
SUSPEND = Flow("suspend_deployment", 1, PowerInputs, _suspend)
RESUME = Flow("resume_deployment", 1, PowerInputs, _resume)
OFFBOARD = Flow("offboard_deployment", 1, OffboardInputs, _offboard)
RESIZE = Flow("resize_droplet", 1, ResizeInputs, _resize)
