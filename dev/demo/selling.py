"""The story's second part: a tenant picks a plan, the price is raised, and who has subscribed keeps what it has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dev.demo.screen import Screen
from dev.demo.stage import Caller, Stage

_PLANS = "/api/v1/catalog/plans"
_DEPLOYMENTS = "/api/v1/deployments"


@asynccontextmanager
async def _tenant(stage: Stage, name: str) -> AsyncIterator[Caller]:
    async with stage.caller(name, f"dev@{name}.example") as caller:
        yield caller


async def subscribe(stage: Stage, screen: Screen, operator: Caller) -> None:
    """A tenant looks at the plans, creates a deployment and subscribes it."""
    async with _tenant(stage, "acme") as acme:
        _show_plans(screen, await acme.get(_PLANS))
        shop = await _created(acme, "shop")
        screen.step("acme creates the deployment `shop`: it is active")
        body = {"plan_code": "studio", "addons": ["storage_50gb"]}
        await acme.do("POST", f"{_DEPLOYMENTS}/{shop}/subscribe", body)
        screen.step("and subscribes it to Studio, with 50 GB of storage")
        shown = await acme.get(f"{_DEPLOYMENTS}/{shop}/subscription")
    addon, period = shown["addons"][0], shown["subscription"]
    screen.table(
        ["plan", "version", "AUD a month", "addon", "qty", "AUD a month", "period"],
        [
            [
                period["plan_code"],
                period["number"],
                _money(period["base_price_cents"]),
                addon["code"],
                addon["qty"],
                _money(addon["price_cents"]),
                f"{period['current_period_start'][:10]} to {period['current_period_end'][:10]}",
            ]
        ],
    )
    screen.fact("The subscription is bound to a version of the plan, and has the addon's price written down.")


async def raise_the_price(stage: Stage, screen: Screen, operator: Caller) -> None:
    """An operator publishes a dearer version; a second tenant pays it, the first does not."""
    (studio,) = [plan for plan in (await operator.get(_PLANS))["plans"] if plan["code"] == "studio"]
    terms = {"base_price_cents": 5500, "currency": "AUD", "items": studio["active_version"]["items"]}
    draft = await operator.do("POST", f"{_PLANS}/studio/versions", terms)
    await operator.do("POST", f"/api/v1/catalog/versions/{draft['version']['id']}/publish")
    screen.step("an operator publishes version 2 of Studio, at 55.00 AUD")
    async with _tenant(stage, "globex") as globex:
        blog = await _created(globex, "blog")
        await globex.do("POST", f"{_DEPLOYMENTS}/{blog}/subscribe", {"plan_code": "studio"})
    screen.step("globex subscribes to Studio now")
    rows = []
    for deployment in (await operator.get(_DEPLOYMENTS))["deployments"]:
        terms = (await operator.get(f"{_DEPLOYMENTS}/{deployment['id']}/subscription"))["subscription"]
        rows.append([deployment["tenant_id"], deployment["slug"], terms["number"], _money(terms["base_price_cents"])])
    screen.table(["tenant", "deployment", "version", "AUD a month"], rows)
    would = await operator.do("POST", f"{_PLANS}/studio/migrate", {"dry_run": True})
    (change,) = would["changes"]
    before, after = (_money(change["change"]["base_price_cents"][when]) for when in ("old", "new"))
    screen.fact(
        f"Nobody was repriced. {would['subscriptions']} is still on the old version; a dry run of moving all over says "
        f"what that means: {before} AUD a month become {after}."
    )


async def pause(stage: Stage, screen: Screen, operator: Caller) -> None:
    """A tenant pauses its deployment, and may not archive it."""
    async with _tenant(stage, "acme") as acme:
        (shop,) = (await acme.get(_DEPLOYMENTS))["deployments"]
        path = f"{_DEPLOYMENTS}/{shop['id']}"
        await acme.do("POST", f"{path}/transition", {"to_state": "paused", "reason": "a quiet month"})
        refused = await acme.client.post(f"{path}/transition", json={"to_state": "archived"})
        screen.step(f"paused -> archived is answered {refused.status_code}: {refused.json()['error']}")
        shown = await acme.get(path)
    columns = ["from_state", "to_state", "reason", "actor", "occurred_at"]
    screen.table(columns, [[event[column] for column in columns] for event in shown["events"]])
    screen.fact(f"The history says who did what; the subscription is {shown['subscription']['status']} with it.")


async def _created(caller: Caller, slug: str) -> str:
    body = {"slug": slug, "display_name": slug.title(), "region": "syd1"}
    id: str = (await caller.do("POST", _DEPLOYMENTS, body))["deployment"]["id"]
    return id


def _show_plans(screen: Screen, found: dict[str, Any]) -> None:
    kinds = sorted({item["resource_kind"] for plan in found["plans"] for item in plan["active_version"]["items"]})
    rows = []
    for plan in found["plans"]:
        included = {item["resource_kind"]: f"{item['included_qty']:,}" for item in plan["active_version"]["items"]}
        price = _money(plan["active_version"]["base_price_cents"])
        rows.append([plan["code"], price, *(included.get(kind) for kind in kinds)])
    screen.table(["plan", "AUD a month", *kinds], rows)


def _money(cents: int) -> str:
    return f"{cents // 100:,}.{cents % 100:02}"
