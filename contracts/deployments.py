"""What the deployments service is asked of deployments, and what it tells of them.

Their subscriptions are in `subscriptions.py`, its catalog is in `catalog.py`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, ClassVar, Self
from uuid import UUID

from pydantic import Field, model_validator

from contracts import topics
from contracts.message import Command, Contract, Event

COMMANDS = topics.commands("deployments", "the deployment's id; of new ones tenant and slug; `catalog`; `periods`")
DEPLOYMENTS = topics.events("deployments", "deployments", "deployment id")
REPLIES = topics.replies("deployments", retention=timedelta(days=14))
topics.dead_letters("deployments")

Slug = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", examples=["shop"])]
"""A deployment's name in addresses: a DNS label (RFC 1123) in small letters."""

DisplayName = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$", examples=["Acme's shop"])]
Word = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$")]
"""A word of the caller's own vocabulary: a region, a template."""

Reason = Annotated[str, Field(max_length=255, pattern=r"^[^\x00]*$")]
Notes = Annotated[str, Field(max_length=4000, pattern=r"^[^\x00]*$")]


class DeploymentState(StrEnum):
    """Where a deployment is in its life. Which state may follow which is the service's `TRANSITIONS`."""

    PROVISIONING = "provisioning"
    TRIAL = "trial"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    CANCELLED = "cancelled"
    ARCHIVED = "archived"


class Authority(StrEnum):
    """By what right something is asked. The sender says so: the gateway of its callers, a service of itself."""

    OPERATOR = "operator"
    BILLING = "billing"
    TENANT = "tenant"
    SAGA = "saga"


class DeploymentSummary(Contract):
    """A deployment as callers of the API get it."""

    id: UUID
    tenant_id: str
    slug: str
    display_name: str
    region: str | None
    state: DeploymentState
    state_since: datetime
    llm_mode: str | None
    template_code: str | None
    billing_action_suspended: bool = Field(
        description="Set by an operator: nothing suspends or cancels it for billing reasons."
    )


class Deployment(DeploymentSummary):
    """A deployment: one app of a tenant, the unit that is billed."""

    template_version: str | None
    saga_id: UUID | None = Field(description="The saga that has it in hand: it alone may move it meanwhile.")
    created_at: datetime
    version: int


class DeploymentEvent(Event):
    """Any event about a deployment. Subscribe to this class to project deployments."""

    TOPIC: ClassVar[str] = DEPLOYMENTS

    deployment: Deployment

    def key(self) -> str:
        return str(self.deployment.id)

    def sequence(self) -> int:
        return self.deployment.version

    def tenant(self) -> str | None:
        return self.deployment.tenant_id


class DeploymentCreated(DeploymentEvent):
    """A tenant has one deployment more."""

    TYPE: ClassVar[str] = "arcadia.deployments.deployment-created.v1"


class DeploymentTransitioned(DeploymentEvent):
    """A deployment went from one state to another."""

    TYPE: ClassVar[str] = "arcadia.deployments.deployment-transitioned.v1"

    from_state: DeploymentState
    to_state: DeploymentState
    authority: Authority
    reason: str | None = None
    notes: str | None = None


class DeploymentUpdated(DeploymentEvent):
    """Something else of a deployment was changed: its display name, or the operators' hold on billing."""

    TYPE: ClassVar[str] = "arcadia.deployments.deployment-updated.v1"

    fields: list[str] = Field(description="Which of its fields were changed.")


class DeploymentHeld(DeploymentEvent):
    """A saga has taken a deployment in hand, to bring it into another state or to change what it runs on."""

    TYPE: ClassVar[str] = "arcadia.deployments.deployment-held.v1"

    authority: Authority


class DeploymentReleased(DeploymentEvent):
    """A saga has let a deployment go, in the state in which it found it."""

    TYPE: ClassVar[str] = "arcadia.deployments.deployment-released.v1"


