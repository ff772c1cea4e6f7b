"""The messages on the bus, as documents: the schemas that `dataschema` names, and AsyncAPI. Public."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from litestar import get
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from pydantic import BaseModel, ConfigDict

import contracts
from services.gateway.documentation import BAD_REQUEST, NOT_FOUND, answer
from services.gateway.problems import not_found
from services.gateway.routes.vocabulary import Routes, json_answer

_DIRECTORY = Path(contracts.__file__).parent


class Document(BaseModel):
    """A document of another specification."""

    model_config = ConfigDict(extra="allow")


@get(
    "/schemas/{file_name:str}",
    responses={200: answer(Document, "A JSON Schema (2020-12)."), 400: BAD_REQUEST, 404: NOT_FOUND},
)
async def message_schema(file_name: FromPath[str]) -> ASGIResponse:
    """Give the JSON Schema of a message's data, `<type>.json`; `envelope.json` is that of the envelope."""
    document = _schemas().get(file_name)
    if document is None:
        raise not_found("schema", file_name)
    return json_answer(document)


@get("/asyncapi.json", responses={200: answer(Document, "An AsyncAPI document (3.0).")})
async def asyncapi() -> ASGIResponse:
    """Give the AsyncAPI document: every topic and what travels on it."""
    return json_answer(_asyncapi())


@cache
def _schemas() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (_DIRECTORY / "schemas").glob("*.json")}


@cache
def _asyncapi() -> bytes:
    return (_DIRECTORY / "asyncapi.json").read_bytes()


router = Routes("/v1/contracts", route_handlers=[message_schema, asyncapi], tags=["contracts"])
