"""The flows that there are. A changed flow is a new version beside the old one, until its last run has ended."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import orjson

from services.sagas.deployments import OFFBOARD, PROVISION, RESIZE, RESUME, SUSPEND
from services.sagas.domain import Json, Plan
from services.sagas.exercise import EXERCISE
from services.sagas.flow import Flow

FLOWS: Sequence[Flow] = (EXERCISE, PROVISION, SUSPEND, RESUME, OFFBOARD, RESIZE)

_BY_VERSION = {(flow.kind, flow.version): flow for flow in FLOWS}
NEWEST = {flow.kind: flow for flow in sorted(FLOWS, key=lambda flow: flow.version)}
"""The flow of each kind that new runs begin with."""


def plan_of(kind: str, version: int, inputs: Json) -> Plan:
    """The plan of a run that has begun. Raises LookupError where this code does not know its flow any more, or yet."""
    return _planned(kind, version, orjson.dumps(inputs))


@lru_cache(maxsize=1024)  # a run asks once a step
def _planned(kind: str, version: int, inputs: bytes) -> Plan:
    try:
        flow = _BY_VERSION[kind, version]
    except KeyError:
        raise LookupError(f"flow {kind} v{version} is not known to this code: its runs need the code that is") from None
    return flow.plan(flow.inputs.model_validate_json(inputs))
