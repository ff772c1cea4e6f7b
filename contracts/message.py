"""What a message is: commands, events and replies, and the CloudEvents envelope they travel in."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

TYPE_PATTERN = re.compile(r"^arcadia\.(?P<service>[a-z-]+)\.(?P<name>[a-z0-9-]+)\.v(?P<version>[1-9][0-9]*)$")

MESSAGES: dict[str, type[Message]] = {}
"""Every message class by its type. Filled as the classes are defined; `contracts.registry` imports them all."""


class Contract(BaseModel):
    """A frozen value that ignores fields it does not know, so that old code reads newer messages."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Message(Contract):
    """A message's `data`. A subclass that sets `TYPE` is a message of its own and is registered by it.

    A class whose shape must change incompatibly stays as it is; the next version is a class beside it, and the old one
    overrides `upcast`.
    """

    TYPE: ClassVar[str]
    TOPIC: ClassVar[str]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "TYPE" not in cls.__dict__:
            return
        if not TYPE_PATTERN.match(cls.TYPE):
            raise TypeError(f"{cls.__name__}.TYPE is {cls.TYPE!r}; expected 'arcadia.<service>.<name>.v<version>'")
        if MESSAGES.setdefault(cls.TYPE, cls) is not cls:
            raise TypeError(f"{cls.TYPE} is declared twice: {MESSAGES[cls.TYPE].__qualname__} and {cls.__qualname__}")

    def key(self) -> str:
        """The Kafka key: messages of one key stay in order."""
        raise NotImplementedError(f"{type(self).__name__} declares no key")

    def upcast(self) -> Message:
        """This message in its newest version."""
        return self


class Command(Message):
    """A wish addressed to one service, which answers it with one `Reply`."""


class Event(Message):
    """A fact, with the full state of its aggregate after it. The key is that state's full identity."""

    def sequence(self) -> int:
        """The version of the aggregate's row: a projection writes only what is newer than what it has."""
        raise NotImplementedError(f"{type(self).__name__} declares no sequence")

    def tenant(self) -> str | None:
        """The tenant whom the fact concerns; None where it concerns the platform alone."""
        return None


class Reply(Message):
    """The answer to a command. `pending` is progress: the final answer follows."""

    TYPE: ClassVar[str] = "arcadia.runtime.reply.v1"
    # Replies go to the topic that the command names in `replyto`; this is the one most of them go to.
    TOPIC: ClassVar[str] = "arcadia.gateway.replies"

    command_id: UUID
    command_type: str
    correlation_id: UUID
    status: Literal["ok", "refused", "pending", "failed"]
    result: dict[str, Any] | None = Field(
        default=None, description="What came of it, when `ok`; how far it is, when `pending`."
    )
    code: str | None = Field(default=None, description="A stable word for the reason, when `refused` or `failed`.")
    detail: dict[str, Any] | None = Field(default=None, description="What a person needs beside the code.")

    def key(self) -> str:
        return str(self.correlation_id)


class Envelope(BaseModel):
    """A message on the wire: CloudEvents 1.0 in structured JSON (`application/cloudevents+json`).

    Source: the CloudEvents specification 1.0.2, sections "Context Attributes" and "JSON Event Format". Extension
    attributes are lower-case letters only, as the specification asks.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: Literal["1.0"] = "1.0"
    id: UUID
    source: str = Field(min_length=1, description="Who sent it: `/arcadia/<service>`.")
    type: str = Field(min_length=1)
    subject: str = Field(description="The message's key: what it is about.")
    time: AwareDatetime
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: str = Field(description="The path under which the gateway serves the JSON Schema of `data`.")
    data: dict[str, Any]
    tenantid: str | None = None
    correlationid: UUID | None = Field(default=None, description="Common to everything that one request caused.")
    causationid: UUID | None = Field(default=None, description="The id of the message that caused this one.")
    traceparent: str | None = Field(default=None, description="W3C trace context.")
    actor: str | None = Field(
        default=None,
        description="The person or service on whose behalf: an e-mail address or a service's name.",
    )
    sequence: int | None = Field(default=None, description="On events: the version of the aggregate's row.")
    replyto: str | None = Field(default=None, description="On commands: the topic that wants the reply.")
    expires: AwareDatetime | None = Field(default=None, description="On commands: not to be begun after this time.")

    @classmethod
    def of(cls, message: Message, *, id: UUID, source: str, time: AwareDatetime, **extensions: Any) -> Self:
        """The envelope of a message. `extensions`: the attributes from `tenantid` on."""
        return cls(
            id=id,
            source=source,
            type=message.TYPE,
            subject=message.key(),
            time=time,
            dataschema=schema_path(message.TYPE),
            data=message.model_dump(mode="json"),
            **extensions,
        )


def schema_path(message_type: str) -> str:
    """The path of a message's JSON Schema at the gateway."""
    return f"/api/v1/contracts/schemas/{message_type}.json"
