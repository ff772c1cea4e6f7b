"""What operators ask of the inventory as a whole, over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from contracts.kinds import ResourceKind
from services.gateway.app import serving
from tests.gateway.world import OPERATOR, World, client

PATHS = ["/api/v1/inventory/health", "/api/v1/inventory/orphans"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_tenant_is_told_nothing_of_the_whole(acme: httpx.AsyncClient, path: str) -> None:
    answer = await acme.get(path)
    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")


async def test_health_names_every_kind_whether_it_was_walked_or_not(operator: httpx.AsyncClient) -> None:
    health = (await operator.get("/api/v1/inventory/health")).json()
    assert [kind["kind"] for kind in health["kinds"]] == ["project", *ResourceKind]
    assert (health["count"], health["status"]) == (len(ResourceKind) + 1, "attention")
    kinds = {kind["kind"]: kind for kind in health["kinds"]}
    assert (kinds["droplet"]["status"], kinds["droplet"]["held_sync_id"] is not None) == ("held", True)
    assert kinds["droplet"]["age_seconds"] >= 0
    assert (kinds["volume"]["status"], kinds["volume"]["complete_at"], kinds["volume"]["doubts"]) == ("never", None, [])


async def test_health_is_ok_when_every_kind_is_fresh(alone: World) -> None:
    await alone.admin.execute("delete from inventory.held_syncs")
    await alone.admin.execute(
        """
        insert into inventory.syncs (kind, command_id, status, started_at, finished_at)
        select kind, gen_random_uuid(), 'complete', now(), now() from unnest($1::text[]) as kind
        """,
        ["project", *ResourceKind],
    )
    async with serving(alone.settings) as gateway, client(gateway, OPERATOR) as http:
        assert (await http.get("/api/v1/inventory/health")).json()["status"] == "ok"


async def insert_volumes(there: World) -> None:
    await there.admin.execute(
        """
        insert into inventory.cloud_resources (kind, provider_id, name, state, tags, attrs, fingerprint, first_seen_at,
          last_seen_at, version)
        select 'volume', 'loose-' || n, 'loose-' || n, 'detached', '{}',
          case when n = 5 then '{}' else jsonb_build_object('monthly_usd_cents', n * 100) end, '', now(), now(), 1
        from generate_series(1, 5) n
        """
    )


async def test_orphans_are_listed_page_by_page_with_the_costs_of_all(alone: World) -> None:
    await insert_volumes(alone)
    async with serving(alone.settings) as gateway, client(gateway, OPERATOR) as http:
        pages: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while not pages or cursor:
            pages.append((await http.get("/api/v1/inventory/orphans", params={"limit": "2", **cursor})).json())
            cursor = {"cursor": pages[-1]["next"]} if pages[-1]["next"] else {}
    assert [page["count"] for page in pages] == [2, 2, 1]
    assert {(page["monthly_usd_cents"], page["unpriced"]) for page in pages} == {(1000, 1)}
    found = [orphan for page in pages for orphan in page["orphans"]]
    assert {orphan["name"]: orphan["monthly_usd_cents"] for orphan in found} == {
        "loose-1": 100, "loose-2": 200, "loose-3": 300, "loose-4": 400, "loose-5": None,
    }  # fmt: skip
    assert {orphan["reason"] for orphan in found} == {"attached to no droplet"}


async def test_without_orphans_the_list_is_empty_and_costs_nothing(operator: httpx.AsyncClient) -> None:
    answer = (await operator.get("/api/v1/inventory/orphans")).json()
    assert answer == {"orphans": [], "count": 0, "next": None, "monthly_usd_cents": 0, "unpriced": 0}


async def test_operators_alone_have_orphans_looked_for(
    inventory: None, acme: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    path = "/api/v1/provider/sweep-orphans"
    assert (await acme.post(path)).status_code == 403
    answer = await operator.post(path, json={"destroy": False})
    assert (answer.status_code, answer.json()) == (200, {"orphans": [], "complete": True})
