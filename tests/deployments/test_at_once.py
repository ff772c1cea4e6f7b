"""Many callers at once, at two gateways and two replicas of the service: it comes out as if they came one by one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from itertools import cycle, pairwise
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from contracts.deployments import DeploymentState
from shared.config import Settings
from tests.deployments.system import System, system
from tests.deployments.test_states import ALLOWED

Json = dict[str, Any]


@pytest.fixture
async def there(settings: Settings) -> AsyncIterator[System]:
    async with system(settings) as running:
        yield running


async def create(http: httpx.AsyncClient, slug: str = "shop", **headers: str) -> httpx.Response:
    return await http.post("/api/v1/deployments", json={"slug": slug, "display_name": "Shop"}, headers=headers)


async def created(http: httpx.AsyncClient) -> str:
    answer = await create(http, f"app-{uuid4().hex}")
    assert answer.status_code == 201, answer.text
    id: str = answer.json()["deployment"]["id"]
    return id


@pytest.mark.parametrize("round", range(3))
async def test_fifty_clients_that_move_one_deployment_leave_a_legal_history_without_gaps(
    there: System, round: int
) -> None:
    id = await created(there.tenants[0])
    targets = cycle([state for state in DeploymentState if state not in {"cancelled", "archived", "provisioning"}])
    callers = cycle([*there.operators, *there.tenants])
    wishes = [(next(callers), next(targets)) for _ in range(50 + round)]
    path = f"/api/v1/deployments/{id}/transition"
    answers = await asyncio.gather(*(http.post(path, json={"to_state": state}) for http, state in wishes))

    said = Counter(answer.status_code for answer in answers)
    assert said.keys() <= {200, 403, 422}, said
    history = await there.world.fetch(
        "select from_state, to_state, version from cloud_deployment_events where deployment_id = $1 order by id",
        UUID(id),
    )
    assert len(history) == 1 + said[200]
    assert said[200] >= 2
    assert [row["version"] for row in history] == list(range(1, len(history) + 1))
    for before, after in pairwise(history):
        assert after["from_state"] == before["to_state"]
        assert after["to_state"] in ALLOWED[after["from_state"]]
    (row,) = await there.world.fetch("select state, version from cloud_deployments where id = $1", UUID(id))
    assert (row["state"], row["version"]) == (history[-1]["to_state"], len(history))
    for answer, (_, state) in zip(answers, wishes, strict=True):
        if answer.status_code == 422:
            assert (answer.json()["error"], answer.json()["to"]) == ("invalid_transition", state)


async def test_of_fifty_that_want_one_slug_one_gets_it_and_the_others_are_told_so(there: System) -> None:
    answers = await asyncio.gather(*(create(http) for _, http in zip(range(50), cycle(there.tenants), strict=False)))

    assert Counter(answer.status_code for answer in answers) == {201: 1, 422: 49}
    for answer in answers:
        if answer.status_code == 422:
            assert answer.json()["error"] == {"slug": ["has already been taken"]}
    (row,) = await there.world.fetch("select count(*) from cloud_deployments where slug = 'shop'")
    assert row["count"] == 1
    (told,) = await there.world.fetch("select count(*) from cloud_deployment_events")
    assert told["count"] == 1


async def test_of_versions_that_are_published_at_once_one_is_active(there: System) -> None:
    terms = {"base_price_cents": 6000, "currency": "AUD", "items": []}
    for _ in range(5):
        drafts = [
            (await there.operators[0].post("/api/v1/catalog/plans/studio/versions", json=terms)).json()["version"]["id"]
            for _ in range(2)
        ]
        answers = await asyncio.gather(
            *(
                http.post(f"/api/v1/catalog/versions/{draft}/publish")
                for http, draft in zip(there.operators, drafts, strict=True)
            )
        )
        assert [answer.status_code for answer in answers] == [200, 200]
        rows = await there.world.fetch(
            """
            select v.id from plan_versions v join plans p on p.id = v.plan_id
            where p.code = 'studio' and v.status = 'active'
            """
        )
        assert len(rows) == 1
        assert str(rows[0]["id"]) in drafts


async def test_one_key_twenty_times_at_two_gateways_makes_one_deployment(there: System) -> None:
    key = {"idempotency-key": str(uuid4())}
    answers = await asyncio.gather(
        *(create(http, "keyed", **key) for _, http in zip(range(20), cycle(there.tenants), strict=False))
    )
    assert {(answer.status_code, answer.content) for answer in answers} == {(201, answers[0].content)}
    (row,) = await there.world.fetch("select count(*) from cloud_deployments")
    assert row["count"] == 1

    other = await create(there.tenants[1], "another", **key)
    assert (other.status_code, other.json()["error"]) == (422, "idempotency_key_reused")
    again = await create(there.tenants[1], "keyed", **key)
    assert (again.status_code, again.content) == (201, answers[0].content)


async def test_what_is_done_at_once_to_a_subscription_adds_up(there: System) -> None:
    id = await created(there.tenants[0])
    path = f"/api/v1/deployments/{id}"
    codes = ["storage_50gb", "storage_250gb", "llm_5m_tokens"]
    doors = cycle(there.tenants)
    subscribed = await asyncio.gather(
        *(next(doors).post(f"{path}/subscribe", json={"plan_code": "starter"}) for _ in range(10))
    )
    assert Counter(answer.status_code for answer in subscribed) == {201: 1, 409: 9}
    wishes = [next(doors).post(f"{path}/addons", json={"code": code}) for code in codes * 4]
    wishes += [next(doors).post(f"{path}/plan", json={"plan_code": plan}) for plan in ("studio", "pro") * 3]
    wishes += [next(doors).post(f"{path}/transition", json={"to_state": to}) for to in ("paused", "active") * 3]
    answers = await asyncio.gather(*wishes)
    assert Counter(answer.status_code for answer in answers[:12]) == {201: 3, 409: 9}
    assert {answer.status_code for answer in answers[12:18]} == {200}
    shown = (await there.tenants[0].get(path)).json()["subscription"]
    assert sorted(addon["price_cents"] for addon in shown["addons"]) == [750, 1200, 3000]
    rows = await there.world.fetch("select version from subscription_events order by id")
    (current,) = await there.world.fetch("select version from subscriptions")
    assert [row["version"] for row in rows] == list(range(1, current["version"] + 1))
