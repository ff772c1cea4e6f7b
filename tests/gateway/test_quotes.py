"""Quotes and margin over HTTP: from resources on the bus, and from what is told of terms, to whoever may know."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest

from contracts.kinds import BillingKind as Kind
from contracts.kinds import ResourceKind
from contracts.message import Event
from contracts.metering import DayOfUsage, UsageMetered
from services.billing.app import service as billing
from services.deployments.seed import PLANS
from services.gateway.app import serving
from services.metering.app import service as metering
from shared.db import Database
from shared.ids import uuid7
from shared.process import running
from tests.billing.selling import LONG_AGO, STORAGE, attached, plan, prices, subscription
from tests.gateway.test_documentation import checked
from tests.gateway.world import ACME, GLOBEX, OPERATOR, World, client
from tests.metering.world import MONTH, Metering, at, day, resource
from tests.sending import deployment

STUDIO = plan("studio", 5000, *PLANS[1][1].items)
PRO = plan("pro", 12_000, *PLANS[2][1].items)
PERIOD = f"{MONTH:%Y-%m}"
DASHBOARD = "/api/v1/dashboard/margin"


@dataclass
class Callers:
    """A gateway's clients, beside services at work that quote and meter; `shop`: acme's deployment."""

    operator: httpx.AsyncClient
    acme: httpx.AsyncClient
    globex: httpx.AsyncClient
    there: World
    metering: Metering
    billing: Database
    shop: UUID

    @property
    def quote(self) -> str:
        """The path of the shop's quote."""
        return f"/api/v1/deployments/{self.shop}/quote"

    async def tell(self, *events: Event) -> None:
        """Tell of something in the middle of the month."""
        await self.metering.put(*events, told_at=at(15))

    async def sell(self, code: str = "studio", *addons: Any, version: int = 1) -> None:
        """Subscribe the shop for the month."""
        months = [(MONTH, code)]
        await self.tell(
            STUDIO, PRO, STORAGE, subscription(code, *addons, deployment_id=self.shop, months=months, version=version)
        )

    async def quoted(self, total: int) -> dict[str, Any]:
        """The shop's quote, when its total is this."""
        async with asyncio.timeout(30):
            while True:
                answer = await self.acme.get(self.quote, params={"period": PERIOD})
                if answer.status_code == 200 and answer.json()["quote"]["total_cents"] == total:
                    found: dict[str, Any] = answer.json()["quote"]
                    return found
                await asyncio.sleep(0.1)


@pytest.fixture
async def callers(alone: World) -> AsyncIterator[Callers]:
    async with (
        serving(alone.settings) as gateway,
        running(metering, alone.settings),
        running(billing, alone.settings),
        client(gateway, OPERATOR) as operator,
        client(gateway, ACME) as acme,
        client(gateway, GLOBEX) as globex,
    ):
        meters = await Database.of_service(alone.settings, "metering")
        books = await Database.of_service(alone.settings, "billing")
        ours = Callers(
            operator, acme, globex, alone, Metering(alone.settings, meters), books, alone.fleet.deployments["acme"]
        )
        await ours.tell(*(deployment(alone.fleet.deployments[name], name, name) for name in ("acme", "globex")))
        yield ours
        await meters.close()
        await books.close()


def line(quote: dict[str, Any], kind: str) -> dict[str, Any]:
    (found,) = [each for each in quote["lines"] if each["type"] == "usage" and each["resource_kind"] == kind]
    return dict(found)


