"""pipeline: events from an outbox through Kafka to projected rows, and how long one alone takes.

Peer: a bare loop in one process that reads the same events from a topic (aiokafka getmany, orjson, one unnest insert
per batch, one commit per batch), with no outbox, no contracts, no guard against duplicates.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import orjson
import psutil
from aiokafka import AIOKafkaConsumer

from bench.report import Figure, Report, middle, percentile
from bench.serving import fresh_database
from dev.stack import Stack
from shared import outbox
from shared.config import Settings
from shared.ids import uuid7
from shared.outbox import Sender
from shared.outcome import Meta
from tests.conftest import settings_for
from tests.ledger.messages import ACCOUNTS, Account, AccountChanged
from tests.ledger.world import World, world

EVENTS = 100_000
_SAMPLES = 200
_WARM_UP = 50
_ROUNDS = 3
_MEMORY_LIMIT_MB = 150


async def run(stack: Stack) -> Report:
    """Measure on this stack. Two mirrors, because a process waits for its database a third of the time."""
    async with _fresh(stack) as there:
        there.start("ledger", 2)
        there.start("mirror", 2)
        await _warm_up(there)
        portions = [await _latency(there, n) for n in range(_ROUNDS)]  # before what leaves much to clear up
        rounds = [(await _throughput(there, n), await _bare(there.settings, n)) for n in range(_ROUNDS)]
        memory = max(psutil.Process(r.process.pid).memory_info().rss / 2**20 for r in there.replicas)
    ours, bare = middle(rounds)
    latencies = sorted(portions, key=statistics.median)[_ROUNDS // 2]
    return Report(
        "pipeline",
        f"{EVENTS:,} events, outbox -> Kafka -> projected row; latency of one event from commit to handled",
        [
            Figure(
                f"throughput, the middle one of {_ROUNDS} rounds",
                ours,
                bare,
                "events/s",
                0.5,
                "higher",
                "bare getmany + orjson + unnest insert",
            ),
            Figure("idle latency p50", percentile(latencies, 0.5), 10, "ms", 1, "lower", "limit"),
            Figure("idle latency p99", percentile(latencies, 0.99), 50, "ms", 1, "lower", "limit"),
            Figure("memory of the largest process", memory, _MEMORY_LIMIT_MB, "MiB", 1, "lower", "limit"),
        ],
        {
            "replicas": "2 ledgers, of which one relays; 2 mirrors",
            f"latency samples, in the middle one of {_ROUNDS} rounds": _SAMPLES,
        },
    )


@asynccontextmanager
async def _fresh(stack: Stack) -> AsyncIterator[World]:
    """The test services on a database of their own."""
    async with fresh_database(stack) as url:
        with TemporaryDirectory() as logs:
            async with world(settings_for(stack, url), Path(logs)) as there:
                yield there


async def _emit(there: World, accounts: Sequence[Account]) -> float:
    """Commit events to the ledger's outbox, and notify as a replica that does not lead would. Gives when it did."""
    meta = Meta(uuid7(), datetime.now(UTC))
    sender = Sender("ledger")
    rows = [sender.event(AccountChanged(account=account), meta) for account in accounts]
    async with there.ledger.transaction() as conn:
        await outbox.insert(conn, rows)
    committed = time.perf_counter()
    await there.ledger.pool.execute('notify "ledger_outbox"')
    return committed


async def _warm_up(there: World) -> None:
    await _emit(there, [Account(name=f"warm-{n}", balance=0, version=1) for n in range(2000)])
    await _projected(there, 2000)


async def _projected(there: World, count: int) -> None:
    async with asyncio.timeout(120):
        while await there.mirror.pool.fetchval("select count(*) from accounts") < count:
            await asyncio.sleep(0.2)  # the count takes milliseconds of a processor


async def _latency(there: World, turn: int) -> list[float]:
    """Milliseconds from a commit, in a process that does not lead, to the word that the handler's own is committed."""
    latencies = []
    async with _told_of_rows(there) as told:
        for n in range(_WARM_UP + _SAMPLES):
            started = await _emit(there, [Account(name=f"single-{turn}-{n}", balance=0, version=1)])
            await asyncio.wait_for(told.get(), 30)
            latencies.append((time.perf_counter() - started) * 1000)
            await asyncio.sleep(0.05)
    return latencies[_WARM_UP:]


@asynccontextmanager
async def _told_of_rows(there: World) -> AsyncIterator[asyncio.Queue[str]]:
    """The names of projected accounts as they are committed. (To look for them again and again would load a core.)"""
    told: asyncio.Queue[str] = asyncio.Queue()
    url = there.settings.database_url.get_secret_value()
    conn = await asyncpg.connect(url, server_settings={"search_path": "mirror"})
    await conn.execute(
        """
        create or replace function tell() returns trigger language plpgsql as
          $$ begin perform pg_notify('projected', new.name); return null; end $$;
        create trigger tell after insert on accounts for each row execute function tell();
        """
    )
    await conn.add_listener("projected", lambda *notification: told.put_nowait(notification[-1]))
    yield told
    await conn.execute("drop trigger tell on accounts")
    await conn.close()


async def _throughput(there: World, turn: int) -> float:
    """Events a second, from the commit of all of them to the last row."""
    before = await there.mirror.pool.fetchval("select count(*) from accounts")
    started = await _emit(there, [Account(name=f"bulk-{turn}-{n}", balance=0, version=1) for n in range(EVENTS)])
    await _projected(there, before + EVENTS)
    return EVENTS / (time.perf_counter() - started)


async def _bare(settings: Settings, turn: int) -> float:
    """The peer, on as many events that ours has published."""
    conn = await asyncpg.connect(settings.database_url.get_secret_value(), server_settings={"search_path": "mirror"})
    await conn.execute("drop table if exists bare; create table bare (like accounts including all)")
    consumer = AIOKafkaConsumer(
        settings.kafka_prefix + ACCOUNTS,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=f"{settings.kafka_prefix}bare-{turn}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        await consumer.getmany(timeout_ms=10_000, max_records=1)  # the group's start-up is not measured
        await consumer.seek_to_beginning()
        return await _bare_loop(consumer, conn)
    finally:
        await consumer.stop()
        await conn.close()


async def _bare_loop(consumer: AIOKafkaConsumer, conn: asyncpg.Connection) -> float:
    started = time.perf_counter()
    rows = 0
    while rows < EVENTS:
        found = await consumer.getmany(timeout_ms=1000, max_records=500)
        accounts = [orjson.loads(r.value)["data"]["account"] for records in found.values() for r in records]
        await conn.execute(
            "insert into bare select * from unnest($1::text[], $2::bigint[], $3::bigint[]) on conflict do nothing",
            [account["name"] for account in accounts],
            [account["balance"] for account in accounts],
            [account["version"] for account in accounts],
        )
        await consumer.commit()
        rows += len(accounts)
    return rows / (time.perf_counter() - started)
