"""What a request raised, as the problem that answers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from services.gateway.problems import MEDIA_TYPE, Invalid, Problem, internal_error, invalid, invalid_fields, unavailable
from shared.db import CONTENTION, DatabaseAway

log = structlog.get_logger(__name__)

_PASSING = (DatabaseAway, *CONTENTION)

_FRAMEWORK = {
    400: ("malformed_request", "The request cannot be read: is the body JSON, and the header what HTTP asks for?"),
    404: ("not_found", "There is nothing at this path."),
    405: ("method_not_allowed", "This path does not know the method; see the header `allow`."),
    413: ("body_too_large", "The body is larger than 1 MiB."),
}


def to_response(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The answer to a request that raised. What nobody foresaw is logged, and told without its internals."""
    problem = _problem(request, error)
    if problem.status >= 500:
        expected = isinstance(error, (Problem, *_PASSING))
        log.error(
            "request failed",
            id=str(request.state.request_id),
            path=request.url.path,
            error=repr(error),
            exc_info=None if expected else error,
        )
    return Response(problem.body(), status_code=problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


def _problem(request: Request[Any, Any, Any], error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case ValidationException():
            return _from_validation(request, error)
        case HTTPException():
            return _from_framework(error)
        case _ if isinstance(error, _PASSING):
            return unavailable("The database is away or overloaded")
        case _:
            return internal_error()


def _from_framework(error: HTTPException) -> Problem:
    phrase = HTTPStatus(error.status_code).phrase
    key, detail = _FRAMEWORK.get(error.status_code, (phrase.lower().replace(" ", "_"), f"{phrase}."))
    return Problem(error.status_code, key, detail, headers={k.lower(): v for k, v in (error.headers or {}).items()})


def _from_validation(request: Request[Any, Any, Any], error: ValidationException) -> Problem:
    """Litestar's and pydantic's findings, each with its path."""
    findings = error.extra if isinstance(error.extra, list) else []
    # A body that is not there is found missing whether the route needs one or not, when anything else is wrong.
    present = [each for each in findings if each.get("key") != "data"]
    if request.route_handler.opt.get("errors_by_field") and findings:
        return _by_field(request, present) if present else invalid_fields({"body": ["A body is needed"]})
    if not present:
        return invalid(Invalid("body", "", "A body is needed" if findings else error.detail))
    return invalid(*(_invalid(request, each) for each in present))


def _invalid(request: Request[Any, Any, Any], finding: Mapping[str, Any]) -> Invalid:
    source = finding.get("source") or "body"
    field = _outer_name(request, str(finding.get("key") or ""))
    return Invalid(str(getattr(source, "value", source)), field, str(finding.get("message")))


def _by_field(request: Request[Any, Any, Any], findings: Sequence[Mapping[str, Any]]) -> Problem:
    fields: dict[str, list[str]] = {}
    for finding in findings:
        found = _invalid(request, finding)
        fields.setdefault(found.field or "body", []).append(found.message)
    return invalid_fields(fields)


def _outer_name(request: Request[Any, Any, Any], name: str) -> str:
    """What callers call a handler's parameter."""
    parameter = request.route_handler.parsed_fn_signature.parameters.get(name)
    return getattr(parameter and parameter.kwarg_definition, "name", None) or name
