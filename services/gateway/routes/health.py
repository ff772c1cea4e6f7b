"""Is it there? Public."""

from __future__ import annotations

from typing import Literal

from litestar import get
from pydantic import BaseModel

from services.gateway.routes.vocabulary import Routes


class Health(BaseModel):
    """The service's name, and that it answers."""

    service: Literal["arcadia-cloud"]
    status: Literal["ok"]


@get("/health")
async def health() -> Health:
    """Name the service. (Whether it has all it needs is told by /readyz on the health port.)"""
    return Health(service="arcadia-cloud", status="ok")


router = Routes("", route_handlers=[health], tags=["identity"])
