"""The application: the order in which a request is checked, and how its answer leaves."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from functools import partial
from urllib.parse import parse_qsl

from dev.connection import Receive, Scope, Send, bearer_token, read_body
from dev.digitalocean.connection import send_answer
from dev.digitalocean.control_api import control
from dev.digitalocean.faults import Faults, afterwards, held, instead, slowed
from dev.digitalocean.fleet import found_world
from dev.digitalocean.http import Answer, Problem, Request, Route, answer, find_route, not_found
from dev.digitalocean.journal import Entry, Journal
from dev.digitalocean.limits import Budget
from dev.digitalocean.settings import Settings

TOKEN_PREFIX = "dop_v1_"


class StandIn:
    """The whole stand-in as an ASGI application."""

    def __init__(self, settings: Settings) -> None:
        self.reset(settings)

    def reset(self, settings: Settings) -> None:
        """Begin anew: another fleet, no faults, an unused budget, an empty journal."""
        self.settings = settings
        self.world = found_world(settings)
        self.faults = Faults()
        self.journal = Journal(settings.journal_length)
        self.budgets: dict[str, Budget] = {}

    def change_settings(self, settings: Settings) -> None:
        """Other settings from now on, for the same world; everything that holds them sees it."""
        for name, value in settings:
            setattr(self.settings, name, value)
        self.world.clock.run_at(settings.speed)
        # Some settings show in a droplet's JSON or decide the order of lists.
        for row in self.world.droplets.rows.values():
            row.changed()
        self.world.droplets.relist()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await read_request(scope, receive, self.settings.link_base)
        self.world.clock.settle()
        if request.path.startswith("/v2/"):
            given = await self._provider(request)
        else:
            given = self._own(request)
        await send_answer(given, scope, receive, send)

    def _own(self, request: Request) -> Answer:
        """What the provider has not: health and control."""
        try:
            if request.path == "/healthz":
                return answer({"status": "ok"})
            if request.path.startswith("/_control/"):
                return control(self, request)
            raise not_found()
        except Problem as problem:
            return problem.answer("")

    async def _provider(self, request: Request) -> Answer:
        request_id = str(uuid.uuid4())
        route = find_route(self.world.families.routes, request)
        entry = self.journal.begin(request, route.path if route else "-")
        given = await self._checked(request, route, request_id, entry)
        given.headers = self._headers(request, request_id) | given.headers
        self.journal.end(entry, request, given)
        return given

    async def _checked(self, request: Request, route: Route | None, request_id: str, entry: Entry) -> Answer:
        """401, then 429, then what is broken, then 403, and only then 404, 422 and the rest."""
        if not self._knows(request.token):
            return Problem(401, "unauthorized", "Unable to authenticate you.").answer(request_id)
        refused = self._budget(request.token).spend()
        if refused:
            return refused
        request.faults = self.faults.striking(request)
        for fault in request.faults:
            if fault.effect == "late":
                self._let_arrive(fault.seconds, partial(self._handled, request, route, request_id), entry)
            broken = instead(fault, request_id, time.time())
            if broken:
                await asyncio.sleep(held(fault))
                return broken
        given = self._handled(request, route, request_id)
        for fault in request.faults:
            given = afterwards(fault, given, request_id)
        await asyncio.sleep(slowed(request.faults))
        return given

    def _let_arrive(self, seconds: float, handle: Callable[[], Answer], entry: Entry) -> None:
        """Have a request take effect by and by, at the provider's time then; nobody hears what came of it."""

        def arrive() -> None:
            entry.late_status = handle().status

        self.world.later(seconds, arrive)

    def _handled(self, request: Request, route: Route | None, request_id: str) -> Answer:
        try:
            if request.method != "GET" and request.token in self.settings.read_only_tokens:
                raise Problem(403, "Forbidden", "You are not authorized to perform this operation")
            if route is None:
                raise not_found()
            self._shift_rows(request, route)
            return route.handler(self.world, request)
        except Problem as problem:
            return problem.answer(request_id)

    def _shift_rows(self, request: Request, route: Route) -> None:
        """The faults that change the list which is being walked, just before its page is made."""
        by_hand = self.world.families.of(route).by_hand
        for fault in request.faults:
            if by_hand and fault.effect == "insert":
                by_hand.insert(self.world, fault.rows)
            elif by_hand and fault.effect == "remove":
                by_hand.remove(self.world, fault.rows)

    def _knows(self, token: str) -> bool:
        return token.startswith(TOKEN_PREFIX) and token not in self.settings.refused_tokens

    def _budget(self, token: str) -> Budget:
        return self.budgets.setdefault(token, Budget(self.settings))

    def _headers(self, request: Request, request_id: str) -> dict[str, str]:
        """What every answer carries, errors and 204 as well."""
        budget = self.budgets.get(request.token) or Budget(self.settings)
        return {
            "x-request-id": request_id,
            "x-gateway": "Edge-Gateway",
            "x-response-from": "service",
        } | budget.headers()


async def read_request(scope: Scope, receive: Receive, link_base: str) -> Request:
    """The request with all of its body."""
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    return Request(
        method=scope["method"],
        path=scope["path"],
        query=dict(parse_qsl(scope["query_string"].decode("latin-1"))),
        body=await read_body(receive),
        token=bearer_token(scope),
        base_url=link_base or f"{scope['scheme']}://{host}",
    )
