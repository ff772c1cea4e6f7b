"""A day is observed when all is known of it, once, whatever happens meanwhile; and corrected when more is known."""

from __future__ import annotations

import random
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import pytest

from contracts.inventory import ResourceDiscovered, ResourceUpdated
from contracts.kinds import BillingKind, ResourceKind
from contracts.metering import Granularity, MeterDay, MeteringConfig, MeteringConfigSet, SetMeteringConfig
from services.metering import handlers
from shared.catchup import BusAway, CatchUp
from shared.ids import uuid7
from shared.outcome import Meta, Received
from tests.metering.world import BLOG, SHOP, Metering, Usage, at, day, resource
from tests.sending import deployment


async def test_the_case_of_the_requirements(metering: Metering) -> None:
    """2 droplets, 2 DNS zones and 3 snapshots, 10 days of a month of 31."""
    await metering.put(deployment(SHOP, "acme", "shop"), told_at=at(15))
    await metering.tell(
        *(resource(f"web-{n}") for n in range(2)),
        *(resource(f"zone-{n}", ResourceKind.DNS_ZONE) for n in range(2)),
        *(resource(f"snapshot-{n}", ResourceKind.SNAPSHOT, size=size) for n, size in enumerate((8, 16, 24))),
    )
    answers = await metering.meter(*range(1, 11))
    assert [each["added"] for each in answers] == [7] * 10
    assert await metering.fetch("select count(*) from usage_records") == [(70,)]
    sums = await metering.sums()
    assert sums[SHOP, "droplet_hours"] == 480
    assert round(sums[SHOP, "dns_zones"], 2) == Decimal("0.65")
    assert round(sums[SHOP, "snapshot_gb_month"], 2) == Decimal("15.48")

    before = await metering.fetch("select * from usage_records order by period_start, resource_id")
    (again,) = await metering.meter(5)
    assert (again["observations"], again["added"], again["corrected"], again["withdrawn"]) == (7, 0, 0, 0)
    assert await metering.fetch("select * from usage_records order by period_start, resource_id") == before


async def test_days_metered_at_once_twice_and_in_any_order_are_the_same(metering: Metering) -> None:
    await metering.tell(
        resource("web", links=[(SHOP, at(3, 12), at(20)), (BLOG, at(20), None)]),
        resource("gone", power=[("active", at(1), at(9, 5)), ("off", at(9, 5), at(12, 6))], deleted_at=at(12, 6)),
        resource("backup", ResourceKind.DROPLET_BACKUP, sizes=[(1.5, at(2, 3), at(17)), (2.25, at(17), None)]),
    )
    days = [*range(1, 32)] * 2
    random.Random(1).shuffle(days)
    await metering.meter(*days)
    found = await metering.usage()
    assert await metering.fetch("select count(*) from superseded_usage_records") == [(0,)]

    await metering.fetch("delete from usage_records")
    for number in range(1, 32):
        await metering.meter(number)
    assert await metering.usage() == found
    assert [each for each in found if each.name == "gone"] == [
        Usage(number, 0, SHOP, "gone", Decimal(24 if number < 9 else 0)) for number in range(1, 12)
    ]
    assert {each.day for each in found if each.name == "web" and each.deployment_id == SHOP} == {*range(3, 20)}
    assert {each.day for each in found if each.name == "web" and each.deployment_id == BLOG} == {*range(20, 32)}


async def test_whoever_holds_it_at_the_end_of_the_day_has_the_day(metering: Metering) -> None:
    midnight = at(11)
    await metering.tell(
        resource("came", links=[(SHOP, at(10, 23, 59), None)]),
        resource("came at midnight", links=[(SHOP, midnight, None)]),
        resource("went", links=[(SHOP, at(1), at(10, 23, 59))]),
        resource("went at midnight", links=[(SHOP, at(1), midnight)]),
        resource("moved", links=[(SHOP, at(1), at(10, 12)), (BLOG, at(10, 12), None)]),
        resource("off", power=[("active", at(1), at(10, 23)), ("off", at(10, 23), None)]),
        resource("gone", power=[("active", at(1), at(10, 23))], deleted_at=at(10, 23)),
    )
    await metering.meter(10)
    assert {(each.name, each.deployment_id, each.qty) for each in await metering.usage()} == {
        ("came", SHOP, Decimal(24)), ("went at midnight", SHOP, Decimal(24)), ("moved", BLOG, Decimal(24)),
        ("off", SHOP, Decimal(0)),
    }  # fmt: skip


