"""Transactions at once: what guards a deployment and a plan where no partition puts its commands in a row.

(After a rebalance two consumers may have commands for one deployment in hand, and the clock's jobs have them always.)
"""

from __future__ import annotations

import asyncio

from contracts.catalog import PublishPlanVersion
from contracts.deployments import Authority, DeploymentState, TransitionDeployment
from contracts.message import Command
from shared.outcome import Refused
from tests.deployments.customers import active_version, customer, drafted, named
from tests.deployments.world import Deployments


async def said(world: Deployments, command: Command) -> str:
    """What came of a command, in a word."""
    try:
        await world.do(command)
    except Refused as refused:
        return refused.code
    return "ok"


async def test_of_many_transactions_that_want_the_same_of_a_deployment_one_gets_it(deployments: Deployments) -> None:
    acme = await customer(deployments)
    pause = TransitionDeployment(
        deployment_id=acme.id, authority=Authority.TENANT, to_state=DeploymentState.PAUSED, reason="at once"
    )
    async with deployments.db.transaction() as conn:
        await conn.execute("select from cloud_deployments where id = $1 for update", acme.id)
        asked = [asyncio.create_task(said(deployments, pause)) for _ in range(12)]
        await asyncio.sleep(0.3)  # until some wait for the row
    assert sorted(await asyncio.gather(*asked)) == ["invalid_transition"] * 11 + ["ok"]
    rows = await deployments.fetch(
        "select to_state from cloud_deployment_events where deployment_id = $1 order by version", acme.id
    )
    assert [row["to_state"] for row in rows] == ["active", "paused"]


async def test_transactions_that_publish_a_plans_versions_wait_for_one_another(deployments: Deployments) -> None:
    plan = await named(deployments)
    drafts = [await drafted(deployments, plan) for _ in range(6)]
    outcomes = await asyncio.gather(*(said(deployments, PublishPlanVersion(plan_version_id=draft)) for draft in drafts))
    assert outcomes == ["ok"] * 6
    assert await active_version(deployments, plan) in drafts
