"""Requests, answers and routes: the little of HTTP that the stand-in's handlers see.

No framework: the provider's order of checks, its body for a wrong path and connections that break half-way are what
this is about, and a framework would have its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import orjson

if TYPE_CHECKING:
    from dev.digitalocean.faults import Fault
    from dev.digitalocean.state import World

JSON_TYPE = "application/json; charset=utf-8"
Json = dict[str, Any]


@dataclass(slots=True)
class Request:
    """One request, read completely; `faults` are those that bend its answer."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes
    token: str
    base_url: str
    params: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def json(self) -> Json:
        """The body, which has to be a JSON object."""
        try:
            body = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            raise Problem(400, "bad_request", "Request body malformed.")
        return body

    def has_fault(self, effect: str) -> bool:
        """Whether a fault with this effect applies."""
        return any(fault.effect == effect for fault in self.faults)


@dataclass(slots=True)
class Answer:
    """What is sent. `broken` is how: not at all (the connection is reset), or only half of the body."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON_TYPE
    broken: Literal["", "reset", "half"] = ""


class Problem(Exception):
    """A refusal in the provider's words; `id` is its machine-readable part, which clients should not trust."""

    def __init__(self, status: int, id: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.id = id
        self.message = message

    def answer(self, request_id: str) -> Answer:
        """The body that every error has."""
        return answer({"id": self.id, "message": self.message, "request_id": request_id}, self.status)


def answer(body: object, status: int = 200) -> Answer:
    """A JSON answer; `orjson.Fragment` inside the body is taken as it is."""
    return Answer(status, orjson.dumps(body))


def no_content() -> Answer:
    """A 204: no body and no content type."""
    return Answer(204, content_type="")


def not_found() -> Problem:
    """What every absent thing answers."""
    return Problem(404, "not_found", "The resource you were accessing could not be found.")


def unprocessable(message: str) -> Problem:
    """The usual answer to what cannot be done."""
    return Problem(422, "unprocessable_entity", message)


Handler = Callable[["World", Request], Answer]


class Route:
    """A method, a path with `{names}` for its variable segments, and what answers it."""

    def __init__(self, method: str, path: str, handler: Handler) -> None:
        self.method = method
        self.path = path
        self.handler = handler
        self._pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path) + "/?")

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """The variable segments, or None where the route is another's."""
        if method != self.method:
            return None
        found = self._pattern.fullmatch(path)
        return found.groupdict() if found else None


def find_route(routes: Iterable[Route], request: Request) -> Route | None:
    """The first route that matches, with the request's `params` filled in."""
    for route in routes:
        params = route.match(request.method, request.path)
        if params is not None:
            request.params = params
            return route
    return None
