"""Links: whose a resource is, since when, and what of that is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.inventory import LinkResource, RegisterResource, UnlinkResource
from contracts.kinds import ResourceKind
from tests.inventory.world import Inventory

DROPLET = ResourceKind.DROPLET
ALPHA, BETA = UUID(int=0xA), UUID(int=0xB)
NOW = datetime.now(UTC).replace(microsecond=0)


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


@pytest.fixture
async def resource(inventory: Inventory) -> UUID:
    """The only resource there is."""
    (droplet,) = await inventory.provider.add_droplets(1)
    result = await inventory.ok(RegisterResource(kind=DROPLET, provider_id=str(droplet.id)))
    return UUID(result["resource"]["id"])


async def link(inventory: Inventory, resource: UUID, deployment: UUID, **fields: Any) -> dict[str, Any]:
    command = LinkResource(resource_id=resource, deployment_id=deployment, **fields)
    return dict((await inventory.ok(command))["resource"])


async def unlink(inventory: Inventory, resource: UUID, **fields: Any) -> dict[str, Any]:
    return dict((await inventory.ok(UnlinkResource(resource_id=resource, **fields)))["resource"])


def told(state: dict[str, Any]) -> list[tuple[UUID, datetime, datetime | None]]:
    """The intervals that a resource's state tells."""
    return [
        (
            UUID(i["deployment_id"]),
            datetime.fromisoformat(i["since"]),
            i["until"] and datetime.fromisoformat(i["until"]),
        )
        for i in state["links"]
    ]


async def test_a_link_gives_the_deployment_and_its_tenant_with_an_event(inventory: Inventory, resource: UUID) -> None:
    state = await link(inventory, resource, ALPHA, tenant_id="acme")

    assert (state["deployment_id"], state["tenant_id"], state["version"]) == (str(ALPHA), "acme", 2)
    (row,) = await inventory.resources()
    assert (row["deployment_id"], row["tenant_id"]) == (ALPHA, "acme")
    (event, *_) = await inventory.fetch("select * from cloud_resource_events order by id desc")
    assert (event["event_type"], event["actor"], event["tenant_id"]) == ("linked", "olga@example.com", "acme")
    assert event["changes"]["deployment_id"] == {"old": None, "new": str(ALPHA)}
    *_, message = await inventory.published(2)
    assert (message.type, message.tenantid, message.sequence) == ("arcadia.inventory.resource-linked.v1", "acme", 2)


async def test_a_link_may_begin_in_the_past_and_holds_until_the_next(inventory: Inventory, resource: UUID) -> None:
    await link(inventory, resource, BETA, tenant_id="globex", effective_from=days_ago(2))
    state = await link(inventory, resource, ALPHA, tenant_id="acme", effective_from=days_ago(5))

    assert told(state) == [(ALPHA, days_ago(5), days_ago(2)), (BETA, days_ago(2), None)]
    assert (state["deployment_id"], state["tenant_id"]) == (str(BETA), "globex")
    (event, *_) = await inventory.fetch("select * from cloud_resource_events order by id desc")
    assert event["changes"] == {"deployment_id": {"old": None, "new": str(ALPHA)}}
    assert event["reason"] == f"from {days_ago(5).isoformat()} until {days_ago(2).isoformat()}"
    views = await inventory.fetch("select * from v1_all_resource_links order by effective_from")
    assert [(v["deployment_id"], v["effective_until"]) for v in views] == [(ALPHA, days_ago(2)), (BETA, None)]


async def test_an_unlink_ends_the_attribution_and_gives_the_resource_back_to_its_project(
    inventory: Inventory, resource: UUID
) -> None:
    await link(inventory, resource, ALPHA, tenant_id="acme", effective_from=days_ago(5))
    state = await unlink(inventory, resource, effective_from=days_ago(1))

    assert (state["deployment_id"], state["tenant_id"]) == (None, None)
    assert told(state) == [(ALPHA, days_ago(5), days_ago(1))]
    assert await inventory.events() == ["discovered", "linked", "unlinked"]


async def test_a_link_to_a_deployment_of_unknown_tenant_takes_the_resource_from_its_projects_tenant(
    inventory: Inventory, resource: UUID
) -> None:
    await inventory.fetch("update cloud_resources set tenant_id = 'globex'")
    state = await link(inventory, resource, ALPHA)

    assert (state["deployment_id"], state["tenant_id"]) == (str(ALPHA), None)
    *_, message = await inventory.published(2)
    assert message.tenantid is None


