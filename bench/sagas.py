"""sagas: seven echo steps, each a command, an answer and a durable step, beside DBOS Transact doing the same seven.

Both on one PostgreSQL that waits for its disk. Ours goes through Kafka at every step, as it does where another service
is asked; DBOS calls a function.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.report import Figure, Report, percentile
from bench.serving import database, server
from contracts.message import Envelope
from contracts.sagas import COMMANDS, REPLIES, RUNS, SagaCompleted, StartSaga
from dev.stack import Stack, free_port
from shared.config import Settings
from shared.ids import uuid7
from shared.wire import encode
from tests.conftest import new_database

STEPS = 7
_CONCURRENCIES = (1, 20, 200)
_ROUNDS = 3
_SECONDS = 5.0
_WARM_S = 5.0
_CHECKOUT = Path(__file__).parents[1]
_PEER = _CHECKOUT / ".venv-bench" / "bin" / "python"  # its dependencies are no business of ours

Measured = dict[str, float]


async def run(stack: Stack) -> Report:
    """Measure on this stack: ours and the peer in turns, so that a slow moment of the machine hits both."""
    settings = await database(stack)
    rounds: dict[int, list[tuple[Measured, Measured]]] = {concurrency: [] for concurrency in _CONCURRENCIES}
    with server(["-m", "cli.main", "run", "sagas"], settings, free_port(), "/readyz"):
        async with _client(settings) as client:
            await client.keep_busy(50, _WARM_S)
            for _ in range(_ROUNDS):
                for concurrency in _CONCURRENCIES:
                    ours = await client.keep_busy(concurrency, _SECONDS)
                    rounds[concurrency].append((ours, await _peer(stack, concurrency)))
    cost = {each: await _cost(stack, each) for each in (1, 200)}
    return _report({concurrency: _middle(pairs) for concurrency, pairs in rounds.items()}, cost)


def _middle(pairs: list[tuple[Measured, Measured]]) -> tuple[Measured, Measured]:
    """The round with the median ratio, for both sides."""
    return sorted(pairs, key=lambda pair: pair[0]["per_s"] / pair[1]["per_s"])[len(pairs) // 2]


def _report(middle: dict[int, tuple[Measured, Measured]], cost: dict[int, Measured]) -> Report:
    (alone, peer_alone), (some, peer_some), (many, peer_many) = (middle[each] for each in _CONCURRENCIES)
    per_batch = {each: each_cost["statements"] / each_cost["commits"] for each, each_cost in cost.items()}
    return Report(
        "sagas",
        f"{STEPS} durable steps a saga, through Kafka, one process; beside it as many in one process",
        [
            Figure("200 at once", many["per_s"], peer_many["per_s"], "sagas/s", 10, "higher", "DBOS Transact"),
            Figure("one at a time, p50", alone["p50_ms"], peer_alone["p50_ms"], "ms", 2, "lower", "DBOS Transact"),
        ],
        {
            "20 at once, sagas/s, ours and DBOS": [round(some["per_s"], 1), round(peer_some["per_s"], 1)],
            "200 at once, p50 ms, ours and DBOS": [round(many["p50_ms"]), round(peer_many["p50_ms"])],
            "one at a time, p99 ms, ours and DBOS": [round(alone["p99_ms"]), round(peer_alone["p99_ms"])],
            "messages a step": round(cost[200]["messages"], 2),
            "commits a step, alone and with 200": [round(cost[each]["commits"], 2) for each in cost],
            "SQL statements a step, alone and with 200": [round(cost[each]["statements"], 2) for each in cost],
            "SQL statements a commit, BEGIN and COMMIT among them, alone and with 200": [
                round(value, 1) for value in per_batch.values()
            ],
        },
    )


async def _peer(stack: Stack, concurrency: int) -> Measured:
    """The same load on DBOS, in a process and a database of its own."""
    url = await new_database(stack)
    command = [str(_PEER), str(_CHECKOUT / "bench" / "dbos_steps.py"), url, str(concurrency), str(_SECONDS)]

    def run() -> Measured:
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=180)
        measured: Measured = json.loads(done.stdout)
        return measured

    return await asyncio.to_thread(run)


async def _cost(stack: Stack, concurrency: int) -> Measured:
    """What a step costs: statements by the server's own log, in a portion whose time is not measured."""
    settings = await database(stack)
    conn = await asyncpg.connect(settings.database_url.get_secret_value())
    await conn.execute(
        f"alter database {urlsplit(settings.database_url.get_secret_value()).path[1:]} set log_statement = 'all'"
    )
    await conn.close()
    prefixed = settings.model_copy(update={"kafka_prefix": f"cost{concurrency}."})
    with server(["-m", "cli.main", "run", "sagas"], prefixed, free_port(), "/readyz"):
        async with _client(prefixed) as client:
            await client.keep_busy(concurrency, 1.0)
            messages, logged = await client.messages(), len(_statements(stack))
            done = (await client.keep_busy(concurrency, 2.0))["sagas"] * STEPS
            statements = _statements(stack)[logged:]
            return {
                "messages": (await client.messages() - messages) / done,
                "statements": len(statements) / done,
                "commits": sum("COMMIT" in each for each in statements) / done,
            }


