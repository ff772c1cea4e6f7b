"""Metering keeps to its retention, and tells its state again."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

import pytest

from contracts.kinds import BillingKind
from contracts.metering import Granularity, MeterDay, SetMeteringConfig
from services.metering import upkeep
from tests.metering.world import SHOP, Metering

NOW = datetime.now(UTC)
TODAY = NOW.date()


async def observed(metering: Metering, kind: str, ago: int) -> date:
    """A record, and the sum of its day, of so many days ago; superseded once."""
    day = TODAY - timedelta(days=ago)
    for table, column in (("usage_records", ""), ("superseded_usage_records", ", superseded_at")):
        await metering.fetch(
            f"""
            insert into {table} (period_start, deployment_id, resource_id, resource_kind, granularity, qty, recorded_at
              {column})
            values ($1::date at time zone 'UTC', $2, gen_random_uuid(), $3, 'daily', 1, now() {column and ", now()"})
            """,
            day,
            SHOP,
            kind,
        )
    await metering.fetch(
        """
        insert into usage_days (day, deployment_id, resource_kind, used, observations, version, told)
        values ($1, $2, $3, 1, 1, 1, 1)
        """,
        day,
        SHOP,
        kind,
    )
    return day


async def forget(metering: Metering) -> list[str]:
    """Gives the keys that the bus is to forget."""
    async with metering.db.transaction() as conn:
        outcome = await upkeep.forget_old_usage(conn, NOW)
    return sorted(getattr(each, "key", "") for each in (outcome.events if outcome else ()))


async def test_what_is_past_its_retention_is_forgotten_kind_by_kind(metering: Metering) -> None:
    short = SetMeteringConfig(
        resource_kind=BillingKind.DNS_ZONES, granularity=Granularity.DAILY, retention_days=62, effective_from=TODAY
    )
    assert (await metering.ask(short)).status == "ok"
    gone = [await observed(metering, "dns_zones", 63), await observed(metering, "droplet_hours", 401)]
    kept = [await observed(metering, "dns_zones", 62), await observed(metering, "droplet_hours", 400)]
    assert await forget(metering) == sorted(
        f"{SHOP}:{kind}:{day}" for kind, day in zip(("dns_zones", "droplet_hours"), gone, strict=True)
    )
    for table in ("usage_records", "superseded_usage_records"):
        rows = await metering.fetch(f"select (period_start at time zone 'UTC')::date as day from {table}")
        assert {row["day"] for row in rows} == {*kept}
    assert {row["day"] for row in await metering.fetch("select day from usage_days")} == {*kept}
    assert await forget(metering) == []


async def test_what_resources_were_is_kept_for_as_long_as_anything_is_metered_of_it(metering: Metering) -> None:
    for n, ago in enumerate((402, 399)):
        await metering.fetch(
            """
            insert into segments (resource_id, since, until, deployment_id, resource_kind, amount)
            values ($1, $2::timestamptz - interval '1 day', $2, $3, 'dns_zones', 1)
            """,
            UUID(int=n),
            NOW - timedelta(days=ago),
            SHOP,
        )
    await forget(metering)
    assert [row["resource_id"] for row in await metering.fetch("select resource_id from segments")] == [UUID(int=1)]


async def test_every_day_of_usage_is_told_again_page_by_page(
    metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_PAGE", 2)
    days = [await observed(metering, "droplet_hours", ago) for ago in range(1, 6)]
    async with metering.db.transaction() as conn:
        told = [event async for page in upkeep.republish_usage(conn) for event in page]
    assert [event.usage.day for event in told if hasattr(event, "usage")] == sorted(days)


async def test_a_day_that_nobody_metered_is_found_and_asked_for_until_somebody_did(metering: Metering) -> None:
    now = datetime.now(UTC)
    yesterday = now.date() - timedelta(days=1)
    first, missed = yesterday - timedelta(days=2), yesterday - timedelta(days=1)

    async def found(at: datetime) -> list[date]:
        async with metering.db.transaction() as conn:
            outcome = await upkeep.meter_missed_days(conn, at)
        return [send.command.day for send in outcome.commands] if outcome else []  # type: ignore[attr-defined]

    assert await found(now) == [], "nothing was ever metered"
    for day in (first, yesterday):
        assert (await metering.ask(MeterDay(day=day))).status == "ok"
    night = datetime.combine(now.date(), time(12), UTC)
    assert await found(night) == [missed]
    assert await found(night + timedelta(hours=1)) == [], "it is being metered"
    assert await found(night + timedelta(hours=7)) == [missed], "it was given up"
    assert (await metering.ask(MeterDay(day=missed))).status == "ok"
    assert await found(night + timedelta(hours=14)) == []
