"""Balances are asked for, kept once each, told, and forgotten in their time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.billing import BALANCES, BalancePolled, PollBalance
from contracts.message import Envelope
from dev.digitalocean.faults import Fault
from services.billing import handlers, store, upkeep
from services.billing.app import service
from services.billing.domain import balance_of, cents
from shared.bus import tail
from shared.ids import uuid7
from shared.outcome import Meta
from shared.republish import republish
from tests.billing.world import Billing

ANSWER = {
    "month_to_date_balance": "11.87",
    "account_balance": "-0.13",
    "month_to_date_usage": "12.00",
    "generated_at": "2026-05-12T09:00:00Z",
}


async def told(billing: Billing, count: int) -> list[Envelope]:
    """The first events about balances."""
    found: list[Envelope] = []
    since = int(billing.began.timestamp() * 1000)
    async with tail(billing.settings, [BALANCES], since_ms=since) as consumer, asyncio.timeout(20):
        while len(found) < count:
            found.append(Envelope.model_validate_json((await consumer.getone()).value))
    return found


async def test_a_balance_is_asked_for_kept_and_told(billing: Billing) -> None:
    outcome = await billing.ask(PollBalance())
    assert outcome.status == "ok"
    balance = (outcome.result or {})["balance"]
    (row,) = await billing.fetch("select * from cloud_balance_snapshots")
    assert row["month_to_date_usage_cents"] == balance["month_to_date_usage_cents"] > 0
    assert balance["month_to_date_balance_cents"] == balance["month_to_date_usage_cents"]
    assert (balance["account_balance_cents"], balance["currency"]) == (0, "USD")
    (event,) = await told(billing, 1)
    assert (event.type, event.subject, event.data["balance"]) == (BalancePolled.TYPE, "digitalocean", balance)


async def test_polls_follow_one_another_and_each_is_kept(billing: Billing) -> None:
    for _ in range(3):
        await billing.ask(PollBalance())
        await billing.provider.advance(7200)
    usage = [row["usage"] for row in await billing.fetch(
        "select month_to_date_usage_cents as usage from cloud_balance_snapshots order by version"
    )]  # fmt: skip
    assert len(usage) == 3
    assert usage == sorted({*usage})
    versions = [row["version"] for row in await billing.fetch("select version from cloud_balance_snapshots")]
    assert [event.sequence for event in await told(billing, 3)] == sorted(versions)


async def test_a_job_that_runs_again_after_it_kept_the_balance_keeps_no_second(billing: Billing) -> None:
    meta = Meta(uuid7(), datetime.now(UTC))
    first, second = balance_of(ANSWER), balance_of(ANSWER | {"month_to_date_usage": "13.00"})
    async with billing.db.transaction() as conn:
        kept, said = await handlers._keep(first, conn, meta)
        again, unsaid = await handlers._keep(second, conn, meta)
    assert (kept, len(said), unsaid) == (again, 1, [])
    assert kept.month_to_date_usage_cents == 1200


async def test_an_outage_is_waited_out_and_a_denied_token_refused(billing: Billing) -> None:
    await billing.provider.arm(Fault(effect="status", status=503, count=1, path="/v2/customers/my/balance"))
    assert (await billing.ask(PollBalance())).status == "ok"
    await billing.provider.arm(Fault(effect="status", status=403, count=1, path="/v2/customers/my/balance"))
    assert (await billing.ask(PollBalance())).code == "provider_denied_access"
    assert len(await billing.fetch("select 1 from cloud_balance_snapshots")) == 1


async def test_old_balances_go_in_their_time_but_never_the_newest(billing: Billing) -> None:
    now = datetime.now(UTC)
    async with billing.db.transaction() as conn:
        for age in (1200, 1100, 1096, 1090):
            polled_at = now - timedelta(days=age)
            await store.insert_snapshot(conn, uuid7(), balance_of(ANSWER), polled_at)
        await upkeep.drop_old_snapshots(conn, now)
        assert len(await conn.fetch("select 1 from cloud_balance_snapshots")) == 1
        await upkeep.drop_old_snapshots(conn, now + timedelta(days=100))
        assert len(await conn.fetch("select 1 from cloud_balance_snapshots")) == 1


async def test_the_newest_balance_is_told_again_when_asked(billing: Billing) -> None:
    for _ in range(2):
        await billing.ask(PollBalance())
    assert await republish(service, billing.db, "ops@arcadia.test") == 1
    _, newest, again = await told(billing, 3)
    assert (again.type, again.sequence) == ("arcadia.billing.balance-republished.v1", newest.sequence)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("12.34", 1234), ("-12.34", -1234), ("0", 0), ("0.005", 1), ("-0.005", -1), ("0.0049", 0), ("1E2", 10_000)],
)
def test_dollars_are_cents_half_up(text: str, amount: int) -> None:
    assert cents(text) == amount


@given(st.decimals(-(10**9), 10**9, places=2))
def test_every_amount_of_whole_cents_is_exact(amount: Decimal) -> None:
    assert cents(str(amount)) == amount * 100


@pytest.mark.parametrize("text", ["", "NaN", "Infinity", "$5", "five"])
def test_what_is_no_amount_is_no_balance(text: str) -> None:
    with pytest.raises(ValueError, match="no amount"):
        balance_of(ANSWER | {"account_balance": text})


@pytest.mark.parametrize("name", ANSWER)
def test_an_answer_that_lacks_something_is_no_balance(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        balance_of({key: value for key, value in ANSWER.items() if key != name})