async def test_the_same_again_changes_nothing(inventory: Inventory, resource: UUID) -> None:
    first = await link(inventory, resource, ALPHA, tenant_id="acme")
    assert await link(inventory, resource, ALPHA, tenant_id="acme") == first
    second = await unlink(inventory, resource)
    assert await unlink(inventory, resource) == second
    assert await inventory.events() == ["discovered", "linked", "unlinked"]


async def test_a_link_that_is_dated_back_takes_the_place_of_the_same_one_that_began_later(
    inventory: Inventory, resource: UUID
) -> None:
    await link(inventory, resource, ALPHA, tenant_id="acme", effective_from=days_ago(2))
    state = await link(inventory, resource, ALPHA, tenant_id="acme", effective_from=days_ago(5))
    assert told(state) == [(ALPHA, days_ago(5), None)]
    assert await beginnings(inventory) == [days_ago(5)]

    await link(inventory, resource, BETA, tenant_id="globex", effective_from=days_ago(3))
    state = await link(inventory, resource, ALPHA, tenant_id="acme", effective_from=days_ago(3))
    assert told(state) == [(ALPHA, days_ago(5), None)]
    assert await beginnings(inventory) == [days_ago(5)]


async def beginnings(inventory: Inventory) -> list[datetime]:
    rows = await inventory.fetch("select effective_from from resource_links order by effective_from")
    return [row["effective_from"] for row in rows]


async def test_a_link_that_was_wrong_gives_way_to_one_from_the_same_time(inventory: Inventory, resource: UUID) -> None:
    await link(inventory, resource, ALPHA, tenant_id="acme", effective_from=days_ago(3))
    state = await link(inventory, resource, BETA, tenant_id="globex", effective_from=days_ago(3))

    assert told(state) == [(BETA, days_ago(3), None)]
    (event, *_) = await inventory.fetch("select changes from cloud_resource_events order by id desc")
    assert event["changes"]["deployment_id"] == {"old": str(ALPHA), "new": str(BETA)}


async def test_a_deployments_tenant_is_remembered_from_an_earlier_link(inventory: Inventory, resource: UUID) -> None:
    await link(inventory, resource, ALPHA, tenant_id="acme", effective_from=days_ago(3))
    await unlink(inventory, resource, effective_from=days_ago(2))
    assert (await link(inventory, resource, ALPHA))["tenant_id"] == "acme"
    assert (await link(inventory, resource, BETA))["tenant_id"] is None


async def test_a_link_without_a_time_zone_is_in_utc(inventory: Inventory, resource: UUID) -> None:
    state = await link(inventory, resource, ALPHA, effective_from=days_ago(3).replace(tzinfo=None))
    assert told(state) == [(ALPHA, days_ago(3), None)]


async def test_only_this_and_the_previous_month_are_told(inventory: Inventory, resource: UUID) -> None:
    await link(inventory, resource, ALPHA, effective_from=days_ago(200))
    await link(inventory, resource, BETA, effective_from=days_ago(100))
    state = await unlink(inventory, resource)
    assert [(deployment, since) for deployment, since, _ in told(state)] == [(BETA, days_ago(100))]


async def test_what_makes_no_sense_is_refused(inventory: Inventory, resource: UUID) -> None:
    unknown = await inventory.ask(LinkResource(resource_id=uuid4(), deployment_id=ALPHA))
    future = await inventory.ask(UnlinkResource(resource_id=resource, effective_from=days_ago(-1)))
    assert [(r.status, r.code) for r in (unknown, future)] == [
        ("refused", "not_found"),
        ("refused", "effective_from_in_future"),
    ]
    assert await inventory.events() == ["discovered"]


async def test_a_resource_that_is_gone_can_be_attributed_for_the_time_it_was_there(
    inventory: Inventory, resource: UUID
) -> None:
    await inventory.provider.delete_droplet((await inventory.provider.truth()).droplets[0].id)
    for _ in range(3):
        await inventory.sync(DROPLET)

    state = await link(inventory, resource, ALPHA, tenant_id="acme", effective_from=days_ago(3))
    late = await inventory.ask(LinkResource(resource_id=resource, deployment_id=BETA))

    assert (state["tenant_id"], state["deleted_at"] is not None) == ("acme", True)
    assert (late.status, late.code) == ("refused", "resource_deleted")


async def test_the_attribution_of_a_resource_that_is_gone_can_be_ended(inventory: Inventory, resource: UUID) -> None:
    await link(inventory, resource, ALPHA, tenant_id="acme")
    await inventory.provider.delete_droplet((await inventory.provider.truth()).droplets[0].id)
    for _ in range(3):
        await inventory.sync(DROPLET)

    state = await unlink(inventory, resource)

    assert (state["deployment_id"], state["deleted_at"] is not None) == (None, True)
