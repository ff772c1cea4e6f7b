"""The stand-in behaves as the provider does. Its clock stands still here; tests move it."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from dev.digitalocean.control import Control
from dev.digitalocean.running import RunningStandIn, running_stand_in
from dev.digitalocean.settings import Settings

SMALL = {"size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64", "region": "nyc"}


@pytest.fixture(scope="module")
async def stand_in() -> AsyncIterator[RunningStandIn]:
    with running_stand_in(speed=0) as running:
        yield running


@pytest.fixture(autouse=True)
async def world(control: Control) -> None:
    """45 droplets in 4 projects, and every setting as it was."""
    await control.reset(**Settings(speed=0, droplets=45, projects=4).model_dump(mode="json"))


async def create(api: httpx.AsyncClient, **fields: Any) -> int:
    """A droplet's id."""
    created = await api.post("/droplets", json={"name": "web-1", **SMALL, **fields})
    assert created.status_code == 202, created.text
    return int(created.json()["droplet"]["id"])


async def create_active(api: httpx.AsyncClient, control: Control, **fields: Any) -> int:
    id = await create(api, **fields)
    await control.advance(60)
    return id


async def act(api: httpx.AsyncClient, id: int, **action: Any) -> httpx.Response:
    return await api.post(f"/droplets/{id}/actions", json=action)


async def droplet(api: httpx.AsyncClient, id: int) -> Any:
    return (await api.get(f"/droplets/{id}")).json()["droplet"]


async def ids(api: httpx.AsyncClient, **params: Any) -> list[int]:
    return [one["id"] for one in (await api.get("/droplets", params={"per_page": 200, **params})).json()["droplets"]]


