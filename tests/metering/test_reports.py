"""Reports of usage: each counts once, for good; corrections count in place of what they correct."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.kinds import BillingKind
from contracts.metering import MeterDay, RecordUsage, UsageReport
from contracts.times import previous_month
from shared.ids import uuid7
from tests.metering.world import BLOG, SHOP, Metering
from tests.sending import deployment

NOW = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)


def report(id: str, quantity: str = "1", **changed: Any) -> UsageReport:
    said = {
        "id": id, "deployment_id": SHOP, "resource_kind": "llm_tokens", "quantity": quantity, "occurred_at": NOW,
    }  # fmt: skip
    return UsageReport.model_validate(said | changed)


async def reported(metering: Metering, *reports: UsageReport, tenant: str = "acme") -> dict[str, Any]:
    outcome = await metering.ask(RecordUsage(tenant_id=tenant, reports=list(reports)))
    assert outcome.status == "ok"
    return outcome.result or {}


async def used(metering: Metering, id: UUID = SHOP) -> dict[str, Decimal]:
    """What a deployment used by kind: its records, which its sums must agree with."""
    by_record = "select resource_kind, sum(qty) from usage_records where deployment_id = $1 group by 1"
    by_day = "select resource_kind, sum(used) from usage_days where deployment_id = $1 group by 1"
    found = {row[0]: row[1] for row in await metering.fetch(by_record, id)}
    assert found == {row[0]: row[1] for row in await metering.fetch(by_day, id)}
    return found


async def test_a_report_counts_once_however_often_it_comes(metering: Metering) -> None:
    many = [report("a", "1843"), report("b", "2.5", resource_kind="bandwidth_gb"), report("a", "1843")]
    assert await reported(metering, *many) == {"accepted": 2, "duplicates": 1, "rejected": []}
    assert await reported(metering, *many) == {"accepted": 0, "duplicates": 3, "rejected": []}
    assert await used(metering) == {"llm_tokens": 1843, "bandwidth_gb": Decimal("2.5")}


async def test_reports_that_come_at_once_count_once(metering: Metering) -> None:
    """In many batches, on all partitions, with others among them."""
    batches = [[report(f"{n % 60}", "1") for n in range(first, first + 30)] for first in range(0, 600, 7)]
    commands = [RecordUsage(tenant_id="acme", reports=batch) for batch in batches]
    outcomes = await asyncio.gather(*(metering.ask(command) for command in commands))
    assert sum((each.result or {})["accepted"] for each in outcomes) == 60
    assert await used(metering) == {"llm_tokens": 60}


async def test_an_id_that_stands_for_something_else_is_reported_and_kept_to_be_looked_at(metering: Metering) -> None:
    await reported(metering, report("a", "10"))
    others = [
        report("a", "11"),
        report("a", "10", deployment_id=BLOG),
        report("a", "10", resource_kind="bandwidth_gb"),
        report("a", "10", occurred_at=NOW - timedelta(seconds=1)),
        report("new", "1"),
    ]
    answer = await reported(metering, *others)
    assert (answer["accepted"], answer["duplicates"]) == (1, 0)
    assert answer["rejected"] == [{"id": "a", "code": "conflict"}] * 4
    assert await used(metering) == {"llm_tokens": 11}
    kept = await metering.fetch("select id, reported ->> 'quantity' as quantity, actor from usage_conflicts order by 2")
    assert [tuple(each) for each in kept] == [("a", "10", Metering.CALLER)] * 3 + [("a", "11", Metering.CALLER)]
    assert await reported(metering, report("a", "11"), tenant="globex") == {
        "accepted": 1, "duplicates": 0, "rejected": [],
    }  # fmt: skip  # each tenant has names of its own


async def test_a_correction_counts_in_place_of_what_it_corrects_and_all_are_kept(metering: Metering) -> None:
    assert (await reported(metering, report("a", "10"), report("a/1", "7", corrects="a")))["accepted"] == 2
    assert await used(metering) == {"llm_tokens": 7}
    assert (await reported(metering, report("a/2", "12", corrects="a"), report("a/3", "3", corrects="a")))[
        "accepted"
    ] == 2
    assert await used(metering) == {"llm_tokens": 3}
    assert (await reported(metering, report("a/1", "7", corrects="a")))["duplicates"] == 1
    assert await used(metering) == {"llm_tokens": 3}
    assert (await reported(metering, report("a/4", "0", corrects="a")))["accepted"] == 1
    assert await used(metering) == {"llm_tokens": 0}
    rows = await metering.fetch("select id, quantity, counted from usage_reports order by id")
    assert [(row[0], row[1], row[2]) for row in rows] == [
        ("a", 10, 0), ("a/1", 7, 0), ("a/2", 12, 0), ("a/3", 3, 0), ("a/4", 0, 0),
    ]  # fmt: skip


async def test_a_correction_of_what_is_not_there_or_is_another_thing_is_rejected(metering: Metering) -> None:
    await reported(metering, report("a", "10"), report("a/1", "9", corrects="a"))
    answer = await reported(
        metering,
        report("x", corrects="nothing"),
        report("y", corrects="a/1"),
        report("z", corrects="a", deployment_id=BLOG),
        report("w", corrects="a", occurred_at=NOW - timedelta(days=1)),
    )
    assert [(each["id"], each["code"]) for each in answer["rejected"]] == [
        ("x", "original_unknown"), ("y", "original_unknown"), ("z", "original_differs"), ("w", "original_differs"),
    ]  # fmt: skip
    assert await used(metering) == {"llm_tokens": 9}
    assert (await reported(metering, report("x", corrects="a")))["accepted"] == 1, "nothing of it was kept"


async def test_a_tenant_reports_about_its_own_alone_and_about_times_that_are_open(metering: Metering) -> None:
    await metering.put(deployment(SHOP, "acme", "shop"), deployment(BLOG, "globex", "blog"), told_at=NOW)
    await metering.until("count(*) = 2 from deployments")
    now = datetime.now(UTC)
    first = previous_month(now)
    late = report("late", occurred_at=first - timedelta(seconds=1))
    answer = await reported(
        metering,
        report("theirs", deployment_id=BLOG),
        late,
        report("future", occurred_at=now + timedelta(minutes=10)),
        report("first", occurred_at=first),
        report("clock", occurred_at=now + timedelta(minutes=1)),
    )
    assert [(each["id"], each["code"]) for each in answer["rejected"]] == [
        ("theirs", "forbidden"), ("late", "too_late"), ("future", "in_the_future"),
    ]  # fmt: skip
    assert answer["accepted"] == 2
    assert await used(metering, BLOG) == {}


async def test_what_was_taken_in_and_comes_again_too_late_is_a_duplicate(metering: Metering) -> None:
    old = report("old", occurred_at=previous_month(datetime.now(UTC)) - timedelta(days=40))
    await metering.fetch(
        """
        insert into usage_reports
          (tenant_id, id, deployment_id, resource_kind, quantity, occurred_at, counted, recorded_at)
        values ('acme', 'old', $1, 'llm_tokens', 1, $2, 1, now())
        """,
        SHOP,
        old.occurred_at,
    )
    assert (await reported(metering, old))["duplicates"] == 1


async def test_metering_a_day_leaves_what_was_reported_of_it(metering: Metering) -> None:
    await reported(metering, report("a", "10"))
    assert (await metering.ask(MeterDay(day=NOW.date()))).status == "ok"
    assert await used(metering) == {"llm_tokens": 10}


async def test_the_largest_report_keeps_no_other_from_being_counted_or_told(metering: Metering) -> None:
    most = "999999999999999"
    await reported(metering, report("a", most), report("b", most))
    assert (await reported(metering, report("c", "0.000000001")))["accepted"] == 1
    assert await used(metering) == {"llm_tokens": Decimal("1999999999999998.000000001")}
    await metering.until("bool_and(told = version) from usage_days")
    with pytest.raises(ValidationError):
        report("d", "1000000000000000")


@pytest.mark.parametrize("kind", sorted({*BillingKind} - {BillingKind.LLM_TOKENS, BillingKind.BANDWIDTH_GB}))
def test_what_resources_show_cannot_be_reported(kind: BillingKind) -> None:
    with pytest.raises(ValidationError, match="is metered from resources"):
        report("a", resource_kind=kind)


NAMES = st.sampled_from(["a", "b", "c"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_whatever_is_reported_counts_as_a_person_would_count_it(metering: Metering, data: st.DataObject) -> None:
    """Reports and corrections in any order, in any batches, some twice: beside a plain count of them one by one."""
    run, counted, seen = uuid7().hex, dict[str, int](), dict[str, tuple[int, str | None]]()
    tenant, target = f"t-{run}", uuid7()
    for _ in range(data.draw(st.integers(1, 3))):
        batch = []
        for _ in range(data.draw(st.integers(1, 6))):
            name, quantity = data.draw(NAMES), data.draw(st.integers(0, 3))
            batch.append((name, quantity, None) if data.draw(st.booleans()) else (f"{name}/{quantity}", quantity, name))
        reports = [report(n, str(q), corrects=c, deployment_id=target) for n, q, c in batch]
        await reported(metering, *reports, tenant=tenant)
        for name, quantity, corrects in sorted(batch, key=lambda each: each[2] is not None):  # the first reports first
            if name in seen or (corrects and corrects not in seen):
                continue
            seen[name] = quantity, corrects
            counted[corrects or name] = quantity
    assert (await used(metering, target)).get("llm_tokens", 0) == sum(counted.values())
