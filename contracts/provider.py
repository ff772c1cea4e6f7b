"""What the provider service is asked to do at DigitalOcean, and what it tells of what it did.

Every command names its effect by an `operation_id`: the same in every attempt, so that it takes effect once however
often it is sent. `UndoOperation` names the operation that it undoes.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import Field

from contracts import topics
from contracts.message import Command, Contract, Event

COMMANDS = topics.commands("provider", "deployment id; where there is none, the operation's id")
OPERATIONS = topics.events("provider", "operations", "operation id")
topics.dead_letters("provider")

DropletName = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?$")]
"""A droplet's name, as the provider takes it."""

OPERATION_TAG = "op:"
"""What the tag of an operation begins with."""

Tag = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9_:-]+$")]
SizeSlug = Annotated[str, Field(min_length=1, max_length=64, examples=["s-1vcpu-1gb"])]
Domain = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]
RecordName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^(@|\*|[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?)$")]
"""A record's name within its domain: `shop`, or `@` for the domain itself."""


def operation_tag(operation_id: UUID) -> str:
    """The tag by which a droplet names the operation that made it."""
    return f"{OPERATION_TAG}{operation_id}"


class OperationStatus(StrEnum):
    """Where an operation is.

    `pending`: it has no effect yet. `sent`: a write may be under way, or its outcome is not known. `done`: it took
    effect. `refused`: it has none, and gets one only if another message asks for it. `cancelled`: it is not to take
    effect, and what came of it is undone.
    """

    PENDING = "pending"
    SENT = "sent"
    DONE = "done"
    REFUSED = "refused"
    CANCELLED = "cancelled"


class Operation(Contract):
    """A write at the provider, as its ledger has it."""

    id: UUID
    kind: str = Field(description="The name of the command that asked for it.", examples=["create-droplet"])
    status: OperationStatus
    deployment_id: UUID | None
    tenant_id: str | None
    target: str | None = Field(description="What it is done to, once known.", examples=["droplet:536572909"])
    request: dict[str, Any]
    result: dict[str, Any] | None
    error: str | None = Field(description="Why it was refused, as in the reply's `code`.")
    detail: dict[str, Any] | None = Field(default=None, description="What a person needs beside the error.")
    undone: bool = Field(description="Whether its effect was taken back, or is known not to have come.")
    created_at: datetime
    updated_at: datetime
    version: int


class OperationEvent(Event):
    """Any event about an operation. Subscribe to this class to project operations."""

    TOPIC: ClassVar[str] = OPERATIONS

    operation: Operation

    def key(self) -> str:
        return str(self.operation.id)

    def sequence(self) -> int:
        return self.operation.version

    def tenant(self) -> str | None:
        return self.operation.tenant_id


class OperationChanged(OperationEvent):
    """An operation was noted down, sent, or came to its end."""

    TYPE: ClassVar[str] = "arcadia.provider.operation-changed.v1"


class OperationRepublished(OperationEvent):
    """Nothing happened: the state is told again, for whoever rebuilds (`arcadia republish provider`)."""

    TYPE: ClassVar[str] = "arcadia.provider.operation-republished.v1"


class ProviderCommand(Command):
    """A write at the provider.

    Refused with `provider_refused`, `provider_denied_access`, `operation_cancelled`, `operation_mismatch` (the
    operation's id names another kind of operation), or `expired` (nothing was begun before the message's time was
    over). Refused always means: this message has no effect and never will. Another that asks for the same operation
    has it tried anew, unless it was cancelled.
    """

    TOPIC: ClassVar[str] = COMMANDS

    operation_id: UUID
    deployment_id: UUID | None = None

    def key(self) -> str:
        return str(self.deployment_id or self.operation_id)


class CreateDroplet(ProviderCommand):
    """Create a droplet, tagged with the operation. Result: `droplet_id`. It is not active yet."""

    TYPE: ClassVar[str] = "arcadia.provider.create-droplet.v1"

    name: DropletName
    region: str = Field(min_length=1, max_length=64, examples=["syd1"])
    size: SizeSlug
    image: str | int = Field(examples=["ubuntu-24-04-x64"])
    tags: list[Tag] = Field(default_factory=list, description="Beside the operation's own tag.")
    ssh_keys: list[str | int] = Field(default_factory=list)
    user_data: str | None = Field(default=None, max_length=65536, repr=False)
    vpc_uuid: UUID | None = None
    project_id: UUID | None = None
    monitoring: bool = False
    backups: bool = False
    ipv6: bool = False


class AwaitDroplet(ProviderCommand):
    """Wait until a droplet is active and has its public address.

    Writes nothing, so the ledger has no row of it. Result: `droplet_id`, `ipv4`, `ipv6` (null where it has none).
    Refused with `droplet_vanished` where it could not be placed, and with `droplet_not_ready` where it did not come up
    until `expires`.
    """

    TYPE: ClassVar[str] = "arcadia.provider.await-droplet.v1"

    droplet_id: int = Field(gt=0)


class DropletCommand(ProviderCommand):
    """Something done to a droplet that is there. Refused with `droplet_not_found` or `action_errored`."""

    droplet_id: int = Field(gt=0)


class DestroyDroplet(DropletCommand):
    """Destroy a droplet; done when it is gone. One that is gone already is done. It cannot be undone."""

    TYPE: ClassVar[str] = "arcadia.provider.destroy-droplet.v1"


class PowerOffDroplet(DropletCommand):
    """Switch a droplet off; done when it is off. Result: `was`, its status before. Undone by switching it on again."""

    TYPE: ClassVar[str] = "arcadia.provider.power-off-droplet.v1"


class PowerOnDroplet(DropletCommand):
    """Switch a droplet on; done when it is active. Result: `was`, its status before. Undone by switching it off."""

    TYPE: ClassVar[str] = "arcadia.provider.power-on-droplet.v1"


class ResizeDroplet(DropletCommand):
    """Give a droplet another size; it must be off. Done when it has it. Result: `was`, its size before.

    `disk` grows the disk too, which cannot be undone; without it, undone by the size before.
    """

    TYPE: ClassVar[str] = "arcadia.provider.resize-droplet.v1"

    size: SizeSlug
    disk: bool = False


class RenameDroplet(DropletCommand):
    """Give a droplet another name. Done when it has it. Result: `was`, its name before. Undone by the name before."""

    TYPE: ClassVar[str] = "arcadia.provider.rename-droplet.v1"

    name: DropletName


class RetagDroplet(DropletCommand):
    """Make a droplet's tags these, whatever others it has. Result: `was`, its tags before. Undone by the tags before.

    Tags that differ in nothing but case are one; it is spelled as whoever made it did. Tags of operations
    (`operation_tag`) stay as they are: by them is known what made the droplet.
    """

    TYPE: ClassVar[str] = "arcadia.provider.retag-droplet.v1"

    tags: list[Tag] = Field(max_length=100)


class DnsCommand(ProviderCommand):
    """Something done to the records of one name and type in one domain. Refused with `domain_not_found`."""

    domain: Domain
    name: RecordName
    record_type: Literal["A", "AAAA", "CNAME", "TXT"] = "A"


class UpsertDnsRecord(DnsCommand):
    """Make one record of a name and type, of which there may be none, one or several. Result: `record_id`, `fqdn`.

    Undone by putting back what was there before.
    """

    TYPE: ClassVar[str] = "arcadia.provider.upsert-dns-record.v1"

    data: str = Field(min_length=1, max_length=4096, examples=["203.0.113.7"])
    ttl: int = Field(default=300, ge=30, le=86400, description="Seconds.")


class RemoveDnsRecord(DnsCommand):
    """Remove all records of a name and type. Result: `removed`, how many. Undone by putting them back."""

    TYPE: ClassVar[str] = "arcadia.provider.remove-dns-record.v1"


class UndoOperation(ProviderCommand):
    """Take an operation back, or keep it from taking effect where it has not yet, however late it comes.

    Done when nothing of its effect is left at the provider: what a lost answer may have made is looked for. Result:
    `undone`, a list of what was found and taken back. `operation_id` names this undoing itself. Refused with
    `cannot_be_undone` for a destroyed droplet and a grown disk; with `provider_refused`, `provider_denied_access` or
    `action_errored` where the provider does not take it back; with `expired` where nothing was begun in time. Even then
    the operation gets no further, and its undoing may be asked for again.
    """

    TYPE: ClassVar[str] = "arcadia.provider.undo-operation.v1"

    undoes: UUID


class SweepOrphans(Command):
    """Look for droplets tagged with an operation that does not have them: undone, refused, pending, done with another.

    Result: `orphans`, a row for each with `droplet_id`, `name`, `operation_id`, `reason`, `since`, `monthly_cents`
    (US), `destroyed` and, where that was asked for and did not succeed, `error`; `complete`, whether all droplets were
    seen. One whose operation this ledger does not know is told of and never destroyed: another installation may have
    it.
    """

    TYPE: ClassVar[str] = "arcadia.provider.sweep-orphans.v1"
    TOPIC: ClassVar[str] = COMMANDS

    destroy: bool = False

    def key(self) -> str:
        return "orphans"
