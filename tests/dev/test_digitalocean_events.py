"""What happens to a droplet while something else happens to it. The clock stands still here; tests move it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from dev.digitalocean.control import Control
from dev.digitalocean.faults import Fault
from dev.digitalocean.running import RunningStandIn, running_stand_in
from dev.digitalocean.settings import Settings

ORDER = {"name": "web-1", "size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64", "region": "nyc3"}
PENDING = (422, "unprocessable_entity", "Droplet already has a pending event.")


@pytest.fixture(scope="module")
def stand_in() -> Iterator[RunningStandIn]:
    with running_stand_in(speed=0) as running:
        yield running


@pytest.fixture(autouse=True)
async def world(control: Control) -> None:
    await control.reset(**Settings(speed=0, droplets=3, projects=1).model_dump(mode="json"))


async def create(api: httpx.AsyncClient, **fields: Any) -> int:
    created = await api.post("/droplets", json=ORDER | fields)
    assert created.status_code == 202, created.text
    return int(created.json()["droplet"]["id"])


async def create_active(api: httpx.AsyncClient, control: Control, **fields: Any) -> int:
    id = await create(api, **fields)
    await control.advance(60)
    return id


async def act(api: httpx.AsyncClient, id: int, **action: Any) -> httpx.Response:
    return await api.post(f"/droplets/{id}/actions", json=action)


async def status(api: httpx.AsyncClient, id: int) -> str:
    """The droplet's, or that it is gone."""
    given = await api.get(f"/droplets/{id}")
    return "gone" if given.status_code == 404 else str(given.json()["droplet"]["status"])


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    return answer.status_code, answer.json()["id"], answer.json()["message"]


