"""What the drift service is asked, and what it tells: where what is differs from what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field

from contracts import topics
from contracts.kinds import ResourceKind
from contracts.message import Command, Contract, Event

COMMANDS = topics.commands("drift", "the resource's, drift's or surge's id; the rule's field; `all`")
REPLIES = topics.replies("drift", retention=timedelta(days=14))
FINDINGS = topics.events("drift", "findings", "drift id")
SURGES = topics.events("drift", "surges", "surge id")
SPECS = topics.events("drift", "specs", "resource id")
topics.dead_letters("drift")

EXISTS = "exists"
"""The field in which a resource drifts that is gone: every spec says that there is to be one."""

MOST_FIELDS = 100
_DEEPEST = 20

FieldName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[a-z][a-z0-9_]*$")]
"""A column of a resource, or the name of one of its attrs."""


def _storable(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec that can be stored and compared. Raises ValueError."""
    for field, value in spec.items():
        if field == EXISTS:
            raise ValueError(f"`{EXISTS}` goes without saying: forget the spec of what is to be no more")
        _check(value, field, _DEEPEST)
    return spec


def _check(value: Any, where: str, depth: int) -> None:
    if not depth:
        raise ValueError(f"`{where}` is nested more than {_DEEPEST} deep")
    match value:
        case str() if "\x00" in value or (not value.isascii() and _has_surrogate(value)):
            raise ValueError(f"`{where}` has a character that is no text")
        case int() if not -(2**63) <= value < 2**63:
            raise ValueError(f"`{where}` has a number of more than 64 bits: write it as a string")
        case Mapping():
            for name, each in value.items():
                _check(name, where, depth)
                _check(each, where, depth - 1)
        case [*_]:
            for each in value:
                _check(each, where, depth - 1)


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


Spec = Annotated[
    dict[FieldName, Any],
    Field(min_length=1, max_length=MOST_FIELDS, examples=[{"size_slug": "s-1vcpu-1gb", "region": "syd1"}]),
    AfterValidator(_storable),
]
"""What a resource is to be, by field: a column of it, or else one of its attrs. Fields that are not named may be
anything."""


Version = Annotated[int, Field(ge=1, lt=2**63)]


class DriftStatus(StrEnum):
    """Where a drift is: `open`, or how it ended. `stale`: the difference went away, or counts no more."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REVERTED = "reverted"
    STALE = "stale"


class Severity(StrEnum):
    """How much a drift matters, as a rule says of its field."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Drift(Contract):
    """One field of a resource that is not as it was asked for.

    `desired` is what the spec says, `live` what was seen; for a resource that is gone the field is `exists`.
    """

    id: UUID
    resource_id: UUID
    kind: ResourceKind
    provider_id: str
    name: str
    deployment_id: UUID | None
    tenant_id: str | None
    field: str
    desired: Any
    live: Any
    status: DriftStatus
    severity: Severity
    monthly_delta_cents: int | None = Field(
        description="What it costs more a month than what was asked for, in US cents, at the provider's list prices; "
        "less, where negative; None where it does not go by size, or a price is not known."
    )
    surge_id: UUID | None = Field(description="The surge that it is part of: of very many alike.")
    detected_at: datetime
    changed_at: datetime = Field(description="When `live` was last seen to become what it is.")
    closed_at: datetime | None
    snoozed_until: datetime | None
    is_reverting: bool = Field(description="Whether a saga is about to bring it back.")
    revert_saga_id: UUID | None = Field(description="The saga that brings it back, or was to.")
    revert_error: dict[str, Any] | None = Field(description="Why the last one could not.")
    spec_version: int
    version: int


class DriftEvent(Event):
    """Any event about a drift. Subscribe to this class to project drifts."""

    TOPIC: ClassVar[str] = FINDINGS

    drift: Drift

    def key(self) -> str:
        return str(self.drift.id)

    def sequence(self) -> int:
        return self.drift.version

    def tenant(self) -> str | None:
        return self.drift.tenant_id


class DriftDetected(DriftEvent):
    """A field of a resource is not as it was asked for."""

    TYPE: ClassVar[str] = "arcadia.drift.drift-detected.v1"


