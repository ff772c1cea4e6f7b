"""What the sagas service is asked, what it tells of its runs, and the two steps that exercise it."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import Field

from contracts import topics
from contracts.message import Command, Contract, Event

COMMANDS = topics.commands("sagas", "the deployment's id, where a run is to begin for one; else the run's")
REPLIES = topics.replies("sagas", retention=timedelta(days=14))  # whoever is away for a weekend has not missed any
RUNS = topics.events("sagas", "runs", "run id")
topics.dead_letters("sagas")

SagaKind = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z][a-z0-9_]*$")]
"""A flow's name. Which there are is the service's `FLOWS`."""


class SagaStatus(StrEnum):
    """Where a run is. The last three are its ends; of these, `failed` waits for an operator."""

    PENDING = "pending"
    RUNNING = "running"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"


UNFINISHED = frozenset({SagaStatus.PENDING, SagaStatus.RUNNING, SagaStatus.COMPENSATING})


class StepStatus(StrEnum):
    """Where a step is, once it has begun. `skipped`: there was nothing to do."""

    RUNNING = "running"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"
    COMPENSATED = "compensated"
    COMPENSATION_FAILED = "compensation_failed"


class SagaStep(Contract):
    """A step that has begun, as the ledger has it."""

    index: int
    name: str
    status: StepStatus
    attempts: int
    started_at: datetime
    finished_at: datetime | None = None
    error: dict[str, Any] | None = None


class SagaSummary(Contract):
    """A run as callers of the API get it."""

    id: UUID
    kind: SagaKind
    status: SagaStatus
    current_step: int = Field(description="The index of the step that is under way, or was last.")
    error: dict[str, Any] | None = Field(
        default=None,
        description="Why it is undone: `reason`, and `compensate_from_idx`, the step with which that began.",
    )
    steps: list[SagaStep]


class Left(Contract):
    """What a run leaves of a resource: whoever compares what is with what was asked for goes by it, once it is done.

    `spec`: the fields that are to be so from now on, beside those that were to be before; None: the resource is to be
    no more.
    """

    resource_id: UUID
    spec: dict[str, Any] | None
    version: int | None = Field(
        default=None, description="The resource's version that shows it so; None where none does."
    )


class SagaRun(Contract):
    """A run as others get it: its steps by name alone."""

    id: UUID
    kind: SagaKind
    flow_version: int
    status: SagaStatus
    deployment_id: UUID | None
    tenant_id: str | None
    steps: list[str]
    current_step: int
    inputs: dict[str, Any]
    context: dict[str, Any]
    cancel_requested: bool
    error: dict[str, Any] | None
    created_at: datetime
    finished_at: datetime | None
    version: int
    resource_ids: list[UUID] = Field(
        default_factory=list, description="The resources that its inputs name: while it is unfinished, it changes them."
    )
    left: list[Left] = Field(default_factory=list, description="What it leaves of resources, when it is completed.")


class SagaEvent(Event):
    """Any event about a run. Subscribe to this class to project runs."""

    TOPIC: ClassVar[str] = RUNS

    run: SagaRun

    def key(self) -> str:
        return str(self.run.id)

    def sequence(self) -> int:
        return self.run.version

    def tenant(self) -> str | None:
        return self.run.tenant_id


class SagaStarted(SagaEvent):
    """A run has begun."""

    TYPE: ClassVar[str] = "arcadia.sagas.saga-started.v1"


class SagaCompensating(SagaEvent):
    """A run failed or was cancelled, and is being undone; or the undoing goes on."""

    TYPE: ClassVar[str] = "arcadia.sagas.saga-compensating.v1"


class SagaResumed(SagaEvent):
    """A run that had failed past the point of no return goes on."""

    TYPE: ClassVar[str] = "arcadia.sagas.saga-resumed.v1"


class SagaCompleted(SagaEvent):
    """All steps of a run are done."""

    TYPE: ClassVar[str] = "arcadia.sagas.saga-completed.v1"


class SagaRolledBack(SagaEvent):
    """A run is undone."""

    TYPE: ClassVar[str] = "arcadia.sagas.saga-rolled-back.v1"


class SagaFailed(SagaEvent):
    """A run could be neither finished nor wholly undone: an operator has to look."""

    TYPE: ClassVar[str] = "arcadia.sagas.saga-failed.v1"


class SagaWrittenOff(SagaEvent):
    """An operator has given a failed run up: `error.written_off` says who, when and why. It never goes on."""

    TYPE: ClassVar[str] = "arcadia.sagas.saga-written-off.v1"


class SagaRepublished(SagaEvent):
    """Nothing happened: the state is told again, for whoever rebuilds (`arcadia republish sagas`)."""

    TYPE: ClassVar[str] = "arcadia.sagas.saga-republished.v1"


class SagaCommand(Command):
    """Something asked of the sagas service."""

    TOPIC: ClassVar[str] = COMMANDS


class StartSaga(SagaCommand):
    """Begin a run. The id is the sender's to choose, so that it can be known before.

    Refused with `unknown_saga_kind`, `invalid_inputs`, and `deployment_busy` where another run for the deployment is
    unfinished.
    """

    TYPE: ClassVar[str] = "arcadia.sagas.start-saga.v1"

    saga_id: UUID
    kind: SagaKind
    inputs: dict[str, Any] = Field(default_factory=dict)
    deployment_id: UUID | None = None
    tenant_id: str | None = Field(default=None, description="Whose run it is. None: the sender's tenant's.")

    def key(self) -> str:
        return str(self.deployment_id or self.saga_id)


class CancelSaga(SagaCommand):
    """Stop a run after the step under way, and undo it. Where that is its last step, the run is done with it.

    Refused with `not_found`, and with `not_cancellable` where it has ended, is being undone, or is past the point of no
    return.
    """

    TYPE: ClassVar[str] = "arcadia.sagas.cancel-saga.v1"

    saga_id: UUID

    def key(self) -> str:
        return str(self.saga_id)


class RetrySaga(SagaCommand):
    """Go on with a run that has failed: with what could not be undone, or past the point of no return.

    Refused with `not_found`, `not_retryable` where it has not failed or is written off, and `deployment_busy`.
    """

    TYPE: ClassVar[str] = "arcadia.sagas.retry-saga.v1"

    saga_id: UUID

    def key(self) -> str:
        return str(self.saga_id)


class WriteOffSaga(SagaCommand):
    """Give a failed run up, whose rest somebody has seen to by hand; its deployment is let go, in the state it is in.

    Refused with `not_found`, and `not_failed` where it has not failed, or is written off already.
    """

    TYPE: ClassVar[str] = "arcadia.sagas.write-off-saga.v1"

    saga_id: UUID
    reason: str = Field(min_length=1, max_length=1000, pattern=r"^[^\x00]*$", description="What was done instead.")

    def key(self) -> str:
        return str(self.saga_id)


class TimerDue(Command):
    """The service to itself: a run's time is up. Among the replies, so that those which came before are before it."""

    TYPE: ClassVar[str] = "arcadia.sagas.timer-due.v1"
    TOPIC: ClassVar[str] = REPLIES

    saga_id: UUID
    timer: int = Field(description="Which of the run's timers; it counts while it is the newest.")

    def key(self) -> str:
        return str(self.saga_id)


class ExerciseStep(SagaCommand):
    """A step that needs nobody: it exercises the engine. `echo` answers with `say`, `fail` is refused, always.

    The key is the run's, as of whatever it stands for.
    """

    saga_id: UUID
    step: int

    def key(self) -> str:
        return str(self.saga_id)


class Echo(ExerciseStep):
    """Answer with what was said. Result: `said`."""

    TYPE: ClassVar[str] = "arcadia.sagas.echo.v1"

    say: str = Field(max_length=4000)


class Unecho(ExerciseStep):
    """Take an echo back. Result: `unsaid`."""

    TYPE: ClassVar[str] = "arcadia.sagas.unecho.v1"


class Fail(ExerciseStep):
    """Refused, with `asked_to_fail`."""

    TYPE: ClassVar[str] = "arcadia.sagas.fail.v1"
