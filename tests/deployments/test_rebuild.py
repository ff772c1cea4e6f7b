"""Another service can be rebuilt from the compacted topics alone: what they still hold is what the tables hold."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from contracts.catalog import ADDONS, PLANS, RESOURCE_PRICES, DraftPlanVersion, PublishPlanVersion, SetResourcePrice
from contracts.deployments import (
    DEPLOYMENTS,
    Authority,
    CreateDeployment,
    Deployment,
    DeploymentState,
    HoldDeployment,
    ReleaseDeployment,
    TransitionDeployment,
)
from contracts.kinds import BillingKind
from contracts.money import Currency
from contracts.subscriptions import (
    SUBSCRIPTIONS,
    AttachAddon,
    CancelSubscription,
    ChangePlanVersion,
    DetachAddon,
    Subscribe,
    UncancelSubscription,
)
from services.deployments import catalog_store, subscription_store
from services.deployments.app import service
from shared.config import Settings
from shared.process import running
from shared.republish import republish
from tests.deployments.world import Deployments, world
from tests.e2e.stranger import everything_said

TOPICS = {
    DEPLOYMENTS: "deployment",
    SUBSCRIPTIONS: "subscription",
    PLANS: "plan",
    ADDONS: "addon",
    RESOURCE_PRICES: "resource_prices",
}
"""The compacted topics, and the field of their messages that carries the state."""

_SAGA = UUID(int=7)
_HASTY = {"segment.ms": "50", "max.compaction.lag.ms": "100", "min.cleanable.dirty.ratio": "0.001"}


@pytest.mark.timeout(240)
async def test_what_the_compacted_topics_still_hold_is_what_the_tables_hold(settings: Settings) -> None:
    async with world(settings) as there, running(service, settings):
        ids = await _lives(there)
        await _last_words(there)
        await _published(there)
        said = await _said(there)
        await _agree(there, said)  # before anything is told again, which would hide what was never told
        await _hasten(settings)
        await _compacted(there, ids, len(said))
        await _agree(there, await _said(there))


async def _lives(there: Deployments) -> list[UUID]:
    """Deployments of all sorts, each with a history; a plan with three versions, and prices."""
    tenant = Authority.TENANT
    ids = await _created(there, "app", 12)
    commands: list[Any] = [Subscribe(deployment_id=id, authority=tenant, plan_code="studio") for id in ids[:9]]
    commands += [AttachAddon(deployment_id=id, authority=tenant, code="storage_50gb") for id in ids[:6]]
    commands += [ChangePlanVersion(deployment_id=id, authority=tenant, plan_code="pro") for id in ids[:3]]
    await _done(there, *commands, *_turns(ids, 3))
    for cents in (5500, 6000):
        draft = DraftPlanVersion(plan_code="studio", base_price_cents=cents, currency=Currency.AUD, items=[])
        (drafted,) = await _done(there, draft)
        await _done(there, PublishPlanVersion(plan_version_id=drafted["version"]["id"]))
    kind, price = BillingKind.BACKUP_GB_MONTH, "2.5"
    await _done(there, SetResourcePrice(resource_kind=kind, unit_price_cents=price, currency=Currency.AUD))
    ended = TransitionDeployment(deployment_id=ids[0], authority=tenant, to_state=DeploymentState.CANCELLED)
    await _done(there, ended)
    return ids[1:]


async def _last_words(there: Deployments) -> None:
    """What is left alone after the one or the other happened to it: it must have been told."""
    ids = await _created(there, "last", 9)
    of: list[dict[str, Any]] = [{"deployment_id": id, "authority": Authority.TENANT} for id in ids]
    await _done(there, *(Subscribe(**each, plan_code="studio", addons=["storage_50gb"]) for each in of))
    (addon,) = await there.fetch("select id from addons where code = 'storage_50gb'")
    await _done(
        there,
        TransitionDeployment(**of[0], to_state=DeploymentState.PAUSED),
        CancelSubscription(**of[1], at="now"),
        CancelSubscription(**of[2], at="period_end"),
        CancelSubscription(**of[3], at="period_end"),
        UncancelSubscription(**of[3]),
        ChangePlanVersion(**of[4], plan_code="pro"),
        AttachAddon(**of[5], code="llm_5m_tokens"),
        DetachAddon(**of[6], addon_id=addon["id"]),
        *(HoldDeployment(**each, saga_id=_SAGA) for each in of[7:]),
        ReleaseDeployment(**of[8], saga_id=_SAGA),
    )


async def _created(there: Deployments, name: str, count: int) -> list[UUID]:
    creations = [CreateDeployment(tenant_id="acme", slug=f"{name}-{n}", display_name="App") for n in range(count)]
    return [UUID(result["deployment"]["id"]) for result in await _done(there, *creations)]


def _turns(ids: list[UUID], times: int) -> list[TransitionDeployment]:
    return [
        TransitionDeployment(deployment_id=id, authority=Authority.TENANT, to_state=state)
        for _ in range(times)
        for id in ids
        for state in (DeploymentState.PAUSED, DeploymentState.ACTIVE)
    ]


async def _done(there: Deployments, *commands: Any) -> list[dict[str, Any]]:
    outcomes = [await there.outcome(id) for id in await there.send(*commands, tenant_id="acme")]
    assert {outcome.status for outcome in outcomes} == {"ok"}, outcomes
    return [outcome.result or {} for outcome in outcomes]


async def _published(there: Deployments) -> None:
    async with asyncio.timeout(30):
        while (await there.fetch("select count(*) from outbox"))[0]["count"]:
            await asyncio.sleep(0.05)


async def _hasten(settings: Settings) -> None:
    """Let the broker compact these topics at once, and not after days."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    await admin.start()
    try:
        for topic in TOPICS:
            name = settings.kafka_prefix + topic
            configs = {"cleanup.policy": "compact", **_HASTY}
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=configs)])
    finally:
        await admin.close()


