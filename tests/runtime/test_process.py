"""A service as a process: it says how it is, finishes what it has in hand, and tells no secrets."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from contracts.message import Reply
from dev.stack import free_port
from shared.config import Settings
from shared.db import Connection
from shared.outcome import Meta, Outcome
from shared.process import vital
from shared.wire import decode
from tests.ledger.messages import Deposit
from tests.ledger.world import Replica, world
from tests.runtime.probe import COMMANDS, REPLIES, Errand, Poke, Probe, at_work, note, until


class Health:
    """A process's own HTTP server."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    async def get(self, path: str) -> httpx.Response | None:
        """The answer; None while nobody listens."""
        async with httpx.AsyncClient(trust_env=False) as client:
            try:
                return await client.get(self._url + path, timeout=10)
            except httpx.TransportError:
                return None

    async def becomes(self, path: str, status: int, seconds: float = 30) -> dict[str, Any]:
        """Wait for a status. Gives the body."""
        answers: list[httpx.Response | None] = []

        async def so() -> bool:
            answers[:] = [await self.get(path)]
            return answers[0] is not None and answers[0].status_code == status

        await until(so, seconds, f"{path} does not become {status}")
        assert answers[0] is not None
        body: dict[str, Any] = answers[0].json()
        return body


def with_health(settings: Settings) -> tuple[Settings, Health]:
    """Settings with a port for its health, and that."""
    port = free_port()
    return settings.model_copy(update={"health_port": port}), Health(port)


async def test_leaving_finishes_the_batch_in_hand_and_flushes_its_answers(own_probe: Probe) -> None:
    probe, begun = own_probe, asyncio.Event()
    tries: Counter[str] = Counter()

    async def slow(cmd: Poke, conn: Connection, meta: Meta) -> Outcome:
        begun.set()
        tries["all"] += 1
        await asyncio.sleep(1)
        return await note(cmd, conn, meta)

    probe.acts["slow"] = slow
    async with at_work(probe):
        ids = await probe.send(Poke(name="slow", note="first"), Poke(name="quick"))
        await begun.wait()
        asked = time.monotonic()
    assert 0.5 < time.monotonic() - asked < 5
    assert await probe.effects("slow") == ["first"]
    assert await probe.committed(COMMANDS) == 2
    assert await probe.database.pool.fetchval("select count(*) from outbox") == 0
    answers = [decode(value)[1] for value in await probe.read(REPLIES) if value]
    assert {answer.command_id for answer in answers if isinstance(answer, Reply)} == set(ids)
    async with at_work(probe):  # the group was left: its partitions need not wait for a time-out
        came = time.monotonic()
        (id,) = await probe.send(Poke(name="next"))
        await probe.outcome(id)
        assert time.monotonic() - came < probe.settings.kafka_session_timeout_s / 2
    assert tries["all"] == 1


async def test_a_job_in_hand_is_put_back_at_once(own_probe: Probe) -> None:
    begun = asyncio.Event()
    tries: Counter[str] = Counter()

    async def long_at_first(errand: Errand, run: Any) -> None:
        tries["all"] += 1
        if tries["all"] == 1:
            begun.set()
            await asyncio.sleep(60)

    own_probe.acts["long"] = long_at_first
    async with at_work(own_probe):
        (id,) = await own_probe.send(Errand(name="long"))
        await begun.wait()
    job = await own_probe.row("select * from jobs where id = $1", id)
    assert (job["status"], job["holder"], job["attempts"]) == ("queued", None, 0)
    async with at_work(own_probe):
        assert (await own_probe.outcome(id, seconds=5))["status"] == "ok"


async def test_leaving_does_not_wait_for_what_is_stopped(own_probe: Probe) -> None:
    """A consumer that stopped at its limit has a batch in hand that it cannot finish."""
    own_probe.settings = own_probe.settings.model_copy(update={"dead_letter_limit": 1})
    async with at_work(own_probe) as running:
        (offset,) = await own_probe.produce((b"a", b"garbage"))
        await own_probe.dead_letter(offset)
        await own_probe.send(Poke(name="waiting"))

        async def stopped() -> bool:
            return running.consumer.stopped

        await until(stopped, 10, "the consumer does not stop")
        asked = time.monotonic()
    assert time.monotonic() - asked < 5
    assert await own_probe.effects("waiting") == []


