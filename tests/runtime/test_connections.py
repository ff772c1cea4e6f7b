"""Connections to Kafka end with whoever opened them, at whatever moment that is told to end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import psutil
import pytest

from contracts.registry import topics
from shared.bus import Records, Subscription, ensure_topics, tail
from shared.config import Settings
from shared.ids import uuid7
from shared.publisher import Publisher
from tests.runtime.probe import COMMANDS, Probe


async def publishing(settings: Settings) -> None:
    async with Publisher.open(settings, f"publisher-{uuid7()}"):
        await asyncio.sleep(60)


async def tailing(settings: Settings) -> None:
    async with tail(settings, [COMMANDS]):
        await asyncio.sleep(60)


async def creating(settings: Settings) -> None:
    await ensure_topics(settings, topics())
    await asyncio.sleep(60)


async def subscribing(settings: Settings) -> None:
    async def handle(_: Records) -> None: ...

    subscription = Subscription(settings, f"group-{uuid7()}", [COMMANDS], handle)
    try:
        await subscription.start()
        await asyncio.sleep(60)
    finally:
        await subscription.stop()


@pytest.mark.parametrize("work", [publishing, tailing, creating, subscribing])
async def test_whoever_is_cancelled_while_it_connects_leaves_no_connection(
    probe: Probe, work: Callable[[Settings], Awaitable[None]]
) -> None:
    port = int(urlsplit(f"//{probe.settings.kafka_bootstrap_servers[0]}").port or 0)
    before = connections(port)
    for milliseconds in range(0, 25, 2):
        task = asyncio.ensure_future(work(probe.settings))
        await asyncio.sleep(milliseconds / 1000)
        task.cancel()
        await asyncio.wait({task})
        async with asyncio.timeout(1):
            while connections(port) - before:
                await asyncio.sleep(0.01)


def connections(port: int) -> set[int]:
    """The local ports of this process's connections to one port."""
    there = psutil.Process().net_connections("tcp")
    return {it.laddr.port for it in there if it.raddr and it.raddr.port == port and it.status == "ESTABLISHED"}
