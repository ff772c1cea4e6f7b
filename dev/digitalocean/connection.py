"""How an answer leaves: whole, broken off in the middle, or not at all."""

from __future__ import annotations

from dev.connection import Receive, Scope, Send, break_off, send_start, until_gone
from dev.digitalocean.http import Answer


async def send_answer(given: Answer, scope: Scope, receive: Receive, send: Send) -> None:
    """Send an answer as it is broken."""
    if given.broken == "reset":
        await break_off(scope, receive)
        return
    await send_start(send, given.status, _headers(given))
    if given.broken == "half":
        await send({"type": "http.response.body", "body": given.body[: len(given.body) // 2], "more_body": True})
        scope["state"]["transport"].close()  # what was written still leaves
        await until_gone(receive)
        return
    await send({"type": "http.response.body", "body": given.body})


def _headers(given: Answer) -> dict[str, str]:
    if not given.content_type:
        return given.headers
    return given.headers | {"content-type": given.content_type, "content-length": str(len(given.body))}
