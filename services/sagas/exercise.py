"""Runs of steps that need nobody: to see the engine at work."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

from pydantic import Field

from contracts.message import Command
from contracts.sagas import Echo, Fail, Unecho
from services.sagas.domain import Json, Plan, State, Step
from services.sagas.flow import Flow, Inputs

_TIMEOUT = timedelta(seconds=30)


class ExerciseInputs(Inputs):
    """`echo` says what is to be said, `fail` is refused."""

    steps: list[Literal["echo", "fail"]] = Field(min_length=1, max_length=50)
    say: str = Field(default="hello", max_length=1000)


def _echo(state: State) -> Command:
    return Echo(saga_id=state.saga_id, step=state.step, say=state.inputs["say"])


def _unecho(state: State) -> Command:
    return Unecho(saga_id=state.saga_id, step=state.step)


def _fail(state: State) -> Command:
    return Fail(saga_id=state.saga_id, step=state.step)


def _echoed(state: State, result: Json) -> Json:
    return {f"echoed_at_step_{state.step}": result["said"]}


_STEPS: Mapping[str, Step] = {
    "echo": Step("echo", _echo, _unecho, keep=_echoed, timeout=_TIMEOUT),
    "fail": Step("fail", _fail, timeout=_TIMEOUT),
}


def _plan(inputs: ExerciseInputs) -> Plan:
    return Plan([_STEPS[name] for name in inputs.steps])


EXERCISE = Flow("exercise", 1, ExerciseInputs, _plan)
