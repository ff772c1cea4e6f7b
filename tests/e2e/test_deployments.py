"""The case of the deployments, value by value, over HTTP and on the bus, with every service as a process."""

from __future__ import annotations

import re
from calendar import monthrange
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from dev.demo.stage import Stage, run_once
from dev.tokens import mint
from tests.e2e.stranger import Schemas, everything_said

DEPLOYMENTS = "/api/v1/deployments"
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(?:\+00:00|Z)")


async def test_the_case_of_the_requirements(system: Stage) -> None:
    run_once(system.environment, "seed-catalog")
    headers = {"authorization": f"Bearer {mint('acme', 'ann@acme.test')}"}
    async with httpx.AsyncClient(base_url=system.gateway, headers=headers, timeout=30, trust_env=False) as acme:
        deployment = await _created(acme)
        await _paused(acme, deployment)
        await _not_archived(acme, deployment)
        subscription = await _subscribed(acme, deployment)
        shown = _with_z((await acme.get(f"{DEPLOYMENTS}/{deployment['id']}")).json())
    assert shown == {
        "deployment": deployment,
        "subscription": subscription,
        "events": [
            _event("active", "paused", "a quiet month", deployment["state_since"]),
            _event(None, "active", "created", shown["events"][1]["occurred_at"]),
        ],
        "saga": None,
    }
    await _told_on_the_bus(system, deployment, subscription)


def _with_z(value: Any) -> Any:
    """JSON whose times are as writes have them: reads write +00:00, and no zeros at the end, as PostgreSQL does."""
    if isinstance(value, dict):
        return {name: _with_z(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_z(each) for each in value]
    if isinstance(value, str) and (time := _TIME.fullmatch(value)):
        return f"{time[1]}.{time[2].ljust(6, '0')}Z" if time[2] else f"{time[1]}Z"
    return value


def _event(before: str | None, after: str, reason: str, at: str) -> dict[str, Any]:
    return {"from_state": before, "to_state": after, "reason": reason, "actor": "ann@acme.test", "occurred_at": at}


async def _created(acme: httpx.AsyncClient) -> dict[str, Any]:
    body = {"slug": "shop", "display_name": "Acme's shop", "region": "syd1", "llm_mode": "platform", "tenant_id": "b"}
    answer = await acme.post(DEPLOYMENTS, json=body)
    assert answer.status_code == 201, answer.text
    deployment: dict[str, Any] = answer.json()["deployment"]
    assert answer.json() == {
        "deployment": {
            "id": deployment["id"],
            "tenant_id": "acme",
            "slug": "shop",
            "display_name": "Acme's shop",
            "region": "syd1",
            "state": "active",
            "state_since": deployment["state_since"],
            "llm_mode": "platform",
            "template_code": None,
            "billing_action_suspended": False,
        }
    }
    return deployment


async def _paused(acme: httpx.AsyncClient, deployment: dict[str, Any]) -> None:
    """Pause it; `deployment` is as it was, but for its state."""
    body = {"to_state": "paused", "reason": "a quiet month", "notes": "back in July"}
    answer = await acme.post(f"{DEPLOYMENTS}/{deployment['id']}/transition", json=body)
    assert answer.status_code == 200, answer.text
    now = answer.json()["deployment"]
    assert now == deployment | {"state": "paused", "state_since": now["state_since"]}
    assert now["state_since"] > deployment["state_since"]
    deployment |= now


async def _not_archived(acme: httpx.AsyncClient, deployment: dict[str, Any]) -> None:
    answer = await acme.post(f"{DEPLOYMENTS}/{deployment['id']}/transition", json={"to_state": "archived"})
    found = answer.json()
    assert answer.status_code == 422
    assert (found["error"], found["from"], found["to"]) == ("invalid_transition", "paused", "archived")


async def _subscribed(acme: httpx.AsyncClient, deployment: dict[str, Any]) -> dict[str, Any]:
    plans = {plan["code"]: plan for plan in (await acme.get("/api/v1/catalog/plans")).json()["plans"]}
    assert {code: plan["active_version"]["base_price_cents"] for code, plan in plans.items()} == {
        "starter": 2000,
        "studio": 5000,
        "pro": 12000,
    }
    addons = {addon["code"]: addon for addon in (await acme.get("/api/v1/catalog/addons")).json()["addons"]}
    body = {"plan_code": "studio", "addons": ["storage_50gb"]}
    answer = await acme.post(f"{DEPLOYMENTS}/{deployment['id']}/subscribe", json=body)
    assert answer.status_code == 201, answer.text
    subscription: dict[str, Any] = answer.json()["subscription"]
    start = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = start + timedelta(days=monthrange(start.year, start.month)[1])
    assert answer.json() == {
        "subscription": {
            "id": subscription["id"],
            "status": "paused",
            "plan_version_id": plans["studio"]["active_version"]["id"],
            "current_period_start": f"{start:%Y-%m-%dT%H:%M:%SZ}",
            "current_period_end": f"{end:%Y-%m-%dT%H:%M:%SZ}",
            "trial_ends_at": None,
            "addons": [
                {
                    "addon_id": addons["storage_50gb"]["id"],
                    "resource_kind": "spaces_gb_month",
                    "qty": 50,
                    "price_cents": 750,
                }
            ],
        }
    }
    return subscription


async def _told_on_the_bus(system: Stage, deployment: dict[str, Any], subscription: dict[str, Any]) -> None:
    """What was answered is what was told, by messages that fit the schemas that the gateway serves."""
    prefix = f"{system.settings.kafka_prefix}arcadia.deployments."
    topics = [prefix + name for name in ("deployments", "subscriptions", "plans", "addons", "commands")]
    said = await everything_said(system.settings.kafka_bootstrap_servers[0], topics)
    with closing(Schemas(system.gateway)) as schemas:
        for _, key, message in said:
            schemas.check(message)
            assert key == message["subject"]
    events = {key: message for topic, key, message in said if not topic.endswith(".commands")}
    told = events[deployment["id"]]
    assert (told["type"], told["actor"]) == ("arcadia.deployments.deployment-transitioned.v1", "ann@acme.test")
    assert (told["data"]["from_state"], told["data"]["to_state"], told["sequence"]) == ("active", "paused", 2)
    assert told["data"]["deployment"].items() >= deployment.items()
    started = events[subscription["id"]]
    assert started["type"] == "arcadia.deployments.subscription-started.v1"
    assert started["data"]["subscription"]["plan_code"] == "studio"
