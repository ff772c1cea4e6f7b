"""The OpenAPI document: what every route may answer, with examples. Also as a page, without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import Components, Example, SecurityScheme, Tag
from pydantic import BaseModel, ConfigDict, Field

from services.gateway.answers import REFUSALS, refusal_detail
from services.gateway.page import Page
from services.gateway.problems import MEDIA_TYPE

VERSION = "1.0.0"


class InvalidValue(BaseModel):
    """A value of the request that cannot be used."""

    source: str = Field(description="body, query or header")
    field: str = Field(description="Its path there, with dots.")
    message: str


class ProblemBody(BaseModel):
    """An error (RFC 9457). Some errors have further members of their own."""

    model_config = ConfigDict(extra="allow")

    error: str = Field(description="The stable key to branch on.")
    type: str
    title: str
    status: int
    detail: str = Field(description="What happened, to what, what to do; for people.")
    errors: list[InvalidValue] | None = Field(default=None, description="With `validation_failed`.")


@dataclass
class _Whole(Example):
    """Litestar leaves out of an example what is None, and a reader would not know that it is there."""

    def to_schema(self) -> dict[str, Any]:
        return super().to_schema() | {"value": self.value}


def problem(status: int, error: str, detail: str, **members: Any) -> ResponseSpec:
    """The documentation of an error that a route may answer with."""
    return _problems(detail, [_example(status, error, detail, **members)])


def _example(status: int, error: str, detail: str, **members: Any) -> Example:
    value = {
        "error": error,
        "type": f"urn:arcadia:problem:{error}",
        "title": error.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        **members,
    }
    return _Whole(id=error, summary=error, value=value)


def _problems(description: str, examples: list[Example]) -> ResponseSpec:
    return ResponseSpec(
        data_container=ProblemBody,
        generate_examples=False,
        description=description,
        media_type=MEDIA_TYPE,
        examples=examples,
    )


def answer(model: Any, description: str, *shown: Any) -> ResponseSpec:
    """The documentation of an answer of success. `model`: a class, or a union of some; `shown`: its examples."""
    examples: list[Example] = [_Whole(summary=description, value=example) for example in shown]
    return ResponseSpec(
        data_container=model, generate_examples=False, description=description, examples=examples or None
    )


_INVALID = {"source": "query", "field": "limit", "message": "Expected `int` <= 1000"}

BAD_REQUEST = problem(400, "malformed_request", "The request cannot be read.")
FORBIDDEN = problem(403, "forbidden", "It is for others to do: for operators, or for those whose it is.")
NOT_FOUND = problem(404, "not_found", "There is no such thing, or none that you may know of.")
CONFLICT = problem(409, "expired", "The state of things does not allow it.")
TOO_LARGE = problem(413, "body_too_large", "The body is larger than 1 MiB.")
INVALID = problem(422, "validation_failed", "Some values cannot be used; see `errors`.", errors=[_INVALID])
PROVIDER = problem(502, "provider_denied_access", "The provider does not accept our token; an operator must mend it.")
FINANCE = problem(502, "finance_denied_access", "Finance does not accept our token; an operator must mend it.")
FAILED = problem(500, "command_failed", "It was accepted and could not be carried out; an operator can replay it.")

ALWAYS: dict[int, ResponseSpec] = {
    400: BAD_REQUEST,
    401: problem(401, "unauthorized", "A valid token is needed."),
    429: problem(429, "rate_limited", "Too many requests of this tenant; see `retry-after`."),
    503: problem(503, "unavailable", "An outage that will pass; see `retry-after`."),
}
"""What every route that wants a token may answer."""

WRITES: dict[int, ResponseSpec] = ALWAYS | {
    403: FORBIDDEN,
    404: NOT_FOUND,
    409: CONFLICT,
    413: TOO_LARGE,
    422: INVALID,
    500: FAILED,
}
"""What every route that writes may answer, beside its success."""


def refusals(codes: Sequence[str]) -> dict[int, ResponseSpec]:
    """What a route that writes may answer where its service refuses with these codes, by status."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(REFUSALS.get(code, 422), []).append(code)
    documented = {}
    for status, those in by_status.items():
        always = WRITES[status]
        named = ", ".join(f"`{code}`" for code in those)
        examples = [_example(status, code, refusal_detail(code)) for code in those]
        documented[status] = _problems(
            f"{always.description} Here also {named}.", [*(always.examples or ()), *examples]
        )
    return documented


_DESCRIPTION = """
Everything needs a token (`Authorization: Bearer ...`) except what is marked public. A tenant sees what is its own;
operators (role `platform-admin`) see and manage all tenants.

Writes are accepted durably and then waited for, for some seconds: usually the answer is the final one; otherwise it is
`202` with the path of the operation in `Location`. Send an `Idempotency-Key` with a write: the same key and request get
the same answer, however often.

Lists are complete up to 1,000 rows without `limit`; beyond that, and with `limit`, `next` is the cursor of the next
page. Unknown query parameters and body fields are ignored.
"""


def openapi() -> OpenAPIConfig:
    """The configuration of the document and its pages."""
    token = SecurityScheme(type="http", scheme="bearer", bearer_format="JWT", description="An access token of the app.")
    return OpenAPIConfig(
        title="Arcadia Cloud",
        version=VERSION,
        description=_DESCRIPTION,
        path="/api/v1/schema",
        components=Components(security_schemes={"token": token}),
        render_plugins=[Page(path="/"), JsonRenderPlugin(), YamlRenderPlugin()],
        use_handler_docstrings=True,
        operation_id_creator=lambda handler, _, __: handler.handler_name,
        tags=[
            Tag("inventory", "What exists at the provider."),
            Tag("projects", "The provider's projects: whose each is, and what for."),
            Tag("deployments", "What tenants run."),
            Tag("sagas", "What takes many steps, each of which can be undone: how far it is."),
            Tag("provider", "What was left at the provider."),
            Tag("billing", "What the provider charges."),
            Tag("subscriptions", "What a deployment is subscribed to."),
            Tag("usage", "What deployments use, and how that is metered."),
            Tag("quotes", "What deployments owe for a month, how that comes about, and what they would owe."),
            Tag("margin", "What is earned against what it costs. Operators only."),
            Tag("drift", "Where what is differs from what was asked for. Operators only."),
            Tag("catalog", "What can be bought, and at what price."),
            Tag("operations", "Writes that were accepted, and what came of them."),
            Tag("contracts", "The messages on the bus. Public."),
            Tag("identity", "Who asks, and whether this service is there."),
        ],
    )
