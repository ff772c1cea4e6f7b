"""The application: the order in which a request is checked, and the control routes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import jwt
import orjson
from pydantic import BaseModel, ValidationError

from dev.connection import Receive, Scope, Send, bearer_token, break_off, read_body, send_start
from dev.finance.books import Books, Invalid, read_import, reasons
from dev.finance.journal import Entry, Fault, Faults
from dev.finance.tokens import WRITER, Settings, verified

IMPORT = "/api/v1/integrations/cloud/import-invoice"
_CONTROL = "/_control/"

Answer = tuple[int, dict[str, Any]]

LOST = 0
"""In place of a status: the connection is reset."""
_NOT_FOUND: Answer = (404, {"error": "not_found"})


class Finance:
    """The whole stand-in as an ASGI application."""

    def __init__(self, settings: Settings) -> None:
        self._secret = settings.secret
        self._reset()

    def _reset(self) -> None:
        self._books = Books()
        self._faults = Faults()
        self._requests: list[Entry] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path, body = scope["method"], scope["path"], await read_body(receive)
        if path.startswith(_CONTROL):
            status, given = self._control(method, path.removeprefix(_CONTROL), body)
        elif method == "POST":
            status, given = await self._post(path, bearer_token(scope), body)
        else:
            status, given = (200, {"status": "ok"}) if path == "/healthz" else _NOT_FOUND
        if status == LOST:
            await break_off(scope, receive)
            return
        answer = orjson.dumps(given)
        await send_start(send, status, {"content-type": "application/json", "content-length": str(len(answer))})
        await send({"type": "http.response.body", "body": answer})

    async def _post(self, path: str, token: str, body: bytes) -> Answer:
        """What is broken first, then 401, 404, 403 and 422."""
        books, fault = self._books, self._faults.strike()  # a reset leaves nothing of what is under way
        entry = Entry(path=path, fault=fault and fault.effect)
        self._requests.append(entry)
        try:
            entry.claims = verified(token, self._secret)
        except jwt.InvalidTokenError as error:
            entry.refused = str(error)
        if fault and fault.effect == "status":
            status, given = fault.status, {"error": "fault"}
        else:
            await asyncio.sleep(fault.seconds if fault and fault.effect == "slow" else 0)
            status, given = _handled(books, path, entry.claims, body)
        entry.status = LOST if fault and fault.effect == "lost" else status
        return entry.status, given

    def _control(self, method: str, word: str, body: bytes) -> Answer:
        match method, word:
            case "GET", "invoices":
                return 200, {word: _rows(self._books.invoices.values())}
            case "GET", "vendors":
                return 200, {word: _rows(self._books.vendors.values())}
            case "GET", "requests":
                return 200, {word: _rows(self._requests)}
            case "POST", "reset":
                self._reset()
            case "POST", "faults":
                return self._arm(body)
            case "DELETE", "faults":
                self._faults = Faults()
            case _:
                return _NOT_FOUND
        return 200, {}

    def _arm(self, body: bytes) -> Answer:
        try:
            fault = Fault.model_validate_json(body)
        except ValidationError as error:
            return _invalid(list(reasons(error)))
        self._faults.arm(fault)
        return 201, fault.model_dump()


def _handled(books: Books, path: str, claims: dict[str, Any] | None, body: bytes) -> Answer:
    if claims is None:
        return 401, {"error": "unauthorized"}
    if path != IMPORT:
        return _NOT_FOUND
    if WRITER not in claims["roles"]:
        return 403, {"error": "forbidden"}
    try:
        invoice = books.take(claims["tenant_id"], read_import(body))
    except Invalid as invalid:
        return _invalid(invalid.errors)
    created = invoice.imports == 1
    return 201 if created else 200, {
        "action": "created" if created else "updated",
        "invoice": invoice.model_dump(mode="json"),
    }


def _invalid(errors: list[dict[str, str]]) -> Answer:
    return 422, {"error": "validation_failed", "errors": errors}


def _rows(rows: Iterable[BaseModel]) -> list[dict[str, Any]]:
    return [row.model_dump(mode="json") for row in rows]
