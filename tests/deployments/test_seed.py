"""The catalog to begin with."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cli import seeding
from contracts.catalog import Addon, AddonCreated, Plan, PlanCreated, PlanVersionPublished
from contracts.kinds import BillingKind
from contracts.message import Event
from services.deployments.app import MIGRATIONS
from services.deployments.seed import seed
from shared.config import Settings
from shared.db import Database
from shared.ids import uuid7
from shared.migrate import migrate
from shared.outcome import Meta, Outcome
from tests.deployments.customers import NOW, name, published
from tests.deployments.world import Deployments

EVERYWHERE = {"droplet_hours", "spaces_gb_month", "snapshot_gb_month", "bandwidth_gb", "dns_zones"}


async def sown(database: Database) -> Outcome:
    async with database.transaction() as conn:
        return await seed(conn, Meta(uuid7(), NOW, actor="a test"))


async def everything(database: Database) -> list[Any]:
    tables = ("plans", "plan_versions", "plan_items", "addons")
    return [await database.pool.fetch(f"select * from {table} order by 1, 2") for table in tables]


def plans(events: list[Event]) -> dict[str, Plan]:
    """The plans as they were told last."""
    return {event.plan.code: event.plan for event in events if isinstance(event, PlanVersionPublished)}


def addons(events: list[Event]) -> dict[str, Addon]:
    return {event.addon.code: event.addon for event in events if isinstance(event, AddonCreated)}


@pytest.mark.parametrize(("code", "cents"), [("starter", 2000), ("studio", 5000), ("pro", 12000)])
async def test_three_plans_are_on_sale(own_deployments: Deployments, code: str, cents: int) -> None:
    found = plans(own_deployments.said)
    assert found.keys() == {"starter", "studio", "pro"}
    (version,) = found[code].versions
    assert (version.number, version.status, version.base_price_cents, version.currency) == (1, "active", cents, "AUD")
    kinds = {item.resource_kind.value for item in version.items}
    assert kinds == EVERYWHERE | ({"llm_tokens"} if code in {"studio", "pro"} else set())
    assert all(item.included_qty > 0 for item in version.items)
    (row,) = await own_deployments.fetch(
        "select p.name, (select count(*) from plan_items i where i.plan_version_id = v.id) as items "
        "from plan_versions v join plans p on p.id = v.plan_id where p.code = $1 and v.status = 'active'",
        code,
    )
    assert (row["name"], row["items"]) == (code.capitalize(), len(version.items))


async def test_studio_includes_what_the_case_of_the_quote_needs(own_deployments: Deployments) -> None:
    (version,) = plans(own_deployments.said)["studio"].versions
    included = {item.resource_kind: item.included_qty for item in version.items}
    assert included[BillingKind.DROPLET_HOURS] >= 480
    assert included[BillingKind.DNS_ZONES] >= 1
    assert included[BillingKind.SNAPSHOT_GB_MONTH] >= 16


async def test_three_addons_are_on_sale(own_deployments: Deployments) -> None:
    found = addons(own_deployments.said)
    assert {code: addon.resource_kind.value for code, addon in found.items()} == {
        "storage_50gb": "spaces_gb_month",
        "storage_250gb": "spaces_gb_month",
        "llm_5m_tokens": "llm_tokens",
    }
    storage = found["storage_50gb"]
    assert (storage.qty, storage.price_cents, storage.currency) == (50, 750, "AUD")
    rows = await own_deployments.fetch("select code, qty, price_cents from addons")
    assert {tuple(row) for row in rows} == {(each.code, each.qty, each.price_cents) for each in found.values()}


async def test_seeding_again_writes_nothing_and_tells_nobody(own_deployments: Deployments) -> None:
    before = await everything(own_deployments.db)
    assert (await sown(own_deployments.db)).events == []
    assert await everything(own_deployments.db) == before


async def test_two_seedings_at_once_do_it_once(settings: Settings) -> None:
    await migrate(settings, {"deployments": MIGRATIONS})
    database = await Database.of_service(settings, "deployments")
    try:
        done = await asyncio.gather(*(sown(database) for _ in range(3)))
        assert sorted(len(outcome.events) for outcome in done) == [0, 0, 12]
        assert [len(rows) for rows in await everything(database)] == [3, 3, 17, 3]
    finally:
        await database.close()


async def test_what_an_operator_changed_since_stays(own_deployments: Deployments) -> None:
    world = own_deployments
    dearer = await published(world, "studio", 5500)
    await world.fetch("update addons set price_cents = 800 where code = 'storage_50gb'")
    await world.fetch("update plans set name = 'Atelier' where code = 'pro'")
    before = await everything(world.db)
    assert (await sown(world.db)).events == []
    assert await everything(world.db) == before
    (row,) = await world.fetch(
        "select v.id, v.base_price_cents from plan_versions v join plans p on p.id = v.plan_id "
        "where p.code = 'studio' and v.status = 'active'"
    )
    assert (row["id"], row["base_price_cents"]) == (dearer, 5500)


async def test_what_is_missing_alone_is_put_on_sale(own_deployments: Deployments) -> None:
    world = own_deployments
    old = name()
    await world.fetch("update plans set code = $1 where code = 'pro'", old)
    await world.fetch("update addons set code = $1 where code = 'llm_5m_tokens'", old)
    events = list((await sown(world.db)).events)
    assert [event.plan.code for event in events if isinstance(event, PlanCreated)] == ["pro"]
    assert [event.addon.code for event in events if isinstance(event, AddonCreated)] == ["llm_5m_tokens"]
    assert len(events) == 4


async def test_the_command_says_what_went_on_sale(own_deployments: Deployments) -> None:
    world = own_deployments
    assert seeding.report(world.said) == (
        "On sale now: the plans starter, studio, pro; the addons storage_50gb, storage_250gb, llm_5m_tokens."
    )
    await world.fetch("update addons set code = $1 where code = 'llm_5m_tokens'", name())
    assert seeding.report((await sown(world.db)).events) == "On sale now: the addon llm_5m_tokens."
    assert seeding.report((await sown(world.db)).events) == "Nothing to do: every plan and addon is there."
