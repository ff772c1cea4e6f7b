"""The map of states as a page for people: Mermaid, drawn from the very table that the service obeys."""

from __future__ import annotations

from contracts.deployments import Authority, DeploymentState
from services.deployments.domain import TRANSITIONS

_HEAD = """# The states of a deployment

Written by `make contracts` from `TRANSITIONS` in `services/deployments/domain.py`, which is what the service obeys. On
each way stands who may ask for it; `saga` is the one that provisions the deployment, and no other. A deployment begins
`active`, `trial` where an operator says so, or `provisioning` where a saga builds it.

"""


def page() -> str:
    """The page `docs/states.md`."""
    begins = (DeploymentState.ACTIVE, DeploymentState.TRIAL, DeploymentState.PROVISIONING)
    lines = ["```mermaid", "stateDiagram-v2", *(f"    [*] --> {state}" for state in begins)]
    rows = ["| from | to | who |", "|---|---|---|"]
    for before, ways in TRANSITIONS.items():
        for after, who in ways.items():
            names = ", ".join(authority for authority in Authority if authority in who)
            lines.append(f"    {before} --> {after}: {names}")
            rows.append(f"| {before} | {after} | {names} |")
        if not ways:
            lines.append(f"    {before} --> [*]")
    return _HEAD + "\n".join([*lines, "```", "", *rows, ""])
