"""A provider played by the test: what it answers is said in the test, what it was asked is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from shared.digitalocean import DigitalOcean, Purpose, TokenResolver

TOKEN = "dop_v1_0123456789abcdef"

Handler = Callable[[httpx.Request], httpx.Response]


class Script:
    """Plays its answers in order, the last one for ever. An exception among them is raised, as the network would."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


class Shelf:
    """A paginated list at the provider, `meta.total` and links included, that changes while it is read.

    `between` is called before each answer but the first, with the rows and the number of the request (from 1).
    """

    def __init__(
        self,
        rows: list[dict[str, Any]],
        key: str = "droplets",
        *,
        between: Callable[[list[dict[str, Any]], int], None] = lambda rows, number: None,
        twist: Callable[[dict[str, Any], int], None] = lambda body, number: None,
        page_size: int | None = None,
    ) -> None:
        self.rows = rows
        self.requests: list[httpx.Request] = []
        self._key = key
        self._between = between
        self._twist = twist
        self._page_size = page_size

    @property
    def pages(self) -> list[int]:
        """The numbers of the pages asked for, in order."""
        return [int(request.url.params["page"]) for request in self.requests]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.requests:
            self._between(self.rows, len(self.requests))
        self.requests.append(request)
        page = int(request.url.params["page"])
        size = self._page_size or int(request.url.params["per_page"])
        pages: dict[str, str] = {}
        if page * size < len(self.rows):
            pages["next"] = str(request.url.copy_set_param("page", page + 1))
        body: dict[str, Any] = {
            self._key: self.rows[(page - 1) * size : page * size],
            "links": {"pages": pages} if pages else {},
            "meta": {"total": len(self.rows)},
        }
        self._twist(body, len(self.requests))
        return httpx.Response(200, json=body)


def client(
    handler: Handler,
    purpose: Purpose = "sync",
    *,
    rate_share: float = 0,
    delay_scale: float = 0.001,
    base_url: str = "https://provider.example",
) -> DigitalOcean:
    """The client under test, on a provider that is a function."""
    tokens = TokenResolver({"DO_API_TOKEN": TOKEN}, rate_share)
    transport = httpx.MockTransport(handler)
    return DigitalOcean(tokens, purpose, base_url=base_url, delay_scale=delay_scale, transport=transport)


def rows(count: int, first: int = 1) -> list[dict[str, Any]]:
    """Rows with the ids `first`, `first` + 1, and so on."""
    return [{"id": number, "name": f"web-{number}"} for number in range(first, first + count)]
