"""What the clients of all stand-ins' `/_control/...` share."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import httpx


class ControlRefused(Exception):
    """A stand-in did not take a control request; the text says why."""


class ControlClient:
    """Asks a running stand-in's control routes. To be closed, or used in an `async with`."""

    def __init__(self, base_url: str) -> None:
        self._http = httpx.AsyncClient(base_url=f"{base_url}/_control/", timeout=60, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _do(
        self, method: str, path: str, body: dict[str, Any] | None = None, params: dict[str, Any] | None = None
    ) -> Any:
        given = await self._http.request(method, path, json=body, params=params)
        if given.is_error:
            raise ControlRefused(f"{method} /_control/{path}: {given.status_code} {given.text}")
        return given.json() if given.content else None
