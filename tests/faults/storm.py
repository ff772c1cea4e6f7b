"""A seeded storm: processes killed and frozen, servers restarted, groups rebalanced, the relay's leader hung."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from dev.stack import Stack
from shared.db import OUTAGES
from tests.ledger.world import Replica, World

# Longer than the relay's lease, the idle-in-transaction time-out and the tests' session time-out together.
_HUNG_S = 10.0


class Storm(ABC):
    """Faults at random moments. The same seed gives the same faults in the same order."""

    def __init__(self, replicas: list[Replica], stack: Stack, seed: int) -> None:
        self.happened: list[str] = []
        self._replicas = replicas
        self._stack = stack
        self._random = random.Random(seed)

    @abstractmethod
    def kinds(self) -> list[Callable[[], Awaitable[str]]]:
        """Each comes at least as often as here before any comes again, in an order of the seed's choosing."""

    async def blow(self, count: int) -> None:
        """Let `count` faults happen, one after the other; afterwards everything runs again."""
        while len(self.happened) < count:
            for fault in self._random.sample(self.kinds(), len(self.kinds())):
                if len(self.happened) == count:
                    break
                await asyncio.sleep(self._random.uniform(0.05, 1.5))
                self.happened.append(await fault())
        for replica in self._replicas:  # what was killed was started again by then, and nothing is to end by itself
            assert replica.running, f"{replica.service} has ended: {replica.log.read_text()[-2000:]}"

    def _pick(self, service: str | None = None) -> Replica:
        """A replica of a service; of any, where none is named."""
        return self._random.choice([each for each in self._replicas if service in {None, each.service}])

    async def _kill(self, service: str | None = None) -> str:
        victim = self._pick(service)
        victim.kill()
        await asyncio.sleep(self._random.uniform(0, 2))
        victim.start()
        return f"killed a {victim.service}"

    async def _freeze(self) -> str:
        victim = self._pick()
        seconds = self._random.choice([0.5, 3.0, _HUNG_S])
        victim.freeze()
        await asyncio.sleep(seconds)
        victim.thaw()
        return f"froze a {victim.service} for {seconds} s"

    async def _restart_broker(self) -> str:
        await asyncio.to_thread(self._stack.kafka.kill)
        await asyncio.sleep(self._random.uniform(0, 2))
        await asyncio.to_thread(self._stack.kafka.start)
        return "killed and restarted the broker"

    async def _restart_database(self) -> str:
        await asyncio.to_thread(self._stack.postgres.kill)
        await asyncio.sleep(self._random.uniform(0, 2))
        await asyncio.to_thread(self._stack.postgres.start)
        return "killed and restarted the database"


class FleetStorm(Storm):
    """A storm over all services: each of them is killed before any is killed again."""

    def kinds(self) -> list[Callable[[], Awaitable[str]]]:
        kills = [partial(self._kill, service) for service in sorted({each.service for each in self._replicas})]
        return [*kills, self._freeze, self._freeze, self._restart_broker, self._restart_database]

    async def hang(self, service: str, seconds: float) -> None:
        """Freeze a service for long: what was asked of it times out, and is answered all the same."""
        victim = self._pick(service)
        victim.freeze()
        await asyncio.sleep(seconds)
        victim.thaw()
        self.happened.append(f"{service} hung for {seconds} s")


class LedgerStorm(Storm):
    """A storm over the test services, with faults that are aimed at what they are doing."""

    def __init__(self, world: World, stack: Stack, seed: int) -> None:
        super().__init__(world.replicas, stack, seed)
        self._world = world

    def kinds(self) -> list[Callable[[], Awaitable[str]]]:
        return [
            self._kill,
            self._freeze,
            self._restart_broker,
            self._restart_database,
            self._rebalance,
            self._hang_relay_leader,
            self._kill_with_a_batch_in_hand,
            self._freeze,
        ]

    async def _kill_with_a_batch_in_hand(self) -> str:
        """While the database is away a batch is in hand for long: committing its offset early would lose it."""
        with suppress(*OUTAGES):
            async with self._world.ledger.transaction() as conn:
                await conn.execute("lock table accounts")
                await asyncio.sleep(1.5)  # commands come in, and wait for the lock in their handlers
                await asyncio.to_thread(self._stack.postgres.kill)
        await asyncio.sleep(6)  # long enough for a commit by the clock, aiokafka's default
        victims = [replica for replica in self._replicas if replica.running]
        for victim in victims:
            victim.kill()
        await asyncio.to_thread(self._stack.postgres.start)
        for victim in victims:
            victim.start()
        return "killed every process during an outage of the database"

    async def _rebalance(self) -> str:
        service = self._random.choice(["ledger", "mirror"])
        (extra,) = self._world.start(service)
        await asyncio.sleep(self._random.uniform(2, 4))
        self._replicas.remove(extra)
        await asyncio.to_thread(extra.terminate)
        return f"a {service} joined and left"

    async def _hang_relay_leader(self) -> str:
        """Freeze the process that publishes the ledger's outbox for longer than its lease."""
        pid = None
        with suppress(*OUTAGES):  # while the database is still starting, any process will do
            pid = await self._world.ledger.pool.fetchval(
                "select pid from processes where (report ->> 'relay')::boolean order by seen_at desc limit 1"
            )
        leader = next((r for r in self._replicas if r.process.pid == pid), None) or self._pick()
        leader.freeze()
        await asyncio.sleep(_HUNG_S)
        leader.thaw()
        return "hung the relay's leader"
