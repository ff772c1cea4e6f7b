"""The ends of a stand-in's connections: a request read whole, an answer sent, a connection broken off instead."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class BreakableProtocol(HttpToolsProtocol):
    """uvicorn's protocol, whose connection the application can break: ASGI has no word for that."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["transport"] = self.transport


def bearer_token(scope: Scope) -> str:
    """The token of a request's `Authorization`, or ""."""
    given = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
    scheme, _, token = given.partition(" ")
    return token if scheme.lower() == "bearer" else ""


async def read_body(receive: Receive) -> bytes:
    """All of a request's body."""
    body: bytes = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def send_start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    """Send an answer's status and headers."""
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def break_off(scope: Scope, receive: Receive) -> None:
    """End a request's connection with a TCP reset, unless the other side has ended it already."""
    transport: asyncio.Transport = scope["state"]["transport"]
    if not transport.is_closing():
        # Lingering for 0 seconds makes the kernel send RST in place of FIN.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    await until_gone(receive)


async def until_gone(receive: Receive) -> None:
    """Wait until the connection has ended."""
    while (await receive())["type"] != "http.disconnect":
        pass
