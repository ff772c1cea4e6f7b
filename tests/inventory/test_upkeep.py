"""Retention, republishing, and what the published views show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from contracts.inventory import PROJECTS, RESOURCES, ClassifyProject, LinkResource, Resource, ResourceEvent
from contracts.kinds import ResourceKind
from contracts.message import Event
from contracts.times import previous_month
from services.inventory import upkeep
from services.inventory.app import service
from services.inventory.kinds import KINDS
from shared.db import Connection, Database
from shared.migrate import OPERATOR_ROLE, TENANT_ROLE
from shared.outcome import Outcome, Tombstone
from tests.inventory.world import Inventory

DROPLET = ResourceKind.DROPLET
VIEWS = ("v1_projects", "v1_resources", "v1_resource_events")


async def tick(inventory: Inventory, run: object, days: float) -> Outcome | None:
    """A tick as the runtime would run it in so many days."""
    async with inventory.db.transaction() as conn:
        return await run(conn, datetime.now(UTC) + timedelta(days=days))  # type: ignore[operator, no-any-return]


async def test_the_bus_forgets_what_is_long_gone_once_and_the_row_stays(inventory: Inventory) -> None:
    ids = [droplet.id for droplet in await inventory.provider.add_droplets(3)]
    await inventory.sync(DROPLET)
    await inventory.provider.delete_droplet(ids[0])
    for _ in range(3):
        await inventory.sync(DROPLET)
    (gone,) = await inventory.resources("deleted_at is not null")

    assert await tick(inventory, upkeep.forget_what_is_long_gone, 89) is None
    outcome = await tick(inventory, upkeep.forget_what_is_long_gone, 91)
    assert outcome is not None
    assert list(outcome.events) == [Tombstone(RESOURCES, str(gone["id"]))]
    assert await tick(inventory, upkeep.forget_what_is_long_gone, 92) is None

    assert len(await inventory.resources()) == 3
    assert len(await republished(inventory, upkeep.republish_resources)) == 2


async def test_what_is_told_of_a_forgotten_resource_or_project_is_forgotten_again(inventory: Inventory) -> None:
    other = await inventory.provider.add_project("tenant-acme")
    (droplet,) = await inventory.provider.add_droplets(1)
    await inventory.sync()
    await inventory.provider.delete_droplet(droplet.id)
    await inventory.provider.delete_project(other)
    await inventory.sync()
    await inventory.fetch("update cloud_resources set deleted_at = now()")
    (resource,) = await inventory.resources()
    (project,) = await inventory.fetch("select * from cloud_projects where deleted_at is not null")
    forgotten = [Tombstone(RESOURCES, str(resource["id"])), Tombstone(PROJECTS, str(project["id"]))]
    first = await tick(inventory, upkeep.forget_what_is_long_gone, 91)

    since = datetime.now(UTC) - timedelta(days=3)
    await inventory.ok(LinkResource(resource_id=resource["id"], deployment_id=UUID(int=1), effective_from=since))
    await inventory.ok(ClassifyProject(project_id=project["id"], purpose="apps", fields=["purpose"]))

    second = await tick(inventory, upkeep.forget_what_is_long_gone, 92)
    assert [outcome and list(outcome.events) for outcome in (first, second)] == [forgotten, forgotten]


async def test_history_and_walks_are_dropped_after_their_retention(inventory: Inventory) -> None:
    await inventory.provider.reset(droplets=20)
    await inventory.sync(DROPLET)
    for droplet in (await inventory.provider.truth()).droplets[:10]:
        await inventory.provider.delete_droplet(droplet.id)
    await inventory.sync(DROPLET)
    assert len(await inventory.fetch("select from held_syncs")) == 1

    await inventory.fetch("insert into bucket_measurements (bucket, tried_at) values ('long-gone', now())")

    assert await tick(inventory, upkeep.drop_old_history, 89) is None
    assert await tick(inventory, upkeep.drop_old_history, 91) is not None
    assert await inventory.fetch("select from held_syncs union all select from syncs") == []
    assert await inventory.fetch("select from bucket_measurements") == []
    assert len(await inventory.events()) == 20
    assert await tick(inventory, upkeep.drop_old_history, 3 * 365 + 1) is not None
    assert await inventory.events() == []


async def republished(inventory: Inventory, emit: object) -> list[Event]:
    async with inventory.db.transaction() as conn:
        return [event async for page in emit(conn) for event in page]  # type: ignore[operator]


async def test_republishing_tells_the_state_of_everything(inventory: Inventory) -> None:
    await inventory.provider.reset(droplets=upkeep.PAGE + 1, projects=3)
    await inventory.sync()
    linked, *_ = await inventory.resources()
    await inventory.ok(LinkResource(resource_id=linked["id"], deployment_id=UUID(int=1), tenant_id="acme"))

    resources, projects = [
        await republished(inventory, emit) for emit in (upkeep.republish_resources, upkeep.republish_projects)
    ]

    assert {event.key() for event in resources} == {str(row["id"]) for row in await inventory.resources()}
    assert {event.sequence() for event in resources} == {1, 2}
    assert [event.tenant() for event in resources if event.key() == str(linked["id"])] == ["acme"]
    assert len(projects) == 4
    assert len(service.republishers) == 2


async def test_a_resources_state_tells_its_power_and_sizes_of_this_and_the_previous_month(inventory: Inventory) -> None:
    (droplet, _) = await inventory.provider.add_droplets(2, size="s-1vcpu-1gb")
    await inventory.sync(DROPLET)
    began = previous_month(datetime.now(UTC))
    await inventory.fetch("update cloud_resources set first_seen_at = $1", began - timedelta(days=90))
    for change in ({"status": "off"}, {"size": "s-2vcpu-4gb"}, {"name": "renamed"}):
        await inventory.provider.change_droplet(droplet.id, **change)
        await inventory.sync(DROPLET)
    off, resized = [
        row["occurred_at"]
        for row in await inventory.fetch(
            "select occurred_at from cloud_resource_events where event_type = 'updated' order by id limit 2"
        )
    ]

    (again,) = await republished_of(inventory, str(droplet.id))
    (told,) = [m for m in await inventory.published(5) if m.sequence == 4]

    for resource in (again, Resource.model_validate(told.data["resource"])):
        assert [(p.state, p.since, p.until) for p in resource.power] == [("active", began, off), ("off", off, None)]
        assert [(s.size_slug, s.since, s.until) for s in resource.sizes] == [
            ("s-1vcpu-1gb", began, resized),
            ("s-2vcpu-4gb", resized, None),
        ]


async def republished_of(inventory: Inventory, provider_id: str) -> list[Resource]:
    events = await republished(inventory, upkeep.republish_resources)
    resources = [event.resource for event in events if isinstance(event, ResourceEvent)]
    return [resource for resource in resources if resource.provider_id == provider_id]


async def as_role(inventory: Inventory, role: str) -> Database:
    return await Database.of_service(inventory.settings, "inventory", role=role)


async def scoped(conn: Connection, tenant: str | None, view: str) -> list[asyncpg.Record]:
    await conn.execute("select set_config('arcadia.tenant_id', $1, true)", tenant or "")
    return await conn.fetch(f"select * from {view}")


async def test_a_tenant_sees_its_own_rows_and_nothing_without_being_named(inventory: Inventory) -> None:
    await inventory.provider.reset(droplets=3, projects=1)
    await inventory.sync()
    first, second, _ = await inventory.resources()
    for resource, deployment, tenant in ((first, 1, "acme"), (first, 2, "globex"), (second, 2, "globex")):
        command = LinkResource(resource_id=resource["id"], deployment_id=UUID(int=deployment), tenant_id=tenant)
        await inventory.ok(command)
    tenants = await as_role(inventory, TENANT_ROLE)
    async with tenants.transaction() as conn:
        assert [len(await scoped(conn, "globex", view)) for view in VIEWS] == [0, 2, 2]
        assert [len(await scoped(conn, "acme", view)) for view in VIEWS] == [0, 0, 1]
        assert [len(await scoped(conn, None, view)) for view in VIEWS] == [0, 0, 0]
        changes = {"parent": {"old": {"kind": "kubernetes_cluster", "provider_id": "of-acme"}, "new": None}}
        await inventory.fetch("update cloud_resource_events set changes = changes || $1", changes)
        shown = await scoped(conn, "globex", "v1_resource_events")
        assert "acme" not in str(shown)
        assert str(UUID(int=1)) not in str(shown)
    for table in ("cloud_resources", "v1_all_resources", "resource_links", "v1_all_resource_links", "syncs"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await tenants.pool.fetch(f"select * from {table}")
    await tenants.close()


async def test_an_operator_sees_all_rows_through_views_alone(inventory: Inventory) -> None:
    await inventory.provider.reset(droplets=3, projects=1)
    await inventory.sync()
    operators = await as_role(inventory, OPERATOR_ROLE)
    seen = {
        view: len(await operators.pool.fetch(f"select * from v1_all_{view}"))
        for view in ("projects", "resources", "resource_events", "resource_links", "syncs", "held_syncs")
    }
    assert seen == {
        "projects": 2, "resources": 3, "resource_events": 3, "resource_links": 0,
        "syncs": 1 + len(KINDS), "held_syncs": 0,
    }  # fmt: skip
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await operators.pool.fetch("select * from cloud_resources")
    await operators.close()
