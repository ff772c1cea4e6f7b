"""Requests that take effect long after their caller has lost them. The clock stands still here; tests move it."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from dev.digitalocean.control import Control
from dev.digitalocean.faults import Fault
from dev.digitalocean.running import RunningStandIn, running_stand_in
from dev.digitalocean.settings import Settings

ORDER = {"name": "web-1", "size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64", "region": "nyc3", "tags": ["op:1"]}
ZONE = "acme.example"
WWW = {"type": "A", "name": "www", "data": "192.0.2.7"}


@pytest.fixture(scope="module")
def stand_in() -> Iterator[RunningStandIn]:
    with running_stand_in(speed=0) as running:
        yield running


@pytest.fixture(autouse=True)
async def world(control: Control) -> None:
    await control.reset(**Settings(speed=0, droplets=3, projects=1).model_dump(mode="json"))


async def lose(api: httpx.AsyncClient, control: Control, method: str, path: str, **options: Any) -> None:
    """A request whose connection is reset at once, and which takes effect 30 seconds later."""
    await control.arm(Fault(effect="late", seconds=30, count=1))
    with pytest.raises(httpx.ReadError):
        await api.request(method, path, **options)


async def test_a_create_arrives_after_its_own_undo(api: httpx.AsyncClient, control: Control) -> None:
    await lose(api, control, "POST", "/droplets", json=ORDER)
    assert (await api.get("/droplets", params={"tag_name": "op:1"})).json()["droplets"] == []
    assert (await api.delete("/droplets", params={"tag_name": "op:1"})).status_code == 204
    await control.advance(29)
    assert (await control.droplets("op:1"), await control.created("op:1")) == ([], [])
    await control.advance(1)
    (droplet,) = await control.droplets("op:1")
    assert (droplet.status, droplet.hidden) == ("new", True)
    assert await control.created("op:1") == [droplet.id]
    assert (await api.get(f"/droplets/{droplet.id}")).json()["droplet"]["created_at"] == "2026-05-12T09:00:30Z"


async def test_its_history_is_that_of_a_request_at_that_time(api: httpx.AsyncClient, control: Control) -> None:
    await lose(api, control, "POST", "/droplets", json=ORDER)
    await control.advance(80)
    (action,) = (await api.get("/actions")).json()["actions"]
    assert (action["started_at"], action["completed_at"]) == ("2026-05-12T09:00:30Z", "2026-05-12T09:01:15Z")
    assert [one.status for one in await control.droplets("op:1")] == ["active"]


async def test_an_action_and_a_deletion_are_late_too(api: httpx.AsyncClient, control: Control) -> None:
    off, gone, _ = [one.id for one in await control.droplets() if one.status == "active"]
    await lose(api, control, "POST", f"/droplets/{off}/actions", json={"type": "power_off"})
    await lose(api, control, "DELETE", f"/droplets/{gone}")
    await control.advance(29)
    assert (await api.get("/actions")).json()["actions"] == []
    await control.advance(1)
    actions = (await api.get("/actions")).json()["actions"]
    assert [(one["resource_id"], one["type"]) for one in actions] == [(gone, "destroy"), (off, "power_off")]
    await control.advance(15)
    assert gone not in {one.id for one in await control.droplets()}
    assert {one.status for one in await control.droplets() if one.id == off} == {"off"}


async def test_a_record_is_written_changed_and_deleted_late(api: httpx.AsyncClient, control: Control) -> None:
    await control.add_zone(ZONE)

    async def data() -> list[str]:
        return [one.data for one in await control.records(ZONE) if one.type == "A"]

    await lose(api, control, "POST", f"/domains/{ZONE}/records", json=WWW)
    assert await data() == []
    await control.advance(30)
    assert await data() == ["192.0.2.7"]
    (record,) = [one for one in await control.records(ZONE) if one.type == "A"]
    path = f"/domains/{ZONE}/records/{record.id}"
    await lose(api, control, "PUT", path, json=WWW | {"data": "192.0.2.8"})
    await control.advance(10)
    await lose(api, control, "DELETE", path)
    assert await data() == ["192.0.2.7"]
    await control.advance(20)
    assert await data() == ["192.0.2.8"]
    await control.advance(10)
    assert await data() == []


async def test_it_may_come_too_late_and_the_journal_tells(api: httpx.AsyncClient, control: Control) -> None:
    id = (await control.droplets())[0].id
    await lose(api, control, "DELETE", f"/droplets/{id}")
    assert [one.late_status for one in (await control.requests("/v2/droplets")).requests] == [None]
    await control.delete_droplet(id)
    await control.advance(30)
    (entry,) = (await control.requests("/v2/droplets")).requests
    assert (entry.status, entry.late_status, entry.faults) == (0, 404, ["late"])


async def test_its_caller_may_be_left_waiting(api: httpx.AsyncClient, control: Control) -> None:
    await control.arm(Fault(effect="late", seconds=30, hangs=0.3, count=2))
    began = time.monotonic()
    with pytest.raises(httpx.ReadError):
        await api.post("/droplets", json=ORDER)
    assert time.monotonic() - began >= 0.3
    with pytest.raises(httpx.ReadTimeout):
        await api.post("/droplets", json=ORDER, timeout=0.1)
    await control.advance(30)
    assert len(await control.droplets("op:1")) == 2


async def test_what_else_goes_wrong_goes_wrong_when_it_arrives(api: httpx.AsyncClient, control: Control) -> None:
    await control.arm(Fault(effect="placement_fails"))
    await lose(api, control, "POST", "/droplets", json=ORDER)
    await control.advance(30)
    assert len(await control.droplets("op:1")) == 1
    await control.advance(45)
    assert await control.droplets("op:1") == []
    assert len(await control.created("op:1")) == 1


async def test_a_request_with_an_unknown_token_is_refused_and_never_arrives(
    api: httpx.AsyncClient, control: Control
) -> None:
    await control.arm(Fault(effect="late", seconds=1))
    refused = await api.post("/droplets", json=ORDER, headers={"authorization": "Bearer no"})
    assert refused.status_code == 401
    await control.advance(10)
    assert await control.created("op:1") == []
