"""What goes wrong, by switch.

A fault says what it strikes (method, path, page), how often (count, probability) and what it does (effect):

    instead of an answer    status burst hourly edge_gateway hang reset       nothing took effect
    after the effect        lost (reset, or a status), slow, half_body, half_json
    in a list               omit short_page shuffle total no_links no_meta
    to the world            insert remove: the rows of a list change while it is walked
    to the request          late: it takes effect by and by, although the caller has lost it
    in what is asked for    placement_fails action_errors no_effect service_down pending_event

`action_errors` of a DELETE leaves the droplet. `pending_event` strikes writes to a droplet alone.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from dev.digitalocean.http import Answer, Json, Request, answer

T = TypeVar("T")

Effect = Literal[
    "status", "burst", "hourly", "edge_gateway", "hang", "reset",
    "lost", "slow", "half_body", "half_json",
    "omit", "short_page", "shuffle", "total", "no_links", "no_meta",
    "insert", "remove",
    "late",
    "placement_fails", "action_errors", "no_effect", "service_down", "pending_event",
]  # fmt: skip

INSTEAD: frozenset[Effect] = frozenset({"status", "burst", "hourly", "edge_gateway", "hang", "reset"})


_DROPLET = re.compile(r"/v2/droplets/\d+(/actions)?/?")


class Fault(BaseModel):
    """One thing that goes wrong. Which of the last fields count depends on the effect."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    effect: Effect
    path: str = "/v2/*"
    """A shell pattern over the path."""
    method: str = "*"
    page: int | None = None
    """Only requests for this page of a list."""
    query: dict[str, str] = {}
    """Only requests with these parameters; "" stands for none, so `{"type": ""}` leaves the GPU listing alone."""
    after: int = Field(0, ge=0)
    """How many requests that match are let through first."""
    count: int | None = Field(None, ge=1)
    """How many are struck; None is all of them."""
    probability: float = Field(1.0, gt=0, le=1)
    """The chance of each that could be."""
    seed: int = 0
    """For `probability` and `shuffle`."""

    seconds: float = Field(1.0, ge=0)
    """`burst`: what `retry-after` says; `hang` and `slow`: how long, in real seconds; `late`: how long the request is
    under way before it takes effect, in the provider's seconds."""
    hangs: float = Field(0.0, ge=0)
    """`late`: how long the caller waits for an answer before the connection is reset, in real seconds."""
    status: int = Field(503, ge=400, le=599)
    """`status`: the answer's."""
    html: bool = False
    """`status`, `lost`: the body is a page of HTML."""
    message: str = "Server Error"
    """`status`: the error's text."""
    answered: bool = False
    """`lost`: the caller gets `status` rather than a connection that is reset."""
    rows: int = 1
    """`insert`, `remove`, `short_page`: how many; `total`: how far off it is, either way."""
    share: float = Field(0.5, ge=0, le=1)
    """`omit`: the part of the rows that is left out."""


class ArmedFault:
    """A fault that is switched on: how often it could have struck, and how often it did."""

    def __init__(self, id: int, fault: Fault) -> None:
        self.id = id
        self.fault = fault
        self.matched = 0
        self.struck = 0
        self._rng = random.Random(fault.seed)

    def strikes(self, request: Request) -> bool:
        """Whether it strikes this request, which counts."""
        if not self._matches(request):
            return False
        self.matched += 1
        fault = self.fault
        spent = fault.count is not None and self.struck >= fault.count
        if self.matched <= fault.after or spent or self._rng.random() >= fault.probability:
            return False
        self.struck += 1
        return True

    def _matches(self, request: Request) -> bool:
        fault = self.fault
        return (
            fault.method in ("*", request.method)
            and fnmatchcase(request.path, fault.path)
            and (fault.page is None or request.query.get("page", "1") == str(fault.page))
            and (fault.effect != "pending_event" or _writes_to_a_droplet(request))
            and all(request.query.get(name, "") == value for name, value in fault.query.items())
        )


def _writes_to_a_droplet(request: Request) -> bool:
    return request.method != "GET" and _DROPLET.fullmatch(request.path) is not None


