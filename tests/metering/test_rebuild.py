"""Metering that lost its tables makes them again of the topics: the same rows of the current and the previous month."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from confluent_kafka.admin import AdminClient

from contracts.kinds import BillingKind, ResourceKind
from contracts.metering import Granularity, MeterDay, RecordUsage, SetMeteringConfig, UsageReport
from contracts.times import previous_month
from shared.bus import group_of
from shared.config import Settings
from tests.metering.world import BLOG, SHOP, Metering, resource, world
from tests.sending import deployment

NOW = datetime.now(UTC)
BEGAN = previous_month(NOW)
DAYS = [BEGAN.date() + timedelta(days=n) for n in (0, 4, 9, 10, 19, 27)] + [NOW.date() - timedelta(days=1)]
SETTLED = """
    not exists (select from metered_days where dirty)
    and not exists (select from jobs where status in ('queued', 'running'))
"""
ROWS = {
    "usage_records": "select period_start, deployment_id, resource_id, resource_kind, granularity, qty",
    "usage_days where observations > 0": "select day, deployment_id, resource_kind, used, observations",
    "usage_reports": "select tenant_id, id, deployment_id, resource_kind, quantity, occurred_at, corrects, counted",
    "metering_config": "select resource_kind, effective_from, granularity, retention_days, actor, version",
    "metered_days": "select day, observations, unmeasured",
}


async def rows(metering: Metering) -> dict[str, list[Any]]:
    """All that is known, without when it became known."""
    return {name: sorted(await metering.fetch(f"{query} from {name}"), key=str) for name, query in ROWS.items()}


def report(id: str, qty: str, days_ago: float, corrects: str | None = None) -> UsageReport:
    return UsageReport(
        id=id,
        deployment_id=SHOP,
        resource_kind=BillingKind.LLM_TOKENS,
        quantity=Decimal(qty),
        occurred_at=max(NOW - timedelta(days=days_ago), BEGAN),
        corrects=corrects,
    )


async def live(metering: Metering) -> None:
    """Some weeks: things move, are resized, switched off and gone; some of that is known late; usage is reported."""
    at = [BEGAN + timedelta(days=n) for n in range(40)]
    since = [("active", at[0], None)]
    await metering.put(deployment(SHOP, "acme", "shop"), deployment(BLOG, "acme", "blog"), told_at=NOW)
    hourly = SetMeteringConfig(
        resource_kind=BillingKind.DROPLET_HOURS,
        granularity=Granularity.HOURLY,
        retention_days=100,
        effective_from=DAYS[2],
    )
    assert (await metering.ask(hourly)).status == "ok"
    await metering.tell(
        resource("web", links=[(SHOP, at[0], at[9]), (BLOG, at[9], None)], power=since),
        resource("job", links=[(SHOP, at[0], None)], power=[("active", at[0], at[10]), ("off", at[10], None)]),
        resource("gone", links=[(BLOG, at[0], at[20])], power=[("active", at[0], at[20])], deleted_at=at[20]),
        resource("zone", ResourceKind.DNS_ZONE, links=[(SHOP, at[2], None)], power=since),
        resource(
            "copy",
            ResourceKind.SNAPSHOT,
            links=[(SHOP, at[0], None)],
            power=since,
            sizes=[(8, at[0], at[10]), (16.5, at[10], None)],
        ),
        told_at=NOW,
    )
    for outcome in [await metering.outcome(id, 60) for id in await metering.send(*(MeterDay(day=day) for day in DAYS))]:
        assert outcome.status == "ok", outcome
    late = resource("zone", ResourceKind.DNS_ZONE, links=[(BLOG, at[1], None)], power=since, version=2)
    await metering.tell(late, told_at=NOW)
    await metering.until("exists (select from superseded_usage_records)")
    for reports in (
        [report("a", "100", 0.5), report("b", "2.5", 30), report("a", "100", 0.5)],
        [report("a", "99", 0.5), report("c", "40", 0.5, corrects="a")],
    ):
        outcome = await metering.ask(RecordUsage(tenant_id="acme", reports=reports))
        assert outcome.status == "ok", outcome
    await metering.until(SETTLED)


async def lose_everything(settings: Settings, admin: AdminClient) -> None:
    """The tables are empty, and nobody knows how far the topics were read."""
    conn = await asyncpg.connect(settings.database_url.get_secret_value())
    tables = await conn.fetchval(
        """
        select string_agg(format('metering.%I', tablename), ', ') from pg_tables
        where schemaname = 'metering' and tablename <> 'schema_migrations'
        """
    )
    await conn.execute(f"truncate {tables} cascade")
    await conn.close()
    groups = [settings.kafka_prefix + group_of("metering", kind) for kind in ("commands", "events")]
    for future in admin.delete_consumer_groups(groups).values():
        future.result(30)


@pytest.mark.timeout(180)
async def test_what_is_made_of_the_topics_is_what_there_was(settings: Settings, kafka_admin: AdminClient) -> None:
    async with world(settings) as metering:
        await live(metering)
        before = await rows(metering)
        await metering.until(
            "not exists (select from usage_days where told < version) and not exists (select from outbox)"
        )
        told = await metering.fetch("select max(version) from usage_days")
    assert {row["granularity"] for row in before["usage_records"]} == {"daily", "hourly"}
    assert len(before["usage_reports"]) == 3
    await lose_everything(settings, kafka_admin)

    async with world(settings) as metering:
        await metering.until("count(*) = $1 from metered_days where meterings > 0", len(DAYS), seconds=90)
        await metering.until("count(*) = 3 from usage_reports")
        await metering.until(SETTLED)
        await metering.until("not exists (select from usage_days where told < version)")
        assert await rows(metering) == before
        (again,) = await metering.fetch("select min(version) from usage_days")
        assert again[0] > told[0][0], "what is told now is newer than what others know"