class TestBaseRules:
    @pytest.mark.parametrize("authorization", ["", "Bearer nonsense", "Basic dop_v1_x", "dop_v1_x"])
    async def test_an_unknown_token_is_refused_before_anything_else(
        self, api: httpx.AsyncClient, authorization: str
    ) -> None:
        refused = await api.get("/nowhere", headers={"authorization": authorization})
        assert refused.status_code == 401
        assert refused.json()["id"] == "unauthorized"
        assert refused.json()["message"] == "Unable to authenticate you."

    async def test_a_token_can_be_refused_by_a_setting(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.set(refused_tokens=["dop_v1_revoked"])
        revoked = await api.get("/account", headers={"authorization": "Bearer dop_v1_revoked"})
        assert revoked.status_code == 401
        assert (await api.get("/account")).status_code == 200

    async def test_a_token_may_be_for_reading_only(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.set(read_only_tokens=["dop_v1_reader"])
        reader = {"authorization": "Bearer dop_v1_reader"}
        assert (await api.get("/droplets", headers=reader)).status_code == 200
        refused = await api.delete("/droplets/1", headers=reader)
        assert (refused.status_code, refused.json()["id"]) == (403, "Forbidden")
        assert (await api.delete("/droplets/1")).status_code == 404

    @pytest.mark.parametrize("path", ["/nowhere", "/droplets/1", "/droplets/x", "/projects/x", "/tags/x", "/actions/7"])
    async def test_an_absent_thing_is_a_404_with_the_providers_words(self, api: httpx.AsyncClient, path: str) -> None:
        absent = await api.get(path)
        assert absent.status_code == 404
        assert absent.json()["id"] == "not_found"
        assert absent.json()["message"] == "The resource you were accessing could not be found."
        assert absent.json()["request_id"] == absent.headers["x-request-id"]

    async def test_every_answer_has_a_request_id_and_the_rate_budget(self, api: httpx.AsyncClient) -> None:
        id = (await ids(api))[0]
        answers = [
            await api.get("/account"),
            await api.get("/nowhere"),
            await api.get("/account", headers={"authorization": ""}),
            await api.post("/droplets", content=b"{"),
            await api.delete(f"/droplets/{id}"),
        ]
        assert [answer.status_code for answer in answers] == [200, 404, 401, 400, 204]
        assert len({answer.headers["x-request-id"] for answer in answers}) == 5
        for header in ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"):
            assert all(answer.headers[header].isdigit() for answer in answers)
        assert answers[-1].content == b""
        assert "content-type" not in answers[-1].headers

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff"])
    async def test_a_body_that_is_no_object_is_malformed(self, api: httpx.AsyncClient, body: bytes) -> None:
        refused = await api.post("/droplets", content=body)
        assert (refused.status_code, refused.json()["message"]) == (400, "Request body malformed.")


class TestPages:
    async def test_links_are_absolute_and_keep_the_query(
        self, stand_in: RunningStandIn, api: httpx.AsyncClient
    ) -> None:
        page = (await api.get("/droplets", params={"per_page": 10, "page": 3, "type": "droplets"})).json()
        start = f"{stand_in.url}/v2/droplets?per_page=10&page="
        assert page["links"]["pages"] == {
            name: f"{start}{number}&type=droplets"
            for name, number in [("first", 1), ("prev", 2), ("next", 4), ("last", 5)]
        }
        assert page["meta"] == {"total": 45}

    @pytest.mark.parametrize(
        ("page", "rows", "links"),
        [(1, 20, {"next", "last"}), (2, 20, {"first", "prev", "next", "last"}), (3, 5, {"first", "prev"})],
    )
    async def test_the_first_page_has_next_and_last_and_the_last_first_and_prev(
        self, api: httpx.AsyncClient, page: int, rows: int, links: set[str]
    ) -> None:
        given = (await api.get("/droplets", params={"page": page})).json()
        assert (len(given["droplets"]), set(given["links"]["pages"])) == (rows, links)

    async def test_a_single_page_has_no_links(self, api: httpx.AsyncClient) -> None:
        assert (await api.get("/droplets", params={"per_page": 200})).json()["links"] == {}

    async def test_a_page_holds_200_at_most(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.add_droplets(200)
        assert len((await api.get("/droplets", params={"per_page": 1000})).json()["droplets"]) == 200

    @pytest.mark.parametrize("params", [{"page": "0"}, {"page": "-1"}, {"page": "x"}, {"per_page": "0"}])
    async def test_a_page_that_cannot_be_is_refused(self, api: httpx.AsyncClient, params: dict[str, str]) -> None:
        assert (await api.get("/droplets", params=params)).status_code == 422

    async def test_links_can_lead_elsewhere(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.set(link_base="https://elsewhere.example")
        following = (await api.get("/droplets")).json()["links"]["pages"]["next"]
        assert following == "https://elsewhere.example/v2/droplets?page=2"


class TestDroplets:
    async def test_a_private_gateway_may_be_nil_and_the_order_of_addresses_varies(self, api: httpx.AsyncClient) -> None:
        droplets = (await api.get("/droplets", params={"per_page": 200})).json()["droplets"]
        private = [v4 for one in droplets for v4 in one["networks"]["v4"] if v4["type"] == "private"]
        assert {"<nil>"} < {address["gateway"] for address in private}
        assert {one["networks"]["v4"][0]["type"] for one in droplets} == {"private", "public"}

    async def test_gpu_droplets_are_in_their_own_list_only(self, api: httpx.AsyncClient, control: Control) -> None:
        (gpu,) = await control.add_droplets(size="gpu-h100x1-80gb", image="gpu-h100x1-base", region="tor1")
        assert gpu.gpu
        assert gpu.id not in await ids(api)
        assert await ids(api, type="gpus") == [gpu.id]
        assert (await droplet(api, gpu.id))["gpu_info"]["count"] == 1

    async def test_the_name_filter_is_exact_in_any_case(self, api: httpx.AsyncClient, control: Control) -> None:
        (one,) = await control.add_droplets(name="Only-One")
        assert await ids(api, name="only-ONE") == [one.id]
        assert await ids(api, name="only") == []

    async def test_the_tag_filter_goes_with_no_other(self, api: httpx.AsyncClient) -> None:
        refused = await api.get("/droplets", params={"tag_name": "web", "name": "web-01"})
        assert refused.status_code == 422

    async def test_a_droplet_shows_itself_by_and_by(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.set(read_lag=1, networks_lag=10)
        id = await create(api, tags=["op:7"])
        assert (await api.get(f"/droplets/{id}")).status_code == 404
        assert (id in await ids(api), await ids(api, tag_name="op:7")) == (False, [])
        await control.advance(2)
        assert (await droplet(api, id))["status"] == "new"
        assert id not in await ids(api)
        await control.advance(2)
        assert (id in await ids(api), await ids(api, tag_name="op:7")) == (True, [])
        await control.advance(2)
        assert await ids(api, tag_name="op:7") == [id]
        await control.advance(40)
        active = await droplet(api, id)
        assert (active["status"], active["networks"]) == ("active", {"v4": [], "v6": []})
        await control.advance(10)
        assert len((await droplet(api, id))["networks"]["v4"]) == 2

    async def test_a_repeated_create_makes_a_second_droplet(self, api: httpx.AsyncClient) -> None:
        assert await create(api) != await create(api)

    async def test_user_data_with_an_emoji_lets_the_droplet_vanish(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        created = (await api.post("/droplets", json={"name": "gone", "user_data": "# \U0001f680", **SMALL})).json()
        id, action = created["droplet"]["id"], created["links"]["actions"][0]["id"]
        assert (await droplet(api, id))["status"] == "new"
        await control.advance(60)
        assert (await api.get(f"/actions/{action}")).json()["action"]["status"] == "errored"
        assert (await api.get(f"/droplets/{id}")).status_code == 404

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"size": "huge"}, "You specified an invalid size for Droplet creation."),
            ({"image": 1}, "You specified an invalid image for Droplet creation."),
            ({"region": "moon"}, "You specified an invalid region for Droplet creation."),
            ({"region": "nyc2"}, "Size is not available in this region."),
            ({"name": "under_score"}, "Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)"),
            ({"name": None}, "Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)"),
            ({"user_data": "x" * 70_000}, "User data cannot be longer than 64 KiB."),
            (
                {"tags": ["fresh", "no spaces"]},
                "Tag name can only contain letters, numbers, dashes, underscores and colons.",
            ),
            ({"names": [f"n{n}" for n in range(11)]}, "names must be a list of 1 to 10 names."),
            ({"project_id": "none"}, "project_id names no project."),
        ],
    )
    async def test_a_wrong_order_is_refused_in_the_providers_words(
        self, api: httpx.AsyncClient, control: Control, fields: dict[str, Any], message: str
    ) -> None:
        before = await control.truth(), (await api.get("/tags")).json()
        refused = await api.post("/droplets", json={"name": "web-1", **SMALL, **fields})
        assert (refused.status_code, refused.json()["message"]) == (422, message)
        assert refused.json()["id"] == "unprocessable_entity"
        assert (await control.truth(), (await api.get("/tags")).json()) == before

    async def test_the_account_has_a_droplet_limit(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.set(droplet_limit=46)
        await create(api)
        refused = await api.post("/droplets", json={"name": "web-1", **SMALL})
        assert refused.json()["message"] == "creating this/these droplet(s) will exceed your droplet limit"

    async def test_a_deleted_droplet_lingers_and_is_then_gone(self, api: httpx.AsyncClient, control: Control) -> None:
        id = (await ids(api))[0]
        assert (await api.delete(f"/droplets/{id}")).status_code == 204
        assert (await droplet(api, id))["status"] in ("active", "off")
        assert id in await ids(api)
        await control.advance(16)
        assert (await api.get(f"/droplets/{id}")).status_code == 404
        assert (await api.delete(f"/droplets/{id}")).status_code == 404
        assert id not in await ids(api)

    async def test_deletion_by_tag_takes_everything_and_is_content_with_nothing(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        settled = await create_active(api, control, tags=["doomed"])
        await create(api, tags=["doomed"])
        assert (await api.delete("/droplets", params={"tag_name": "doomed"})).status_code == 204
        assert (await api.delete("/droplets", params={"tag_name": "nothing"})).status_code == 204
        assert (await api.delete("/droplets")).status_code == 422
        await control.advance(20)
        assert (await api.get(f"/droplets/{settled}")).status_code == 404
        await control.advance(100)
        assert await ids(api, tag_name="doomed") == []
        assert len(await ids(api)) == 45


class TestActions:
    async def test_a_second_action_waits_for_the_first(self, api: httpx.AsyncClient, control: Control) -> None:
        id = await create(api)
        pending = await act(api, id, type="reboot")
        assert (pending.status_code, pending.json()["message"]) == (422, "Droplet already has a pending event.")
        assert (await api.delete(f"/droplets/{id}")).status_code == 422
        await control.advance(60)
        assert (await act(api, id, type="reboot")).status_code == 201

    async def test_locked_stays_false_during_an_event_unless_set(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        id = await create(api)
        assert (await droplet(api, id))["locked"] is False
        await control.set(locked_during_events=True)
        assert (await droplet(api, id))["locked"] is True

    async def test_power_follows_the_actions(self, api: httpx.AsyncClient, control: Control) -> None:
        id = await create_active(api, control)
        off = (await act(api, id, type="power_off")).json()["action"]
        assert (off["status"], off["completed_at"], off["region_slug"]) == ("in-progress", None, "nyc1")
        await control.advance(10)
        done = (await api.get(f"/droplets/{id}/actions/{off['id']}")).json()["action"]
        assert done["status"] == "completed"
        assert done["completed_at"] > done["started_at"]
        assert (await droplet(api, id))["status"] == "off"
        again = await act(api, id, type="power_off")
        assert again.json()["message"] == "Droplet is already powered off"
        assert (await act(api, id, type="shutdown")).status_code == 201
        await control.advance(20)
        await act(api, id, type="power_on")
        await control.advance(10)
        assert (await droplet(api, id))["status"] == "active"

    async def test_a_resize_needs_a_droplet_that_is_off_and_a_disk_never_shrinks(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        id = await create_active(api, control)
        assert (await act(api, id, type="resize", size="s-1vcpu-2gb")).status_code == 422
        await control.change_droplet(id, status="off")
        await act(api, id, type="resize", size="s-1vcpu-2gb", disk=False)
        await control.advance(100)
        flexible = await droplet(api, id)
        assert (flexible["size_slug"], flexible["memory"], flexible["disk"]) == ("s-1vcpu-2gb", 2048, 25)
        assert (flexible["size"]["disk"], flexible["status"]) == (50, "off")
        await act(api, id, type="resize", size="s-2vcpu-4gb", disk=True)
        await control.advance(100)
        assert (await droplet(api, id))["disk"] == 80
        refused = await act(api, id, type="resize", size="s-1vcpu-1gb")
        assert refused.json()["message"] == "Size can not decrease size of Droplet's disk image"

    async def test_rename_and_snapshot_take_effect_at_their_end(self, api: httpx.AsyncClient, control: Control) -> None:
        id = await create_active(api, control)
        await act(api, id, type="rename", name="renamed-1")
        assert (await droplet(api, id))["name"] == "web-1"
        await control.advance(5)
        assert (await droplet(api, id))["name"] == "renamed-1"
        await act(api, id, type="snapshot", name="before")
        await control.advance(200)
        assert len((await droplet(api, id))["snapshot_ids"]) == 1

    async def test_actions_remain_when_the_droplet_is_gone(self, api: httpx.AsyncClient, control: Control) -> None:
        id = await create_active(api, control)
        await api.delete(f"/droplets/{id}")
        await control.advance(60)
        history = [one for one in (await api.get("/actions")).json()["actions"] if one["resource_id"] == id]
        assert [(one["type"], one["status"]) for one in history] == [("destroy", "completed"), ("create", "completed")]

    async def test_an_action_by_tag_is_for_all_of_them_or_none(self, api: httpx.AsyncClient, control: Control) -> None:
        first = await create_active(api, control, tags=["pair"])
        second = await create_active(api, control, tags=["pair"])
        both = await api.post("/droplets/actions", params={"tag_name": "pair"}, json={"type": "power_off"})
        assert [one["resource_id"] for one in both.json()["actions"]] == [first, second]
        blocked = await api.post("/droplets/actions", params={"tag_name": "pair"}, json={"type": "power_cycle"})
        assert "blocking events" in blocked.json()["message"]

    async def test_an_unknown_action_is_refused(self, api: httpx.AsyncClient) -> None:
        id = (await ids(api))[0]
        assert (await act(api, id, type="explode")).status_code == 422


class TestProjects:
    async def test_a_new_droplet_is_in_the_default_project_unless_it_names_one(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        tenant = next(one for one in (await control.truth()).projects if not one.is_default).id
        ids = [await create(api), await create(api, project_id=tenant)]
        homes = {one.id: one.project_id for one in (await control.truth()).droplets}
        default = (await api.get("/projects/default")).json()["project"]["id"]
        assert [homes[id] for id in ids] == [default, tenant]

    async def test_a_moved_resource_leaves_its_project(self, api: httpx.AsyncClient, control: Control) -> None:
        moved = (await control.truth()).droplets[0]
        target = (await api.post("/projects", json={"name": "new", "purpose": "Other"})).json()["project"]["id"]
        await api.post(f"/projects/{target}/resources", json={"resources": [f"do:droplet:{moved.id}"]})
        before = (await api.get(f"/projects/{moved.project_id}/resources", params={"per_page": 200})).json()
        after = (await api.get(f"/projects/{target}/resources")).json()
        assert f"do:droplet:{moved.id}" not in [one["urn"] for one in before["resources"]]
        assert [one["urn"] for one in after["resources"]] == [f"do:droplet:{moved.id}"]
        assert after["resources"][0]["status"] == "ok"

    async def test_names_are_unique_and_have_a_length(self, api: httpx.AsyncClient) -> None:
        assert (await api.post("/projects", json={"name": "one", "purpose": "x"})).status_code == 201
        assert (await api.post("/projects", json={"name": "one", "purpose": "x"})).status_code == 409
        assert (await api.post("/projects", json={"name": "n" * 176, "purpose": "x"})).status_code == 422
        assert (await api.post("/projects", json={"name": "two"})).status_code == 422

    async def test_a_patch_changes_what_it_names_and_a_put_needs_everything(self, api: httpx.AsyncClient) -> None:
        id = (await api.post("/projects", json={"name": "p", "purpose": "x"})).json()["project"]["id"]
        patched = (await api.patch(f"/projects/{id}", json={"environment": "Staging"})).json()["project"]
        assert (patched["name"], patched["environment"]) == ("p", "Staging")
        assert (await api.put(f"/projects/{id}", json={"name": "q"})).status_code == 422
        assert (await api.patch(f"/projects/{id}", json={"environment": "Moon"})).status_code == 422

    async def test_only_an_empty_project_can_be_deleted_and_never_the_default(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        for project in (await control.truth()).projects:
            refused = await api.delete(f"/projects/{project.id}")
            assert (refused.status_code, refused.json()["id"]) == (412, "precondition_failed")
        empty = await control.add_project("empty")
        assert (await api.delete(f"/projects/{empty}")).status_code == 204
        assert (await api.get(f"/projects/{empty}")).status_code == 404


class TestTags:
    async def test_the_first_spelling_is_the_only_one_in_a_url(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.set(list_lag=0, tag_lag=0)
        await api.post("/tags", json={"name": "Prod"})
        id = await create(api, tags=["PROD"])
        assert (await droplet(api, id))["tags"] == ["Prod"]
        assert (await api.get("/tags/Prod")).json()["tag"]["resources"]["count"] == 1
        assert (await api.get("/tags/prod")).status_code == 404
        assert (await ids(api, tag_name="Prod"), await ids(api, tag_name="prod")) == ([id], [])

    async def test_deleting_a_tag_takes_it_off_everything(self, api: httpx.AsyncClient) -> None:
        id = await create(api, tags=["fleeting", "lasting"])
        assert (await api.delete("/tags/fleeting")).status_code == 204
        assert (await droplet(api, id))["tags"] == ["lasting"]

    async def test_nothing_is_tagged_by_halves(self, api: httpx.AsyncClient) -> None:
        id = (await ids(api))[0]
        await api.post("/tags", json={"name": "whole"})
        there = {"resource_id": str(id), "resource_type": "droplet"}
        for wrong, status in (({"resource_id": "1", "resource_type": "droplet"}, 404), ({"resource_type": "app"}, 422)):
            body = {"resources": [there, wrong]}
            assert (await api.post("/tags/whole/resources", json=body)).status_code == status
        assert "whole" not in (await droplet(api, id))["tags"]
        for _ in range(2):
            assert (await api.post("/tags/whole/resources", json={"resources": [there]})).status_code == 204
        assert (await droplet(api, id))["tags"].count("whole") == 1

    async def test_the_number_of_tags_can_be_limited(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.set(tags_per_resource=1)
        refused = await api.post("/droplets", json={"name": "web-1", "tags": ["a", "b"], **SMALL})
        assert "no more than 1 tags" in refused.json()["message"]
        assert (await api.get("/tags/a")).status_code == 404