class Faults:
    """The faults that are switched on, in the order in which they were."""

    def __init__(self) -> None:
        self.armed: dict[int, ArmedFault] = {}
        self._count = 0

    def arm(self, fault: Fault) -> ArmedFault:
        """Switch a fault on."""
        self._count += 1
        self.armed[self._count] = ArmedFault(self._count, fault)
        return self.armed[self._count]

    def striking(self, request: Request) -> list[Fault]:
        """The faults that strike this request, up to one that leaves nothing for others to spoil."""
        struck: list[Fault] = []
        for armed in self.armed.values():
            if armed.strikes(request):
                struck.append(armed.fault)
                if armed.fault.effect in INSTEAD:
                    break
        return struck


def instead(fault: Fault, request_id: str, now: float) -> Answer | None:
    """The answer that a fault gives before anything is looked at; None where it lets the request through."""
    match fault.effect:
        case "status":
            return failure(fault, request_id)
        case "burst":
            return too_many({"retry-after": str(int(fault.seconds)), "ratelimit-remaining": "0"})
        case "hourly":
            # Recorded in 2021: the reset is 3,597 s in the past, and there is no retry-after.
            return too_many({"ratelimit-reset": str(int(now) - 3597), "ratelimit-remaining": "0"})
        case "edge_gateway":
            return edge_gateway()
        case "hang" | "reset" | "late":
            return Answer(503, broken="reset")
    return None


def afterwards(fault: Fault, given: Answer, request_id: str) -> Answer:
    """What becomes of an answer on its way back."""
    match fault.effect:
        case "lost" if fault.answered:
            return failure(fault, request_id)
        case "lost":
            given.broken = "reset"
        case "half_body":
            given.broken = "half"
        case "half_json":
            given.body = given.body[: len(given.body) // 2]
    return given


def held(fault: Fault) -> float:
    """How long the caller is left waiting before a fault's answer, in seconds."""
    return {"hang": fault.seconds, "late": fault.hangs}.get(fault.effect, 0)


def slowed(faults: Sequence[Fault]) -> float:
    """How long an answer takes on its way back, in seconds."""
    return sum(fault.seconds for fault in faults if fault.effect == "slow")


def failure(fault: Fault, request_id: str) -> Answer:
    """An error as the service gives it, or the page of a proxy in front of it."""
    if fault.html:
        page = f"<html><head><title>{fault.status}</title></head><body><h1>{fault.message}</h1></body></html>"
        return Answer(fault.status, page.encode(), content_type="text/html")
    id = "server_error" if fault.status >= 500 else "unprocessable_entity"
    return answer({"id": id, "message": fault.message, "request_id": request_id}, fault.status)


def too_many(headers: dict[str, str]) -> Answer:
    """The documented 429."""
    given = answer({"id": "too_many_requests", "message": "API rate limit exceeded."}, 429)
    given.headers |= headers
    return given


def edge_gateway() -> Answer:
    """The other 429, which the edge gives: no retry-after, another id, and the connection ends."""
    given = answer({"id": "Too Many Requests", "message": "Too many requests"}, 429)
    given.headers |= {"x-response-from": "Edge-Gateway", "connection": "close"}
    return given


def twist_rows(request: Request, rows: Sequence[T]) -> Sequence[T]:
    """The rows of a list with the last ones left out, or in an order that is another on each page."""
    for fault in request.faults:
        if fault.effect == "omit":
            rows = rows[: round(len(rows) * (1 - fault.share))]
        elif fault.effect == "shuffle":
            rows = random.Random(f"{fault.seed} {request.query.get('page')}").sample(rows, len(rows))
    return rows


def twist_body(faults: Sequence[Fault], key: str, body: Json) -> None:
    """A page that lacks its last rows or has a wrong total, or without links or totals."""
    for fault in faults:
        if fault.effect == "short_page":
            body[key] = body[key][: -fault.rows]
        elif fault.effect == "total":
            body["meta"]["total"] = max(0, body["meta"]["total"] + fault.rows)
        elif fault.effect == "no_links":
            body.pop("links", None)
        elif fault.effect == "no_meta":
            body.pop("meta", None)
