"""Plans, their versions, addons and prices: what operators may do to them, and what nobody may."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from contracts.catalog import (
    Addon,
    AddonCreated,
    CreateAddon,
    CreatePlan,
    DraftPlanVersion,
    Plan,
    PlanCreated,
    PlanVersion,
    PlanVersionDrafted,
    PlanVersionPublished,
    PublishPlanVersion,
    ResourcePrice,
    ResourcePrices,
    ResourcePriceSet,
    SetResourcePrice,
    VersionStatus,
)
from contracts.kinds import BillingKind
from contracts.money import Currency
from services.deployments import catalog
from shared.ids import uuid7
from shared.outcome import Meta
from tests.deployments.customers import (
    NOW,
    active_version,
    drafted,
    first,
    item,
    name,
    named,
    published,
    subscriber,
    text,
)
from tests.deployments.world import Deployments, Row

ZONES, HOURS, BACKUPS = BillingKind.DNS_ZONES, BillingKind.DROPLET_HOURS, BillingKind.BACKUP_GB_MONTH
LATER = NOW + timedelta(days=1)


async def versions(world: Deployments, plan: str) -> list[tuple[int, str, datetime | None, datetime | None]]:
    """Number, status, and when it went on sale and off, of each version of a plan."""
    rows = await world.fetch(
        """
        select v.number, v.status, v.published_at, v.retired_at
        from plan_versions v join plans p on p.id = v.plan_id where p.code = $1 order by v.number
        """,
        plan,
    )
    return [tuple(row) for row in rows]


async def test_a_plan_is_named_before_it_has_versions(deployments: Deployments) -> None:
    code = name()
    result = await deployments.do(CreatePlan(code=code, name="Large"), now=NOW)
    (row,) = await deployments.fetch("select * from plans where code = $1", code)
    plan = Plan(id=row["id"], code=code, name="Large", versions=[], created_at=NOW, version=1)
    assert deployments.said == [PlanCreated(plan=plan)]
    assert result == {
        "plan": {"id": str(row["id"]), "code": code, "name": "Large", "versions": [], "created_at": text(NOW)}
        | {"version": 1}
    }


async def test_a_plans_code_is_taken_once(deployments: Deployments) -> None:
    refused = await deployments.refusal(CreatePlan(code="studio", name="Another"))
    assert (refused.code, refused.detail) == ("plan_exists", {"plan_code": "studio"})
    (row,) = await deployments.fetch("select name from plans where code = 'studio'")
    assert row["name"] == "Studio"


async def test_terms_are_drafted_as_the_next_version(deployments: Deployments) -> None:
    code = await named(deployments)
    deployments.said.clear()
    items = [item(HOURS, 750, cents=2, cap=1500), item(ZONES, 1, unit=10)]
    draft = DraftPlanVersion(plan_code=code, base_price_cents=2000, currency=Currency.AUD, items=items)
    result = await deployments.do(draft, now=NOW)

    zones = {"resource_kind": "dns_zones", "included_qty": 1, "overage_unit": 10}
    hours = {"resource_kind": "droplet_hours", "included_qty": 750, "overage_unit": 1}
    assert result == {
        "version": {
            "plan_code": code,
            "id": result["version"]["id"],
            "number": 1,
            "status": "draft",
            "base_price_cents": 2000,
            "currency": "AUD",
            "items": [
                zones | {"overage_price_cents": 0, "hard_cap_qty": None},
                hours | {"overage_price_cents": 2, "hard_cap_qty": 1500},
            ],
            "created_at": text(NOW),
            "published_at": None,
            "retired_at": None,
        }
    }
    id = UUID(result["version"]["id"])
    (event,) = deployments.said
    assert isinstance(event, PlanVersionDrafted)
    assert (event.plan_version_id, event.plan.code, event.plan.version) == (id, code, 2)
    assert event.plan.versions == [
        PlanVersion(
            id=id,
            number=1,
            status=VersionStatus.DRAFT,
            base_price_cents=2000,
            currency=Currency.AUD,
            items=[items[1], items[0]],
            created_at=NOW,
            published_at=None,
            retired_at=None,
        )
    ]


async def test_a_version_needs_a_plan(deployments: Deployments) -> None:
    draft = DraftPlanVersion(plan_code="no-such-plan", base_price_cents=1, currency=Currency.AUD, items=[])
    refused = await deployments.refusal(draft)
    assert (refused.code, refused.detail) == ("plan_not_found", {"plan_code": "no-such-plan"})


async def test_publishing_a_version_retires_the_one_before_it(deployments: Deployments) -> None:
    code = await named(deployments)
    old, new = await published(deployments, code, 1000), await drafted(deployments, code, 1300)
    deployments.said.clear()
    result = await deployments.do(PublishPlanVersion(plan_version_id=new), now=LATER)

    assert (result["version"]["id"], result["version"]["number"]) == (str(new), 2)
    assert (result["version"]["status"], result["version"]["published_at"]) == ("active", text(LATER))
    (event,) = deployments.said
    assert isinstance(event, PlanVersionPublished)
    assert (event.plan_version_id, event.retired_version_id, event.plan.version) == (new, old, 5)
    assert [(v.id, v.status, v.published_at, v.retired_at) for v in event.plan.versions] == [
        (old, "retired", NOW, LATER),
        (new, "active", LATER, None),
    ]
    assert await versions(deployments, code) == [(1, "retired", NOW, LATER), (2, "active", LATER, None)]


async def test_the_first_version_retires_none(deployments: Deployments) -> None:
    code = await named(deployments)
    id = await published(deployments, code)
    event = deployments.said[-1]
    assert isinstance(event, PlanVersionPublished)
    assert (event.plan_version_id, event.retired_version_id) == (id, None)


async def test_publishing_is_whole_or_not_at_all(deployments: Deployments) -> None:
    code = await named(deployments)
    await published(deployments, code)
    new = await drafted(deployments, code)
    before = await versions(deployments, code)

    async def publish_and_die() -> None:
        async with deployments.db.transaction() as conn:
            await catalog.publish_plan_version(PublishPlanVersion(plan_version_id=new), conn, Meta(uuid7(), LATER))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await publish_and_die()
    assert await versions(deployments, code) == before == [(1, "active", NOW, None), (2, "draft", None, None)]


async def test_an_older_draft_may_be_published_after_a_newer_one(deployments: Deployments) -> None:
    code = await named(deployments)
    older = await drafted(deployments, code)
    await published(deployments, code)
    await deployments.do(PublishPlanVersion(plan_version_id=older), now=LATER)
    assert await versions(deployments, code) == [(1, "active", LATER, None), (2, "retired", NOW, LATER)]


async def test_publishing_again_is_harmless(deployments: Deployments) -> None:
    code = await named(deployments)
    id = await published(deployments, code)
    deployments.said.clear()
    result = await deployments.do(PublishPlanVersion(plan_version_id=id), now=LATER)
    assert (result["version"]["status"], result["version"]["published_at"]) == ("active", text(NOW))
    assert deployments.said == []
    assert await versions(deployments, code) == [(1, "active", NOW, None)]


async def test_what_is_retired_or_not_there_is_not_published(deployments: Deployments) -> None:
    code = await named(deployments)
    old, nothing = await published(deployments, code), uuid4()
    await published(deployments, code)
    before = await versions(deployments, code)
    refused = await deployments.refusal(PublishPlanVersion(plan_version_id=old))
    assert (refused.code, refused.detail["plan_version_id"]) == ("version_retired", str(old))
    refused = await deployments.refusal(PublishPlanVersion(plan_version_id=nothing))
    assert (refused.code, refused.detail) == ("version_not_found", {"plan_version_id": str(nothing)})
    assert await versions(deployments, code) == before


async def test_publishing_reprices_nobody_who_is_subscribed(deployments: Deployments) -> None:
    code = await named(deployments)
    old = await published(deployments, code, 1000)
    loyal = await subscriber(deployments, code)
    before = await loyal.rows()
    deployments.said.clear()
    new = await published(deployments, code, 2000)
    assert [type(event) for event in deployments.said] == [PlanVersionDrafted, PlanVersionPublished]
    assert await loyal.rows() == before
    later = await subscriber(deployments, code)
    assert [(await each.subscription())["plan_version_id"] for each in (loyal, later)] == [old, new]


AGAINST_THE_TERMS = [
    "update plan_versions set base_price_cents = base_price_cents + 1 where id = $1",
    "update plan_versions set currency = 'USD' where id = $1",
    "update plan_versions set number = number + 100 where id = $1",
    "update plan_versions set plan_id = (select id from plans where code = 'pro') where id = $1",
    "update plan_items set included_qty = included_qty + 1 where plan_version_id = $1",
    "update plan_items set overage_price_cents = 0 where plan_version_id = $1",
    "update plan_items set hard_cap_qty = null where plan_version_id = $1",
    "delete from plan_items where plan_version_id = $1",
]
A_NEW_ITEM = """
    insert into plan_items (plan_version_id, resource_kind, included_qty, overage_unit, overage_price_cents)
    values ($1, 'llm_tokens', 1, 1, 1)