class TestOneEventAtATime:
    async def test_during_an_action_neither_another_nor_a_deletion_is_taken(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        id = await create_active(api, control)
        assert (await act(api, id, type="power_off")).status_code == 201
        assert refusal(await act(api, id, type="power_on")) == PENDING
        assert refusal(await api.delete(f"/droplets/{id}")) == PENDING
        await control.advance(10)
        assert await status(api, id) == "off"
        assert (await api.delete(f"/droplets/{id}")).status_code == 204

    async def test_a_running_action_is_in_the_droplets_own_list(self, api: httpx.AsyncClient, control: Control) -> None:
        id = await create_active(api, control)
        await act(api, id, type="reboot")
        actions = (await api.get(f"/droplets/{id}/actions")).json()["actions"]
        assert [(one["type"], one["status"]) for one in actions] == [("reboot", "in-progress"), ("create", "completed")]

    async def test_a_droplet_that_is_being_deleted_takes_no_action(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        id = await create_active(api, control)
        await api.delete(f"/droplets/{id}")
        assert refusal(await act(api, id, type="power_off")) == PENDING
        assert (await api.delete(f"/droplets/{id}")).status_code == 204, "again, and nothing more comes of it"
        destroyed = [one for one in (await api.get("/actions")).json()["actions"] if one["type"] == "destroy"]
        assert len(destroyed) == 1

    async def test_power_goes_only_where_it_is_not_yet(self, api: httpx.AsyncClient, control: Control) -> None:
        id = await create_active(api, control)
        assert refusal(await act(api, id, type="power_on"))[2] == "Droplet is already powered on"
        await control.change_droplet(id, status="off")
        assert refusal(await act(api, id, type="power_off"))[2] == "Droplet is already powered off"
        assert (await act(api, id, type="shutdown")).status_code == 201


class TestDeletion:
    async def test_it_is_taken_at_once_and_done_by_and_by(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.set(delete_lag=60)
        id = await create_active(api, control, tags=["op:1"])
        assert (await api.delete(f"/droplets/{id}")).status_code == 204
        await control.advance(59)
        assert await status(api, id) == "active"
        assert (await api.get("/droplets", params={"tag_name": "op:1"})).json()["meta"]["total"] == 1
        await control.advance(1)
        assert await status(api, id) == "gone"
        assert (await api.get("/droplets", params={"tag_name": "op:1"})).json()["meta"]["total"] == 0
        assert (await api.delete(f"/droplets/{id}")).status_code == 404

    async def test_by_a_setting_it_is_taken_during_an_action_and_waits_for_it(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        await control.set(refuse_delete_during_event=False, create_seconds=45, delete_lag=15)
        id = await create(api)
        assert (await api.delete(f"/droplets/{id}")).status_code == 204
        assert await status(api, id) == "new"
        await control.advance(46)
        assert await status(api, id) == "active"
        await control.advance(15)
        assert await status(api, id) == "gone"
        types = [one["type"] for one in (await api.get("/actions")).json()["actions"] if one["resource_id"] == id]
        assert types == ["destroy", "create"]

    async def test_one_that_fails_leaves_the_droplet(self, api: httpx.AsyncClient, control: Control) -> None:
        id = await create_active(api, control, tags=["op:1"])
        await control.arm(Fault(effect="action_errors", method="DELETE", count=1))
        assert (await api.delete(f"/droplets/{id}")).status_code == 204
        assert await control.droplets("op:1") == []
        await control.advance(20)
        (destroy, _) = (await api.get(f"/droplets/{id}/actions")).json()["actions"]
        assert (destroy["type"], destroy["status"], await status(api, id)) == ("destroy", "errored", "active")
        assert [one.id for one in await control.droplets("op:1")] == [id]
        assert (await api.delete(f"/droplets/{id}")).status_code == 204
        await control.advance(20)
        assert await status(api, id) == "gone"

    async def test_each_action_can_still_be_read(self, api: httpx.AsyncClient, control: Control) -> None:
        created = (await api.post("/droplets", json=ORDER)).json()
        id, action = created["droplet"]["id"], created["links"]["actions"][0]["id"]
        await control.advance(60)
        await api.delete(f"/droplets/{id}")
        await control.advance(60)
        assert await status(api, id) == "gone"
        for path in (f"/actions/{action}", f"/droplets/{id}/actions/{action}"):
            assert (await api.get(path)).json()["action"]["status"] == "completed"

    async def test_a_placement_that_fails_takes_away_what_was_to_be_deleted(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        await control.set(refuse_delete_during_event=False)
        await control.arm(Fault(effect="placement_fails", count=1))
        id = await create(api)
        await api.delete(f"/droplets/{id}")
        await control.advance(45)
        assert await status(api, id) == "gone"
        await control.advance(60)
        assert [one["type"] for one in (await api.get("/actions")).json()["actions"]] == ["create"]


class TestEffects:
    async def test_a_larger_disk_takes_longer_than_more_memory(self, api: httpx.AsyncClient, control: Control) -> None:
        ids = [await create(api), await create(api)]
        await control.advance(60)
        for id, disk in zip(ids, (False, True), strict=True):
            await control.change_droplet(id, status="off")
            assert (await act(api, id, type="resize", size="s-8vcpu-16gb", disk=disk)).status_code == 201

        async def sizes() -> list[tuple[str, int, str]]:
            rows = [(await api.get(f"/droplets/{id}")).json()["droplet"] for id in ids]
            return [(row["size_slug"], row["disk"], row["status"]) for row in rows]

        await control.advance(60)
        assert await sizes() == [("s-8vcpu-16gb", 25, "off"), ("s-1vcpu-1gb", 25, "off")]
        await control.advance(80)
        assert await sizes() == [("s-8vcpu-16gb", 25, "off"), ("s-8vcpu-16gb", 320, "off")]

    async def test_by_a_setting_it_shows_only_a_while_after_its_action_is_completed(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        id = await create_active(api, control)
        await control.set(effect_lag=30)
        action = (await act(api, id, type="power_off")).json()["action"]["id"]
        await control.advance(10)
        assert (await api.get(f"/actions/{action}")).json()["action"]["status"] == "completed"
        assert await status(api, id) == "active"
        assert refusal(await act(api, id, type="power_off"))[2] == "Droplet is already powered off"
        await control.advance(30)
        assert await status(api, id) == "off"

    async def test_by_that_setting_a_name_and_tags_show_late_as_well(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        async def shown() -> tuple[str, list[str]]:
            row = (await api.get(f"/droplets/{id}")).json()["droplet"]
            return row["name"], row["tags"]

        id = await create_active(api, control, name="web-1", tags=["a", "b"])
        await api.post("/tags", json={"name": "c"})
        await control.set(effect_lag=30)
        await act(api, id, type="rename", name="shop-1")
        await control.advance(10)
        resources = {"resources": [{"resource_id": str(id), "resource_type": "droplet"}]}
        assert (await api.post("/tags/c/resources", json=resources)).status_code == 204
        assert await shown() == ("web-1", ["a", "b"])
        await control.advance(10)
        assert (await api.request("DELETE", "/tags/a/resources", json=resources)).status_code == 204
        assert await shown() == ("web-1", ["a", "b", "c"])
        await control.advance(31)
        assert await shown() == ("shop-1", ["b", "c"])

    async def test_a_snapshot_outlives_its_droplet(self, api: httpx.AsyncClient, control: Control) -> None:
        id = await create_active(api, control)
        await act(api, id, type="snapshot", name="the-last")
        await control.advance(200)
        (shown,) = (await api.get(f"/droplets/{id}")).json()["droplet"]["snapshot_ids"]
        (listed,) = (await api.get(f"/droplets/{id}/snapshots")).json()["snapshots"]
        assert (listed["id"], listed["name"]) == (shown, "the-last")
        await api.delete(f"/droplets/{id}")
        await control.advance(60)
        left = (await api.get(f"/snapshots/{shown}")).json()["snapshot"]
        assert (left["resource_id"], left["resource_type"], left["min_disk_size"]) == (str(id), "droplet", 25)


class TestEventsThatNobodySees:
    async def test_so_many_writes_to_a_droplet_meet_a_pending_event(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        id = await create_active(api, control)
        fault = await control.arm(Fault(effect="pending_event", count=3))
        assert refusal(await act(api, id, type="power_off")) == PENDING
        assert refusal(await api.delete(f"/droplets/{id}")) == PENDING
        assert (await api.get(f"/droplets/{id}/actions")).json()["meta"]["total"] == 1, "nothing is under way"
        assert (await create(api)) != id
        assert refusal(await act(api, id, type="power_off")) == PENDING
        assert (await act(api, id, type="power_off")).status_code == 201
        assert [(one.id, one.struck) for one in await control.faults()] == [(fault, 3)]

    async def test_a_droplet_that_is_not_there_is_a_404_all_the_same(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        await control.arm(Fault(effect="pending_event"))
        assert (await api.delete("/droplets/1")).status_code == 404
        assert (await api.post("/tags", json={"name": "other"})).status_code == 201
