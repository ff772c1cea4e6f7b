"""The relay: publishes a service's outbox to Kafka, in order, from one process at a time.

The leader holds a lease row that expires, so a leader that hangs is replaced (an advisory lock would stay with it for
as long as it hangs). Its successor fences it at the broker: all leaders publish under the relay's name, and a partition
refuses an earlier one after a later one, so a leader that wakes in the middle of a batch cannot make a compacted topic
end on old state. What was published but not yet deleted is published again: consumers drop it by `sequence` (events) or
id (commands).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from uuid import uuid4

import asyncpg
import structlog

from shared import metrics, outbox
from shared.config import Settings
from shared.db import OUTAGES, Database, session_settings
from shared.outbox import Stored, Written
from shared.pause import jittered, pause
from shared.publisher import PUBLISH_ERRORS, Publisher
from shared.shortcut import Shortcut

log = structlog.get_logger(__name__)

LEASE_S = 8.0
SEND_TIMEOUT_S = 4.0
# Kafka forgets a name that opened no publisher for a week (`transactional.id.expiration.ms`), and whom to refuse.
PUBLISHER_LIFE_S = 3600.0
_RENEW_BELOW_S = 6.0  # more than a sending may take, so that a batch that is read slowly can still be sent
_RELEASE_S = 2.0
_BATCH = 5000
_BATCH_BYTES = 4 * 1024 * 1024
_UNDELETED = 64  # so many at most are left there by a leader that is busy: they cost the others more with each
_DELETE_AFTER_S = 0.05  # of rest: whoever waits for what was published does not share the processors with its deletion
_POLL_S = 0.25  # only for what no wake-up announced: a lost notification, a successor's first look
_SHORTEST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 2.0


class Relay:
    """One service process's relay: leads when it can, stands by otherwise.

    `wake` after each commit that wrote to the outbox: it reaches the leader wherever it runs.
    """

    def __init__(self, settings: Settings, database: Database, service: str) -> None:
        self.instance = uuid4()
        self.leading = False
        self.service = service
        self._settings = settings
        self._database = database
        self._lease_until = 0.0
        self._due = asyncio.Event()
        self._shortcut = Shortcut()
        self._notify_due = asyncio.Event()
        self._channel = f"{database.schema}_outbox"

    def wake(self, written: Written | None = None) -> None:
        """Say that the outbox has something, and what, if it is known. Cheap."""
        if not self.leading:
            self._notify_due.set()
        elif written is None:
            self._look()
        else:
            self._shortcut.offer(written)
            self._due.set()

    def _look(self) -> None:
        self._shortcut.look()
        self._due.set()

    async def run(self) -> None:
        """Relay until cancelled; then hand the lease over."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._forever(self._listen), name=f"relay-listen-{self.service}")
            tasks.create_task(self._forever(self._notify), name=f"relay-notify-{self.service}")
            try:
                await self._forever(self._lead)
            finally:
                await self._release()

    async def drain(self, seconds: float) -> None:
        """Wait until the outbox is empty or another process leads, some seconds at most."""
        with suppress(*OUTAGES):
            async with asyncio.timeout(seconds):
                while await self._has_work():
                    await asyncio.sleep(0.02)

    async def _has_work(self) -> bool:
        return self.leading and bool(await self._database.pool.fetchval("select exists (select from outbox)"))

    async def _forever(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work again and again; with growing pauses while it fails at once."""
        seconds = _SHORTEST_PAUSE_S
        while True:
            began = time.monotonic()
            try:
                await work()
            except (*OUTAGES, *PUBLISH_ERRORS) as error:
                log.warning("relay tries again", service=self.service, error=f"{type(error).__name__}: {error}")
                lasted = time.monotonic() - began > LEASE_S
                seconds = _SHORTEST_PAUSE_S if lasted else min(_LONGEST_PAUSE_S, seconds * 2)
                await asyncio.sleep(jittered(seconds))

    async def _lead(self) -> None:
        """Take the lease, publish while holding it. No publisher outlives the lead."""
        while not await self._acquire():
            await asyncio.sleep(LEASE_S / 4)
        self.leading = True
        log.info("relay leads", service=self.service)
        try:
            while await self._publish_for_a_while():
                pass
        finally:
            self.leading = False
        log.warning("relay no longer leads: the lease went to another process", service=self.service)

    async def _publish_for_a_while(self) -> bool:
        """Publish while the lease holds, for one publisher's life at most. Gives whether it still holds."""
        end = time.monotonic() + PUBLISHER_LIFE_S
        self._shortcut.look()  # whatever an earlier publisher had left to do
        async with Publisher.open(self._settings, f"{self.service}-relay") as publisher:
            while await self._renew():
                if time.monotonic() > end:
                    return True
                if not await self._publish(publisher):
                    await self._rest()
        return False

    async def _rest(self) -> None:
        published = self._shortcut.published
        await pause(self._due, _DELETE_AFTER_S if published else _POLL_S)
        if not self._due.is_set():
            if published:
                await self._delete()
            else:
                self._shortcut.look()
        self._due.clear()

    async def _publish(self, publisher: Publisher) -> bool:
        """Publish what is in the outbox, as much as goes at once. Gives whether there was more of it."""
        rows = self._shortcut.take()
        if rows is None:
            rows = await self._oldest()
        if not rows:
            return False
        self._shortcut.publishing(rows)
        await self._send(publisher, rows)
        self._shortcut.sent(rows)
        if len(self._shortcut.published) > _UNDELETED:
            await self._delete()
        metrics.PUBLISHED.labels(self.service).inc(len(rows))
        more = len(rows) == _BATCH or sum(len(payload or b"") for *_, payload in rows) >= _BATCH_BYTES
        if more:
            self._shortcut.look()
        return more

    async def _oldest(self) -> list[Stored]:
        async with self._database.connection() as conn:
            with self._shortcut.looking():
                return await outbox.oldest(conn, _BATCH, _BATCH_BYTES, self._shortcut.published)

    async def _delete(self) -> None:
        positions = list(self._shortcut.published)
        async with self._database.connection() as conn:
            await outbox.delete(conn, positions)
        self._shortcut.deleted(positions)

    async def _send(self, publisher: Publisher, rows: Sequence[Stored]) -> None:
        remaining = self._lease_until - time.monotonic()
        if remaining < SEND_TIMEOUT_S:
            raise TimeoutError("the relay's lease is nearly over")
        await publisher.send_all([(topic, key, value) for _, topic, key, value in rows], SEND_TIMEOUT_S)

    async def _acquire(self) -> bool:
        asked = time.monotonic()
        if asked >= self._lease_until:  # another may have led meanwhile
            self._shortcut.look()
        row = await self._database.pool.fetchval(
            """
            insert into relay_lease (holder, expires_at) values ($1, clock_timestamp() + $2 * interval '1 second')
            on conflict (only_row) do update set holder = excluded.holder, expires_at = excluded.expires_at
            where relay_lease.holder = excluded.holder or relay_lease.expires_at < clock_timestamp()
            returning true
            """,
            self.instance,
            LEASE_S,
        )
        if row:
            # Counted from before the question: the lease can only be longer than this process believes.
            self._lease_until = asked + LEASE_S
        return bool(row)

    async def _renew(self) -> bool:
        remaining = self._lease_until - time.monotonic()
        return remaining > _RENEW_BELOW_S or await self._acquire()

    async def _release(self) -> None:
        with suppress(*OUTAGES):  # also where this process only just failed to publish: another may fare better
            async with asyncio.timeout(_RELEASE_S):
                await self._database.pool.execute("delete from relay_lease where holder = $1", self.instance)

    async def _listen(self) -> None:
        """Hear the other replicas' notifications, on a connection of its own."""
        settings = session_settings(self._database.schema, f"arcadia-{self.service}-listen")
        conn = await asyncpg.connect(self._database.url, timeout=10, server_settings=settings)
        try:
            await conn.add_listener(self._channel, lambda *_: self._look())
            self._look()  # whatever came while nobody listened
            while True:
                await asyncio.sleep(1)
                if conn.is_closed():
                    raise ConnectionResetError("the connection that listens for notifications was closed")
                await conn.execute("select 1", timeout=5)
        finally:
            conn.terminate()

    async def _notify(self) -> None:
        """Tell the leader elsewhere. One notification outside any transaction stands for all commits since the last.

        (In every transaction it would halve the commits: PostgreSQL serialises them behind one lock.)
        """
        await self._notify_due.wait()
        self._notify_due.clear()
        await self._database.pool.execute(f'notify "{self._channel}"')
