"""What all routes that read have in common: paging parameters, and JSON that is ready to be sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from litestar.params import QueryParameter
from litestar.response.base import ASGIResponse
from pydantic import AwareDatetime, Field, StringConstraints

from services.gateway.paging import LIMIT

# PostgreSQL cannot store the character U+0000.
_STORABLE = r"^[^\x00]*$"

Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT, description="Rows per page.", required=False)]
Cursor = Annotated[str | None, QueryParameter(max_length=100, description="`next` of the page before.", required=False)]
Word = Annotated[str | None, QueryParameter(min_length=1, max_length=255, pattern=_STORABLE, required=False)]
"""A string of the query."""

Time = Annotated[AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), lt=datetime(2100, 1, 1, tzinfo=UTC))]
"""A time of a body, with its offset from UTC."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=_STORABLE)]
"""A string of a body."""


def json_answer(body: str | bytes) -> ASGIResponse:
    """A successful answer of JSON text."""
    return ASGIResponse(body=body, media_type="application/json")