async def _compacted(there: Deployments, ids: list[UUID], said_before: int) -> None:
    """Wait until the broker has thrown most away. It never touches a segment that is written to: so more is written."""
    async with asyncio.timeout(180):
        while True:
            await _done(there, *_turns(ids, 1))
            await republish(service, there.db, "a test")
            await _published(there)
            if len(await _said(there)) < said_before:
                return
            await asyncio.sleep(3)


async def _said(there: Deployments) -> list[tuple[str, str, Any]]:
    prefix = there.settings.kafka_prefix
    said = await everything_said(there.settings.kafka_bootstrap_servers[0], [prefix + topic for topic in TOPICS])
    return [(topic.removeprefix(prefix), key, message) for topic, key, message in said]


State = dict[tuple[str, str], Any]


def _projected(said: list[tuple[str, str, Any]]) -> tuple[State, State]:
    """The states by topic and key: as the last record has them, and as that with the highest `sequence` does."""
    last: State = {}
    newest: State = {}
    sequences: dict[tuple[str, str], int] = {}
    for topic, key, message in said:
        last[topic, key] = message["data"][TOPICS[topic]]
        if message["sequence"] >= sequences.get((topic, key), 0):
            sequences[topic, key] = message["sequence"]
            newest[topic, key] = last[topic, key]
    return last, newest


async def _agree(there: Deployments, said: list[tuple[str, str, Any]]) -> None:
    """The topics' last records are the newest states, and those are what the tables hold."""
    projected, newest = _projected(said)
    assert projected == await _in_tables(there)
    assert projected == newest, "the last record of some key is not its newest state"


async def _in_tables(there: Deployments) -> State:
    """The same, as the tables have them."""
    async with there.db.transaction() as conn:
        rows = await conn.fetch("select * from cloud_deployments")
        subscriptions = [row["id"] for row in await conn.fetch("select id from subscriptions")]
        plans = [row["id"] for row in await conn.fetch("select id from plans")]
        codes = [row["code"] for row in await conn.fetch("select code from addons")]
        found: list[tuple[str, object, Any]] = [
            *((DEPLOYMENTS, row["id"], Deployment.model_validate(dict(row))) for row in rows),
            *((SUBSCRIPTIONS, each.id, each) for each in await subscription_store.list_states(conn, subscriptions)),
            *((PLANS, plan.id, plan) for plan in await catalog_store.list_plans(conn, plans)),
            *((ADDONS, addon.id, addon) for addon in (await catalog_store.list_addons(conn, codes)).values()),
        ]
        for prices in await catalog_store.list_resource_prices(conn, list(BillingKind)):
            found += [(RESOURCE_PRICES, prices.resource_kind, prices)]
    return {(topic, str(key)): state.model_dump(mode="json") for topic, key, state in found}