def _statements(stack: Stack) -> list[str]:
    log = stack.postgres.log.read_text(errors="replace")
    return [line for line in log.splitlines() if " execute " in line or " statement: " in line]


class Client:
    """Whoever wants sagas done: keeps some under way, and hears of each that is completed."""

    def __init__(self, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, prefix: str) -> None:
        self._producer = producer
        self._consumer = consumer
        self._prefix = prefix
        self._waiting: dict[str, asyncio.Future[None]] = {}

    async def listen(self) -> None:
        """Hear what the service tells of its runs."""
        async for record in self._consumer:
            told = orjson.loads(record.value)
            if told["type"] == SagaCompleted.TYPE and (future := self._waiting.pop(told["subject"], None)):
                future.set_result(None)

    async def messages(self) -> int:
        """How many messages the service's topics hold."""
        partitions = self._consumer.assignment()
        topics = [self._prefix + topic for topic in (COMMANDS, REPLIES, RUNS)]
        ends = await self._consumer.end_offsets([tp._replace(topic=topic) for topic in topics for tp in partitions])
        return sum(ends.values())

    async def keep_busy(self, concurrency: int, seconds: float) -> Measured:
        """Keep so many sagas under way for a while."""
        taken: list[float] = []
        began = time.perf_counter()

        async def one_after_the_other() -> None:
            while time.perf_counter() - began < seconds:
                at = time.perf_counter()
                await self._one()
                taken.append((time.perf_counter() - at) * 1000)

        await asyncio.gather(*(one_after_the_other() for _ in range(concurrency)))
        took = time.perf_counter() - began
        return {
            "sagas": len(taken),
            "per_s": len(taken) / took,
            "p50_ms": percentile(taken, 0.5),
            "p99_ms": percentile(taken, 0.99),
        }

    async def _one(self) -> None:
        id = uuid7()
        future = self._waiting[str(id)] = asyncio.get_running_loop().create_future()
        command = StartSaga(saga_id=id, kind="exercise", inputs={"steps": ["echo"] * STEPS})
        envelope = Envelope.of(command, id=uuid7(), source="/arcadia/bench", time=datetime.now(UTC), actor="bench")
        await self._producer.send(self._prefix + COMMANDS, encode(envelope), key=envelope.subject.encode())
        async with asyncio.timeout(60):
            await future


@asynccontextmanager
async def _client(settings: Settings) -> AsyncIterator[Client]:
    servers, prefix = settings.kafka_bootstrap_servers, settings.kafka_prefix
    async with (
        AIOKafkaProducer(bootstrap_servers=servers, acks="all") as producer,
        AIOKafkaConsumer(prefix + RUNS, bootstrap_servers=servers, fetch_max_wait_ms=50) as consumer,
    ):
        while not consumer.assignment():
            await asyncio.sleep(0.1)
        client = Client(producer, consumer, prefix)
        listening = asyncio.create_task(client.listen())
        try:
            yield client
        finally:
            listening.cancel()
            await asyncio.wait({listening})
