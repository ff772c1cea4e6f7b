"""Runs services: everything one needs, started in order and stopped in reverse.

SIGTERM finishes the batch in hand, puts jobs back, flushes the relay and leaves the group.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol
from uuid import uuid4

import structlog

from contracts.registry import topics as all_topics
from shared import inbox, job_store, metrics, outbox
from shared.batch import Batch
from shared.bus import Subscription, ensure_topics, group_of
from shared.config import Settings
from shared.consumer import Consumer
from shared.db import CONTENTION, Connection, Database, DatabaseAway
from shared.health import HealthServer, process_report
from shared.ids import uuid7
from shared.jobs import Worker
from shared.outbox import Sender
from shared.outcome import Meta, Outcome
from shared.relay import Relay
from shared.service import Every, Service

log = structlog.get_logger(__name__)

_STARTUP_PAUSE_S = 1.0
_HEARTBEAT_S = 5.0
_SILENT_AFTER_S = 5.0  # not ready; a fetch is answered within 50 ms
_STUCK_AFTER_S = 60.0  # not alive: a restart may help
_BUSY_TOO_LONG_S = 300.0  # the same; the consumer hands a batch back sooner
_OBJECTS_BETWEEN_COLLECTIONS = 20_000  # CPython's own: 700
_OUTBOX_TOO_OLD_S = 60.0
_FLUSH_S = 5.0
_GOODBYE_S = 2.0
_HOUSEKEEPING = timedelta(minutes=10)


class Process:
    """One service in this process, with all its parts."""

    def __init__(self, service: Service[Any], settings: Settings, database: Database, resources: Any) -> None:
        self.service = service
        self.settings = settings
        self.database = database
        self.sender = Sender(service.name)
        self.relay = Relay(settings, database, service.name)
        jobs = [replace(job, lease=service.leased(settings, job.lease)) for job in service.jobs.values()]
        self.worker = Worker(database, self.sender, jobs, resources, self.relay.wake)
        self.consumer = Consumer(service, database, self._wake, dead_letter_limit=settings.dead_letter_limit)
        self.subscriptions = [
            Subscription(settings, group_of(service.name, kind), topics, self.consumer.handle)
            for kind, topics in _by_kind(service.consumed_topics()).items()
        ]
        self._id = uuid4()
        self._lagging: set[tuple[str, int]] = set()
        self._started = time.monotonic()
        self._started_at = datetime.now(UTC)

    @property
    def name(self) -> str:
        """The service's name."""
        return self.service.name

    def _wake(self, batch: Batch) -> None:
        if batch.rows:
            self.relay.wake(batch.written)
        if batch.jobs:
            self.worker.wake()

    def background(self) -> list[Callable[[], Awaitable[None]]]:
        """What runs beside the consumers, each until cancelled."""
        ticks = [*self.service.ticks, Every(_housekeep, _HOUSEKEEPING)]
        loops = [partial(self._tick, tick) for tick in ticks]
        return [self.relay.run, self.worker.run, self.consumer.retry_held, self._heartbeat, *loops]

    async def _tick(self, tick: Every) -> None:
        """Run a tick at its interval; again at once while it says (by an outcome) that there was something to do."""
        while True:
            busy = False
            try:
                busy = await self._tick_once(tick)
            except (DatabaseAway, *CONTENTION) as error:
                log.warning("tick skipped", service=self.service.name, tick=_name(tick), error=str(error))
            except Exception:
                log.exception("tick failed", service=self.service.name, tick=_name(tick))
            if not busy:
                await asyncio.sleep(tick.interval.total_seconds())

    async def _tick_once(self, tick: Every) -> bool:
        now = datetime.now(UTC)
        async with self.database.transaction() as conn:
            outcome = await tick.run(conn, now)
            if outcome is None:
                return False
            rows = self.sender.rows(outcome, Meta(uuid7(), now, actor=self.service.name))
            written = await outbox.insert(conn, rows)
        if rows:
            self.relay.wake(written)
        return True

    async def _heartbeat(self) -> None:
        """Tell the table `processes`, and the metrics, how this process is."""
        while True:
            lag = await self._lag()
            with suppress(DatabaseAway):
                async with self.database.connection() as conn:
                    await self._beat(conn, lag)
            await asyncio.sleep(_HEARTBEAT_S)

    async def say_goodbye(self) -> None:
        """Take this process off the table: it is no longer there, which is not the same as not heard of."""
        with suppress(DatabaseAway, TimeoutError):
            async with asyncio.timeout(_GOODBYE_S), self.database.connection() as conn:
                await conn.execute("delete from processes where id = $1", self._id)

    async def _beat(self, conn: Connection, lag: Mapping[tuple[str, int], int]) -> None:
        name = self.service.name
        report = process_report(self._started) | {
            "relay": self.relay.leading,
            "stopped": self.consumer.stopped,
            "lag": sum(lag.values()),
        }
        await conn.execute(
            """
            insert into processes (id, host, pid, started_at, seen_at, report) values ($1, $2, $3, $4, now(), $5)
            on conflict (id) do update set seen_at = excluded.seen_at, report = excluded.report
            """,
            self._id,
            socket.gethostname(),
            os.getpid(),
            self._started_at,
            report,
        )
        (health,) = await conn.fetch("select outbox_depth, outbox_age_s, jobs_queued, dead from v1_all_health")
        metrics.OUTBOX_DEPTH.labels(name).set(health["outbox_depth"])
        metrics.OUTBOX_AGE.labels(name).set(health["outbox_age_s"] or 0)
        metrics.JOBS_WAITING.labels(name).set(health["jobs_queued"])
        metrics.DEAD_LETTERS.labels(name).set(health["dead"])
        for gone in self._lagging - lag.keys():  # the partition is another process's now
            metrics.LAG.remove(name, *gone)
        for tp, behind in lag.items():
            metrics.LAG.labels(name, *tp).set(behind)
        self._lagging = set(lag)

    async def _lag(self) -> dict[tuple[str, int], int]:
        return {tp: behind for subscription in self.subscriptions for tp, behind in (await subscription.lag()).items()}

    async def alive(self) -> dict[str, str | None]:
        """Whether the consumers make progress. (A ping of the broker would not see one that is stuck.)"""
        busy = max((subscription.busy_for() for subscription in self.subscriptions), default=0.0)
        silent = self._silent_for()
        if busy > _BUSY_TOO_LONG_S:
            return {"consumer": f"a batch has been in hand for {busy:.0f} s"}
        return {"consumer": f"no answer to a fetch for {silent:.0f} s" if silent > _STUCK_AFTER_S else None}

    def _silent_for(self) -> float:
        now_ms = int(time.time() * 1000)
        return max((subscription.silent_for(now_ms) or 0.0 for subscription in self.subscriptions), default=0.0)

    async def ready(self) -> dict[str, str | None]:
        """Whether database, broker, consumer and outbox are as they should be."""
        async with self.database.connection() as conn:
            age = await conn.fetchval("select outbox_age_s from v1_all_health")
        alive = await self.alive()
        silent = self._silent_for()
        too_old = age is not None and age > _OUTBOX_TOO_OLD_S
        unreadable = [why for subscription in self.subscriptions for why in subscription.unreadable.values()]
        return {
            "database": None,
            "broker": f"no answer to a fetch for {silent:.0f} s" if silent > _SILENT_AFTER_S else None,
            "consumer": "stopped: too many messages fail" if self.consumer.stopped else alive["consumer"],
            "topics": "; ".join(unreadable) or None,
            "outbox": f"the oldest message waits for {age:.0f} s" if too_old else None,
        }


