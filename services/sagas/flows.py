"""The flows: which steps a kind of run has. A change is a new version beside the old, until its last run has ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from contracts.message import Command
from contracts.sagas import Echo, Fail, Unecho
from services.sagas.domain import Json, Plan, State, Step


class Inputs(BaseModel):
    """What a run is begun with. A field that is not known is refused: it would be ignored for good."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Flow:
    """A kind of run. `plan` makes its steps of its inputs: of the same inputs always the same."""

    kind: str
    version: int
    inputs: type[Inputs]
    plan: Callable[[Any], Plan]


class ExerciseInputs(Inputs):
    """Steps that need nobody, to see the engine at work."""

    steps: list[Literal["echo", "fail"]] = Field(min_length=1, max_length=50)
    say: str = Field(default="hello", max_length=1000)


_EXERCISE_TIMEOUT = timedelta(seconds=30)


def _echo(state: State) -> Command:
    return Echo(saga_id=state.saga_id, step=state.step, say=state.inputs["say"])


def _unecho(state: State) -> Command:
    return Unecho(saga_id=state.saga_id, step=state.step)


def _fail(state: State) -> Command:
    return Fail(saga_id=state.saga_id, step=state.step)


def _echoed(state: State, result: Json) -> Json:
    return {f"echoed_at_step_{state.step}": result["said"]}


_EXERCISES: Mapping[str, Step] = {
    "echo": Step("echo", _echo, _unecho, keep=_echoed, timeout=_EXERCISE_TIMEOUT),
    "fail": Step("fail", _fail, timeout=_EXERCISE_TIMEOUT),
}


def _exercise(inputs: ExerciseInputs) -> Plan:
    return Plan([_EXERCISES[name] for name in inputs.steps])


FLOWS: Sequence[Flow] = (Flow("exercise", 1, ExerciseInputs, _exercise),)

_BY_VERSION = {(flow.kind, flow.version): flow for flow in FLOWS}
NEWEST = {flow.kind: flow for flow in sorted(FLOWS, key=lambda flow: flow.version)}
"""The flow of each kind that new runs begin with."""


def plan_of(kind: str, version: int, inputs: Json) -> Plan:
    """The plan of a run that has begun. Raises LookupError where this code does not know its flow any more, or yet."""
    return _planned(kind, version, orjson.dumps(inputs))


@lru_cache(maxsize=1024)  # a run asks once a step, and many runs have the same inputs
def _planned(kind: str, version: int, inputs: bytes) -> Plan:
    try:
        flow = _BY_VERSION[kind, version]
    except KeyError:
        raise LookupError(f"flow {kind} v{version} is not known to this code: its runs need the code that is") from None
    return flow.plan(flow.inputs.model_validate_json(inputs))
