"""What all routes that read have in common: paging parameters, and JSON that is ready to be sent."""

from __future__ import annotations

from typing import Annotated

from litestar.params import Parameter
from litestar.response.base import ASGIResponse
from pydantic import StringConstraints

from services.gateway.paging import LIMIT

Limit = Annotated[int, Parameter(ge=1, le=LIMIT, description="Rows per page.", required=False)]
Cursor = Annotated[str | None, Parameter(max_length=100, description="`next` of the page before.", required=False)]
Words = Annotated[str | None, Parameter(min_length=1, max_length=255, pattern=r"^[^\x00]*$", required=False)]

Name = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
"""A string of a body. PostgreSQL cannot store the character U+0000."""


def json_answer(body: str | bytes) -> ASGIResponse:
    """A successful answer of JSON text."""
    return ASGIResponse(body=body, media_type="application/json")