class DeploymentRepublished(DeploymentEvent):
    """Nothing happened: the state is told again, for whoever rebuilds (`arcadia republish deployments`)."""

    TYPE: ClassVar[str] = "arcadia.deployments.deployment-republished.v1"


class Provisioning(Contract):
    """What is to be built for a new deployment."""

    region: Word = Field(examples=["syd1"])
    size: str = Field(min_length=1, max_length=64, examples=["s-1vcpu-1gb"])
    image: str = Field(min_length=1, max_length=255, examples=["ubuntu-24-04-x64"])
    domain: str | None = Field(default=None, description="The zone in which it gets a name. None: it gets none.")


class CreateDeployment(Command):
    """Create a deployment for a tenant: `active`, `trial` where one is asked for, or `provisioning` with its saga.

    Result: `deployment`, and `saga` where one is begun.

    Refused with `invalid_fields` where the tenant has the slug already.
    """

    TYPE: ClassVar[str] = "arcadia.deployments.create-deployment.v1"
    TOPIC: ClassVar[str] = COMMANDS

    tenant_id: str = Field(min_length=1, max_length=255)
    slug: Slug
    display_name: DisplayName
    region: Word | None = None
    llm_mode: Word | None = None
    template_code: Word | None = None
    template_version: Word | None = None
    trial: bool = False
    saga_id: UUID | None = Field(default=None, description="The saga that provisions it. None: it is there already.")
    provision: Provisioning | None = Field(default=None, description="What that saga is to build.")

    @model_validator(mode="after")
    def _is_built_by_a_saga_or_there(self) -> Self:
        if (self.provision is None) is not (self.saga_id is None):
            raise ValueError("provision and saga_id go together: what is to be built, and the saga that builds it")
        return self

    def key(self) -> str:
        return f"{self.tenant_id}:{self.slug}"


class DeploymentCommand(Command):
    """Something asked of one deployment: refused with `not_found`, or `forbidden` to a tenant that is not its own."""

    TOPIC: ClassVar[str] = COMMANDS

    deployment_id: UUID
    authority: Authority

    def key(self) -> str:
        return str(self.deployment_id)


class TransitionDeployment(DeploymentCommand):
    """Bring a deployment into another state.

    Refused with `invalid_transition` where no such way leads from its state, with `forbidden` where it leads for others
    only, with `billing_action_suspended` where an operator keeps billing from it, and with `deployment_busy` where
    another saga has it in hand. A saga that asks again gets the same answer.
    """

    TYPE: ClassVar[str] = "arcadia.deployments.transition-deployment.v1"

    to_state: DeploymentState
    reason: Reason | None = None
    notes: Notes | None = None
    saga_id: UUID | None = Field(default=None, description="Which saga asks, where one does.")


class UpdateDeployment(DeploymentCommand):
    """Change what may be changed of a deployment beside its state. What is None stays as it is.

    Setting `billing_action_suspended` withdraws a cancellation that billing has asked for at the end of the period.
    Refused with `forbidden` where anybody but an operator changes that field.
    """

    TYPE: ClassVar[str] = "arcadia.deployments.update-deployment.v1"

    display_name: DisplayName | None = None
    billing_action_suspended: bool | None = Field(default=None, description="For operators to change.")


class HoldDeployment(DeploymentCommand):
    """Take a deployment in hand for a saga: nobody else moves it until that saga has, or lets it go.

    `to_state`: where the saga is going to bring it; refused as such a move would be. Refused with `deployment_busy`
    where another saga has it. Done where this saga has it already.
    """

    TYPE: ClassVar[str] = "arcadia.deployments.hold-deployment.v1"

    saga_id: UUID
    to_state: DeploymentState | None = None


class ReleaseDeployment(DeploymentCommand):
    """Let a deployment go that a saga has in hand; one that was to be provisioned is cancelled.

    Done where the saga does not have it (any more), or there is none.
    """

    TYPE: ClassVar[str] = "arcadia.deployments.release-deployment.v1"

    saga_id: UUID
