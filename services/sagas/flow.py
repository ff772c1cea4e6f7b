"""What a flow is: the steps of a kind of run, made of its inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from services.sagas.domain import Plan


class Inputs(BaseModel):
    """What a run is begun with. A field that is not known is refused: it would be ignored for good."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Flow:
    """A kind of run. `plan` makes its steps of its inputs: of the same inputs always the same.

    `version`: a change is a new version beside the old one, until its last run has ended.
    """

    kind: str
    version: int
    inputs: type[Inputs]
    plan: Callable[[Any], Plan]
