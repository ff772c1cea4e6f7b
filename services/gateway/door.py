"""What happens around every request, whether a route answers it or not: its id, its span, its time, its log line.

An ASGI application around Litestar's router (Litestar's own middleware does not see a request that no route takes).
"""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import UUID

import structlog
from litestar import Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from prometheus_client import Histogram

from services.gateway.auth import Identity, Unauthorized
from services.gateway.gateway import Gateway
from services.gateway.problems import (
    MEDIA_TYPE,
    Problem,
    forbidden,
    internal_error,
    too_many_requests,
    unauthorized,
    unavailable,
)
from shared.ids import uuid7
from shared.telemetry import span

log = structlog.get_logger(__name__)

REQUEST_SECONDS = Histogram(
    "arcadia_http_request_seconds",
    "Time from a request's arrival to the end of its answer, by route and status.",
    ["method", "route", "status"],
)
_EVENT_STREAM = b"text/event-stream"
_TIMEOUT_S = 30.0
_NO_ROUTE = "(none)"


async def admit(request: Request[Any, Any, Any]) -> None:
    """Before every route that is not public: a valid token, and the operator's role where the route wants it.

    (A hook and not a guard: for each guard Litestar copies the route's handler at every request.)
    """
    gateway: Gateway = request.app.state.gateway
    try:
        identity = gateway.verifier.identity(request.headers.get("authorization"))
    except Unauthorized as error:
        raise unauthorized(str(error)) from None
    request.scope["user"] = identity
    if wait := gateway.limit.wait_for(identity.tenant_id):
        raise too_many_requests(wait)
    if request.route_handler.opt.get("operators_only") and not identity.operator:
        raise forbidden()


class Door:
    """The application that the server calls."""

    def __init__(self, app: ASGIApp, timeout_s: float = _TIMEOUT_S) -> None:
        self._app = app
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            await self._serve(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        headers = dict(scope["headers"])
        request_id = _request_id(headers.get(b"x-request-id"))
        scope["state"]["request_id"] = request_id
        answer = _Answer(send, request_id)
        traceparent = headers.get(b"traceparent", b"").decode("latin-1") or None
        with span("http", parent=traceparent, method=scope["method"]) as current:
            await self._answered(scope, receive, answer)
            route = scope.get("path_template", _NO_ROUTE)
            current.update_name(f"{scope['method']} {route}")
        _report(scope, route, answer.status, request_id, time.perf_counter() - started)

    async def _answered(self, scope: HTTPScope, receive: Receive, answer: _Answer) -> None:
        try:
            async with asyncio.timeout(self._timeout_s) as answer.limit:
                await self._app(scope, receive, answer)
        except TimeoutError:
            if answer.status is None:
                await _send_problem(answer, unavailable(f"No answer within {self._timeout_s:.0f} s"))
        except Exception:  # what a route raises, Litestar answers; so an answer could not be sent
            if answer.status is not None:
                raise
            log.exception("no answer", id=str(scope["state"]["request_id"]), path=scope["path"])
            await _send_problem(answer, internal_error())


class _Answer:
    """`send`, with the request's id among the headers, and the status remembered.

    `limit`: the time-out of the answer. A stream of events lasts as long as it has to tell of something.
    """

    def __init__(self, send: Send, request_id: UUID) -> None:
        self.status: int | None = None
        self.limit: asyncio.Timeout | None = None
        self._send = send
        self._header = (b"x-request-id", str(request_id).encode())

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.limit and dict(message["headers"]).get(b"content-type", b"").startswith(_EVENT_STREAM):
                self.limit.reschedule(None)
            message["headers"] = [*message["headers"], self._header]
        await self._send(message)


async def _send_problem(send: _Answer, problem: Problem) -> None:
    body = problem.body()
    headers = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), **problem.headers}
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _request_id(given: bytes | None) -> UUID:
    """The caller's id for the request where it is a UUID, else a new one."""
    try:
        return UUID(given.decode("ascii")) if given else uuid7()
    except ValueError:
        return uuid7()


def _report(scope: HTTPScope, route: str, status: int | None, request_id: UUID, seconds: float) -> None:
    REQUEST_SECONDS.labels(scope["method"], route, status or 0).observe(seconds)
    user = scope.get("user")
    identity = user if isinstance(user, Identity) else None
    log.info(
        "request",
        method=scope["method"],
        route=route,
        path=scope["path"],
        status=status,
        seconds=round(seconds, 4),
        id=str(request_id),
        tenant=identity and identity.tenant_id,
        actor=identity and identity.email,
    )