async def test_by_the_hour_the_hours_are_those_of_its_history(metering: Metering) -> None:
    hourly = SetMeteringConfig(
        resource_kind=BillingKind.DROPLET_HOURS,
        granularity=Granularity.HOURLY,
        retention_days=400,
        effective_from=day(10),
    )
    assert (await metering.ask(hourly)).status == "ok"
    await metering.tell(
        resource(
            "web",
            links=[(SHOP, at(1), at(10, 20)), (BLOG, at(10, 20), None)],
            power=[("active", at(1), at(10, 6, 30)), ("off", at(10, 6, 30), at(10, 8)), ("active", at(10, 8), None)],
        )
    )
    await metering.meter(9, 10)
    usage = await metering.usage()
    assert [each for each in usage if each.day == 9] == [Usage(9, 0, SHOP, "web", Decimal(24))]
    assert [(each.hour, each.qty) for each in usage if each.deployment_id == SHOP and each.day == 10] == [
        (hour, Decimal(0 if hour in (6, 7) else 1)) for hour in range(20)
    ]
    assert [(each.hour, each.qty) for each in usage if each.deployment_id == BLOG] == [
        (hour, Decimal(1)) for hour in range(20, 24)
    ]


async def test_what_becomes_known_later_corrects_what_was_observed_and_the_old_is_kept(metering: Metering) -> None:
    bucket = ResourceKind.SPACES_BUCKET
    await metering.tell(resource("web"), resource("data", bucket, size=31), resource("mine"))
    await metering.meter(9, 10)
    await metering.tell(
        resource("web", links=[(SHOP, at(1), at(10)), (BLOG, at(10), None)], version=2),
        resource("data", bucket, sizes=[(31, at(1), at(10, 12)), (62, at(10, 12), None)], version=2),
        resource("mine", links=[(SHOP, at(1), at(9, 12))], version=2),
    )
    await metering.until("count(*) = 2 from metered_days where meterings = 2", seconds=60)
    await metering.until("not exists (select from jobs where status <> 'done')")
    assert {(each.day, each.name, each.deployment_id, each.qty) for each in await metering.usage()} == {
        (9, "data", SHOP, Decimal(1)), (9, "web", SHOP, Decimal(24)),
        (10, "data", SHOP, Decimal(2)), (10, "web", BLOG, Decimal(24)),
    }  # fmt: skip
    kept = await metering.fetch("select resource_kind, qty from superseded_usage_records order by 1, 2")
    assert [tuple(each) for each in kept] == [
        ("droplet_hours", 24), ("droplet_hours", 24), ("droplet_hours", 24), ("spaces_gb_month", 1),
    ]  # fmt: skip
    days = await metering.fetch("select extract(day from day)::int, deployment_id, resource_kind, used from usage_days")
    used = {(number, id, kind): used for number, id, kind, used in days}
    assert used[10, SHOP, "droplet_hours"] == 0
    assert used[10, BLOG, "droplet_hours"] == used[9, SHOP, "droplet_hours"] == 24


async def test_what_nobody_knows_the_size_of_is_not_observed_and_said_to_be_unmeasured(metering: Metering) -> None:
    await metering.tell(resource("data", ResourceKind.SPACES_BUCKET, sizes=[(None, at(1), at(11)), (4, at(11), None)]))
    first, second = await metering.meter(10, 11)
    assert (first["observations"], first["unmeasured"]) == (0, 1)
    assert (second["observations"], second["unmeasured"]) == (1, 0)


async def test_a_day_that_is_not_over_or_long_forgotten_is_refused(metering: Metering) -> None:
    today = datetime.now(UTC).date()
    for ago, code in ((0, "day_not_over"), (-1, "day_not_over"), (401, "day_forgotten")):
        outcome = await metering.ask(MeterDay(day=today - timedelta(days=ago)))
        assert (outcome.status, outcome.code) == ("refused", code)


async def test_a_day_is_told_deployment_by_deployment_with_its_tenant(metering: Metering) -> None:
    await metering.put(deployment(SHOP, "acme", "shop"), told_at=at(15))
    await metering.until("exists (select from deployments)")
    await metering.tell(resource("web-1"), resource("web-2"), resource("zone", ResourceKind.DNS_ZONE))
    await metering.meter(10)
    rows = await metering.fetch("select resource_kind, observations, told = version from usage_days order by 1")
    assert [tuple(row) for row in rows] == [("dns_zones", 1, True), ("droplet_hours", 2, True)]