async def test_the_case_of_the_requirements(callers: Callers) -> None:
    """2 droplets, 2 DNS zones and 3 snapshots of 48 GB, 10 days of a month of 31: all within Studio."""
    links = [(callers.shop, at(1), None)]
    await callers.sell()
    await callers.metering.tell(
        *(resource(f"web-{n}", links=links) for n in range(2)),
        *(resource(f"zone-{n}", ResourceKind.DNS_ZONE, links=links) for n in range(2)),
        *(
            resource(f"snapshot-{n}", ResourceKind.SNAPSHOT, links=links, size=size)
            for n, size in enumerate((8, 16, 24))
        ),
    )
    days = {"since": str(day(1)), "until": str(day(11))}
    answer = await callers.operator.post("/api/v1/metering/days", json=days)
    assert (answer.status_code, answer.json()) == (200, {"days": 10}), answer.text
    await callers.metering.until("count(*) = 70 from usage_records")
    await callers.metering.until("count(*) = 10 and bool_and(observations = 7) from metered_days")

    async with asyncio.timeout(30):
        while True:
            quote = await callers.quoted(5000)
            if (
                line(quote, "droplet_hours")["used"] == "480"
                and line(quote, "dns_zones")["used_rounded"] == "0.65"
                and line(quote, "snapshot_gb_month")["used_rounded"] == "15.48"
            ):
                break
            await asyncio.sleep(0.1)
    for kind, used, included in (
        ("droplet_hours", "480", 1500),
        ("dns_zones", "0.64516129", 5),
        ("snapshot_gb_month", "15.483870966", 50),
    ):
        found = line(quote, kind)
        assert (found["included"], found["overage"], found["amount_cents"], found["flags"]) == (included, "0", 0, [])
        assert abs(Decimal(found["used"]) - Decimal(used)) <= Decimal("1e-8")
    assert [each["amount_cents"] for each in quote["lines"]] == [5000, 0, 0, 0, 0, 0, 0]

    again = await callers.operator.post(f"/api/v1/metering/days/{day(5)}")
    assert {"observations": 7, "added": 0, "corrected": 0, "withdrawn": 0}.items() <= again.json().items()
    assert await callers.quoted(5000) == quote


async def test_every_figure_is_explained_on_demand(callers: Callers) -> None:
    await callers.sell("studio", attached(STORAGE))
    await callers.tell(
        prices(Kind.BACKUP_GB_MONTH, ("2.5", LONG_AGO), ("10", at(3))),
        *(used(callers.shop, Kind.DROPLET_HOURS, number, "501") for number in (1, 2, 3)),
        *(used(callers.shop, Kind.BACKUP_GB_MONTH, number, "1") for number in (1, 2, 3)),
    )
    quote = await callers.quoted(5000 + 750 + 3 * 2 + 5 + 10)
    assert all("how" not in each and "days" not in each for each in quote["lines"])

    explained = {"period": PERIOD, "explain": "true"}
    route = "/api/v1/deployments/{deployment_id}/quote"
    mine = (await checked(callers.acme, route, await callers.acme.get(callers.quote, params=explained)))["quote"]
    assert "costs" not in mine
    hours = line(mine, "droplet_hours")
    assert hours["how"] == "3 beyond 1500 included: 3 begun units of 1, 2 cents each"
    assert [(each["day"], each["used"]) for each in hours["days"]] == [(str(day(n)), "501") for n in (1, 2, 3)]
    early, late = [each for each in mine["lines"] if each.get("resource_kind") == "backup_gb_month"]
    assert ([each["day"] for each in early["days"]], early["amount_cents"]) == ([str(day(1)), str(day(2))], 5)
    assert ([each["day"] for each in late["days"]], late["amount_cents"]) == ([str(day(3))], 10)
    assert sum(Decimal(each["used"]) for each in early["days"]) == Decimal(early["used"])
    assert [(each["limit"], each["at"]) for each in mine["limits"]] == [("soft_80", 1500), ("soft_100", 1500)]

    await put_invoice(callers, 1000, callers.shop)
    theirs = (await checked(callers.operator, route, await callers.operator.get(callers.quote, params=explained)))[
        "quote"
    ]
    assert [(each["line"], each["cents"], each["line_cents"], each["currency"]) for each in theirs.pop("costs")] == [
        (1, 1000, 1000, "USD")
    ]
    assert theirs == mine


def used(deployment_id: UUID, kind: Kind, number: int, qty: str) -> Event:
    told = DayOfUsage(
        deployment_id=deployment_id,
        tenant_id="acme",
        resource_kind=kind,
        day=day(number),
        used=Decimal(qty),
        observations=1,
        version=1,
    )
    return UsageMetered(usage=told)


