"""What a process knows of its health, and the small server that tells: /healthz, /readyz, /metrics."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

log = structlog.get_logger(__name__)

Check = Callable[[], Awaitable[Mapping[str, str | None]]]
"""Names of what was looked at, each with what is wrong, or None."""

_CHECK_TIMEOUT_S = 5.0


class HealthServer:
    """Serves the checks of all services in this process. `port` 0 takes a free one; `url` tells which."""

    def __init__(self, host: str, port: int) -> None:
        self.alive: dict[str, Check] = {}
        self.ready: dict[str, Check] = {}
        self._socket = socket.create_server((host, port))
        self.url = f"http://{host}:{self._socket.getsockname()[1]}"

    async def run(self) -> None:
        """Serve until cancelled."""
        config = uvicorn.Config(self._app, interface="asgi3", log_config=None, access_log=False, lifespan="off")
        server = uvicorn.Server(config)
        log.info("health", url=self.url)
        await server._serve([self._socket])

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        status, kind, body = await self._answer(scope["path"].rstrip("/"))
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, path: str) -> tuple[int, str, bytes]:
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest()
        checks = {"/healthz": self.alive, "/readyz": self.ready}.get(path)
        if checks is None:
            return 404, "application/json", b'{"error": "not_found", "paths": ["/healthz", "/readyz", "/metrics"]}'
        report = {name: await _checked(check) for name, check in checks.items()}
        well = all(wrong is None for found in report.values() for wrong in found.values())
        return 200 if well else 503, "application/json", orjson.dumps({"ok": well, "checks": report})


async def _checked(check: Check) -> Mapping[str, str | None]:
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            return await check()
    except Exception as error:
        return {"check": f"{type(error).__name__}: {error}"}


def process_report(started: float) -> dict[str, Any]:
    """What this process says of itself in the table `processes`."""
    return {
        "uptime_s": round(time.monotonic() - started),
        "memory_mb": memory_mb(),
        "at": datetime.now(UTC).isoformat(),
    }


def memory_mb() -> int | None:
    """Resident memory of this process in MiB; None where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            pages = int(statm.read().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") // (1024 * 1024)