class DriftGathered(DriftEvent):
    """The same, of one of very many alike: nobody needs to be called for it, the surge has told of all."""

    TYPE: ClassVar[str] = "arcadia.drift.drift-gathered.v1"


class DriftChanged(DriftEvent):
    """An open drift is another now; `what` says in which regard."""

    TYPE: ClassVar[str] = "arcadia.drift.drift-changed.v1"

    what: Literal["value", "snoozed", "woken", "reverting", "reopened", "surge"]


class DriftClosed(DriftEvent):
    """A drift is over: its status says how, `reason` why, where it is stale."""

    TYPE: ClassVar[str] = "arcadia.drift.drift-closed.v1"

    reason: str | None = None


class DriftRepublished(DriftEvent):
    """Nothing happened: the state is told again, for whoever rebuilds (`arcadia republish drift`)."""

    TYPE: ClassVar[str] = "arcadia.drift.drift-republished.v1"


class Surge(Contract):
    """Very many drifts of one kind and field within a short time: one thing to look at, for they have one cause.

    It ends when none of them is open, or an hour after the last of them: what drifts later is told of by itself.
    """

    id: UUID
    kind: ResourceKind
    field: str
    drifts: int = Field(description="How many are part of it by now; those too that are over.")
    specs: int = Field(description="Of so many resources of the kind that have a spec.")
    example: dict[str, Any] = Field(description="One of them: `name`, `desired`, `live`.")
    began_at: datetime
    ended_at: datetime | None
    version: int


class SurgeEvent(Event):
    """Any event about a surge. Subscribe to this class to project surges."""

    TOPIC: ClassVar[str] = SURGES

    surge: Surge

    def key(self) -> str:
        return str(self.surge.id)

    def sequence(self) -> int:
        return self.surge.version


class SurgeBegan(SurgeEvent):
    """Very many resources drift in the same field at once. Tell an operator: of none of them anything else is told."""

    TYPE: ClassVar[str] = "arcadia.drift.surge-began.v1"


class SurgeGrew(SurgeEvent):
    """More drifts are part of a surge."""

    TYPE: ClassVar[str] = "arcadia.drift.surge-grew.v1"


class SurgeEnded(SurgeEvent):
    """No more drifts become part of a surge. Those that are open still are as they were."""

    TYPE: ClassVar[str] = "arcadia.drift.surge-ended.v1"


class SurgeRepublished(SurgeEvent):
    """Nothing happened: the state is told again, for whoever rebuilds (`arcadia republish drift`)."""

    TYPE: ClassVar[str] = "arcadia.drift.surge-republished.v1"


class ResourceSpec(Contract):
    """What a resource is to be. `saga_id`: the run that said so last, where one did; else `actor` did."""

    resource_id: UUID
    spec: dict[str, Any]
    spec_version: int
    saga_id: UUID | None
    actor: str | None
    recorded_at: datetime
    retired_at: datetime | None = Field(description="Since when nothing is asked of the resource any more.")


class SpecEvent(Event):
    """Any event about a spec. Subscribe to this class to project specs."""

    TOPIC: ClassVar[str] = SPECS

    spec: ResourceSpec

    def key(self) -> str:
        return str(self.spec.resource_id)

    def sequence(self) -> int:
        return self.spec.spec_version


class SpecRecorded(SpecEvent):
    """What a resource is to be was said, anew or for the first time."""

    TYPE: ClassVar[str] = "arcadia.drift.spec-recorded.v1"


class SpecRetired(SpecEvent):
    """Nothing is asked of a resource any more."""

    TYPE: ClassVar[str] = "arcadia.drift.spec-retired.v1"


class SpecRepublished(SpecEvent):
    """Nothing happened: the state is told again, for whoever rebuilds (`arcadia republish drift`)."""

    TYPE: ClassVar[str] = "arcadia.drift.spec-republished.v1"


class DriftCommand(Command):
    """Something asked of the drift service."""

    TOPIC: ClassVar[str] = COMMANDS


class SpecCommand(DriftCommand):
    """Something said of what a resource is to be."""

    resource_id: UUID

    def key(self) -> str:
        return str(self.resource_id)


