"""How an answer leaves: whole, broken off in the middle, or not at all."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dev.digitalocean.http import Answer

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class BreakableProtocol(HttpToolsProtocol):
    """uvicorn's protocol, whose connection the application can break: ASGI has no word for that."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["transport"] = self.transport


async def send_answer(given: Answer, scope: Scope, receive: Receive, send: Send) -> None:
    """Send an answer as it is broken."""
    transport: asyncio.Transport = scope["state"]["transport"]
    if given.broken == "reset":
        reset(transport)
        await _until_gone(receive)
        return
    await send({"type": "http.response.start", "status": given.status, "headers": _headers(given)})
    if given.broken == "half":
        await send({"type": "http.response.body", "body": given.body[: len(given.body) // 2], "more_body": True})
        transport.close()  # what was written still leaves
        await _until_gone(receive)
        return
    await send({"type": "http.response.body", "body": given.body})


def reset(transport: asyncio.Transport) -> None:
    """End a connection with a TCP reset, unless the other side has ended it already."""
    if transport.is_closing():
        return
    # Lingering for 0 seconds makes the kernel send RST in place of FIN.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _headers(given: Answer) -> list[tuple[bytes, bytes]]:
    headers = [(name.encode(), value.encode()) for name, value in given.headers.items()]
    if given.content_type:
        headers.append((b"content-type", given.content_type.encode()))
        headers.append((b"content-length", str(len(given.body)).encode()))
    return headers


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