async def put_invoice(callers: Callers, cents: int, bearer: UUID | None, *more: tuple[int, str]) -> None:
    """The month's invoice, as an ingest leaves it: a line that is assigned to a deployment, and some of nobody's."""
    invoice = uuid7()
    pool = callers.billing.pool
    await pool.execute(
        """
        insert into cloud_invoices (id, provider, invoice_uuid, number, period, currency, amount_cents, issued_at,
          discovered_at, ingests, lines, ingest_status)
        values ($1, 'digitalocean', $1::uuid::text, '1', $2, 'USD', 0, now(), now(), 1, 1, 'ingested')
        """,
        invoice,
        MONTH,
    )
    for number, (amount, reason) in enumerate([(cents, "unknown_resource"), *more], 1):
        await pool.execute(
            "insert into cloud_cost_lines (invoice_id, line, amount, unmatched) values ($1, $2, $3::int / 100.0, $4)",
            invoice,
            number,
            amount,
            reason,
        )
    await pool.execute(
        """
        insert into cost_line_assignments (id, invoice_id, line, key, nth, deployment_id, assigned_at)
        values ($1, $2, 1, '', 1, $3, now())
        """,
        uuid7(),
        invoice,
        bearer,
    )


async def test_a_preview_is_what_is_quoted_afterwards(callers: Callers) -> None:
    await callers.sell()
    await callers.tell(used(callers.shop, Kind.DROPLET_HOURS, 1, "1600"))
    before = await callers.quoted(5200)
    route = "/api/v1/deployments/{deployment_id}/quote/preview"
    answer = await callers.acme.post(f"{callers.quote}/preview", json={"plan_code": "pro", "attach": ["storage_50gb"]})
    told = await checked(callers.acme, route, answer)
    assert (
        told["now"]["total_cents"],
        told["quote"]["total_cents"],
        told["difference_cents"],
        told["next_month_cents"],
    ) == (
        5200,
        12_750,
        7550,
        12_750,
    )
    assert await callers.quoted(5200) == before
    await callers.sell("pro", attached(STORAGE), version=2)
    after = await callers.quoted(12_750)
    assert [each["amount_cents"] for each in after["lines"]] == [
        each["amount_cents"] for each in told["quote"]["lines"]
    ]

    other = callers.there.fleet.deployments["globex"]
    refused = await callers.acme.post(f"/api/v1/deployments/{other}/quote/preview", json={"plan_code": "pro"})
    assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
    for body in ({"plan_code": "pro", "plan_version_id": str(uuid7())}, {"attach": ["a", "a"]}):
        assert (await callers.acme.post(f"{callers.quote}/preview", json=body)).status_code == 422


async def test_nobody_sees_anothers_quote_or_any_margin(callers: Callers) -> None:
    await callers.sell()
    await callers.quoted(5000)
    period = {"period": PERIOD}
    assert (await callers.globex.get(callers.quote, params=period)).status_code == 403
    assert (await callers.operator.get(callers.quote, params=period)).json()["quote"]["total_cents"] == 5000
    unsubscribed = await callers.acme.get(callers.quote, params={"period": "2020-01"})
    assert (unsubscribed.status_code, unsubscribed.json()["error"]) == (404, "not_found")
    assert (await callers.acme.get(f"/api/v1/deployments/{uuid7()}/quote")).status_code == 404
    assert (await callers.acme.get(callers.quote, params={"period": "yesterday"})).status_code == 422
    for path in (DASHBOARD, f"{DASHBOARD}.csv", f"{DASHBOARD}/trend", "/api/v1/billing/fx-rates"):
        assert (await callers.acme.get(path)).status_code == 403


async def earn_and_spend(callers: Callers) -> None:
    """A quote of 50.00 AUD, and an invoice of 22.00 USD beside its tax, of which the shop bears 18.00."""
    await callers.sell()
    await callers.quoted(5000)
    await put_invoice(callers, 1800, callers.shop, (500, "account_level"), (-100, "credit"), (231, "tax"))


async def set_rate(callers: Callers) -> None:
    rate = {"from_currency": "USD", "effective_from": str(MONTH), "rate": "1.5"}
    answer = await callers.operator.post("/api/v1/billing/fx-rates", json=rate)
    assert answer.json()["fx_rate"]["to_currency"] == "AUD", answer.text