"""


async def terms(world: Deployments, id: UUID) -> list[Row]:
    query = "select * from plan_versions v left join plan_items i on i.plan_version_id = v.id where v.id = $1"
    return await world.fetch(query, id)


@pytest.mark.parametrize("statement", [*AGAINST_THE_TERMS, A_NEW_ITEM])
@pytest.mark.parametrize("status", ["active", "retired"])
async def test_not_even_a_statement_changes_the_terms_that_somebody_agreed_to(
    deployments: Deployments, statement: str, status: str
) -> None:
    code = await named(deployments)
    id = await published(deployments, code, 1000, item(ZONES, 1, cents=5, cap=9))
    if status == "retired":
        await published(deployments, code)
    before = await terms(deployments, id)
    with pytest.raises(asyncpg.CheckViolationError, match="publish another version"):
        await deployments.fetch(statement, id)
    assert await terms(deployments, id) == before
    assert [row["status"] for row in before] == [status]


async def test_an_addon_is_put_on_sale(deployments: Deployments) -> None:
    code = name()
    command = CreateAddon(
        code=code, name="Ten zones", resource_kind=ZONES, qty=10, price_cents=500, currency=Currency.NZD
    )
    result = await deployments.do(command, now=NOW)
    (row,) = await deployments.fetch("select * from addons where code = $1", code)
    assert result["addon"] == {
        "id": str(row["id"]),
        "code": code,
        "name": "Ten zones",
        "resource_kind": "dns_zones",
        "qty": 10,
        "price_cents": 500,
        "currency": "NZD",
        "created_at": text(NOW),
        "version": 1,
    }
    assert result.keys() == {"addon"}
    assert deployments.said == [AddonCreated(addon=Addon.model_validate(result["addon"]))]
    assert (row["qty"], row["price_cents"], row["currency"]) == (10, 500, "NZD")


async def test_an_addons_code_is_taken_once(deployments: Deployments) -> None:
    command = CreateAddon(
        code="storage_50gb", name="Cheap", resource_kind=ZONES, qty=1, price_cents=1, currency=Currency.AUD
    )
    refused = await deployments.refusal(command)
    assert (refused.code, refused.detail) == ("addon_exists", {"addon_code": "storage_50gb"})
    (row,) = await deployments.fetch("select qty, price_cents from addons where code = 'storage_50gb'")
    assert tuple(row) == (50, 750)


def price(value: str, since: datetime | None = None, kind: BillingKind = BACKUPS) -> SetResourcePrice:
    return SetResourcePrice(
        resource_kind=kind, unit_price_cents=Decimal(value), currency=Currency.AUD, effective_from=since
    )


async def shown(world: Deployments, kind: BillingKind = BACKUPS) -> list[tuple[Any, ...]]:
    """The prices of a kind as the gateway reads them."""
    rows = await world.fetch(
        """
        select unit_price_cents, effective_from, effective_until, currency, actor, recorded_at
        from v1_all_resource_prices where resource_kind = $1 order by effective_from
        """,
        kind,
    )
    return [tuple(row) for row in rows]


async def test_a_price_holds_until_the_next_one_of_its_kind_begins(own_deployments: Deployments) -> None:
    world = own_deployments
    world.said.clear()
    result = await world.do(price("2.5"), now=NOW, actor="ops@arcadia.test")
    prices = [ResourcePrice(effective_from=NOW, unit_price_cents=Decimal("2.5"), currency=Currency.AUD)]
    assert result == {
        "resource_prices": {
            "resource_kind": "backup_gb_month",
            "prices": [{"effective_from": text(NOW), "unit_price_cents": "2.5", "currency": "AUD"}],
            "version": 1,
        }
    }
    assert world.said == [
        ResourcePriceSet(resource_prices=ResourcePrices(resource_kind=BACKUPS, prices=prices, version=1))
    ]
    await world.do(price("3", first(6)), now=NOW)
    await world.do(price("0.0021", first(5)), now=LATER)
    await world.do(price("7", first(5), ZONES), now=LATER)

    newest = world.said[-2]
    assert isinstance(newest, ResourcePriceSet)
    assert [str(each.unit_price_cents) for each in newest.resource_prices.prices] == ["2.5", "0.0021", "3"]
    assert newest.resource_prices.version == 3
    assert await shown(world) == [
        ("2.5", NOW, first(5), "AUD", "ops@arcadia.test", NOW),
        ("0.0021", first(5), first(6), "AUD", "ann@acme.test", LATER),
        ("3", first(6), None, "AUD", "ann@acme.test", NOW),
    ]
    assert await shown(world, ZONES) == [("7", first(5), None, "AUD", "ann@acme.test", LATER)]


async def test_two_prices_of_a_kind_do_not_begin_at_once(own_deployments: Deployments) -> None:
    world = own_deployments
    await world.do(price("2.5", first(5)), now=NOW)
    in_sydney = datetime.fromisoformat("2026-05-01T10:00:00+10:00")
    for since, now in ((first(5), NOW), (in_sydney, NOW), (None, first(5))):
        refused = await world.refusal(price("3", since), now=now)
        assert (refused.code, refused.detail) == (
            "price_exists",
            {"resource_kind": "backup_gb_month", "effective_from": "2026-05-01T00:00:00Z"},
        )
    assert [row[0] for row in await shown(world)] == ["2.5"]


async def test_a_price_may_begin_in_the_past_or_the_future(own_deployments: Deployments) -> None:
    world = own_deployments
    past, future = datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
    await world.do(price("2", future), now=NOW)
    await world.do(price("1", past), now=NOW)
    assert [row[:3] for row in await shown(world)] == [("1", past, future), ("2", future, None)]


async def test_a_plan_that_is_not_on_sale_is_shown_to_operators_alone(deployments: Deployments) -> None:
    code = await named(deployments)
    await drafted(deployments, code)
    (row,) = await deployments.fetch("select active_version from v1_all_plans where code = $1", code)
    assert row["active_version"] is None
    async with deployments.db.transaction() as conn:
        await conn.execute("select set_config('arcadia.tenant_id', 'acme', true)")
        codes = {row["code"] for row in await conn.fetch("select code from v1_plans")}
    assert "studio" in codes
    assert code not in codes
    assert await active_version(deployments, "studio")
