"""Zones and their records at the stand-in. Its clock stands still here; tests move it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from dev.control import ControlRefused
from dev.digitalocean.control import Control
from dev.digitalocean.faults import Fault
from dev.digitalocean.running import RunningStandIn, running_stand_in
from dev.digitalocean.settings import Settings

ZONE = "acme.example"
RECORDS = f"/domains/{ZONE}/records"
WWW = {"type": "A", "name": "www", "data": "192.0.2.7"}
BEGINNING = [
    ("SOA", "@", "1800"),
    ("NS", "@", "ns1.digitalocean.com"),
    ("NS", "@", "ns2.digitalocean.com"),
    ("NS", "@", "ns3.digitalocean.com"),
]


@pytest.fixture(scope="module")
def stand_in() -> Iterator[RunningStandIn]:
    with running_stand_in(speed=0) as running:
        yield running


@pytest.fixture(autouse=True)
async def world(control: Control) -> None:
    """One zone with nothing but its beginning, and every setting as it was."""
    await control.reset(**Settings(speed=0, droplets=1, projects=1).model_dump(mode="json"))
    await control.add_zone(ZONE)


async def create(api: httpx.AsyncClient, **fields: Any) -> Any:
    created = await api.post(RECORDS, json=WWW | fields)
    assert created.status_code == 201, created.text
    return created.json()["domain_record"]


async def records(api: httpx.AsyncClient, **params: Any) -> list[Any]:
    rows: list[Any] = (await api.get(RECORDS, params={"per_page": 200, **params})).json()["domain_records"]
    return rows


def refusal(answer: httpx.Response) -> str:
    """The text of a 422."""
    assert (answer.status_code, answer.json()["id"]) == (422, "unprocessable_entity")
    return str(answer.json()["message"])


class TestZones:
    async def test_a_new_zone_has_its_soa_and_three_name_servers(self, api: httpx.AsyncClient) -> None:
        created = await api.post("/domains", json={"name": "new.example"})
        assert created.status_code == 201
        assert created.json() == {"domain": {"name": "new.example", "ttl": 1800, "zone_file": None}}
        rows = (await api.get("/domains/new.example/records")).json()["domain_records"]
        assert [(row["type"], row["name"], row["data"]) for row in rows] == BEGINNING
        assert {row["ttl"] for row in rows} == {1800}

    async def test_an_address_makes_the_record_of_the_domain_itself(self, api: httpx.AsyncClient) -> None:
        await api.post("/domains", json={"name": "new.example", "ip_address": "192.0.2.9"})
        last = (await api.get("/domains/new.example/records")).json()["domain_records"][-1]
        assert (last["type"], last["name"], last["data"]) == ("A", "@", "192.0.2.9")
        assert refusal(await api.post("/domains", json={"name": "odd.example", "ip_address": "here"}))
        assert (await api.get("/domains/odd.example")).status_code == 404

    async def test_the_zone_file_follows_from_the_records(self, api: httpx.AsyncClient) -> None:
        before = (await api.get(f"/domains/{ZONE}")).json()["domain"]
        await create(api, type="MX", name="@", data="mail.acme.example.", priority=10, ttl=60)
        after = (await api.get(f"/domains/{ZONE}")).json()["domain"]
        added = set(after["zone_file"].splitlines()) - set(before["zone_file"].splitlines())
        assert "acme.example. 60 IN MX 10 mail.acme.example." in added
        assert len(added) == 2, "and the serial"

    @pytest.mark.parametrize("name", [None, "", "localhost", "a b.example", "-.example"])
    async def test_a_name_that_is_no_domain_is_refused(self, api: httpx.AsyncClient, name: str | None) -> None:
        assert "name is invalid" in refusal(await api.post("/domains", json={"name": name}))

    async def test_a_domain_is_there_once(self, api: httpx.AsyncClient) -> None:
        again = await api.post("/domains", json={"name": ZONE})
        assert refusal(again) == f"domain '{ZONE}': name already exists"

    async def test_a_domain_that_goes_takes_its_records(self, api: httpx.AsyncClient, control: Control) -> None:
        record = await create(api)
        assert (await api.delete(f"/domains/{ZONE}")).status_code == 204
        for path in (f"/domains/{ZONE}", RECORDS, f"{RECORDS}/{record['id']}"):
            assert (await api.get(path)).status_code == 404
        assert (await api.delete(f"/domains/{ZONE}")).status_code == 404
        assert await control.records(ZONE) == []
        await api.post("/domains", json={"name": ZONE})
        assert [(row["type"], row["name"], row["data"]) for row in await records(api)] == BEGINNING


class TestRecords:
    async def test_every_key_is_always_there(self, api: httpx.AsyncClient) -> None:
        record = await create(api)
        nulls = dict.fromkeys(("priority", "port", "weight", "flags", "tag"))
        assert record == {"id": record["id"], **WWW, "ttl": 1800} | nulls
        assert all(row.keys() == record.keys() for row in await records(api))
        assert (await api.get(f"{RECORDS}/{record['id']}")).json() == {"domain_record": record}

    @pytest.mark.parametrize(
        ("asked", "given"),
        [
            ({"type": "AAAA", "data": "2001:DB8::1"}, {"data": "2001:db8::1"}),
            ({"type": "CNAME", "data": "app.example."}, {"data": "app.example"}),
            ({"type": "CNAME", "data": "@"}, {"data": "@"}),
            ({"type": "MX", "name": None, "data": "m.example.", "priority": 0}, {"name": "@", "priority": 0}),
            ({"type": "NS", "name": "sub", "data": "ns.example."}, {"name": "sub", "data": "ns.example"}),
            ({"type": "TXT", "name": "*.dev", "data": "v=spf1 -all"}, {"name": "*.dev", "data": "v=spf1 -all"}),
            (
                {"type": "SRV", "name": "_sip._tcp", "data": "s.example.", "priority": 1, "port": 5060, "weight": 2},
                {"priority": 1, "port": 5060, "weight": 2, "data": "s.example"},
            ),
            (
                {"type": "CAA", "data": "ca.example.", "flags": 0, "tag": "issue"},
                {"flags": 0, "tag": "issue", "data": "ca.example"},
            ),
            ({"priority": 5, "port": 80, "tag": "issue", "ttl": 30}, {"priority": None, "port": None, "tag": None}),
        ],
    )
    async def test_each_type_has_its_fields_and_its_data_comes_back_without_the_last_dot(
        self, api: httpx.AsyncClient, asked: dict[str, Any], given: dict[str, Any]
    ) -> None:
        record = await create(api, **asked)
        assert {name: record[name] for name in given} == given

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"type": "PTR"}, "Type is not included in the list"),
            ({"type": None}, "Type is not included in the list"),
            ({"type": "SOA", "name": "@", "data": "1800"}, "Type is not included in the list"),
            ({"data": None}, "Data can't be blank"),
            ({"data": ""}, "Data can't be blank"),
            ({"data": 7}, "Data is invalid"),
            ({"data": "192.0.2.300"}, "IP address did not match IPv4 format (e.g. 127.0.0.1)."),
            (
                {"type": "AAAA"},
                "IP address did not match IPv6 format (e.g. 2001:db8::ff00:42:8329).",
            ),
            ({"type": "CNAME", "data": "app.example"}, "Data needs to end with a dot (.)"),
            ({"name": None}, "Name can't be blank"),
            ({"name": "www."}, "Name is invalid"),
            ({"name": "w w"}, "Name is invalid"),
            ({"ttl": 29}, "record ttl must be greater than 30"),
            ({"ttl": "60"}, "record ttl is invalid"),
            ({"ttl": True}, "record ttl is invalid"),
            ({"type": "MX", "data": "m.example."}, "Priority can't be blank"),
            ({"type": "MX", "data": "m.example.", "priority": 65_536}, "Priority must be between 0 and 65535"),
            ({"type": "CAA", "data": "ca.example.", "flags": 0, "tag": "wild"}, "Tag is not included in the list"),
        ],
    )
    async def test_a_wrong_record_is_refused_and_nothing_is_written(
        self, api: httpx.AsyncClient, fields: dict[str, Any], message: str
    ) -> None:
        assert refusal(await api.post(RECORDS, json=WWW | fields)) == message
        assert len(await records(api)) == 4

    async def test_identical_records_are_accepted_and_ids_grow_over_all_zones(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        first, second = await create(api), await create(api)
        await control.add_zone("other.example")
        third = (await api.post("/domains/other.example/records", json=WWW)).json()["domain_record"]
        assert 0 < first["id"] < second["id"] < third["id"]
        assert first | {"id": second["id"]} == second
        assert [row["id"] for row in await records(api, type="A")] == [first["id"], second["id"]]

    async def test_a_cname_is_alone_under_its_name(self, api: httpx.AsyncClient) -> None:
        await create(api, name="taken")
        cname = {"type": "CNAME", "data": "app.example."}
        await create(api, name="alias", **cname)
        for other in (
            {**cname, "name": "taken"},
            {"name": "alias"},
            {**cname, "name": "@"},
            {**cname, "name": "ALIAS"},
        ):
            refused = await api.post(RECORDS, json=WWW | other)
            assert refusal(refused) == "CNAME records cannot share a name with other records"

    async def test_the_name_filter_wants_the_full_name(self, api: httpx.AsyncClient) -> None:
        www, apex = await create(api), await create(api, name="@")
        text = await create(api, type="TXT", data="hello")

        async def found(**params: str) -> list[int]:
            return [row["id"] for row in await records(api, **params)]

        assert await found(name=f"www.{ZONE}") == [www["id"], text["id"]]
        assert await found(name=f"www.{ZONE}", type="TXT") == [text["id"]]
        assert await found(name=ZONE, type="A") == [apex["id"]]
        assert await found(name="www") == []
        assert await found(name="@") == []

    async def test_records_come_in_pages(self, api: httpx.AsyncClient) -> None:
        made = [(await create(api))["id"] for _ in range(25)]
        first = (await api.get(RECORDS, params={"type": "A"})).json()
        second = (await api.get(RECORDS, params={"type": "A", "page": 2})).json()
        assert [row["id"] for page in (first, second) for row in page["domain_records"]] == made
        assert (len(first["domain_records"]), first["meta"]["total"]) == (20, 25)
        assert f"{RECORDS}?type=A&page=2" in first["links"]["pages"]["next"]

    async def test_an_unknown_zone_or_record_is_a_404(self, api: httpx.AsyncClient, control: Control) -> None:
        record = await create(api)
        await control.add_zone("other.example")
        for path in ("/domains/none.example/records", f"/domains/other.example/records/{record['id']}", f"{RECORDS}/x"):
            assert (await api.get(path)).status_code == 404
        assert (await api.post("/domains/none.example/records", json=WWW)).status_code == 404
        for method in ("PATCH", "PUT", "DELETE"):
            assert (await api.request(method, f"{RECORDS}/7", json=WWW)).status_code == 404
        assert (await api.delete(f"{RECORDS}/{record['id']}")).status_code == 204
        assert (await api.delete(f"{RECORDS}/{record['id']}")).status_code == 404

    @pytest.mark.parametrize("method", ["PATCH", "PUT"])
    async def test_a_change_keeps_what_it_does_not_name(self, api: httpx.AsyncClient, method: str) -> None:
        record = await create(api, ttl=60)
        changed = await api.request(method, f"{RECORDS}/{record['id']}", json={"type": "A", "data": "192.0.2.8"})
        assert (changed.status_code, changed.json()["domain_record"]) == (200, record | {"data": "192.0.2.8"})
        nulls = await api.request(method, f"{RECORDS}/{record['id']}", json={"name": "@", "data": None, "ttl": None})
        assert nulls.json()["domain_record"] == record | {"data": "192.0.2.8", "name": "@"}
        assert (await records(api))[-1] == nulls.json()["domain_record"]

    async def test_a_wrong_change_is_refused_and_changes_nothing(self, api: httpx.AsyncClient) -> None:
        record = await create(api)
        path = f"{RECORDS}/{record['id']}"
        assert refusal(await api.patch(path, json={"type": "TXT"})) == "Type can not be changed"
        assert "IPv4" in refusal(await api.patch(path, json={"name": "@", "data": "here"}))
        assert (await records(api))[-1] == record

    async def test_a_change_of_what_points_to_a_name_has_to_say_that_name_again(self, api: httpx.AsyncClient) -> None:
        record = await create(api, type="CNAME", data="app.example.")
        path = f"{RECORDS}/{record['id']}"
        assert "end with a dot" in refusal(await api.patch(path, json={"type": "CNAME", "ttl": 60}))
        assert "end with a dot" in refusal(await api.put(path, json=record)), "as it was read"
        assert (await api.put(path, json=record | {"data": "app.example.", "ttl": 60})).status_code == 200

    async def test_of_the_soa_only_the_ttl_changes_and_it_stays(self, api: httpx.AsyncClient) -> None:
        soa = (await records(api, type="SOA"))[0]
        path = f"{RECORDS}/{soa['id']}"
        assert (await api.put(path, json=soa | {"ttl": 3600})).json()["domain_record"] == soa | {"ttl": 3600}
        for change in ({"data": "900"}, {"name": "www"}, {"ttl": 1}):
            assert refusal(await api.patch(path, json=change))
        assert refusal(await api.delete(path)) == "SOA records can not be deleted"
        assert await records(api, type="SOA") == [soa | {"ttl": 3600}]

    async def test_a_deletion_during_the_walk_hides_a_record(self, api: httpx.AsyncClient, control: Control) -> None:
        made = [(await create(api))["id"] for _ in range(6)]
        await control.arm(Fault(effect="remove", path="/v2/domains/*/records", page=2, rows=3, count=1))
        walked = []
        for page in (1, 2):
            walked += [row["id"] for row in await records(api, per_page=5, page=page)]
        assert [id for id in made if id not in walked] == made[1:4]
        assert [one.type for one in await control.records(ZONE)][:2] == ["SOA", "A"], "the name servers went"


class TestLag:
    async def test_a_write_is_seen_at_once_by_id_and_by_and_by_in_lists(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        await control.set(records_lag=5)
        record = await create(api)
        path = f"{RECORDS}/{record['id']}"
        assert (await api.get(path)).status_code == 200
        assert await records(api, type="A") == []
        await control.advance(5)
        assert await records(api, type="A") == [record]

        await api.patch(path, json={"data": "192.0.2.8"})
        await control.advance(1)
        await api.patch(path, json={"data": "192.0.2.9"})
        assert (await api.get(path)).json()["domain_record"]["data"] == "192.0.2.9"
        assert [row["data"] for row in await records(api, type="A")] == ["192.0.2.7"]
        await control.advance(4)
        assert [row["data"] for row in await records(api, type="A")] == ["192.0.2.8"]
        await control.advance(1)
        assert [row["data"] for row in await records(api, type="A")] == ["192.0.2.9"]

        assert (await api.delete(path)).status_code == 204
        assert (await api.get(path)).status_code == 404
        assert len(await records(api, type="A")) == 1
        await control.advance(5)
        assert await records(api, type="A") == []

    async def test_a_shorter_lag_lets_no_older_write_come_over_a_newer_one(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        await control.set(records_lag=5)
        record = await create(api)
        await control.set(records_lag=0)
        await api.delete(f"{RECORDS}/{record['id']}")
        await control.advance(5)
        assert await records(api, type="A") == []


class TestByHand:
    async def test_a_zone_is_made_with_records_in_it(self, api: httpx.AsyncClient, control: Control) -> None:
        made = await control.add_zone("made.example", WWW, {**WWW, "name": "@", "ttl": 60})
        rows = (await api.get("/domains/made.example/records", params={"type": "A"})).json()["domain_records"]
        assert [(row["id"], row["name"], row["ttl"]) for row in rows] == [(one.id, one.name, one.ttl) for one in made]
        assert [one.type for one in await control.records("made.example")] == ["SOA", "NS", "NS", "NS", "A", "A"]

    async def test_a_zone_that_is_changed_keeps_its_records(self, api: httpx.AsyncClient, control: Control) -> None:
        record = await create(api)
        await control.change_thing("domains", ZONE, ttl=60)
        assert (await records(api))[-1] == record
        assert "$TTL 60" in (await api.get(f"/domains/{ZONE}")).json()["domain"]["zone_file"]

    async def test_a_record_is_seen_by_hand_although_lists_do_not_show_it(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        await control.set(records_lag=60)
        record = await create(api)
        assert [one.id for one in await control.records(ZONE) if one.type == "A"] == [record["id"]]
        assert await records(api, type="A") == []

    async def test_records_change_and_go_by_hand_whatever_the_lag(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        await control.set(records_lag=60)
        made = await control.add_record(ZONE, **WWW)
        assert (await control.change_record(made.id, data="192.0.2.8")).data == "192.0.2.8"
        assert [row["data"] for row in await records(api, type="A")] == ["192.0.2.8"]
        await control.delete_record(made.id)
        assert await records(api, type="A") == []
        with pytest.raises(ControlRefused, match="404"):
            await control.delete_record(made.id)
