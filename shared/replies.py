"""Waiting for replies: every instance tails the whole reply topic and wakes whoever waits for a command's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import structlog
from aiokafka.errors import KafkaError

from contracts.message import Reply
from shared.bus import tail
from shared.config import Settings
from shared.wire import Unreadable, decode

log = structlog.get_logger(__name__)

_PAUSE_S = 1.0


class Replies:
    """Replies as they come, to whoever waits for them. They say what the answering service has written down.

    So nothing is lost when this instance, or Kafka, is away while an answer passes: the waiting look there.
    """

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self._waiting: dict[UUID, set[asyncio.Future[Reply]]] = {}

    async def run(self) -> None:
        """Read the topic from its end until cancelled."""
        while True:
            try:
                async with tail(self._settings, [self._topic]) as consumer:
                    async for record in consumer:
                        self._wake(record.value)
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("replies cannot be read", topic=self._topic, error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(_PAUSE_S)

    def _wake(self, raw: bytes | None) -> None:
        with suppress(Unreadable):
            _, reply = decode(raw or b"")
            if isinstance(reply, Reply) and reply.status != "pending":
                for future in self._waiting.get(reply.command_id, ()):
                    if not future.done():
                        future.set_result(reply)

    @asynccontextmanager
    async def expect(self, command_id: UUID) -> AsyncIterator[asyncio.Future[Reply]]:
        """A future for the final reply; open this before the command can possibly be answered."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(command_id, set())
        waiting.add(future)
        try:
            yield future
        finally:
            waiting.discard(future)
            if not waiting:
                self._waiting.pop(command_id, None)
