"""Errors as `application/problem+json` (RFC 9457), each with the stable key `error` beside the standard members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER_S = 5


@dataclass(frozen=True)
class Invalid:
    """A value that cannot be used: where it stood (`body`, `query`, `header`), its path there, what is wrong."""

    source: str
    field: str
    message: str


class Problem(Exception):
    """An answer that is an error. `error`: the stable key; `detail`: what happened, to what, what to do.

    `fields`: what is wrong with each field, in the place of the key, where a route promises that.
    """

    def __init__(
        self,
        status: int,
        error: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
        fields: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.error = error
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = dict(members or {})
        self.fields = fields

    def body(self) -> bytes:
        """The problem as JSON. Members of its own cannot hide the standard ones."""
        standard = {
            "error": self.error if self.fields is None else self.fields,
            "type": f"urn:arcadia:problem:{self.error}",
            "title": self.error.replace("_", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
        }
        return orjson.dumps(self.members | standard, option=orjson.OPT_UTC_Z)


def invalid(*found: Invalid) -> Problem:
    """The problem of input that was understood but cannot be used."""
    errors = [{"source": each.source, "field": each.field, "message": each.message} for each in found]
    named = ", ".join(f"{each.source} {each.field}".strip() for each in found)
    return Problem(
        422, "validation_failed", f"These values cannot be used: {named}; see `errors`.", members={"errors": errors}
    )


def invalid_fields(fields: Mapping[str, Sequence[str]]) -> Problem:
    """The problem of bad input as the routes tell it that promise `{"error": {field: [messages]}}`."""
    detail = f"These values cannot be used: {', '.join(fields)}; see `error`."
    return Problem(422, "validation_failed", detail, fields=fields)


def not_found(what: str, id: object) -> Problem:
    """The problem of an id that names nothing, or nothing that the caller may know of."""
    return Problem(404, "not_found", f"There is no {what} {id}.")


def unauthorized(why: str) -> Problem:
    """The problem of a token that is missing or not to be believed (RFC 6750)."""
    challenge = f'Bearer realm="arcadia", error="invalid_token", error_description="{_quotable(why)}"'
    return Problem(401, "unauthorized", f"{why[0].upper()}{why[1:]}.", headers={"www-authenticate": challenge})


def forbidden(why: str = "Only platform operators may do this.") -> Problem:
    """The problem of a caller who may not do this; by default, of a route that is the operators' alone."""
    return Problem(403, "forbidden", why)


def too_many_requests(seconds: float) -> Problem:
    """The problem of a tenant that asks too often."""
    wait = int(seconds) + 1
    detail = f"Too many requests of this tenant; try again in {wait} s."
    return Problem(429, "rate_limited", detail, headers={"retry-after": str(wait)})


def unavailable(what: str) -> Problem:
    """The problem of an outage that will pass."""
    detail = f"{what}. Try again; a write, with the same Idempotency-Key."
    return Problem(503, "unavailable", detail, headers={"retry-after": str(_RETRY_AFTER_S)})


def internal_error() -> Problem:
    """The problem of a fault of ours. What it is stands in the log alone."""
    return Problem(500, "internal_error", "This is a fault of ours; it has been logged with the x-request-id.")


def _quotable(text: str) -> str:
    """What of a text may stand between quotes in a header (RFC 6750)."""
    return "".join(c for c in text if c.isascii() and c.isprintable() and c not in '"\\')
