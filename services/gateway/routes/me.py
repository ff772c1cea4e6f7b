"""Who the caller is."""

from __future__ import annotations

from typing import Any

from litestar import Request, get
from pydantic import BaseModel

from services.gateway.auth import Identity
from services.gateway.documentation import ALWAYS


class Me(BaseModel):
    """The caller, as its token says."""

    tenant_id: str
    email: str
    roles: list[str]
    operator: bool


@get("/me", tags=["identity"], operation_id="me", responses=ALWAYS)
async def me(request: Request[Identity, Any, Any]) -> Me:
    """Tell the caller who it is here."""
    who = request.user
    return Me(tenant_id=who.tenant_id, email=who.email, roles=list(who.roles), operator=who.operator)


ROUTES = [me]
