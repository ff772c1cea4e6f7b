"""The story's fifth part: what a deployment used is metered and quoted, and what is left of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from dev.demo.screen import Screen
from dev.demo.stage import Caller, DemoFailed, Stage

_DEPLOYMENTS = "/api/v1/deployments"
_INVENTORY = "/api/v1/inventory"
_MARGIN = "/api/v1/dashboard/margin"
_DAYS = 10
_LONGEST_S = 60
_WIDTH = 40


async def meter(stage: Stage, screen: Screen, operator: Caller) -> None:
    """Resources are linked to the shop, ten days are metered, and what no resource shows is reported."""
    shop = await _shop(operator)
    today = datetime.now(UTC).date()
    since = today - timedelta(days=_DAYS)
    linked = await _link(operator, shop, since - timedelta(days=2))
    screen.step(f"an operator links to `shop`, as of twelve days ago: {', '.join(linked)}")
    await operator.do("POST", "/api/v1/metering/days", {"since": str(since), "until": str(today)})
    metered = await _metered(operator, since)
    screen.step(f"{_DAYS} days are metered: {sum(each['observations'] for each in metered)} observations")
    async with stage.caller("acme", "dev@acme.example") as acme:
        events = _reports(shop)
        first = await acme.do("POST", "/api/v1/usage", {"events": events})
        again = await acme.do("POST", "/api/v1/usage", {"events": events})
        screen.step(f"acme reports its traffic and tokens: {first['accepted']} events are taken")
        screen.step(f"and again, after a lost answer: {again['duplicates']} are known already, and count once")
        days = {"from": str(since), "to": str(today + timedelta(days=1))}
        used = await acme.get(f"{_DEPLOYMENTS}/{shop}/usage", **days)
    rows = [[kind, f"{Decimal(qty):,.2f}", _days_of(used, kind)] for kind, qty in used["usage"].items()]
    screen.table(["billing kind", "used", "day by day"], rows)
    screen.fact("A day is observed once, whoever meters it and however often; a correction keeps what it corrects.")


async def _shop(operator: Caller) -> str:
    shops = (await operator.get(_DEPLOYMENTS))["deployments"]
    id: str = next(each["id"] for each in shops if each["slug"] == "shop")
    return id


async def _link(operator: Caller, shop: str, since: date) -> list[str]:
    """Give the shop two of acme's droplets, and a snapshot. Gives their names."""
    names = []
    for kind, count in (("droplet", 2), ("snapshot", 1)):
        found = (await operator.get(_INVENTORY, kind=kind))["resources"]
        acmes = [each for each in found if each["tenant_id"] == "acme" and each["deployment_id"] is None]
        for resource in acmes[:count]:
            wish = {"deployment_id": shop, "effective_from": f"{since}T00:00:00Z"}
            await operator.do("POST", f"{_INVENTORY}/{resource['id']}/link", wish)
            names.append(resource["name"])
    return names


async def _metered(operator: Caller, since: date) -> list[dict[str, Any]]:
    """The days from one on, once they are metered as they are known."""
    for _ in range(int(_LONGEST_S / 0.2)):
        days = (await operator.get("/api/v1/metering"))["days"]
        found = [each for each in days if each["day"] >= str(since) and each["meterings"] and not each["dirty"]]
        if len(found) >= _DAYS:
            return found
        await asyncio.sleep(0.2)
    raise DemoFailed(f"{_DAYS} days are not metered after {_LONGEST_S} s: see /api/v1/metering")


def _reports(shop: str) -> list[dict[str, Any]]:
    """What was sent and what was thought, in a hundred reports."""
    now = datetime.now(UTC)
    return [
        {
            "id": f"{kind}-{n}",
            "deployment_id": shop,
            "resource_kind": kind,
            "quantity": quantity,
            "occurred_at": (now - timedelta(seconds=n)).isoformat(),
        }
        for kind, quantity in (("bandwidth_gb", "41.5"), ("llm_tokens", "52000"))
        for n in range(50)
    ]


def _days_of(used: dict[str, Any], kind: str) -> str:
    """A spark for each day."""
    amounts = [Decimal(each["used"]) for each in used["days"] if each["resource_kind"] == kind]
    most = max(amounts)
    return "".join("▁▂▃▄▅▆▇█"[round(amount * 7 / most)] if most else "▁" for amount in amounts)


