"""Reading an answer: its body, or what its refusal means and how long it asks to wait."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypedDict

import httpx
import orjson

from shared.digitalocean.call import Call
from shared.digitalocean.errors import (
    BadAnswer,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
)
from shared.digitalocean.redact import redact_text

LONGEST_TOLD_WAIT = 3600.0
"""The provider's longest window. Whoever names a later time is mistaken."""

_BY_STATUS: dict[int, type[ProviderError]] = {401: Unauthorized, 403: Forbidden, 404: NotFound}


class _Particulars(TypedDict):
    status: int
    error_id: str
    request_id: str


def decoded(call: Call, answer: httpx.Response) -> dict[str, Any]:
    """The body of a 2xx; empty for a write without one (204). Raises `BadAnswer`, for a write `OutcomeUnknown`."""
    if call.writes and not answer.content:
        return {}
    try:
        body = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise unreadable(call, "the answer is not a JSON object", answer.status_code)
    return body


def rate_limited(call: Call, answer: httpx.Response, wait: float) -> RateLimited:
    """The error for a 429."""
    message, particulars = _explained(answer)
    return RateLimited(call, message, retry_after=wait, **particulars)


def failure(call: Call, answer: httpx.Response) -> ProviderError:
    """The error for any answer but a 2xx and a 429."""
    message, particulars = _explained(answer)
    match answer.status_code:
        case 401 | 403 | 404 as status:
            return _BY_STATUS[status](call, message, **particulars)
        case 408 | 425:
            return undecided(call, message, **particulars)
        case status if status >= 500:
            return undecided(call, message, **particulars)
        case status if status >= 400:
            return Refused(call, message, **particulars)
    return unreadable(call, "neither success nor an error", answer.status_code)


def undecided(
    call: Call, message: str, *, status: int | None = None, error_id: str = "", request_id: str = ""
) -> ProviderError:
    """The error where the provider may or may not have acted: harmless for a read, not for a write."""
    if not call.writes:
        return Unavailable(call, message, status=status, error_id=error_id, request_id=request_id)
    message = f"{message}; it may have taken effect: look before asking again"
    return OutcomeUnknown(call, message, status=status, error_id=error_id, request_id=request_id)


def unreadable(call: Call, message: str, status: int) -> ProviderError:
    """The error for an answer without its meaning. A write has taken effect then, and nobody knows on what."""
    return undecided(call, message, status=status) if call.writes else BadAnswer(call, message, status=status)


def told_wait(answer: httpx.Response) -> float | None:
    """The seconds that a 429 asks to wait, below 0 where the time it names is past, or None where it names none.

    `ratelimit-reset` has been recorded almost an hour in the past on a real 429, and `retry-after` comes only with the
    limit per minute.
    """
    told = _seconds(answer.headers.get("retry-after", ""))
    if told is None:
        reset = answer.headers.get("ratelimit-reset", "")
        told = int(reset) - datetime.now(UTC).timestamp() if reset.isdecimal() else None
    return None if told is None else min(told, LONGEST_TOLD_WAIT)


def _seconds(retry_after: str) -> float | None:
    """`retry-after` as seconds from now: a number or an HTTP date (RFC 9110, section 10.2.3)."""
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp()


def _explained(answer: httpx.Response) -> tuple[str, _Particulars]:
    """What the provider says in an error: `message`, `error` with `messages`, or no JSON at all."""
    try:
        body = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        body = {}
    body = body if isinstance(body, dict) else {}
    said = body.get("message") or body.get("messages") or body.get("error") or answer.text or answer.reason_phrase
    request_id = body.get("request_id") or answer.headers.get("x-request-id", "")
    particulars = _Particulars(status=answer.status_code, error_id=str(body.get("id", "")), request_id=str(request_id))
    return redact_text(str(said))[:300], particulars
