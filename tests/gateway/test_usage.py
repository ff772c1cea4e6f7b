"""Usage over HTTP: from resources on the bus and from what is reported, to each tenant its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from services.gateway.app import serving
from services.metering.app import service
from shared.db import Database
from shared.process import running
from tests.gateway.world import ACME, GLOBEX, OPERATOR, World, client
from tests.metering.world import MONTH, Metering, at, day, resource
from tests.sending import deployment


@pytest.fixture
async def callers(alone: World) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """A gateway, with the metering service at work; deployments are told of as they are."""
    async with serving(alone.settings) as gateway, running(service, alone.settings):
        db = await Database.of_service(alone.settings, "metering")
        metering = Metering(alone.settings, db)
        fleet = alone.fleet.deployments
        await metering.put(*(deployment(fleet[name], name, name) for name in ("acme", "globex")), told_at=at(15))
        links = [(fleet["acme"], at(1), None)]
        await metering.tell(resource("web-1", links=links), resource("web-2", links=links))
        await metering.until("count(*) = 2 from deployments")
        async with client(gateway, OPERATOR) as operator, client(gateway, ACME) as acme, client(gateway, GLOBEX) as gus:
            yield {"operator": operator, "acme": acme, "globex": gus}
        await db.close()


async def test_a_tenant_sees_what_was_metered_and_reported_of_its_own(
    alone: World, callers: dict[str, httpx.AsyncClient]
) -> None:
    operator, acme, globex = callers["operator"], callers["acme"], callers["globex"]
    mine, theirs = alone.fleet.deployments["acme"], alone.fleet.deployments["globex"]
    for number in (9, 10):
        answer = await operator.post(f"/api/v1/metering/days/{day(number)}")
        assert (answer.status_code, answer.json()["observations"]) == (200, 2), answer.text
    usage = f"/api/v1/deployments/{mine}/usage"
    shown = (await acme.get(usage, params={"from": str(MONTH)})).json()
    assert shown["usage"] == {"droplet_hours": "96"}
    assert [(each["day"], each["used"], each["observations"]) for each in shown["days"]] == [
        (str(day(9)), "48", 2), (str(day(10)), "48", 2),
    ]  # fmt: skip
    part = (await acme.get(usage, params={"from": str(day(10)), "to": str(day(11))})).json()
    assert part["usage"] == {"droplet_hours": "48"}
    assert (await operator.get(usage, params={"from": str(MONTH)})).json() == shown
    assert (await globex.get(usage)).status_code == 403
    assert (await acme.get(f"/api/v1/deployments/{theirs}/usage")).status_code == 403
    assert (await acme.get(usage, params={"from": "2026-05-02", "to": "2026-05-01"})).status_code == 422
    assert (await acme.get(usage, params={"from": "9999-12-31"})).status_code == 422
    days = (await operator.get("/api/v1/metering")).json()["days"]
    assert [(each["day"], each["observations"], each["dirty"]) for each in days] == [
        (str(day(10)), 2, False), (str(day(9)), 2, False),
    ]  # fmt: skip
    assert (await acme.get("/api/v1/metering")).status_code == 403


async def test_reports_are_taken_of_ones_own_deployments_alone(
    alone: World, callers: dict[str, httpx.AsyncClient]
) -> None:
    operator, acme = callers["operator"], callers["acme"]
    mine, theirs = alone.fleet.deployments["acme"], alone.fleet.deployments["globex"]
    now = datetime.now(UTC)

    def event(id: str, quantity: str = "2.5", **changed: Any) -> dict[str, Any]:
        said = {"id": id, "deployment_id": str(mine), "resource_kind": "bandwidth_gb", "quantity": quantity}
        return said | {"occurred_at": now.isoformat()} | changed

    async def post(who: httpx.AsyncClient, *events: dict[str, Any]) -> httpx.Response:
        return await who.post("/api/v1/usage", json={"events": list(events)})

    answer = await post(acme, event("a"), event("b"), event("a"))
    assert (answer.status_code, answer.json()) == (200, {"accepted": 2, "duplicates": 1, "rejected": []})
    answer = await post(acme, event("a", "3"), event("b/1", "1", corrects="b"))
    assert answer.json() == {"accepted": 1, "duplicates": 0, "rejected": [{"id": "a", "code": "conflict"}]}
    shown = (
        await acme.get(f"/api/v1/deployments/{mine}/usage", params={"to": str(now.date() + timedelta(days=1))})
    ).json()
    assert shown["usage"] == {"bandwidth_gb": "3.5"}

    assert (await post(acme, event("c"), event("d", deployment_id=str(theirs)))).status_code == 403
    assert (await post(acme, event("c", deployment_id="00000000-0000-0000-0000-000000000001"))).status_code == 404
    mixed = await post(operator, event("c"), event("d", deployment_id=str(theirs)))
    assert (mixed.status_code, mixed.json()["errors"][0]["field"]) == (422, "events")
    for wrong in (
        {"quantity": 3},
        {"quantity": "-1"},
        {"resource_kind": "droplet_hours"},
        {"id": ""},
        {"occurred_at": "0001-01-01T00:00:00+14:00"},
    ):
        answer = await post(acme, event("c"), event("w") | wrong)
        assert answer.status_code in (400, 422), answer.text
    assert (await post(acme, *(event(f"{n}") for n in range(501)))).status_code in (400, 422)
    assert (await post(operator, event("c"))).json()["accepted"] == 1, "nothing of what was refused was kept"


async def test_an_operator_says_how_finely_a_kind_is_observed(callers: dict[str, httpx.AsyncClient]) -> None:
    operator = callers["operator"]
    kind = "/api/v1/metering/config/droplet_hours"
    body = {"granularity": "hourly", "effective_from": str(day(10))}
    answer = await operator.put(kind, json=body)
    assert answer.json()["config"] == {
        "resource_kind": "droplet_hours", "effective_from": str(day(10)), "granularity": "hourly",
        "retention_days": 400,
    }  # fmt: skip
    assert (await operator.post(f"/api/v1/metering/days/{day(10)}")).json()["observations"] == 48
    answer = await operator.put(kind, json=body)
    assert (answer.status_code, answer.json()["error"]) == (409, "day_metered")
    shown = (await operator.get("/api/v1/metering")).json()["config"]
    assert [(each["granularity"], each["actor"]) for each in shown] == [("hourly", "ops@arcadia.test")]
    assert (await callers["acme"].put(kind, json=body)).status_code == 403
    assert (await operator.put("/api/v1/metering/config/nonsense", json=body)).status_code in (400, 404, 422)
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    answer = await operator.post(f"/api/v1/metering/days/{tomorrow}")
    assert (answer.status_code, answer.json()["error"]) == (422, "day_not_over")