async def test_margin_is_what_is_quoted_against_the_lines_of_the_invoice(callers: Callers) -> None:
    await earn_and_spend(callers)
    period = {"period": PERIOD}
    shown = await checked(callers.operator, DASHBOARD, await callers.operator.get(DASHBOARD, params=period))
    unconverted = {
        "revenue": {"AUD": 5000},
        "cost": {"USD": 2200},
        "revenue_cents": 5000,
        "cost_cents": None,
        "margin_cents": None,
        "margin_percent": None,
    }
    assert (shown["total"], shown["missing_rates"], shown["rates"], shown["estimated"]) == (
        unconverted,
        ["USD"],
        [],
        False,
    )

    await set_rate(callers)
    await checked(callers.operator, "/api/v1/billing/fx-rates", await callers.operator.get("/api/v1/billing/fx-rates"))
    shown = await checked(callers.operator, DASHBOARD, await callers.operator.get(DASHBOARD, params=period))
    figures = {
        "revenue": {"AUD": 5000},
        "cost": {"USD": 1800},
        "revenue_cents": 5000,
        "cost_cents": 2700,
        "margin_cents": 2300,
        "margin_percent": "46.0",
    }
    assert shown["deployments"] == [{"deployment_id": str(callers.shop), "tenant_id": "acme", "slug": "acme"} | figures]
    assert shown["tenants"] == [{"tenant_id": "acme"} | figures]
    assert [(each["reason"], each["cents"], each["converted_cents"]) for each in shown["unattributed"]] == [
        ("account_level", 500, 750),
        ("credit", -100, -150),
    ]
    assert shown["tax"] == [{"currency": "USD", "cents": 231, "converted_cents": 347}]
    assert shown["rates"] == [
        {"from_currency": "USD", "to_currency": "AUD", "rate": "1.5", "effective_from": str(MONTH)}
    ]
    total = shown["total"]
    assert (total["cost"], total["cost_cents"], total["margin_cents"]) == ({"USD": 2200}, 3300, 1700)


async def test_margin_month_by_month_and_as_a_file(callers: Callers) -> None:
    await earn_and_spend(callers)
    await set_rate(callers)
    period = {"period": PERIOD}
    total = (await callers.operator.get(DASHBOARD, params=period)).json()["total"]
    trend = await checked(callers.operator, f"{DASHBOARD}/trend", await callers.operator.get(f"{DASHBOARD}/trend"))
    months = {each["period"]: each for each in trend["months"]}
    assert len(months) == 12
    assert months[PERIOD] == {"period": PERIOD, "estimated": False} | total
    empty = months[f"{MONTH - timedelta(days=1):%Y-%m}"]
    assert (empty["revenue_cents"], empty["cost_cents"], empty["margin_percent"]) == (0, 0, None)
    for wrong in ({"from": "2026-05", "to": "2026-04"}, {"from": "2000-01", "to": "2026-04"}):
        assert (await callers.operator.get(f"{DASHBOARD}/trend", params=wrong)).status_code == 422

    file = (await callers.operator.get(f"{DASHBOARD}.csv", params=period)).text
    rows = list(csv.DictReader(io.StringIO(file)))
    assert [
        (row["side"], row["slug"], row["reason"], row["currency"], row["cents"], row["converted_cents"]) for row in rows
    ] == [
        ("revenue", "acme", "", "AUD", "5000", "5000"),
        ("cost", "acme", "", "USD", "1800", "2700"),
        ("cost", "", "account_level", "USD", "500", "750"),
        ("cost", "", "credit", "USD", "-100", "-150"),
        ("cost", "", "tax", "USD", "231", "347"),
    ]


@pytest.mark.parametrize(
    "body", [{"rate": "0"}, {"rate": "-1"}, {"rate": 1.5}, {"from_currency": "AUD"}, {"effective_from": "1999-12-31"}]
)
async def test_a_rate_that_can_be_none_is_refused(operator: httpx.AsyncClient, body: dict[str, Any]) -> None:
    rate = {"from_currency": "USD", "effective_from": f"{datetime.now(UTC):%Y-%m-%d}", "rate": "1.5"} | body
    assert (await operator.post("/api/v1/billing/fx-rates", json=rate)).status_code == 422