async def quote(stage: Stage, screen: Screen, operator: Caller) -> None:
    """The month's quote, explained line by line; and what it would be with another plan."""
    shop = await _shop(operator)
    async with stage.caller("acme", "dev@acme.example") as acme:
        owed = await _quoted(acme, shop)
        would = await acme.do("POST", f"{_DEPLOYMENTS}/{shop}/quote/preview", {"plan_code": "pro"})
    screen.table(
        ["what", "used", "of", "", owed["currency"], "how"],
        [
            [
                line.get("resource_kind") if line["type"] == "usage" else f"{line['type']}: {line['code']}",
                f"{Decimal(line['used']):,.2f}" if "used" in line else None,
                f"{line['included']:,}" if "included" in line else None,
                _share(line),
                _money(line["amount_cents"]),
                line["how"],
            ]
            for line in owed["lines"]
        ],
    )
    for reached in owed["limits"]:
        screen.step(f"on the bus, once this month: {reached['resource_kind']} has reached {reached['limit']}")
    screen.fact(
        f"{owed['period']} costs {_money(owed['total_cents'])} {owed['currency']} by now. With Pro it would be "
        f"{_money(would['quote']['total_cents'])}; a whole month of that, before any use, is "
        f"{_money(would['next_month_cents'])}."
    )


async def _quoted(acme: Caller, shop: str) -> dict[str, Any]:
    """The shop's quote, once all that was reported is in it."""
    for _ in range(int(_LONGEST_S / 0.2)):
        owed: dict[str, Any] = (await acme.get(f"{_DEPLOYMENTS}/{shop}/quote", explain="true"))["quote"]
        used = {line.get("resource_kind"): line.get("used") for line in owed["lines"] if line["type"] == "usage"}
        if (used.get("bandwidth_gb"), used.get("llm_tokens")) == ("2075", "2600000"):
            return owed
        await asyncio.sleep(0.2)
    raise DemoFailed(f"what was reported is not quoted after {_LONGEST_S} s: see {_DEPLOYMENTS}/{shop}/quote")


def _share(line: dict[str, Any]) -> str:
    """How much of what is included was used."""
    if not line.get("included"):
        return ""
    return _bar(Decimal(line["used"]) / line["included"], 12)


def _bar(share: Decimal, width: int) -> str:
    full = min(int(share * width + Decimal("0.5")), width)
    return "█" * full + "░" * (width - full) + ("+" if share > 1 else "")


async def margin(stage: Stage, screen: Screen, operator: Caller) -> None:
    """What every deployment earns and costs this month; and what was spent in the months before."""
    behind = datetime.now(UTC) - datetime.fromisoformat(await stage.provider.advance(0))
    await stage.provider.advance(max(behind.total_seconds(), 0))
    screen.step("the provider's clock is set to today: its balance is about this month")
    await operator.do("POST", "/api/v1/billing/balance/poll")
    rate = {"from_currency": "USD", "effective_from": "2025-01-01", "rate": "1.5312"}
    await operator.do("POST", "/api/v1/billing/fx-rates", rate)
    shown = await operator.get(_MARGIN)
    _chart(screen, [each for each in shown["deployments"] if each["revenue_cents"] or each["cost_cents"]])
    nobodys = sum(each["converted_cents"] for each in shown["unattributed"])
    total = shown["total"]
    screen.step(f"{_money(nobodys)} AUD more are nobody's: not linked to a deployment, or not explained by list prices")
    trend = (await operator.get(f"{_MARGIN}/trend"))["months"]
    screen.table(
        ["month", "revenue", "cost", "margin", "known by"],
        [
            [
                each["period"],
                _money(each["revenue_cents"]),
                _money(each["cost_cents"]),
                _money(each["margin_cents"]),
                "the balance" if each["estimated"] else "the invoice",
            ]
            for each in trend
            if each["cost"] or each["revenue"]
        ],
    )
    screen.fact(
        f"All in AUD, at {shown['rates'][0]['rate']} for a US dollar. This month: {_money(total['revenue_cents'])} "
        f"earned, {_money(total['cost_cents'])} spent on a fleet of which most is not sold. Every figure is a sum of "
        "quotes, or of cost lines, to the cent."
    )


def _chart(screen: Screen, deployments: Sequence[dict[str, Any]]) -> None:
    """Two bars for each deployment: what it earns, and what it costs."""
    most = max(1, *(max(each["revenue_cents"], each["cost_cents"]) for each in deployments))
    rows = []
    for each in deployments:
        name = f"{each['tenant_id']}/{each['slug']}"
        for what, cents in (("earns", each["revenue_cents"]), ("costs", each["cost_cents"])):
            bar = "█" * max(1, round(cents * _WIDTH / most)) if cents else ""
            rows.append([name, what, _money(cents), bar])
            name = ""
        rows.append(["", "margin", _money(each["margin_cents"]), f"{each['margin_percent'] or '-'} %"])
    screen.table(["deployment", "", "AUD", ""], rows)


def _money(cents: int) -> str:
    return f"{Decimal(cents) / 100:,.2f}"
