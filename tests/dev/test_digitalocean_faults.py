"""What can go wrong at the stand-in: its rate budget, and the faults that are switched on."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from dev.digitalocean.control import Control
from dev.digitalocean.faults import Fault
from dev.digitalocean.running import RunningStandIn, running_stand_in
from dev.digitalocean.settings import Settings

ORDER = {"name": "web-1", "size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64", "region": "nyc3"}


@pytest.fixture(scope="module")
async def stand_in() -> AsyncIterator[RunningStandIn]:
    with running_stand_in(speed=0) as running:
        yield running


@pytest.fixture(autouse=True)
async def world(control: Control) -> None:
    """50 droplets, no faults, and every setting as it was."""
    await control.reset(**Settings(speed=0, droplets=50, projects=4).model_dump(mode="json"))


async def statuses(api: httpx.AsyncClient, count: int, path: str = "/account") -> list[int]:
    return [(await api.get(path)).status_code for _ in range(count)]


async def walk(api: httpx.AsyncClient) -> list[int]:
    """The ids on three pages of 20."""
    pages = [(await api.get("/droplets", params={"page": page})).json() for page in (1, 2, 3)]
    return [droplet["id"] for page in pages for droplet in page["droplets"]]


class TestRateBudget:
    async def test_too_many_in_a_minute_are_told_when_to_come_back(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        await control.set(rate_minute=3, rate_minute_seconds=1)
        assert await statuses(api, 3) == [200, 200, 200]
        refused = await api.get("/account")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json() == {"id": "too_many_requests", "message": "API rate limit exceeded."}
        assert refused.headers["ratelimit-remaining"] == "0", "although the hour's budget is hardly used"
        await asyncio.sleep(1)
        assert await statuses(api, 1) == [200]

    async def test_the_hours_budget_gives_no_retry_after(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.set(rate_hour=3, rate_hour_seconds=1)
        remaining = [(await api.get("/account")).headers["ratelimit-remaining"] for _ in range(3)]
        assert remaining == ["2", "1", "0"]
        refused = await api.get("/account")
        assert refused.status_code == 429
        assert "retry-after" not in refused.headers
        await asyncio.sleep(1.05)
        assert await statuses(api, 1) == [200]

    async def test_the_reset_is_in_the_past_as_recorded_or_in_the_future_as_documented(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        first = time.time()
        past = int((await api.get("/account")).headers["ratelimit-reset"])
        assert past == pytest.approx(first, abs=2)
        await control.set(reset_in_past=False)
        future = int((await api.get("/account")).headers["ratelimit-reset"])
        assert future == pytest.approx(first + 3600, abs=2)

    async def test_every_token_has_a_budget_of_its_own(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.set(rate_minute=1)
        assert await statuses(api, 2) == [200, 429]
        other = await api.get("/account", headers={"authorization": "Bearer dop_v1_other"})
        assert other.status_code == 200

    async def test_the_budget_can_be_switched_off(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.set(rate_minute=0, rate_hour=0)
        assert set(await statuses(api, 300)) == {200}


class TestWhichRequestsAreStruck:
    async def test_a_count_after_some_that_pass(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.arm(Fault(effect="status", path="/v2/account", after=1, count=2))
        assert await statuses(api, 4) == [200, 503, 503, 200]
        assert (await control.faults())[0].struck == 2

    async def test_a_probability_that_follows_from_its_seed(self, api: httpx.AsyncClient, control: Control) -> None:
        runs = []
        for _ in range(2):
            id = await control.arm(Fault(effect="status", probability=0.5, seed=7))
            runs.append(await statuses(api, 30))
            await control.disarm(id)
        assert runs[0] == runs[1]
        assert set(runs[0]) == {200, 503}

    async def test_a_method_a_path_a_page_and_a_query(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.arm(Fault(effect="status", method="GET", path="/v2/dropl*", page=2, query={"type": ""}))
        assert (await api.get("/droplets", params={"page": 2})).status_code == 503
        assert (await api.get("/droplets", params={"page": 1})).status_code == 200
        assert (await api.get("/droplets", params={"page": 2, "type": "gpus"})).status_code == 200
        assert (await api.get("/projects", params={"page": 2})).status_code == 200
        assert (await api.post("/droplets", params={"page": 2}, json=ORDER)).status_code == 202

    async def test_none_after_they_are_switched_off(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.arm(Fault(effect="status"))
        await control.disarm()
        assert await statuses(api, 1) == [200]

    async def test_a_fault_that_there_is_not_is_refused(self, stand_in: RunningStandIn, api: httpx.AsyncClient) -> None:
        refused = await api.post(f"{stand_in.url}/_control/faults", json={"effect": "earthquake"})
        assert refused.status_code == 422
        assert "edge_gateway" in refused.text, "it names those that there are"


class TestInsteadOfAnAnswer:
    async def test_an_error_of_the_service_or_of_a_proxy(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.arm(Fault(effect="status", status=500, message="Internal error", count=1))
        await control.arm(Fault(effect="status", status=502, html=True, count=1))
        service, proxy = await api.get("/account"), await api.get("/account")
        assert (service.status_code, service.json()["id"]) == (500, "server_error")
        assert service.json()["message"] == "Internal error"
        assert (proxy.status_code, proxy.headers["content-type"]) == (502, "text/html")
        assert proxy.text.startswith("<html>")

    async def test_a_burst_says_how_long(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.arm(Fault(effect="burst", seconds=7))
        refused = await api.get("/account")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")

    async def test_an_hourly_limit_whose_reset_is_in_the_past(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.arm(Fault(effect="hourly"))
        refused = await api.get("/account")
        assert refused.status_code == 429
        assert time.time() - int(refused.headers["ratelimit-reset"]) == pytest.approx(3597, abs=3)
        assert "retry-after" not in refused.headers

    async def test_the_edge_gateways_refusal(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.arm(Fault(effect="edge_gateway"))
        refused = await api.get("/account")
        assert refused.json() == {"id": "Too Many Requests", "message": "Too many requests"}
        assert refused.headers["x-response-from"] == "Edge-Gateway"
        assert refused.headers["connection"] == "close"
        assert "retry-after" not in refused.headers

    async def test_a_time_out(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.arm(Fault(effect="hang", seconds=1, count=2))
        with pytest.raises(httpx.ReadTimeout):
            await api.get("/account", timeout=0.1)
        assert [entry.status for entry in (await control.requests()).requests] == [None], "noted while it hangs"
        with pytest.raises(httpx.ReadError):
            await api.get("/account")

    async def test_a_reset_before_the_effect(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.arm(Fault(effect="reset", method="POST"))
        with pytest.raises(httpx.ReadError):
            await api.post("/droplets", json=ORDER)
        assert len((await control.truth()).droplets) == 50


class TestAfterTheEffect:
    async def test_a_lost_response(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.arm(Fault(effect="lost", method="POST", count=1))
        with pytest.raises(httpx.ReadError):
            await api.post("/droplets", json=ORDER)
        assert len((await control.truth()).droplets) == 51

    async def test_a_response_that_turned_into_an_error(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.arm(Fault(effect="lost", method="POST", answered=True, status=504, html=True))
        assert (await api.post("/droplets", json=ORDER)).status_code == 504
        assert len((await control.truth()).droplets) == 51

    async def test_a_slow_response(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.arm(Fault(effect="slow", seconds=0.3))
        began = time.monotonic()
        assert await statuses(api, 1) == [200]
        assert time.monotonic() - began >= 0.3

    async def test_a_body_that_breaks_off(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.arm(Fault(effect="half_body"))
        with pytest.raises(httpx.RemoteProtocolError, match="peer closed connection"):
            await api.get("/droplets")

    async def test_a_body_that_is_half_its_json(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.arm(Fault(effect="half_json"))
        page = await api.get("/droplets")
        assert page.status_code == 200
        with pytest.raises(ValueError, match=r"Unterminated|Expecting|delimiter"):
            page.json()

    async def test_the_connection_serves_again_after_a_reset(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.arm(Fault(effect="reset", count=1))
        with pytest.raises(httpx.ReadError):
            await api.get("/account")
        assert await statuses(api, 3) == [200, 200, 200]


class TestLists:
    async def test_half_of_a_kind_is_left_out_as_if_it_were_not_there(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        await control.arm(Fault(effect="omit", path="/v2/droplets", share=0.5))
        page = (await api.get("/droplets", params={"per_page": 200})).json()
        assert (len(page["droplets"]), page["meta"]["total"]) == (25, 25)
        assert len((await control.truth()).droplets) == 50

    async def test_a_deletion_during_the_walk_hides_a_row(self, api: httpx.AsyncClient, control: Control) -> None:
        before = await walk(api)
        await control.arm(Fault(effect="remove", path="/v2/droplets", page=2, rows=2, count=1))
        assert await walk(api) == [*before[:20], *before[22:]], "two rows moved up unseen"
        assert [one.id for one in (await control.truth()).droplets] == before[2:]

    async def test_an_insertion_before_the_page_shows_a_row_twice(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        await control.set(newest_first=True)
        await control.arm(Fault(effect="insert", path="/v2/droplets", page=2, rows=1, count=1))
        walked = await walk(api)
        assert (len(walked), len(set(walked))) == (51, 50)

    async def test_an_insertion_at_the_end_is_seen_by_the_walk(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.arm(Fault(effect="insert", path="/v2/droplets", page=2, rows=3, count=1))
        assert len(set(await walk(api))) == 53

    async def test_a_shuffled_walk_repeats_and_skips(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.arm(Fault(effect="shuffle", path="/v2/droplets"))
        walked = await walk(api)
        assert len(walked) == 50
        assert len(set(walked)) < 50

    @pytest.mark.parametrize(("off", "total"), [(3, 53), (-7, 43)])
    async def test_a_total_that_is_off(self, api: httpx.AsyncClient, control: Control, off: int, total: int) -> None:
        await control.arm(Fault(effect="total", rows=off))
        assert (await api.get("/droplets")).json()["meta"]["total"] == total

    async def test_a_page_that_lacks_rows_says_nothing_of_it(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.arm(Fault(effect="short_page", page=2, rows=3))
        walked = await walk(api)
        page = (await api.get("/droplets", params={"page": 2})).json()
        assert (len(walked), page["meta"]["total"], len(page["links"]["pages"])) == (47, 50, 4)

    async def test_links_and_totals_can_be_missing(self, api: httpx.AsyncClient, control: Control) -> None:
        await control.arm(Fault(effect="no_links"))
        await control.arm(Fault(effect="no_meta"))
        assert set((await api.get("/droplets")).json()) == {"droplets"}


class TestWhatIsAskedFor:
    async def create(self, api: httpx.AsyncClient) -> Any:
        return (await api.post("/droplets", json=ORDER)).json()

    async def test_a_placement_that_fails_takes_the_droplet_away(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        await control.arm(Fault(effect="placement_fails"))
        created = await self.create(api)
        await control.advance(60)
        assert (await api.get(f"/droplets/{created['droplet']['id']}")).status_code == 404
        action = (await api.get(f"/actions/{created['links']['actions'][0]['id']}")).json()["action"]
        assert action["status"] == "errored"

    @pytest.mark.parametrize(("effect", "status"), [("action_errors", "errored"), ("no_effect", "completed")])
    async def test_an_action_without_an_effect(
        self, api: httpx.AsyncClient, control: Control, effect: Any, status: str
    ) -> None:
        await control.arm(Fault(effect=effect, path="*/actions"))
        id = (await self.create(api))["droplet"]["id"]
        await control.advance(60)
        action = (await api.post(f"/droplets/{id}/actions", json={"type": "shutdown"})).json()["action"]["id"]
        await control.advance(60)
        assert (await api.get(f"/actions/{action}")).json()["action"]["status"] == status
        assert (await api.get(f"/droplets/{id}")).json()["droplet"]["status"] == "active"

    async def test_a_service_that_is_down_fails_an_item_of_a_200(
        self, api: httpx.AsyncClient, control: Control
    ) -> None:
        await control.arm(Fault(effect="service_down"))
        urn = f"do:droplet:{(await control.truth()).droplets[0].id}"
        assigned = await api.post("/projects/default/resources", json={"resources": [urn]})
        assert assigned.status_code == 200
        assert assigned.json()["resources"][0]["status"] == "service_down"