async def test_what_an_older_state_tells_of_a_month_that_a_newer_one_leaves_out_is_kept(metering: Metering) -> None:
    """Both come in one batch, after the month has turned: the second tells of one month less."""
    first = resource("web", links=[(SHOP, at(1), at(5))])
    newer = resource("web", links=[(BLOG, at(31, 12), None)], version=2)
    both = [ResourceDiscovered(resource=first), ResourceUpdated(resource=newer)]
    received = [
        Received(event, Meta(uuid7(), datetime.now(UTC), sent_at=sent_at))
        for event, sent_at in zip(both, (at(31), at(31) + timedelta(days=45)), strict=True)
    ]
    async with metering.db.transaction() as conn:
        await handlers.on_resource(received, conn)
    await metering.meter(4, 5)
    assert [(each.day, each.deployment_id) for each in await metering.usage()] == [(4, SHOP)]


async def test_a_kind_that_is_not_kept_for_so_long_is_left_alone_when_a_day_is_metered_again(
    metering: Metering,
) -> None:
    long_ago = datetime.now(UTC).date() - timedelta(days=100)
    start = datetime.combine(long_ago, time(), UTC)
    links = [(SHOP, start - timedelta(days=1), None)]
    power = [("active", start - timedelta(days=1), None)]
    fleet = [
        resource("web", links=links, power=power),
        resource("zone", ResourceKind.DNS_ZONE, links=links, power=power),
    ]
    await metering.tell(*fleet, told_at=start)
    command = MeterDay(day=long_ago)
    assert ((await metering.ask(command)).result or {})["added"] == 2
    short = SetMeteringConfig(
        resource_kind=BillingKind.DNS_ZONES,
        granularity=Granularity.DAILY,
        retention_days=62,
        effective_from=datetime.now(UTC).date(),
    )
    assert (await metering.ask(short)).status == "ok"
    again = (await metering.ask(command)).result or {}
    assert (again["observations"], again["withdrawn"]) == (1, 0)
    days = await metering.fetch("select resource_kind, used > 0 as used from usage_days order by 1")
    assert [tuple(each) for each in days] == [("dns_zones", True), ("droplet_hours", True)]


async def test_what_is_said_again_of_a_kind_changes_nothing(metering: Metering) -> None:
    """As where the service was rebuilt, and hears what it told itself before the command of which it told."""
    daily = SetMeteringConfig(
        resource_kind=BillingKind.DNS_ZONES,
        granularity=Granularity.DAILY,
        retention_days=62,
        effective_from=datetime.now(UTC).date(),
    )
    config = MeteringConfig.model_validate({**dict(daily), "actor": "olga@example.com", "set_at": at(3), "version": 7})
    await metering.put(MeteringConfigSet(metering_config=config), told_at=at(3))
    await metering.until("exists (select from metering_config)")
    results = [(await metering.ask(daily.model_copy(update={"retention_days": days}))).result for days in (62, 90, 90)]
    assert [(result or {})["config"]["retention_days"] for result in results] == [62, 90, 90]
    (row,) = await metering.fetch("select retention_days, version from metering_config")
    assert tuple(row) == (90, 8)


async def test_what_is_reported_is_observed_daily(metering: Metering) -> None:
    hourly = SetMeteringConfig(resource_kind=BillingKind.LLM_TOKENS, granularity=Granularity.HOURLY, retention_days=400)
    outcome = await metering.ask(hourly)
    assert (outcome.status, outcome.code) == ("refused", "kind_is_reported")


async def test_while_kafka_does_not_answer_the_day_waits(metering: Metering, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    async def away(self: CatchUp) -> dict[str, int]:
        nonlocal asked
        asked += 1
        raise BusAway("nobody there")

    monkeypatch.setattr(CatchUp, "ends", away)
    monkeypatch.setattr("shared.catchup._LATER", timedelta(seconds=0.2))
    await metering.tell(resource("web"))
    (id,) = await metering.send(MeterDay(day=day(10)))
    await metering.until("exists (select from jobs where put_offs > 5 and attempts = 0)")
    monkeypatch.undo()
    assert (await metering.outcome(id)).status == "ok"
    assert asked > 5
    assert len(await metering.usage()) == 1
