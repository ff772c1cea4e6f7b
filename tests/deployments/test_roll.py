"""The clock's work at the real runtime: many subscriptions, months late, and one that somebody holds meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from contracts.subscriptions import RollPeriods
from services.deployments.app import service
from services.deployments.periods import AT_ONCE
from shared.config import Settings
from shared.process import running
from tests.deployments.customers import text
from tests.deployments.world import Deployments

SUBSCRIPTIONS = AT_ONCE * 2 + 100
BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
ENDS = [datetime(2026, month, 1, tzinfo=UTC) for month in (4, 5, 6, 7)]
NOW = datetime(2026, 6, 20, tzinfo=UTC)


@pytest.fixture
async def late(own_deployments: Deployments, settings: Settings) -> AsyncIterator[Deployments]:
    """A service at work. All periods were over in April; every tenth is in trial, every seventh is to be cancelled."""
    await own_deployments.fetch(
        """
        with deployment as (
          insert into cloud_deployments (tenant_id, slug, display_name, state, state_since, created_at, version)
          select 'acme', 'app-' || n, 'App', case when n % 10 = 0 then 'trial' else 'active' end, $1, $1, 1
          from generate_series(1, $2::int) n returning id, tenant_id, split_part(slug, '-', 2)::int as n),
        subscription as (
          insert into subscriptions (deployment_id, tenant_id, plan_version_id, status, current_period_start,
            current_period_end, trial_ends_at, cancel_at, cancel_asked_by, cancel_authority, started_at, version)
          select d.id, d.tenant_id, v.id, 'active', $1, $3::timestamptz,
            case when d.n % 10 = 0 then $1::timestamptz + interval '40 days' end,
            case when d.n % 7 = 0 then $3::timestamptz end, 'ann@acme.test', 'tenant', $1, 1
          from deployment d, (select v.id from plan_versions v join plans p on p.id = v.plan_id and p.code = 'pro') v
          returning id, plan_version_id)
        insert into subscription_periods (subscription_id, period_start, plan_version_id)
        select id, $1, plan_version_id from subscription
        """,
        BEGAN,
        SUBSCRIPTIONS,
        ENDS[0],
    )
    async with running(service, settings):
        yield own_deployments


async def test_after_months_of_downtime_every_period_is_opened_one_by_one(late: Deployments) -> None:
    (id,) = await late.send(RollPeriods(until=NOW), actor="scheduler")
    outcome = await late.outcome(id, seconds=60)
    assert outcome.status == "ok"
    ended, trials = SUBSCRIPTIONS // 7, SUBSCRIPTIONS // 10
    ended_trials = trials - SUBSCRIPTIONS // 70  # the trial of those that end goes on beyond their end
    assert outcome.result == {"until": text(NOW), "steps": (SUBSCRIPTIONS - ended) * 3 + ended + ended_trials}

    rows = await late.fetch("select subscription_id, period_start from subscription_periods order by 1, 2")
    starts: dict[UUID, list[datetime]] = {}
    for row in rows:
        starts.setdefault(row["subscription_id"], []).append(row["period_start"])
    assert Counter(tuple(each) for each in starts.values()) == {
        (BEGAN, *ENDS[:3]): SUBSCRIPTIONS - ended,
        (BEGAN,): ended,
    }
    states = await late.fetch("select state, count(*) from cloud_deployments group by state order by state")
    assert [tuple(row) for row in states] == [("active", SUBSCRIPTIONS - ended), ("cancelled", ended)]
    told = await late.fetch("select event_type, count(*) from subscription_events group by 1 order by 1")
    assert [tuple(row) for row in told] == [
        ("cancelled", ended),
        ("period_opened", (SUBSCRIPTIONS - ended) * 3),
        ("trial_ended", ended_trials),
    ]
    (again,) = await late.send(RollPeriods(until=NOW + timedelta(days=1)), actor="scheduler")
    assert (await late.outcome(again)).result == {"until": text(NOW + timedelta(days=1)), "steps": 0}


async def test_one_that_somebody_holds_is_waited_for_and_no_other(late: Deployments) -> None:
    (held,) = await late.fetch("select id from cloud_deployments where slug = 'app-1'")
    released = asyncio.Event()

    async def hold() -> None:
        async with late.db.transaction() as conn:
            await conn.execute("select from cloud_deployments where id = $1 for update", held["id"])
            while not released.is_set():
                await conn.execute("select 1")
                await asyncio.sleep(0.1)

    holding = asyncio.create_task(hold())
    (id,) = await late.send(RollPeriods(until=ENDS[0]), actor="scheduler")
    async with asyncio.timeout(60):
        while (await _due(late)) > 1:
            await asyncio.sleep(0.1)
    (job,) = await late.fetch("select status from jobs where id = $1", id)
    assert job["status"] != "done"
    released.set()
    await holding
    assert (await late.outcome(id, seconds=30)).status == "ok"
    assert await _due(late) == 0


async def test_those_that_cannot_be_rolled_stop_no_other(late: Deployments) -> None:
    # What was attached in a currency that nobody knows cannot be told.
    poisoned = await late.fetch(
        """
        insert into subscription_addons (subscription_id, tenant_id, addon_id, resource_kind, qty, price_cents,
          currency, attached_at)
        select s.id, s.tenant_id, a.id, a.resource_kind, a.qty, a.price_cents, 'XTS', s.started_at
        from subscriptions s join cloud_deployments d on d.id = s.deployment_id, addons a
        where d.slug = any($1) and a.code = 'storage_50gb' returning subscription_id as id
        """,
        ["app-1", "app-600", "app-1099"],
    )
    ids = sorted(str(row["id"]) for row in poisoned)
    (id,) = await late.send(RollPeriods(until=NOW), actor="scheduler")
    outcome = await late.outcome(id, seconds=100)
    assert (outcome.status, outcome.code) == ("failed", "bug")
    reason = (outcome.detail or {})["reason"]
    assert "3 subscriptions could not be rolled" in reason
    assert all(id in reason for id in ids)
    rows = await late.fetch(
        "select id::text from subscriptions where status <> 'cancelled' and next_step_at <= $1", NOW
    )
    assert sorted(row["id"] for row in rows) == ids
    told = await late.fetch("select e.version from subscription_events e where subscription_id = any($1::uuid[])", ids)
    assert told == []
    # The bug is mended, and the next night comes.
    await late.fetch("update subscription_addons set currency = 'AUD'")
    (id,) = await late.send(RollPeriods(until=NOW), actor="scheduler")
    assert (await late.outcome(id)).status == "ok"
    assert await _due(late, NOW) == 0


async def _due(late: Deployments, until: datetime = ENDS[0]) -> int:
    (row,) = await late.fetch(
        "select count(*) from subscriptions where status <> 'cancelled' and next_step_at <= $1", until
    )
    count: int = row["count"]
    return count
