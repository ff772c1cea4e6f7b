"""What is said to a run: it goes on by that alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from uuid import UUID


@dataclass(frozen=True)
class Begin:
    """The run begins."""


@dataclass(frozen=True)
class Answered:
    """A command was answered. `command_id` tells which attempt at which step that was."""

    command_id: UUID
    status: Literal["ok", "refused", "failed"]
    result: Mapping[str, Any] = field(default_factory=dict)
    code: str | None = None
    detail: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Due:
    """A timer rang."""

    timer: int


@dataclass(frozen=True)
class Cancel:
    """Somebody wants the run stopped and undone."""


@dataclass(frozen=True)
class Retry:
    """An operator wants a failed run to go on."""


@dataclass(frozen=True)
class WriteOff:
    """An operator gives a failed run up. `by`: who, where that is known."""

    reason: str
    by: str | None


Signal: TypeAlias = Begin | Answered | Due | Cancel | Retry | WriteOff