@pytest.fixture
def healthy(settings: Settings) -> tuple[Settings, Health]:
    return with_health(settings.model_copy(update={"log_format": "json", "log_level": "INFO"}))


async def test_a_process_reports_its_health_and_its_work(healthy: tuple[Settings, Health], tmp_path: Path) -> None:
    settings, health = healthy
    async with world(settings, tmp_path) as there:
        (replica,) = there.start("ledger")
        ready = await health.becomes("/readyz", 200)
        assert ready["checks"]["ledger"] == dict.fromkeys(("database", "broker", "consumer", "topics", "outbox"))
        (id,) = await there.send([Deposit(account="a", amount=5)], tenant_id="tenant-a")
        await there.send([Deposit(account="a", amount=-1)])
        await there.outcomes([id])
        assert (await health.becomes("/healthz", 200))["ok"] is True
        assert await _metric(health, 'arcadia_messages_handled_total{outcome="ok"') == 1
        assert await _metric(health, "arcadia_consumer_stopped") == 0
        missing = await health.get("/nothing")
        assert missing is not None
        assert missing.status_code == 404
        row = await there.ledger.pool.fetchrow("select * from processes")
        assert row is not None
        assert row["pid"] == replica.process.pid
        assert {"memory_mb", "uptime_s", "relay", "stopped", "lag"} <= set(row["report"])
        asked = time.monotonic()
        assert await asyncio.to_thread(replica.terminate) == 0
        assert time.monotonic() - asked < 5
        assert await there.ledger.pool.fetchval("select count(*) from processes") == 0
    _check_log(replica, settings, str(id))


async def test_the_lag_of_a_partition_is_told_by_who_has_it(healthy: tuple[Settings, Health], tmp_path: Path) -> None:
    """What another process took over is not this one's any more: its last figure would stay for good."""
    settings, health = healthy
    all_of_them = settings.kafka_partitions

    async with world(settings, tmp_path) as there:
        there.start("ledger")
        await until(lambda: _tells(health, all_of_them), 20, "the lag of all partitions is not told")
        there.replicas.append(Replica("ledger", settings.model_copy(update={"health_port": 0}), tmp_path / "other"))
        await until(lambda: _tells(health, all_of_them // 2), 25, "the lag of partitions that are gone is told")


async def _tells(health: Health, partitions: int) -> bool:
    answer = await health.get("/metrics")
    return answer is not None and answer.text.count("\narcadia_consumer_lag{") == partitions


async def test_a_part_that_must_last_ends_its_process_when_it_ends() -> None:
    async def ends() -> None:
        await asyncio.sleep(0.01)

    async def fails() -> None:
        raise OSError("no more sockets")

    for part, error in ((ends, "the server ended by itself"), (fails, "no more sockets")):
        with pytest.raises(ExceptionGroup) as raised:
            async with vital(part(), "the server"):
                await asyncio.sleep(60)
        assert raised.group_contains((RuntimeError, OSError), match=error)


async def _metric(health: Health, start: str) -> float:
    """The value of the first sample that begins so, whatever the order of its labels."""
    answer = await health.get("/metrics")
    assert answer is not None
    name, _, label = start.partition("{")
    samples = [line for line in answer.text.splitlines() if line.startswith(name) and label in line]
    return float(samples[0].rpartition(" ")[2])


def _check_log(replica: Replica, settings: Settings, id: str) -> None:
    """Every line is JSON, a message has one line with what identifies it, and no line has a password."""
    text = replica.log.read_text()
    assert settings.role_password not in text
    lines = [orjson.loads(line) for line in text.splitlines()]
    (mine,) = [line for line in lines if line.get("id") == id]
    assert mine["event"] == "handled"
    assert (mine["type"], mine["key"], mine["tenant"], mine["outcome"]) == (Deposit.TYPE, "a", "tenant-a", "ok")
    assert {"seconds", "correlation", "topic", "partition", "offset", "timestamp", "level"} <= set(mine)
    assert [line["event"] for line in lines if line["level"] in {"error", "critical"}] == []
