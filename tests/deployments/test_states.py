"""All pairs of states, for whoever asks: exactly what the map of the requirements allows, each with one event."""

from __future__ import annotations

from itertools import product
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.deployments import (
    Authority,
    CreateDeployment,
    DeploymentState,
    DeploymentTransitioned,
    TransitionDeployment,
)
from tests.deployments.world import SMALL, Deployments

# The table of the requirements, written down once more by hand: what the code says must be this.
ALLOWED = {
    "provisioning": {"active": "saga", "cancelled": "saga"},
    "trial": {
        "active": "operator billing",
        "past_due": "operator billing",
        "paused": "operator billing tenant",
        "cancelled": "operator billing tenant",
    },
    "active": {
        "past_due": "operator billing",
        "paused": "operator tenant",
        "suspended": "operator billing",
        "cancelled": "operator tenant",
    },
    "past_due": {"active": "operator billing", "suspended": "operator billing", "cancelled": "operator billing"},
    "paused": {"active": "operator tenant", "suspended": "operator", "cancelled": "operator tenant"},
    "suspended": {"active": "operator billing", "cancelled": "operator billing"},
    "cancelled": {"archived": "operator"},
    "archived": {},
}

PAIRS = [(before, after) for before, after in product(DeploymentState, repeat=2)]
SAGA = UUID(int=7)


def test_there_are_64_pairs() -> None:
    assert len(PAIRS) == 64
    assert ALLOWED.keys() == set(DeploymentState)


async def in_state(world: Deployments, state: DeploymentState, *, hold: bool = False) -> UUID:
    """A deployment of acme in a state, whatever way leads there."""
    built: dict[str, Any] = {"saga_id": SAGA, "provision": SMALL} if state == "provisioning" else {}
    made = await world.do(CreateDeployment(tenant_id="acme", slug=f"app-{uuid4().hex}", display_name="App", **built))
    id = UUID(made["deployment"]["id"])
    await world.fetch(
        "update cloud_deployments set state = $2, billing_action_suspended = $3 where id = $1", id, state, hold
    )
    return id


def wish(id: UUID, to_state: DeploymentState, authority: Authority, saga: UUID | None = SAGA) -> TransitionDeployment:
    return TransitionDeployment(
        deployment_id=id,
        authority=authority,
        to_state=to_state,
        reason="because",
        notes="a note",
        saga_id=saga if authority is Authority.SAGA else None,
    )


@pytest.mark.parametrize(("before", "after"), PAIRS)
@pytest.mark.parametrize("authority", Authority)
async def test_exactly_the_allowed_transitions_succeed_and_leave_one_event(
    deployments: Deployments, before: DeploymentState, after: DeploymentState, authority: Authority
) -> None:
    id = await in_state(deployments, before)
    deployments.said.clear()
    allowed = ALLOWED[before].get(after, "").split()
    expected: list[tuple[str | None, str]] = [(None, "provisioning" if before == "provisioning" else "active")]
    if authority in allowed:
        result = await deployments.do(wish(id, after, authority), actor="mo@acme.test")
        assert result["deployment"]["state"] == after
        (event,) = deployments.said
        assert isinstance(event, DeploymentTransitioned)
        assert (event.from_state, event.to_state, event.authority) == (before, after, authority)
        assert (event.reason, event.notes) == ("because", "a note")
        expected.append((before, after))
    else:
        refused = await deployments.refusal(wish(id, after, authority))
        assert refused.code == ("forbidden" if allowed else "invalid_transition")
        assert (refused.detail["from"], refused.detail["to"]) == (before, after)
        assert deployments.said == []
    rows = await deployments.fetch("select * from cloud_deployment_events where deployment_id = $1 order by id", id)
    assert [(row["from_state"], row["to_state"]) for row in rows] == expected
    if len(rows) > 1:
        (row,) = await deployments.fetch("select * from cloud_deployments where id = $1", id)
        written = (rows[1]["actor"], rows[1]["reason"], rows[1]["notes"], rows[1]["occurred_at"], rows[1]["version"])
        assert written == ("mo@acme.test", "because", "a note", row["state_since"], row["version"])
        assert row["state"] == after


@pytest.mark.parametrize("after", ["active", "cancelled"])
async def test_only_its_own_saga_moves_a_deployment_that_is_provisioned(
    deployments: Deployments, after: DeploymentState
) -> None:
    id = await in_state(deployments, DeploymentState.PROVISIONING)
    for saga in (UUID(int=8), None):
        refused = await deployments.refusal(wish(id, DeploymentState(after), Authority.SAGA, saga))
        assert refused.code == "forbidden"
    await deployments.do(wish(id, DeploymentState(after), Authority.SAGA))
    (row,) = await deployments.fetch("select state, saga_id from cloud_deployments where id = $1", id)
    assert tuple(row) == (after, None)


@pytest.mark.parametrize(("before", "after"), PAIRS)
async def test_while_an_operator_holds_billing_off_it_neither_suspends_nor_cancels(
    deployments: Deployments, before: DeploymentState, after: DeploymentState
) -> None:
    id = await in_state(deployments, before, hold=True)
    if "billing" not in ALLOWED[before].get(after, ""):
        return
    if after in {"suspended", "cancelled"}:
        assert (await deployments.refusal(wish(id, after, Authority.BILLING))).code == "billing_action_suspended"
    else:
        await deployments.do(wish(id, after, Authority.BILLING))
    for authority in {Authority.OPERATOR, Authority.TENANT} & {Authority(a) for a in ALLOWED[before][after].split()}:
        other = await in_state(deployments, before, hold=True)
        await deployments.do(wish(other, after, authority))


async def test_what_is_not_there_is_not_found_and_what_is_anothers_is_forbidden(deployments: Deployments) -> None:
    id = await in_state(deployments, DeploymentState.ACTIVE)
    paused = DeploymentState.PAUSED
    assert (await deployments.refusal(wish(uuid4(), paused, Authority.TENANT))).code == "not_found"
    refused = await deployments.refusal(wish(id, paused, Authority.TENANT), tenant="globex")
    assert refused.code == "forbidden"
    await deployments.do(wish(id, paused, Authority.OPERATOR), tenant="platform")
