"""Projects: mirrored, classified, and giving what is in them its tenant."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from contracts.inventory import PROJECTS, ClassifyProject, LinkResource
from contracts.kinds import ResourceKind
from dev.digitalocean.faults import Fault
from dev.digitalocean.running import RunningStandIn
from services.inventory import project_store, projects
from shared.config import Settings
from shared.db import Connection
from tests.inventory.world import Inventory, Passing, Row, at_the_stand_in, numbers, service_with, world

DROPLET = ResourceKind.DROPLET


async def project(inventory: Inventory, name: str) -> Row:
    (row,) = await inventory.fetch("select * from cloud_projects where name = $1", name)
    return row


async def classify(inventory: Inventory, name: str, **fields: str | None) -> dict[str, Any]:
    row = await project(inventory, name)
    return await inventory.ok(ClassifyProject(project_id=row["id"], fields=list(fields), **fields))


async def tenants(inventory: Inventory) -> list[str | None]:
    return [row["tenant_id"] for row in await inventory.resources()]


async def test_a_project_is_mirrored_and_its_changes_are_told(inventory: Inventory) -> None:
    id = await inventory.provider.add_project("tenant-acme", description="Apps of acme")
    await inventory.sync()
    await inventory.provider.change_project(id, name="tenant-acme-2", environment="Staging")

    assert numbers(await inventory.sync(), "project", "discovered", "updated", "deleted") == [0, 1, 0]

    row = await project(inventory, "tenant-acme-2")
    assert (row["provider_id"], row["environment"], row["description"], row["version"]) == (
        id,
        "Staging",
        "Apps of acme",
        2,
    )
    told = [message for message in await inventory.published(4, PROJECTS) if message.subject == str(row["id"])]
    assert [message.type.split(".")[2] for message in told] == ["project-discovered", "project-updated"]
    assert told[-1].data["changes"] == {
        "name": {"old": "tenant-acme", "new": "tenant-acme-2"},
        "environment": {"old": None, "new": "Staging"},
    }


async def test_a_project_is_gone_only_when_the_provider_knows_it_no_more(inventory: Inventory) -> None:
    id = await inventory.provider.add_project("tenant-acme")
    await inventory.sync()
    # Hidden from the list, and as complete as a list can look: but there, when it is asked for by its id.
    hidden = await inventory.provider.arm(Fault(effect="omit", path="/v2/projects", share=1))
    assert numbers(await inventory.sync(), "project", "seen", "deleted") == [0, 0]
    await inventory.provider.disarm(hidden)

    await inventory.provider.delete_project(id)
    assert numbers(await inventory.sync(), "project", "deleted") == [1]

    assert (await project(inventory, "tenant-acme"))["deleted_at"] is not None


async def test_the_internal_project_is_made_once(inventory: Inventory) -> None:
    first = await inventory.sync()
    second = await inventory.sync()
    assert (first["project"]["internal_project"], second["project"]["internal_project"]) == ("created", "there")
    assert await internal_projects(inventory) == 1


async def internal_projects(inventory: Inventory) -> int:
    return [project.name for project in (await inventory.provider.truth()).projects].count("skyai-internal")


@pytest.mark.parametrize("answered", [True, False])
async def test_an_internal_project_whose_creation_got_no_answer_is_not_made_twice(
    inventory: Inventory, answered: bool
) -> None:
    lost = Fault(effect="lost", method="POST", path="/v2/projects", answered=answered, count=1)
    await inventory.provider.arm(lost)
    assert (await inventory.sync())["project"]["internal_project"] == "unknown"
    # The list lags: what was created does not show yet, and is not created again.
    lag = await inventory.provider.arm(Fault(effect="omit", path="/v2/projects", share=0.5))
    assert (await inventory.sync())["project"]["internal_project"] == "waiting"
    await inventory.provider.disarm(lag)
    assert (await inventory.sync())["project"]["internal_project"] == "there"
    assert await internal_projects(inventory) == 1


async def test_a_process_that_dies_after_it_asked_for_the_project_does_not_make_two(
    settings: Settings, provider: RunningStandIn
) -> None:
    """As after a kill: the project is there, nobody has written so, and the list does not show it yet."""
    asked = 0

    async def through(request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        nonlocal asked
        if request.method == "POST":
            asked += 1
            await inventory.provider.arm(Fault(effect="omit", path="/v2/projects", share=0.5))
            await inventory.fetch("update jobs set leased_until = now(), holder = uuidv7() where status = 'running'")
        return answer

    fitting = at_the_stand_in(settings, provider.url)
    interrupted = service_with(transport=Passing(through))
    async with provider.control() as control, world(fitting, control, interrupted) as inventory:
        assert (await inventory.sync())["project"]["internal_project"] == "waiting"
        await inventory.provider.disarm()
        assert (await inventory.sync())["project"]["internal_project"] == "there"
        assert (await internal_projects(inventory), asked) == (1, 1)


async def test_a_project_that_was_asked_for_lately_may_be_hidden_without_being_gone(inventory: Inventory) -> None:
    await inventory.sync()
    await inventory.provider.arm(Fault(effect="omit", path="/v2/projects", share=0.5))
    await inventory.provider.arm(Fault(effect="status", path="/v2/projects/*", status=404))
    assert numbers(await inventory.sync(), "project", "seen", "deleted") == [1, 0]
    await inventory.fetch("update project_creations set asked_at = asked_at - interval '11 minutes'")
    assert numbers(await inventory.sync(), "project", "seen", "deleted") == [1, 1]


async def test_a_project_that_was_seen_since_a_walk_began_is_not_struck_by_it(inventory: Inventory) -> None:
    began = datetime.now(UTC)
    await inventory.sync()
    row = await project(inventory, "arcadia")
    async with inventory.db.transaction() as conn:
        assert await project_store.list_unseen(conn, began, began) == []
        assert await project_store.mark_deleted(conn, row["id"], began, began) is None


async def test_a_token_that_may_not_create_projects_does_not_hold_up_the_sync(inventory: Inventory) -> None:
    await inventory.provider.reset(droplets=2, read_only_tokens=["dop_v1_of_the_stand_in"])
    result = await inventory.sync()
    assert result["project"]["internal_project"] == "refused"
    assert numbers(result, "droplet", "discovered") == [2]


async def test_resources_take_their_projects_tenant_and_follow_it(inventory: Inventory) -> None:
    await inventory.provider.reset(droplets=3, projects=1)
    await inventory.sync()

    result = await classify(inventory, "arcadia", tenant_id="acme", purpose="apps")
    assert (result["resources_changed"], result["project"]["purpose"]) == (3, "apps")
    assert await tenants(inventory) == ["acme"] * 3
    (event, *_) = await inventory.fetch("select * from cloud_resource_events order by id desc")
    assert (event["event_type"], event["tenant_id"]) == ("updated", "acme")
    assert event["changes"] == {"tenant_id": {"old": None, "new": "acme"}}

    assert (await classify(inventory, "arcadia", tenant_id="acme"))["resources_changed"] == 0
    result = await classify(inventory, "arcadia", tenant_id=None)
    assert (result["resources_changed"], result["project"]["purpose"]) == (3, "apps")
    assert await tenants(inventory) == [None] * 3

    await classify(inventory, "arcadia", tenant_id="globex")
    await inventory.provider.add_droplets(1)
    await inventory.sync()
    assert await tenants(inventory) == ["globex"] * 4


async def test_what_the_bus_was_told_to_forget_changes_its_tenant_in_silence(inventory: Inventory) -> None:
    await inventory.provider.reset(droplets=2, projects=1)
    await inventory.sync()
    await classify(inventory, "arcadia", tenant_id="acme")
    (forgotten, *_) = await inventory.resources()
    await inventory.fetch(
        "update cloud_resources set deleted_at = now(), forgotten_at = now() where id = $1", forgotten["id"]
    )

    await classify(inventory, "arcadia", tenant_id="globex")

    assert await tenants(inventory) == ["globex"] * 2
    (after,) = await inventory.resources("forgotten_at is not null")
    assert after["version"] == forgotten["version"]
    events = "select * from cloud_resource_events where tenant_id = 'globex' and resource_id = $1"
    assert await inventory.fetch(events, forgotten["id"]) == []


async def test_an_unknown_project_cannot_be_classified(inventory: Inventory) -> None:
    refused = await inventory.ask(ClassifyProject(project_id=uuid4(), tenant_id="acme", fields=["tenant_id"]))
    assert (refused.status, refused.code) == ("refused", "not_found")


async def test_a_droplet_that_is_moved_to_another_project_changes_its_tenant_with_one_event(
    inventory: Inventory,
) -> None:
    await inventory.provider.reset(droplets=2, projects=1)
    other = await inventory.provider.add_project("tenant-globex")
    await inventory.sync()
    await classify(inventory, "arcadia", tenant_id="acme")
    await classify(inventory, "tenant-globex", tenant_id="globex")
    before = await inventory.resources()
    (moved, *_) = (await inventory.provider.truth()).droplets
    await inventory.provider.change_droplet(moved.id, project_id=other)

    assert numbers(await inventory.sync(), "project", "moved") == [1]

    (row,) = await inventory.resources(f"provider_id = '{moved.id}'")
    assert (row["tenant_id"], row["version"]) == ("globex", before[0]["version"] + 1)
    (event, *_) = await inventory.fetch("select * from cloud_resource_events order by id desc")
    assert (event["resource_id"], event["event_type"]) == (row["id"], "updated")
    assert event["changes"]["tenant_id"] == {"old": "acme", "new": "globex"}
    assert event["changes"]["project_id"]["new"] == str(row["project_id"])
    assert numbers(await inventory.sync(), "project", "moved") == [0]


async def test_a_linked_resource_keeps_its_deployments_tenant_whatever_its_project_is(inventory: Inventory) -> None:
    await inventory.provider.reset(droplets=2, projects=1)
    other = await inventory.provider.add_project("tenant-globex")
    await inventory.sync()
    linked, _ = await inventory.resources()
    await inventory.ok(LinkResource(resource_id=linked["id"], deployment_id=UUID(int=7), tenant_id="initech"))

    assert (await classify(inventory, "arcadia", tenant_id="acme"))["resources_changed"] == 1
    assert await tenants(inventory) == ["initech", "acme"]
    await inventory.provider.change_droplet(int(linked["provider_id"]), project_id=other)
    await inventory.sync()
    assert await tenants(inventory) == ["initech", "acme"]


async def test_a_sync_of_droplets_alone_puts_new_ones_into_the_project_that_lists_them_later(
    inventory: Inventory,
) -> None:
    await inventory.provider.reset(droplets=1)
    await inventory.sync(DROPLET)
    (row,) = await inventory.resources()
    assert row["project_id"] is None
    await inventory.sync()
    (row,) = await inventory.resources()
    assert row["project_id"] == (await project(inventory, "arcadia"))["id"]
    assert await inventory.events() == ["discovered", "updated"]


async def test_a_large_projects_list_is_taken_in_some_at_a_go(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    upsert = project_store.upsert_members

    async def noting(conn: Connection, members: Sequence[Any]) -> list[Any]:
        sizes.append(len(members))
        return await upsert(conn, members)

    monkeypatch.setattr(project_store, "upsert_members", noting)
    monkeypatch.setattr(projects, "MEMBERS_AT_ONCE", 4)
    large = await inventory.provider.add_project("large")
    await inventory.provider.add_droplets(10, project_id=large)

    await inventory.sync()

    assert sizes == [4, 4, 2]
    (project,) = await inventory.fetch("select id from cloud_projects where provider_id = $1", large)
    assert {row["project_id"] for row in await inventory.resources()} == {project["id"]}
