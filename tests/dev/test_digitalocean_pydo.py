"""DigitalOcean's own client is content with the stand-in. It gives the body of a 404 or 412 rather than raise."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from azure.core.exceptions import HttpResponseError

from dev.digitalocean.running import RunningStandIn, running_stand_in

SMALL = {"size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64", "region": "fra1"}


@pytest.fixture(scope="module")
def stand_in() -> Iterator[RunningStandIn]:
    with running_stand_in(droplets=450, gpus=3, projects=25, speed=60) as running:
        yield running


def pages(ask: Callable[[int], Any]) -> Iterator[Any]:
    """Every page, as DigitalOcean's documentation walks them: by the query of the link to the next."""
    number = 1
    while True:
        page = ask(number)
        yield page
        following = page["links"].get("pages", {}).get("next")
        if following is None:
            return
        number = int(parse_qs(urlsplit(following).query)["page"][0])


def resources_of(client: Any, project: str, number: int) -> Any:
    return client.projects.list_resources(project, per_page=50, page=number)


def until(ask: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    """What `ask` gives once it is as wanted, within 10 seconds."""
    deadline = time.monotonic() + 10
    while not wanted(given := ask()):
        assert time.monotonic() < deadline, f"still {given}"
        time.sleep(0.05)
    return given


def test_droplets_are_listed_page_by_page(client: Any) -> None:
    walked = list(pages(lambda number: client.droplets.list(per_page=200, page=number)))
    ids = [droplet["id"] for page in walked for droplet in page["droplets"]]
    assert [len(page["droplets"]) for page in walked] == [200, 200, 50]
    assert len(set(ids)) == 450
    assert all(page["meta"]["total"] == 450 for page in walked)


def test_gpu_droplets_are_listed_apart(client: Any) -> None:
    gpus = client.droplets.list(type="gpus")
    assert len(gpus["droplets"]) == 3
    assert all(droplet["gpu_info"]["model"] == "nvidia_h100" for droplet in gpus["droplets"])
    assert gpus["links"] == {}


def test_projects_are_listed_page_by_page_and_hold_every_droplet(client: Any) -> None:
    projects = [one for page in pages(lambda n: client.projects.list(per_page=10, page=n)) for one in page["projects"]]
    assert len(projects) == 25
    walks = [pages(partial(resources_of, client, project["id"])) for project in projects]
    urns = [resource["urn"] for walk in walks for page in walk for resource in page["resources"]]
    assert len(urns) == len(set(urns)) == 453


def test_a_single_page_of_project_resources_still_has_its_first_and_last(client: Any) -> None:
    made = client.projects.create({"name": "empty", "purpose": "Just trying out"})["project"]
    resources = client.projects.list_resources(made["id"])
    assert resources["resources"] == []
    assert set(resources["links"]["pages"]) == {"first", "last"}
    client.projects.delete(made["id"])


def test_a_droplet_is_created_acted_upon_and_deleted(client: Any) -> None:
    created = client.droplets.create({"name": "web-99", "tags": ["op:1"], "user_data": "#!/bin/sh", **SMALL})
    droplet = created["droplet"]
    assert droplet["status"] == "new"
    assert droplet["networks"] == {"v4": [], "v6": []}
    assert "user_data" not in droplet

    action = created["links"]["actions"][0]["id"]
    until(lambda: client.actions.get(action)["action"]["status"], lambda status: status == "completed")
    active = client.droplets.get(droplet["id"])["droplet"]
    assert active["status"] == "active"
    assert {address["type"] for address in active["networks"]["v4"]} == {"public", "private"}
    assert [one["id"] for one in client.droplets.list(tag_name="op:1")["droplets"]] == [droplet["id"]]

    off = client.droplet_actions.post(droplet["id"], {"type": "power_off"})["action"]
    assert (off["status"], off["type"], off["resource_id"]) == ("in-progress", "power_off", droplet["id"])
    until(lambda: client.droplets.get(droplet["id"])["droplet"]["status"], lambda status: status == "off")
    assert len(client.droplet_actions.list(droplet["id"])["actions"]) == 2

    client.droplets.destroy(droplet["id"])
    until(lambda: client.droplets.list(tag_name="op:1")["meta"]["total"], lambda total: total == 0)
    assert client.droplets.destroy(droplet["id"])["id"] == "not_found"


def test_ten_droplets_are_created_by_their_names_and_deleted_by_their_tag(client: Any) -> None:
    names = [f"batch-{n}" for n in range(10)]
    made = client.droplets.create({"names": names, "tags": ["batch"], **SMALL})
    assert [droplet["name"] for droplet in made["droplets"]] == names
    assert len(made["links"]["actions"]) == 10
    until(lambda: client.droplets.list(tag_name="batch")["meta"]["total"], lambda total: total == 10)
    until(lambda: client.actions.get(made["links"]["actions"][9]["id"])["action"]["status"], "completed".__eq__)
    client.droplets.destroy_by_tag(tag_name="batch")
    until(lambda: client.tags.get("batch")["tag"]["resources"]["count"], lambda count: count == 0)


def test_a_resource_is_moved_into_a_project(client: Any) -> None:
    project = client.projects.create({"name": "tenant-new", "purpose": "Web Application"})["project"]
    droplet = client.droplets.list(per_page=1)["droplets"][0]["id"]
    urns = {"resources": [f"do:droplet:{droplet}", "do:droplet:1", f"do:droplet:{droplet}"]}
    statuses = [one["status"] for one in client.projects.assign_resources(project["id"], urns)["resources"]]
    assert statuses == ["assigned", "not_found", "already_assigned"]
    assert client.projects.delete(project["id"])["id"] == "precondition_failed"
    client.projects.assign_resources_default(urns)
    assert client.projects.delete(project["id"]) is None


def test_tags_are_put_on_and_taken_off(client: Any) -> None:
    droplet = client.droplets.list(per_page=1)["droplets"][0]["id"]
    resources = {"resources": [{"resource_id": str(droplet), "resource_type": "droplet"}]}
    assert client.tags.create({"name": "Blue"})["tag"]["name"] == "Blue"
    client.tags.assign_resources("Blue", resources)
    assert "Blue" in client.droplets.get(droplet)["droplet"]["tags"]
    assert client.tags.get("Blue")["tag"]["resources"]["droplets"]["count"] == 1
    client.tags.unassign_resources("Blue", resources)
    assert "Blue" not in client.droplets.get(droplet)["droplet"]["tags"]
    client.tags.delete("Blue")
    assert client.tags.get("Blue")["id"] == "not_found"


def test_a_zone_is_created_read_listed_and_deleted(client: Any) -> None:
    created = client.domains.create({"name": "pydo.example", "ip_address": "192.0.2.1"})["domain"]
    assert created == {"name": "pydo.example", "ttl": 1800, "zone_file": None}
    read = client.domains.get("pydo.example")["domain"]
    assert "pydo.example. 1800 IN A 192.0.2.1" in read["zone_file"]
    assert read in client.domains.list(per_page=200)["domains"]
    types = [record["type"] for record in client.domains.list_records("pydo.example")["domain_records"]]
    assert types == ["SOA", "NS", "NS", "NS", "A"]
    assert client.domains.delete("pydo.example") is None
    assert client.domains.get("pydo.example")["id"] == "not_found"
    assert client.domains.list_records("pydo.example")["id"] == "not_found"


def test_a_record_is_created_read_changed_and_deleted(client: Any) -> None:
    zone = "records.example"
    client.domains.create({"name": zone})
    nulls = dict.fromkeys(("priority", "port", "weight", "flags", "tag"))
    asked = {"type": "A", "name": "www", "data": "192.0.2.7", "ttl": 60, **nulls}
    record = client.domains.create_record(zone, asked)["domain_record"]
    assert record == {"id": record["id"], **asked}
    assert client.domains.get_record(zone, record["id"])["domain_record"] == record
    assert client.domains.list_records(zone, name=f"www.{zone}", type="A")["domain_records"] == [record]

    patched = client.domains.patch_record(zone, record["id"], {"type": "A", "data": "192.0.2.8"})["domain_record"]
    assert patched == record | {"data": "192.0.2.8"}
    assert client.domains.update_record(zone, record["id"], record)["domain_record"] == record

    assert client.domains.delete_record(zone, record["id"]) is None
    for gone in (client.domains.get_record, client.domains.delete_record):
        assert gone(zone, record["id"])["id"] == "not_found"
    client.domains.delete(zone)


def test_records_are_listed_page_by_page_and_a_wrong_one_is_refused(client: Any) -> None:
    zone = "many.example"
    client.domains.create({"name": zone})
    for number in range(25):
        client.domains.create_record(zone, {"type": "TXT", "name": f"n{number}", "data": "hello"})
    walked = list(pages(lambda number: client.domains.list_records(zone, per_page=10, page=number)))
    ids = [record["id"] for page in walked for record in page["domain_records"]]
    assert [len(page["domain_records"]) for page in walked] == [10, 10, 9]
    assert ids == sorted(set(ids))
    with pytest.raises(HttpResponseError, match="end with a dot") as refused:
        client.domains.create_record(zone, {"type": "CNAME", "name": "alias", "data": "app.example"})
    assert refused.value.status_code == 422
    client.domains.delete(zone)


def test_account_sizes_and_regions_are_there(client: Any) -> None:
    assert len(client.account.get()["account"]["uuid"]) == 40
    sizes = client.sizes.list(per_page=200)["sizes"]
    regions = client.regions.list()["regions"]
    assert {slug for size in sizes for slug in size["regions"]} <= {region["slug"] for region in regions}
    assert any(len(repr(size["price_hourly"])) > 12 for size in sizes), "prices carry the noise of a 32-bit float"


def test_what_the_account_has_cost_is_read(client: Any) -> None:
    # (Not the file of an invoice: this client reads that as JSON.)
    invoices = client.invoices.list(per_page=10)
    newest = invoices["invoices"][0]
    assert (invoices["meta"]["total"], newest["amount"]) == (137, "86.92")
    assert client.invoices.get_by_uuid(newest["invoice_uuid"])["meta"]["total"] == 33
    assert client.invoices.get_summary_by_uuid(newest["invoice_uuid"])["taxes"]["amount"] == "7.90"
    assert float(client.balance.get()["month_to_date_usage"]) > 0
    assert client.billing_history.list()["meta"]["total"] == 2 * 137
