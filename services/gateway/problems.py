"""Errors as `application/problem+json` (RFC 9457), each with the stable key `error` beside the standard members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from shared.db import OUTAGES

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER_S = 5


@dataclass(frozen=True)
class Invalid:
    """A value that cannot be used: where it stood (`body`, `query`, `header`), its path there, what is wrong."""

    source: str
    field: str
    message: str


class Problem(Exception):
    """An answer that is an error. `error`: the stable key; `detail`: what happened, to what, what to do."""

    def __init__(
        self, status: int, error: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.error = error
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members

    def body(self) -> bytes:
        """The problem as JSON. Members of its own cannot hide the standard ones."""
        standard = {
            "error": self.error,
            "type": f"urn:arcadia:problem:{self.error}",
            "title": self.error.replace("_", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
        }
        return orjson.dumps(self.members | standard, option=orjson.OPT_UTC_Z)


def invalid(*found: Invalid) -> Problem:
    """The problem of input that was understood but cannot be used."""
    errors = [{"in": each.source, "field": each.field, "message": each.message} for each in found]
    named = ", ".join(f"{each.source} {each.field}".strip() for each in found)
    return Problem(422, "validation_failed", f"These values cannot be used: {named}; see `errors`.", errors=errors)


def not_found(what: str, id: object) -> Problem:
    """The problem of an id that names nothing, or nothing that the caller may know of."""
    return Problem(404, "not_found", f"There is no {what} {id}.")


def unauthorized(why: str) -> Problem:
    """The problem of a token that is missing or not to be believed (RFC 6750)."""
    challenge = f'Bearer realm="arcadia", error="invalid_token", error_description="{_quotable(why)}"'
    return Problem(401, "unauthorized", f"{why[0].upper()}{why[1:]}.", headers={"www-authenticate": challenge})


def forbidden() -> Problem:
    """The problem of a route that is the operators' alone."""
    return Problem(403, "forbidden", "Only platform operators may do this.")


def too_many_requests(seconds: float) -> Problem:
    """The problem of a tenant that asks too often."""
    wait = int(seconds) + 1
    detail = f"Too many requests of this tenant; try again in {wait} s."
    return Problem(429, "rate_limited", detail, headers={"retry-after": str(wait)})


def unavailable(what: str) -> Problem:
    """The problem of an outage that will pass."""
    detail = f"{what}; nothing was changed that is not safe to repeat. Try again."
    return Problem(503, "unavailable", detail, headers={"retry-after": str(_RETRY_AFTER_S)})


def to_response(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The answer to a request that raised. What nobody foresaw is logged, and told without its internals."""
    problem = _problem(error)
    if problem.status >= 500:
        expected = isinstance(error, (Problem, *OUTAGES))
        log.error("request failed", path=request.url.path, error=repr(error), exc_info=None if expected else error)
    return Response(problem.body(), status_code=problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


def _problem(error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case ValidationException():
            return _from_validation(error)
        case HTTPException():
            return _from_framework(error)
        case _ if isinstance(error, OUTAGES):
            return unavailable("The database is away")
        case _:
            return Problem(500, "internal_error", "This is a fault of ours; it has been logged with the x-request-id.")


def _from_validation(error: ValidationException) -> Problem:
    """Litestar's and pydantic's findings, each with its path."""
    found = error.extra if isinstance(error.extra, list) else []
    return invalid(*([_found(each) for each in found] or [Invalid("body", "", error.detail)]))


def _found(finding: Mapping[str, Any]) -> Invalid:
    source = finding.get("source") or "body"
    field, message = str(finding.get("key") or ""), str(finding.get("message"))
    if field == "data":  # Litestar's name for a body that is not there
        field, message = "", "A body is needed"
    return Invalid(str(getattr(source, "value", source)), field, message)


_FRAMEWORK = {
    400: ("malformed_request", "The request cannot be read: is the body JSON, and the header what HTTP asks for?"),
    404: ("not_found", "There is nothing at this path."),
    405: ("method_not_allowed", "This path does not know the method; see the header `allow`."),
    413: ("body_too_large", "The body is larger than 1 MiB."),
}


def _from_framework(error: HTTPException) -> Problem:
    phrase = HTTPStatus(error.status_code).phrase
    key, detail = _FRAMEWORK.get(error.status_code, (phrase.lower().replace(" ", "_"), f"{phrase}."))
    return Problem(error.status_code, key, detail, headers={k.lower(): v for k, v in (error.headers or {}).items()})


def _quotable(text: str) -> str:
    return "".join(c for c in text if c.isprintable() and c not in '"\\')
