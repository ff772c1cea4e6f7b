"""The services that flows ask, as small as they can be: what they do, refuse and undo, and what is there of it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid5

from contracts.deployments import Authority, DeploymentState, HoldDeployment, ReleaseDeployment, TransitionDeployment
from contracts.inventory import LinkResource, RegisterResource, UnlinkResource
from contracts.message import Command
from contracts.provider import (
    AwaitDroplet,
    CreateDroplet,
    DestroyDroplet,
    PowerOffDroplet,
    PowerOnDroplet,
    ProviderCommand,
    RemoveDnsRecord,
    RenameDroplet,
    ResizeDroplet,
    RetagDroplet,
    UndoOperation,
    UpsertDnsRecord,
)
from services.deployments.domain import Verdict, judge
from shared.outcome import Refused

ADDRESS = "203.0.113.7"
_RESOURCES = UUID("019e2f4a-6c00-7000-8000-7e5000000001")


@dataclass(frozen=True)
class Droplet:
    size: str
    status: str = "active"
    name: str = "shop.acme"
    tags: tuple[str, ...] = ()


@dataclass
class There:
    """What is there: one deployment, and the saga that has it in hand; droplets by id, addresses by name, links."""

    state: DeploymentState | None = None
    saga_id: UUID | None = None
    droplets: dict[int, Droplet] = field(default_factory=dict)
    records: dict[str, str] = field(default_factory=dict)
    links: set[UUID] = field(default_factory=set)

    def copy(self) -> There:
        return deepcopy(self)


def resource_of(droplet_id: int) -> UUID:
    """A droplet's id in the inventory."""
    return uuid5(_RESOURCES, str(droplet_id))


@dataclass
class _Operation:
    """A write at the provider. `take_back` None: it cannot be."""

    result: dict[str, Any] | None = None
    take_back: Callable[[], None] | None = None
    cancelled: bool = False


class Neighbours:
    """Deployments, inventory and provider. That a command is handled once is the runtime's to see to."""

    def __init__(self, there: There) -> None:
        self.there = there
        self._last_saga_id: UUID | None = None
        self._operations: dict[UUID, _Operation] = {}
        self._made = 100

    def handle(self, command: Command) -> dict[str, Any]:
        """Do what is asked. Raises `Refused`."""
        match command:
            case HoldDeployment():
                self._hold(command)
            case ReleaseDeployment():
                self._release(command)
            case TransitionDeployment():
                self._transition(command)
            case RegisterResource():
                return self._register(int(command.provider_id))
            case LinkResource():
                self.there.links.add(command.resource_id)
            case UnlinkResource():
                self.there.links.discard(command.resource_id)
            case AwaitDroplet():
                self._droplet(command.droplet_id, "droplet_vanished")
                return {"droplet_id": command.droplet_id, "ipv4": ADDRESS, "ipv6": None}
            case UndoOperation():
                self._undo(command)
            case ProviderCommand():
                return self._write(command)
            case _:
                raise AssertionError(f"no flow should ask for {command}")
        return {}

    # The deployment.

    def _require(self, to_state: DeploymentState, authority: Authority, saga_id: UUID | None) -> None:
        state, holder = self.there.state, self.there.saga_id
        assert state is not None, "there is no deployment"
        verdict = judge(state, to_state, authority, its_saga=saga_id is not None and saga_id == holder)
        if verdict is not Verdict.ALLOWED:
            raise Refused(verdict.name.lower())

    def _hold(self, command: HoldDeployment) -> None:
        if self.there.saga_id not in {None, command.saga_id}:
            raise Refused("deployment_busy")
        if self.there.saga_id is None and command.to_state is not None:
            self._require(command.to_state, command.authority, command.saga_id)
        self.there.saga_id = command.saga_id

    def _release(self, command: ReleaseDeployment) -> None:
        if self.there.saga_id != command.saga_id:
            return
        if self.there.state is DeploymentState.PROVISIONING:
            self.there.state = DeploymentState.CANCELLED
        self._let_go()

    def _transition(self, command: TransitionDeployment) -> None:
        if self.there.state is command.to_state and self._last_saga_id == command.saga_id:
            return
        self._require(command.to_state, command.authority, command.saga_id)
        if self.there.saga_id not in {None, command.saga_id}:
            raise Refused("deployment_busy")
        self.there.state = command.to_state
        self._let_go()

    def _let_go(self) -> None:
        self._last_saga_id, self.there.saga_id = self.there.saga_id, None

    # The inventory.

    def _register(self, droplet_id: int) -> dict[str, Any]:
        self._droplet(droplet_id, "not_found_at_provider")
        return {"resource": {"id": str(resource_of(droplet_id)), "version": 7}}

    # The provider.

    def _droplet(self, id: int, otherwise: str) -> Droplet:
        if id not in self.there.droplets:
            raise Refused(otherwise)
        return self.there.droplets[id]

    def _write(self, command: ProviderCommand) -> dict[str, Any]:
        operation = self._operations.get(command.operation_id)
        if operation is None:
            operation = self._operations[command.operation_id] = _Operation(*self._effect(command))
        if operation.cancelled:
            raise Refused("operation_cancelled")
        return operation.result or {}

    def _undo(self, command: UndoOperation) -> None:
        operation = self._operations.setdefault(command.undoes, _Operation(cancelled=True))
        if not operation.cancelled:
            if operation.take_back is None:
                raise Refused("cannot_be_undone")
            operation.take_back()
            operation.cancelled = True

    def _effect(self, command: ProviderCommand) -> tuple[dict[str, Any], Callable[[], None] | None]:
        """Write: what came of it, and what takes it back."""
        match command:
            case CreateDroplet():
                return self._create(command)
            case DestroyDroplet():
                self.there.droplets.pop(command.droplet_id, None)
                return {}, None
            case PowerOffDroplet() | PowerOnDroplet():
                return self._change(
                    command.droplet_id, status="off" if command.TYPE == PowerOffDroplet.TYPE else "active"
                )
            case ResizeDroplet():
                if self._droplet(command.droplet_id, "droplet_not_found").status != "off":
                    raise Refused("action_errored")
                result, take_back = self._change(command.droplet_id, size=command.size)
                return result, None if command.disk else take_back
            case RenameDroplet() | RetagDroplet():
                to = {"name": command.name} if isinstance(command, RenameDroplet) else {"tags": tuple(command.tags)}
                return self._change(command.droplet_id, **to)
            case UpsertDnsRecord() | RemoveDnsRecord():
                return {}, self._point(command.name, getattr(command, "data", None))
        raise AssertionError(f"no flow should ask for {command}")

    def _create(self, command: CreateDroplet) -> tuple[dict[str, Any], Callable[[], None]]:
        self._made += 1
        id = self._made
        self.there.droplets[id] = Droplet(command.size, name=command.name, tags=tuple(command.tags))

        def take_back() -> None:
            del self.there.droplets[id]

        return {"droplet_id": id}, take_back

    def _change(self, id: int, **to: Any) -> tuple[dict[str, Any], Callable[[], None]]:
        before = self._droplet(id, "droplet_not_found")
        (name,) = to
        was = getattr(before, name)
        self.there.droplets[id] = replace(before, **to)

        def take_back() -> None:
            self.there.droplets[id] = replace(self.there.droplets[id], **{name: was})

        return {"droplet_id": id, "was": was}, take_back

    def _point(self, name: str, data: str | None) -> Callable[[], None]:
        before = self.there.records.get(name)

        def put(data: str | None) -> None:
            if data is None:
                self.there.records.pop(name, None)
            else:
                self.there.records[name] = data

        put(data)
        return lambda: put(before)
