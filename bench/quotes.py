"""quotes: every subscribed deployment is quoted again, by the service in a process of its own.

A price changes for a kind that all of them used, as it does over HTTP: an event on the bus. Time counts from then on
until the last quote is made, and until the last is told on the bus. Each of them then is what the function of quotes
gives for the same, and each was told once.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaProducer

from bench.report import Figure, Report
from bench.serving import database, server
from contracts.catalog import ResourcePrice, ResourcePrices, ResourcePriceSet
from contracts.kinds import BillingKind
from contracts.money import Currency
from contracts.quotes import QUOTES
from dev.stack import Stack, free_port
from services.deployments.seed import PLANS
from shared.bus import tail
from shared.config import Settings
from shared.ids import uuid7
from shared.outbox import Sender
from shared.outcome import Meta, Outcome

DEPLOYMENTS = 10_000
_DAYS = 30
_KINDS = {"droplet_hours": 48, "spaces_gb_month": 2, "snapshot_gb_month": 1, "dns_zones": 0.1, "backup_gb_month": 0.5}
_PRICED = BillingKind.BACKUP_GB_MONTH  # no plan covers it
_PERIOD = date(2026, 4, 1)
_ROUNDS = 3
_BAR_S = 5
_LONGEST_S = 120


async def run(stack: Stack) -> Report:
    """Measure on this stack."""
    settings = await database(stack)
    owner = await asyncpg.connect(settings.role_url("billing"), server_settings={"search_path": "billing"})
    await _fill(owner)
    with server(["-m", "cli.main", "run", "billing"], settings, free_port(), "/readyz"):
        await _until(owner, "count(*) = $1 and not exists (select from outbox) from quotes", DEPLOYMENTS)
        rounds = [await _round(settings, owner, number) for number in range(_ROUNDS)]
    await owner.close()
    made, told = sorted(rounds)[_ROUNDS // 2]
    return Report(
        "quotes",
        f"{DEPLOYMENTS:,} subscribed deployments quoted again, each of {_DAYS} days of {len(_KINDS)} kinds",
        [Figure("time until all are made", made, _BAR_S, "s", 1, "lower", "limit")],
        {
            "seconds until all are told on the bus": round(told, 2),
            "us a quote": round(made / DEPLOYMENTS * 1e6),
            "rounds, of which the middle one counts": _ROUNDS,
            "seconds until all are made, in each": ", ".join(f"{seconds:.2f}" for seconds, _ in rounds),
        },
    )


async def _fill(owner: asyncpg.Connection[Any]) -> None:
    """Deployments that are subscribed to Studio, and what they used."""
    await owner.execute("set search_path to billing")
    terms = PLANS[1][1]
    version = uuid7()
    await owner.execute(
        """
        insert into plan_versions (id, plan_code, number, status, base_price_cents, currency, items, version)
        values ($1, 'studio', 1, 'active', $2, 'AUD', $3::text::jsonb, 1)
        """,
        version,
        terms.base_price_cents,
        "[" + ",".join(item.model_dump_json() for item in terms.items) + "]",
    )
    await owner.execute(
        """
        with made as (select n, md5(n::text)::uuid as id from generate_series(1, $1) n),
        subscribed as (
          insert into subscriptions (id, deployment_id, tenant_id, status, plan_version_id, version)
          select id, id, 'tenant-' || n % 100, 'active', $2, 1 from made),
        bound as (
          insert into subscription_periods (deployment_id, period, subscription_id, plan_version_id, version)
          select id, $3, id, $2, 1 from made),
        stale as (insert into stale_quotes select id, $3, now() from made)
        insert into usage_days (deployment_id, day, resource_kind, used, observations, version)
        select id, $3 + day, kind, round(a_day * (0.5 + (n + day) % 50 / 50.0), 3), 2, 1
        from made, generate_series(0, $4::int - 1) day, unnest($5::text[], $6::numeric[]) k(kind, a_day)
        """,
        DEPLOYMENTS,
        version,
        _PERIOD,
        _DAYS,
        list(_KINDS),
        list(_KINDS.values()),
    )
    await owner.execute(
        """
        insert into usage_months
        select deployment_id, $1, resource_kind, sum(used) from usage_days group by deployment_id, resource_kind
        """,
        _PERIOD,
    )
    await owner.execute("analyze")


async def _round(settings: Settings, owner: asyncpg.Connection[Any], number: int) -> tuple[float, float]:
    """Seconds until all quotes are made after a price changed, and until all are told."""
    before = await owner.fetchval("select sum(version) from quotes")
    cents = Decimal(number + 1)
    since_ms = int(time.time() * 1000)
    started = time.perf_counter()
    await _tell_price(settings, cents, number + 1)
    await _until(owner, "sum(version) >= $1 from quotes", before + DEPLOYMENTS)
    made = time.perf_counter() - started
    await _until(owner, "not exists (select from outbox) and $1 > 0", 1)
    told = time.perf_counter() - started
    await _check(settings, owner, cents, since_ms)
    return made, told


async def _tell_price(settings: Settings, cents: Decimal, version: int) -> None:
    """Put the news of a price on the bus, as the catalog's relay does."""
    price = ResourcePrice(
        effective_from=datetime(2026, 1, 1, tzinfo=UTC), unit_price_cents=cents, currency=Currency.AUD
    )
    told = ResourcePrices(resource_kind=_PRICED, prices=[price], version=version)
    outcome = Outcome(events=[ResourcePriceSet(resource_prices=told)])
    (row,) = Sender("bench").rows(outcome, Meta(uuid7(), datetime.now(UTC)))
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers, acks="all") as producer:
        await producer.send_and_wait(settings.kafka_prefix + row.topic, row.payload, key=row.key.encode())


async def _until(owner: asyncpg.Connection[Any], condition: str, value: int) -> None:
    async with asyncio.timeout(_LONGEST_S):
        while not await owner.fetchval(f"select {condition}", value):
            await asyncio.sleep(0.05)


async def _check(settings: Settings, owner: asyncpg.Connection[Any], cents: Decimal, since_ms: int) -> None:
    """Raise where a quote is not what it must be, or was not told once."""
    wrong = await owner.fetchval(
        """
        select count(*) from quotes q
        cross join lateral (
          select round(sum(used) * $1) as priced from usage_days u
          where u.deployment_id = q.deployment_id and u.resource_kind = $2) p
        where not exists (
          select from jsonb_array_elements(q.lines) l
          where l ->> 'resource_kind' = $2 and (l ->> 'amount_cents')::numeric = p.priced)
          or q.total_cents <> (select sum((l ->> 'amount_cents')::bigint) from jsonb_array_elements(q.lines) l)
        """,
        cents,
        _PRICED,
    )
    told: set[UUID] = set()
    records = 0
    async with tail(settings, [QUOTES], since_ms=since_ms) as consumer:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records += len(batch)
                told |= {UUID(record.key.decode().split(":")[0]) for record in batch}
    if wrong or records != DEPLOYMENTS or len(told) != DEPLOYMENTS:
        raise RuntimeError(f"{wrong} quotes are wrong; {records} told, of {len(told)} deployments")
