"""What every service announces by its runtime alone: the dead letter."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from contracts import topics
from contracts.message import Event

GATEWAY_REPLIES = topics.replies("gateway")

Reason = Literal["undecodable", "unknown_type", "invalid", "unhandled", "bug"]


class DeadLettered(Event):
    """A message was given up on. It waits in its service's table `dead_letters` for an operator."""

    TYPE: ClassVar[str] = "arcadia.runtime.dead-lettered.v1"
    # Each service announces on its own topic; this template stands for all of them.
    TOPIC: ClassVar[str] = "arcadia.<service>.dead-letters"

    dead_letter_id: UUID
    service: str
    reason: Reason
    detail: str
    topic: str
    partition: int
    offset: int
    message_id: UUID | None = None
    message_type: str | None = None
    tenant_id: str | None = None
    attempts: int
    given_up_at: datetime

    def key(self) -> str:
        return str(self.dead_letter_id)

    def sequence(self) -> int:
        return self.attempts

    def tenant(self) -> str | None:
        return self.tenant_id
