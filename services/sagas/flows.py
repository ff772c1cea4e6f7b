"""The flows that there are. A changed flow is a new version beside the old one, until its last run has ended."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import orjson

from services.sagas.deployments import (
    OFFBOARD,
    PROVISION,
    RESIZE,
    RESIZE_1,
    RESUME,
    RESUME_1,
    REVERT,
    SUSPEND,
    SUSPEND_1,
)
from services.sagas.domain import Json, Plan
from services.sagas.exercise import EXERCISE
from services.sagas.flow import Flow


class Flows:
    """A table of flows. `newest`: the flow of each kind that new runs begin with."""

    def __init__(self, flows: Sequence[Flow]) -> None:
        self.newest = {flow.kind: flow for flow in sorted(flows, key=lambda flow: flow.version)}
        self._by_version = {(flow.kind, flow.version): flow for flow in flows}
        self._planned = lru_cache(maxsize=1024)(self._plan)  # a run asks once a step

    def plan_of(self, kind: str, version: int, inputs: Json) -> Plan:
        """The plan of a run that has begun. Raises LookupError where its flow is not in the table any more, or yet."""
        return self._planned(kind, version, orjson.dumps(inputs))

    def _plan(self, kind: str, version: int, inputs: bytes) -> Plan:
        if (flow := self._by_version.get((kind, version))) is None:
            raise LookupError(f"flow {kind} v{version} is not known to this code: its runs need the code that is")
        return flow.plan(flow.inputs.model_validate_json(inputs))


FLOWS = Flows((EXERCISE, PROVISION, SUSPEND_1, SUSPEND, RESUME_1, RESUME, OFFBOARD, RESIZE_1, RESIZE, REVERT))