@asynccontextmanager
async def running(service: Service[Any], settings: Settings) -> AsyncIterator[Process]:
    """A service at work, until the block ends. Waits for database and broker as long as it takes."""
    async with AsyncExitStack() as stack:
        database = await patiently(lambda: Database.of_service(settings, service.name), "database")
        stack.push_async_callback(database.close)
        topics = asyncio.create_task(patiently(lambda: ensure_topics(settings, all_topics()), "broker"))
        stack.push_async_callback(cancelled, [topics])
        if service.consumed_topics():  # one that only sends can begin without the broker
            await topics
        resources = await stack.enter_async_context(service.resources(settings))
        process = Process(service, settings, database, resources)
        stack.push_async_callback(process.say_goodbye)
        background = [asyncio.create_task(guarded(run)) for run in process.background()]
        stack.push_async_callback(cancelled, background)
        stack.push_async_callback(process.relay.drain, _FLUSH_S)
        stack.push_async_callback(_stop_all, process.subscriptions)
        for subscription in process.subscriptions:
            await patiently(subscription.start, "broker")
        stack.callback(process.consumer.leave)
        log.info("service started", service=service.name, topics=service.consumed_topics())
        yield process
        log.info("service stops", service=service.name)


async def _stop_all(subscriptions: Sequence[Subscription]) -> None:
    """Stop them side by side: each may have a batch in hand."""
    await asyncio.gather(*(subscription.stop() for subscription in subscriptions))


