"""The vocabulary of the routes: the types of their parameters, and JSON that is ready to be sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from litestar.params import HeaderParameter, QueryParameter
from litestar.response.base import ASGIResponse
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


def json_answer(body: str | bytes) -> ASGIResponse:
    """A successful answer of JSON text."""
    return ASGIResponse(body=body, media_type="application/json")
