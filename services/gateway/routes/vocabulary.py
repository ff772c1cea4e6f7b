"""The vocabulary of the routes: the types of their parameters, and JSON that is ready to be sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from litestar import Router
from litestar.params import HeaderParameter, QueryParameter
from litestar.response.base import ASGIResponse
from litestar.types.internal_types import RouteHandlerMapItem
from pydantic import AwareDatetime, Field, StringConstraints

from services.gateway.paging import CURSOR, LIMIT

OPERATORS = {"operators_only": True}
"""The `opt` of a route that is the operators' alone."""

# PostgreSQL cannot store the character U+0000.
STORABLE = r"^[^\x00]*$"

Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT, description="Rows per page.", required=False)]
Cursor = Annotated[str | None, QueryParameter(pattern=CURSOR, description="`next` of the page before.", required=False)]
Word = Annotated[str | None, QueryParameter(min_length=1, max_length=255, pattern=STORABLE, required=False)]
"""A string of the query."""

Key = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x20-\x7e]*$",
        description="A name of your choice for this one request: the same key and request get the same answer.",
        required=False,
    ),
]

Time = Annotated[AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), lt=datetime(2100, 1, 1, tzinfo=UTC))]
"""A time of a body, with its offset from UTC."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=STORABLE)]
"""A string of a body."""


class Routes(Router):
    """A router whose paths name all their methods when asked by OPTIONS.

    Litestar's own keeps the answer that it made for the first handler of a path when another joins it.
    """

    @property
    def route_handler_method_map(self) -> dict[str, RouteHandlerMapItem]:
        """The handlers by path and method, without those of OPTIONS: so they are made anew whenever one joins."""
        known = super().route_handler_method_map
        return {path: {m: h for m, h in handlers.items() if m != "OPTIONS"} for path, handlers in known.items()}


def json_answer(body: str | bytes) -> ASGIResponse:
    """A successful answer of JSON text."""
    return ASGIResponse(body=body, media_type="application/json")
