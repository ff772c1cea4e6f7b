"""The fleet follows from its seed, changes by hand show in the API, and the process ends with its starter."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import httpx
import psutil
import pytest

from dev.control import ControlRefused
from dev.digitalocean.control import Control
from dev.digitalocean.journal import fingerprint
from dev.digitalocean.running import RunningStandIn, running_stand_in
from dev.digitalocean.settings import Settings
from dev.serving import ROOT


@pytest.fixture(scope="module")
async def stand_in() -> AsyncIterator[RunningStandIn]:
    with running_stand_in(speed=0) as running:
        yield running


@pytest.fixture(autouse=True)
async def world(control: Control) -> None:
    await control.reset(**Settings(speed=0, droplets=50, gpus=2, projects=5).model_dump(mode="json"))


async def test_the_same_seed_gives_the_same_fleet_to_the_byte(
    stand_in: RunningStandIn, api: httpx.AsyncClient, control: Control
) -> None:
    first = (await api.get("/droplets", params={"per_page": 200})).content
    assert (await control.reset()).seed == 42
    assert (await api.get("/droplets", params={"per_page": 200})).content == first
    await control.reset(seed=43)
    assert (await api.get("/droplets", params={"per_page": 200})).content != first


async def test_a_fleet_has_what_was_asked_for_and_looks_real(control: Control) -> None:
    await control.reset(droplets=500, gpus=3, projects=40)
    truth = await control.truth()
    assert (len(truth.droplets), sum(one.gpu for one in truth.droplets), len(truth.projects)) == (503, 3, 40)
    assert sum(project.resources for project in truth.projects) == 503
    assert len({project.name for project in truth.projects}) == 40
    assert [project.name for project in truth.projects if project.is_default] == ["arcadia"]
    assert "tenant-acme" in {project.name for project in truth.projects}
    assert len({one.name for one in truth.droplets}) < 503, "names are not unique at the provider"
    assert {one.status for one in truth.droplets} == {"active", "off"}


async def test_what_is_changed_by_hand_shows_at_once(api: httpx.AsyncClient, control: Control) -> None:
    before = (await control.truth()).droplets[0]
    target = next(one.id for one in (await control.truth()).projects if one.id != before.project_id)
    await control.change_droplet(
        before.id, name="by-hand", tags=["mine"], size="s-4vcpu-8gb", status="off", project_id=target
    )
    after = (await api.get(f"/droplets/{before.id}")).json()["droplet"]
    assert (after["name"], after["tags"], after["size_slug"], after["status"]) == (
        "by-hand", ["mine"], "s-4vcpu-8gb", "off",
    )  # fmt: skip
    resources = (await api.get(f"/projects/{target}/resources", params={"per_page": 200})).json()["resources"]
    assert f"do:droplet:{before.id}" in [one["urn"] for one in resources]
    await control.delete_droplet(before.id)
    assert (await api.get(f"/droplets/{before.id}")).status_code == 404
    assert (await api.get("/actions")).json()["actions"] == []


async def test_droplets_and_projects_come_and_go_by_hand(api: httpx.AsyncClient, control: Control) -> None:
    project = await control.add_project("tenant-late", purpose="Web Application")
    made = await control.add_droplets(3, name="late-01", project_id=project, tags=["late"])
    assert [one["id"] for one in (await api.get("/droplets", params={"tag_name": "late"})).json()["droplets"]] == [
        one.id for one in made
    ]
    await control.change_project(project, name="tenant-later")
    assert (await api.get(f"/projects/{project}")).json()["project"]["name"] == "tenant-later"
    await control.delete_project(project)
    default = next(one for one in (await control.truth()).projects if one.is_default)
    homes = {one.id: one.project_id for one in (await control.truth()).droplets}
    assert {homes[one.id] for one in made} == {default.id}


async def test_what_is_left_is_seen_whatever_lists_show(api: httpx.AsyncClient, control: Control) -> None:
    order = {"size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64", "region": "nyc3", "tags": ["op:1"]}
    await api.post("/droplets", json={"names": ["web-1", "web-2"], **order})
    await control.add_droplets(name="by-hand", tags=["op:1"])
    assert [(one.name, one.hidden) for one in await control.droplets("op:1")] == [
        ("web-1", True), ("web-2", True), ("by-hand", False),
    ]  # fmt: skip
    await control.advance(4)
    assert [one.hidden for one in await control.droplets("op:1")] == [True, True, False], "lists by tag lag longer"
    await control.advance(60)
    assert not any(one.hidden for one in await control.droplets())
    first, second, _ = [one.id for one in await control.droplets("op:1")]
    await api.delete(f"/droplets/{first}")
    assert [one.id for one in await control.droplets("op:1")][:1] == [second]
    assert await control.created("op:1") == [first, second]
    assert await control.created("op:2") == []


async def test_a_wrong_order_by_hand_says_what_is_wrong(control: Control) -> None:
    with pytest.raises(ControlRefused, match="invalid size"):
        await control.add_droplets(size="huge")
    with pytest.raises(ControlRefused, match="colour cannot be changed by hand; these can: name"):
        await control.change_droplet((await control.truth()).droplets[0].id, colour="blue")
    with pytest.raises(ControlRefused, match="404"):
        await control.delete_droplet(1)
    with pytest.raises(ControlRefused, match="name is required"):
        await control.add_project("")
    with pytest.raises(ControlRefused, match="sped"):
        await control.set(sped=2)


async def test_the_journal_tells_what_was_asked_but_no_token(
    stand_in: RunningStandIn, api: httpx.AsyncClient, control: Control
) -> None:
    began = time.time()
    await api.get("/droplets/1", params={"page": 3})
    await api.get("/account")
    asked = await control.requests(path="/v2/droplets", since=began)
    (entry,) = asked.requests
    assert (entry.method, entry.route, entry.status, entry.query) == ("GET", "/v2/droplets/{id}", 404, {"page": "3"})
    assert entry.token == fingerprint(stand_in.token) != fingerprint("dop_v1_another")
    assert stand_in.token not in entry.model_dump_json()
    assert asked.counts == {"GET /v2/droplets/{id} 404": 1, "GET /v2/account 200": 1}
    await control.forget_requests()
    assert (await control.requests()).requests == []


async def test_the_clock_begins_in_may_2026_and_runs_as_fast_as_it_is_told(control: Control) -> None:
    assert await control.advance(0) == "2026-05-12T09:00:00Z"
    assert await control.advance(3600) == "2026-05-12T10:00:00Z"
    await control.set(speed=100_000)
    await asyncio.sleep(0.1)
    assert await control.advance(0) > "2026-05-12T12:00:00Z"


async def test_health_needs_no_token(stand_in: RunningStandIn) -> None:
    async with httpx.AsyncClient(trust_env=False) as anybody:
        assert (await anybody.get(f"{stand_in.url}/healthz")).json() == {"status": "ok"}


def test_the_process_ends_when_its_starter_is_gone() -> None:
    starter = """if True:
        from dev.digitalocean.running import running_stand_in
        with running_stand_in(droplets=1) as stand_in:
            print(stand_in.pid, flush=True)
            input()
    """
    with subprocess.Popen(
        [sys.executable, "-c", starter], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        stand_in = psutil.Process(int(process.stdout.readline()))
        process.kill()
    stand_in.wait(timeout=10)


def test_a_wrong_option_is_refused_with_its_reason() -> None:
    command = [sys.executable, "-m", "dev.digitalocean", "--droplets", "-1"]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert refused.returncode == 2
    assert "greater than or equal to 0" in refused.stderr
