"""Every kind at the stand-in, as DigitalOcean's own client sees it, with the oddities of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from dev.digitalocean.control import Control
from dev.digitalocean.running import RunningStandIn, running_stand_in
from dev.digitalocean.things import SECRET


@pytest.fixture(scope="module")
def stand_in() -> Iterator[RunningStandIn]:
    with running_stand_in(droplets=150, others=100, projects=6) as running:
        yield running


LISTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "volumes": (lambda client: client.volumes.list(per_page=200), "id"),
    "snapshots": (lambda client: client.snapshots.list(per_page=200), "id"),
    "domains": (lambda client: client.domains.list(per_page=200), "name"),
    "reserved_ips": (lambda client: client.reserved_ips.list(per_page=200), "ip"),
    "load_balancers": (lambda client: client.load_balancers.list(per_page=200), "id"),
    "databases": (lambda client: client.databases.list_clusters(), "id"),
    "kubernetes_clusters": (lambda client: client.kubernetes.list_clusters(per_page=200), "id"),
    "vpcs": (lambda client: client.vpcs.list(per_page=200), "id"),
    "firewalls": (lambda client: client.firewalls.list(per_page=200), "id"),
    "apps": (lambda client: client.apps.list(per_page=200), "id"),
    "registries": (lambda client: client.registries.list(), "name"),
}


@pytest.mark.parametrize("family", LISTS)
async def test_its_own_client_lists_every_kind(client: Any, control: Control, family: str) -> None:
    ask, identity = LISTS[family]
    listed = ask(client)[family]
    there = await control.things(family)
    assert there
    assert [str(row[identity]) for row in listed] == [thing.id for thing in there]
    assert listed == [thing.row for thing in there] or family == "reserved_ips"


async def test_backups_are_listed_under_their_droplet_and_named_by_it(client: Any, control: Control) -> None:
    droplets = [droplet for droplet in client.droplets.list(per_page=200)["droplets"] if droplet["backup_ids"]]
    found: dict[str, Any] = {}
    for droplet in droplets:
        backups = client.droplets.list_backups(droplet["id"])["backups"]
        assert [backup["id"] for backup in backups] == droplet["backup_ids"]
        assert all(backup["type"] == "backup" and "droplet_id" not in backup for backup in backups)
        found |= {str(backup["id"]): backup for backup in backups}
    assert found.keys() == {thing.id for thing in await control.things("backups")}
    assert not found.keys() & {snapshot["id"] for snapshot in client.snapshots.list(per_page=200)["snapshots"]}


async def test_buckets_show_in_the_projects_lists_alone(client: Any, control: Control) -> None:
    urns: list[str] = []
    for project in client.projects.list(per_page=200)["projects"]:
        urns += [row["urn"] for row in client.projects.list_resources(project["id"], per_page=200)["resources"]]
    assert len(urns) == len(set(urns))
    buckets = {urn.removeprefix("do:space:") for urn in urns if urn.startswith("do:space:")}
    assert buckets == {thing.id for thing in await control.things("buckets")}
    kinds = {urn.split(":")[1] for urn in urns}
    assert kinds == {
        "droplet", "volume", "domain", "floatingip", "loadbalancer", "space", "dbaas", "kubernetes", "app",
    }  # fmt: skip


def get(stand_in: RunningStandIn, path: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {stand_in.token}"}
    return httpx.get(f"{stand_in.url}{path}", headers=headers, trust_env=False)


@pytest.mark.parametrize("path", ["/v2/databases", "/v2/registries"])
def test_some_lists_come_whole_and_without_a_total(stand_in: RunningStandIn, path: str) -> None:
    assert len(get(stand_in, path).json()) == 1


def test_databases_and_apps_show_their_secrets(stand_in: RunningStandIn) -> None:
    for path in ("/v2/databases", "/v2/apps"):
        assert SECRET in get(stand_in, path).text


def test_a_reserved_ip_shows_the_whole_droplet_or_null(stand_in: RunningStandIn) -> None:
    droplets = [row["droplet"] for row in get(stand_in, "/v2/reserved_ips?per_page=200").json()["reserved_ips"]]
    assert None in droplets
    assert all(droplet is None or droplet["networks"]["v4"] for droplet in droplets)


def test_ids_are_of_the_types_that_clients_have_met(client: Any) -> None:
    cluster = client.kubernetes.list_clusters()["kubernetes_clusters"][0]
    assert all(isinstance(node["droplet_id"], str) for node in cluster["node_pools"][0]["nodes"])
    assert {type(snapshot["id"]) for snapshot in client.snapshots.list()["snapshots"]} == {str}
    assert cluster["region"] == str(cluster["region"])
    assert client.vpcs.list()["vpcs"][0]["created_at"].endswith(".442049222Z")


def test_what_a_cluster_made_is_in_the_plain_lists(client: Any) -> None:
    cluster = client.kubernetes.list_clusters()["kubernetes_clusters"][0]
    workers = {int(node["droplet_id"]) for node in cluster["node_pools"][0]["nodes"]}
    droplets = {droplet["id"]: droplet for droplet in client.droplets.list(per_page=200)["droplets"]}
    assert all({"k8s", f"k8s:{cluster['id']}", "k8s:worker"} <= set(droplets[id]["tags"]) for id in workers)
    assert any(set(balancer["droplet_ids"]) == workers for balancer in client.load_balancers.list()["load_balancers"])
    volumes = client.volumes.list(per_page=200)["volumes"]
    assert any(f"k8s:{cluster['id']}" in volume["tags"] for volume in volumes)


async def test_an_attached_volume_and_its_droplet_tell_the_same(client: Any) -> None:
    droplets = {droplet["id"]: droplet["volume_ids"] for droplet in client.droplets.list(per_page=200)["droplets"]}
    volumes = {volume["id"]: volume["droplet_ids"] for volume in client.volumes.list(per_page=200)["volumes"]}
    assert {(id, droplet) for id, ids in volumes.items() for droplet in ids} == {
        (id, droplet) for droplet, ids in droplets.items() for id in ids
    }
    assert [] in volumes.values()


async def test_a_droplet_that_goes_leaves_volumes_snapshots_and_addresses_behind() -> None:
    with running_stand_in(droplets=1) as alone:
        async with alone.control() as control:
            (droplet,) = (await control.truth()).droplets
            await control.add_thing("volumes", droplet_ids=[droplet.id])
            await control.add_thing("snapshots", resource_id=str(droplet.id))
            await control.add_thing("reserved_ips", droplet_id=droplet.id)
            await control.delete_droplet(droplet.id)
        assert get(alone, "/v2/volumes").json()["volumes"][0]["droplet_ids"] == []
        assert get(alone, "/v2/reserved_ips").json()["reserved_ips"][0]["droplet"] is None
        assert get(alone, "/v2/snapshots").json()["snapshots"][0]["resource_id"] == str(droplet.id)


async def test_the_registry_of_old_and_the_registries_of_now() -> None:
    with running_stand_in(droplets=0) as alone:
        async with alone.control() as control:
            assert (get(alone, "/v2/registry").status_code, get(alone, "/v2/registries").json()) == (
                404,
                {"registries": []},
            )
            await control.add_thing("registries", name="one")
            assert get(alone, "/v2/registry").json()["registry"]["name"] == "one"
            await control.add_thing("registries", name="two")
            assert get(alone, "/v2/registry").status_code == 412
            await control.set(several_registries=False)
            assert get(alone, "/v2/registries").status_code == 404


async def test_an_account_without_apps_answers_an_empty_object() -> None:
    with running_stand_in(droplets=0) as alone:
        assert get(alone, "/v2/apps").json() == {}


def test_a_vpc_with_members_is_not_deleted(client: Any, stand_in: RunningStandIn) -> None:
    vpc = next(vpc for vpc in client.vpcs.list(per_page=200)["vpcs"] if vpc["default"])
    headers = {"authorization": f"Bearer {stand_in.token}"}
    refused = httpx.delete(f"{stand_in.url}/v2/vpcs/{vpc['id']}", headers=headers, trust_env=False)
    assert (refused.status_code, refused.json()["id"]) == (403, "forbidden")
