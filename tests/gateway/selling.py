"""What the tests of deployments, subscriptions and the catalog share: shapes of answers, and what to begin with.

The shapes are those of the requirements, written down once more by hand.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx

Json = dict[str, Any]

DEPLOYMENTS = "/api/v1/deployments"
CATALOG = "/api/v1/catalog"

D = {
    *("id", "tenant_id", "slug", "display_name", "region", "state", "state_since", "llm_mode", "template_code"),
    "billing_action_suspended",
}
S = {
    *("id", "status", "plan_version_id", "current_period_start", "current_period_end", "trial_ends_at", "addons"),
}
ADDON = {"addon_id", "resource_kind", "qty", "price_cents"}
E = {"from_state", "to_state", "reason", "actor", "occurred_at"}
PROBLEM = {"error", "type", "title", "status", "detail"}

# All that can be asked of one deployment, each with a body that would do: (method, path, body).
WRITES: dict[str, tuple[str, str, Json | None]] = {
    "rename": ("PATCH", "", {"display_name": "Mine"}),
    "transition": ("POST", "/transition", {"to_state": "paused"}),
    "subscribe": ("POST", "/subscribe", {"plan_code": "studio"}),
    "attach": ("POST", "/addons", {"code": "storage_50gb"}),
    "detach": ("DELETE", f"/addons/{uuid4()}", None),
    "plan": ("POST", "/plan", {"plan_code": "studio"}),
    "dry run": ("POST", "/plan", {"plan_code": "studio", "dry_run": True}),
    "cancel": ("POST", "/cancel", {"at": "now"}),
    "cancel without a body": ("POST", "/cancel", None),
    "uncancel": ("POST", "/uncancel", None),
}


def slug() -> str:
    """A slug, or a code, that nobody else uses."""
    return f"x-{uuid4().hex}"


def time(value: str) -> datetime:
    """A time of an answer. It must name its offset."""
    found = datetime.fromisoformat(value)
    assert found.tzinfo is not None
    return found


def done(answer: httpx.Response, status: int = 200) -> Json:
    """The body of an answer that must have this status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body: Json = answer.json()
    return body


def refused(answer: httpx.Response, status: int, error: Any, *members: str) -> Json:
    """The body of a problem with this status and key, which has these members beside the usual ones."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: Json = answer.json()
    assert (body["error"], body["status"]) == (error, status)
    assert body.keys() == PROBLEM | set(members)
    return body


async def created(http: httpx.AsyncClient, **body: Any) -> Json:
    """A new deployment."""
    answer = await http.post(DEPLOYMENTS, json={"slug": slug(), **body})
    deployment: Json = done(answer, 201)["deployment"]
    return deployment


async def path_of_new(http: httpx.AsyncClient) -> str:
    """The path of a new deployment."""
    return f"{DEPLOYMENTS}/{(await created(http))['id']}"


async def subscribed(http: httpx.AsyncClient, plan: str = "studio", *addons: str) -> str:
    """The path of a new deployment that is subscribed to a plan."""
    path = await path_of_new(http)
    done(await http.post(f"{path}/subscribe", json={"plan_code": plan, "addons": list(addons)}), 201)
    return path


def terms(cents: int = 1000, *items: Json, currency: str = "AUD") -> Json:
    return {"base_price_cents": cents, "currency": currency, "items": list(items)}


async def named(operator: httpx.AsyncClient) -> str:
    """The code of a plan without versions."""
    code = slug()
    done(await operator.post(f"{CATALOG}/plans", json={"code": code, "name": "A plan"}), 201)
    return code


async def drafted(operator: httpx.AsyncClient, plan: str, wanted: Json) -> str:
    """The id of a draft of a plan's next version."""
    id: str = done(await operator.post(f"{CATALOG}/plans/{plan}/versions", json=wanted), 201)["version"]["id"]
    return id


async def published(operator: httpx.AsyncClient, plan: str, wanted: Json) -> str:
    """The id of a plan's next version, on sale."""
    id = await drafted(operator, plan, wanted)
    done(await operator.post(f"{CATALOG}/versions/{id}/publish"))
    return id
