"""What was asked of the stand-in, and what goes wrong by switch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Effect = Literal["status", "lost", "slow"]


class Fault(BaseModel):
    """One thing that goes wrong, for so many POSTs.

    `status` answers this status instead of doing anything, `lost` does it and resets the connection, `slow` does it
    after so many seconds.
    """

    model_config = ConfigDict(extra="forbid")

    effect: Effect
    count: int = Field(1, ge=1)
    seconds: float = Field(1.0, ge=0)
    status: int = Field(503, ge=400, le=599)


class Entry(BaseModel):
    """A POST, without its token; `status` is None while it is not answered, and 0 where the answer was lost.

    `claims` are those of a token that verified, `refused` says why another did not, `fault` what struck.
    """

    path: str
    status: int | None = None
    claims: dict[str, Any] | None = None
    refused: str = ""
    fault: Effect | None = None


class Faults:
    """The faults that are switched on; the oldest strikes first, one for each POST."""

    def __init__(self) -> None:
        self._armed: list[Fault] = []

    def arm(self, fault: Fault) -> None:
        """Switch a fault on."""
        self._armed.append(fault)

    def strike(self) -> Fault | None:
        """The fault of the next POST, if there is one."""
        if not self._armed:
            return None
        fault = self._armed[0]
        fault.count -= 1
        if not fault.count:
            del self._armed[0]
        return fault
