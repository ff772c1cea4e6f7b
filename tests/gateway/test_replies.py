"""A reply wakes who waits for its command, and nobody else."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from contracts.message import Reply
from contracts.runtime import GATEWAY_REPLIES
from services.gateway.gateway import Gateway
from shared import outbox
from shared.ids import uuid7
from shared.outbox import Sender
from shared.outcome import Meta


async def test_what_a_command_caused_may_be_answered_without_answering_the_command(gateway: Gateway) -> None:
    command, caused = uuid7(), uuid7()
    sender, meta = Sender("inventory"), Meta(uuid7(), datetime.now(UTC))
    replies = [
        Reply(command_id=id, command_type="arcadia.x.y.v1", correlation_id=command, status="ok", result={"of": str(id)})
        for id in (caused, command)
    ]
    async with gateway.replies.expect(command) as replied, gateway.replies.expect(caused) as other:
        async with asyncio.timeout(30):
            while not (replied.done() and other.done()):  # a gateway that has only just begun hears nothing yet
                async with gateway.database.transaction() as conn:
                    await outbox.insert(conn, [sender._row(reply, GATEWAY_REPLIES, meta) for reply in replies])
                gateway.process.relay.wake()
                await asyncio.wait({replied, other}, timeout=0.5)
        assert replied.result().result == {"of": str(command)}
        assert other.result().result == {"of": str(caused)}