class RecordSpec(SpecCommand):
    """Say what a resource is to be: this takes the place of all that was said before. Result: `spec`.

    It is compared at once. Refused with `not_found` where there is no such resource, and with `never_told` where a
    field is one that the inventory does not tell of when it changes.
    """

    TYPE: ClassVar[str] = "arcadia.drift.record-spec.v1"

    spec: Spec


class RetireSpec(SpecCommand):
    """Ask nothing of a resource any more; its drifts are over. Refused with `no_spec` where nothing is asked of it."""

    TYPE: ClassVar[str] = "arcadia.drift.retire-spec.v1"


class DetectDrift(DriftCommand):
    """Compare specs with what is: all of them, or one resource's.

    It begins when all is known that was on the bus about resources and sagas when the command came. Result: `specs`,
    how many were compared, `open`, how many drifts are open, and of them `detected`, `changed` and `closed` by this.
    Refused with `no_spec` where nothing is asked of that one resource.
    """

    TYPE: ClassVar[str] = "arcadia.drift.detect-drift.v1"

    resource_id: UUID | None = None

    def key(self) -> str:
        return str(self.resource_id or "all")


class LookAtChanges(DriftCommand):
    """The service to itself: compare what has changed since it was compared last."""

    TYPE: ClassVar[str] = "arcadia.drift.look-at-changes.v1"

    def key(self) -> str:
        return "changes"


class RefreshSizes(DriftCommand):
    """The service to itself: read the provider's sizes and their prices. Result: `sizes`, how many there are."""

    TYPE: ClassVar[str] = "arcadia.drift.refresh-sizes.v1"

    def key(self) -> str:
        return "sizes"


class OpenDriftCommand(DriftCommand):
    """Something decided about a drift. Refused with `not_found`, and `not_open` where it is over."""

    drift_id: UUID

    def key(self) -> str:
        return str(self.drift_id)


class AcceptDrift(OpenDriftCommand):
    """Have what is be what was asked for: the value that the drift shows. For a resource that is gone: nothing more is
    asked of it.

    Refused with `being_reverted`, and with `drift_changed` where the drift is not at `version` any more.
    """

    TYPE: ClassVar[str] = "arcadia.drift.accept-drift.v1"

    version: Version | None = Field(default=None, description="The drift's, as whoever accepts it has seen it.")


class RevertDrift(OpenDriftCommand):
    """Have a saga bring the resource back to what was asked for. Result: `drift`, with the saga's id.

    Refused with `not_revertible` and the reason, `being_reverted`, `resource_busy` while another saga changes the
    resource, and `drift_changed` as for accepting.
    """

    TYPE: ClassVar[str] = "arcadia.drift.revert-drift.v1"

    version: Version | None = None


class SnoozeDrift(OpenDriftCommand):
    """Leave a drift out of the inbox until a time; None: no longer. Another live value brings it back before.

    Refused with `until_is_past`.
    """

    TYPE: ClassVar[str] = "arcadia.drift.snooze-drift.v1"

    until: AwareDatetime | None


class AcceptSurge(DriftCommand):
    """Accept all drifts of a surge that are open and not being reverted. Result: `accepted`, how many.

    Refused with `not_found`.
    """

    TYPE: ClassVar[str] = "arcadia.drift.accept-surge.v1"

    surge_id: UUID

    def key(self) -> str:
        return str(self.surge_id)


class RuleCommand(DriftCommand):
    """Something said of how drift in a field is taken; `kind` None: of all kinds of which nothing else is said."""

    kind: ResourceKind | None = None
    field: FieldName

    def key(self) -> str:
        return self.field


class SetRule(RuleCommand):
    """Say how much drift in a field matters, or that it does not count at all. Result: `rule`."""

    TYPE: ClassVar[str] = "arcadia.drift.set-rule.v1"

    severity: Severity
    ignore: bool = False
    reason: str | None = Field(default=None, max_length=1000, pattern=r"^[^\x00]*$")


class RemoveRule(RuleCommand):
    """Take a rule back. Refused with `not_found`."""

    TYPE: ClassVar[str] = "arcadia.drift.remove-rule.v1"