class Part(Protocol):
    """Something that runs in this process and can say how it is (see `shared.health`)."""

    @property
    def name(self) -> str: ...
    async def alive(self) -> Mapping[str, str | None]: ...
    async def ready(self) -> Mapping[str, str | None]: ...


async def run(
    services: Sequence[Service[Any]], settings: Settings, beside: Sequence[AbstractAsyncContextManager[Part]] = ()
) -> None:
    """Run services until SIGTERM or SIGINT. `beside`: other parts to be run with them, the gateway for one."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    started = asyncio.Event()
    managers = [*(running(service, settings) for service in services), *beside]
    serving = asyncio.create_task(_serve(managers, settings, started, stop))
    asked = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        asked.cancel()
        if not started.is_set():  # it may wait for a server that never comes
            serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


async def _serve(
    managers: Sequence[AbstractAsyncContextManager[Part]],
    settings: Settings,
    started: asyncio.Event,
    stop: asyncio.Event,
) -> None:
    health = HealthServer(settings.health_host, settings.health_port)
    health.ready["process"] = _starting
    async with AsyncExitStack() as stack:
        serving = asyncio.create_task(guarded(health.run))
        stack.push_async_callback(cancelled, [serving])
        for manager in managers:
            part: Part = await stack.enter_async_context(manager)
            health.alive[part.name] = part.alive
            health.ready[part.name] = part.ready
        del health.ready["process"]
        _spare_the_collector()
        started.set()
        await stop.wait()


def _spare_the_collector() -> None:
    """Take what start-up made out of the garbage collector's rounds, and make those rarer.

    A batch makes thousands of objects that are all gone at its end: looking at them took a third of a consumer's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)


async def _starting() -> Mapping[str, str | None]:
    return {"start": "the database or the broker is awaited, or the consumers are joining their groups"}


async def guarded(run: Callable[[], Awaitable[None]]) -> None:
    """A background part that ends by an error is a bug: say so, and start it again rather than limp on without it."""
    while True:
        try:
            await run()
        except Exception:
            log.exception("background part failed; starting it again", part=getattr(run, "__qualname__", str(run)))
        await asyncio.sleep(_STARTUP_PAUSE_S)


async def cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for their ends."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def vital(work: Coroutine[Any, Any, None], what: str) -> AsyncIterator[None]:
    """Run something beside the block, which must make it end: where it ends sooner, the block ends by that error."""
    leaving = False

    async def watched() -> None:
        await work
        if not leaving:
            raise RuntimeError(f"{what} ended by itself")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watched())
        try:
            yield
        finally:
            leaving = True


async def patiently(attempt: Callable[[], Awaitable[Any]], what: str) -> Any:
    """Keep trying while the database or the broker is away: services may be started in any order."""
    from aiokafka.errors import KafkaError

    while True:
        try:
            return await attempt()
        except (DatabaseAway, KafkaError, OSError) as error:
            log.warning(f"waiting for the {what}", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(_STARTUP_PAUSE_S)


async def _housekeep(conn: Connection, _: datetime) -> Outcome | None:
    """Forget what is past its retention."""
    gone = await inbox.delete_expired(conn) + await job_store.delete_finished(conn)
    await conn.execute("delete from processes where seen_at < now() - interval '1 day'")
    return Outcome() if gone else None


def _by_kind(names: Sequence[str]) -> dict[str, list[str]]:
    """Commands apart from the rest, so that a long backlog of events does not hold up commands."""
    commands = [name for name in names if name.endswith(".commands")]
    rest = [name for name in names if not name.endswith(".commands")]
    return {kind: topics for kind, topics in (("commands", commands), ("events", rest)) if topics}


def _name(tick: Every) -> str:
    return getattr(tick.run, "__name__", str(tick.run))
