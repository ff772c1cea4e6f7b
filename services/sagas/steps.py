"""The steps of which flows about deployments are made: each asks one service, and says how that is undone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from pydantic import Field

from contracts.deployments import (
    Authority,
    DeploymentState,
    HoldDeployment,
    ReleaseDeployment,
    TransitionDeployment,
)
from contracts.inventory import LinkResource, RegisterResource, UnlinkResource
from contracts.kinds import ResourceKind
from contracts.message import Command
from contracts.provider import ProviderCommand, UndoOperation
from services.sagas.domain import Asking, Json, State, Step
from services.sagas.flow import Inputs

_MINUTE = timedelta(minutes=1)
_PERSISTENT = 1000
"""Attempts at what our own services have never a reason to leave unanswered but that they are away."""

_NOT_FOUND = "not_found_at_provider"

_PROVIDER_TIMEOUT = timedelta(minutes=10)


class Droplet(Inputs):
    """A droplet of the deployment: its id at the provider, and in the inventory."""

    droplet_id: int = Field(gt=0)
    resource_id: UUID


def hold(deployment_id: UUID, authority: Authority, to_state: DeploymentState | None, *, name: str = "hold") -> Step:
    """Take the deployment in hand, if it may go where it is to go; undone by letting it go as it was."""
    return Step(
        name,
        lambda state: HoldDeployment(
            deployment_id=deployment_id, authority=authority, saga_id=state.saga_id, to_state=to_state
        ),
        lambda state: _release(state, deployment_id, authority),
        timeout=_MINUTE,
        attempts=10,
        undo_attempts=_PERSISTENT,
        always_undone=True,  # whoever provisions has it in hand from its creation on
    )


def release(deployment_id: UUID, authority: Authority) -> Step:
    """Let the deployment go, in the state in which it is."""
    return Step(
        "release", lambda state: _release(state, deployment_id, authority), timeout=_MINUTE, attempts=_PERSISTENT
    )


def _release(state: State, deployment_id: UUID, authority: Authority) -> Command:
    return ReleaseDeployment(deployment_id=deployment_id, authority=authority, saga_id=state.saga_id)


def move(name: str, deployment_id: UUID, authority: Authority, to_state: DeploymentState, reason: str | None) -> Step:
    """Bring the deployment where it is to go, and let it go by that: the last step, so nothing undoes it."""
    return Step(
        name,
        lambda state: TransitionDeployment(
            deployment_id=deployment_id,
            authority=authority,
            to_state=to_state,
            reason=reason,
            saga_id=state.saga_id,
        ),
        timeout=_MINUTE,
        attempts=_PERSISTENT,
    )


def at_provider(name: str, asking: Asking, *, revocable: bool = True, **step: Any) -> Step:
    """A write at the provider, undone by the name of its operation."""
    return Step(
        name,
        asking,
        _undo if revocable else None,
        **{"timeout": _PROVIDER_TIMEOUT, "undo_attempts": 20, **step},
    )


def naming(state: State, deployment_id: UUID | None) -> dict[str, Any]:
    """What a command to the provider says of its effect."""
    return {"operation_id": state.operation_id, "deployment_id": deployment_id}


def _undo(state: State) -> ProviderCommand:
    deployment_id = state.inputs.get("deployment_id")
    return UndoOperation(operation_id=state.undo_id, undoes=state.operation_id, deployment_id=deployment_id)


def register(spec: Json, droplet_id: int | None = None, *, name: str = "register_resource") -> Step:
    """Have the inventory know the droplet as it is now: the one that the run has made, where none is named.

    `spec`: what of it is to be so once the run is completed.
    """

    def kept(state: State, result: Json) -> Json:
        resource = result["resource"]
        return {"resource_id": resource["id"], **left(state, resource["id"], spec, resource["version"])}

    return Step(
        name,
        lambda state: _registering(droplet_id or state.context["droplet_id"]),
        keep=kept,
        timeout=_MINUTE * 5,
        attempts=10,
        transient=frozenset({_NOT_FOUND}),  # by id it may be unknown for a while after it was made
    )


def look(droplet: Droplet) -> Step:
    """Have the inventory know a droplet as it is before anything is done to it; and after all of that was undone, for
    syncs may have seen it half-way."""
    return Step(
        f"look_at_{droplet.droplet_id}",
        lambda _: _registering(droplet.droplet_id),
        lambda _: _registering(droplet.droplet_id),
        timeout=_MINUTE * 5,
        nothing_left=frozenset({_NOT_FOUND}),
    )


def _registering(droplet_id: int) -> Command:
    return RegisterResource(kind=ResourceKind.DROPLET, provider_id=str(droplet_id))


def left(state: State, resource_id: str, spec: Json | None, version: int | None = None) -> Json:
    """What enters the context of what a run leaves of a resource: see `Left`."""
    new = {"resource_id": resource_id, "spec": spec, "version": version}
    return {"left": [*state.context.get("left", ()), new]}


def link(deployment_id: UUID, tenant_id: str) -> Step:
    """Attribute the resource that was registered to the deployment."""
    return Step(
        "link_resource",
        lambda state: LinkResource(
            resource_id=state.context["resource_id"], deployment_id=deployment_id, tenant_id=tenant_id
        ),
        lambda state: UnlinkResource(resource_id=state.context["resource_id"]),
        timeout=_MINUTE,
        attempts=10,
        undo_attempts=_PERSISTENT,
    )


def unlink(resource_id: UUID) -> Step:
    """End a resource's attribution: it is gone."""
    return Step(
        f"unlink_{resource_id}",
        lambda _: UnlinkResource(resource_id=resource_id),
        keep=lambda state, _: left(state, str(resource_id), None),
        timeout=_MINUTE,
        attempts=_PERSISTENT,
    )


def keep(*names: str) -> Any:
    """Of a result, what has these names, into the context."""

    def kept(_: State, result: Json) -> Json:
        return {name: result[name] for name in names}

    return kept
