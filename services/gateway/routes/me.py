"""Who the caller is."""

from __future__ import annotations

from litestar import get
from pydantic import BaseModel

from services.gateway.documentation import ALWAYS
from services.gateway.gateway import ApiRequest
from services.gateway.routes.vocabulary import Routes


class Me(BaseModel):
    """The caller, as its token says."""

    tenant_id: str
    email: str
    roles: list[str]
    operator: bool


@get("/me", responses=ALWAYS)
async def who_am_i(request: ApiRequest) -> Me:
    """Tell the caller who it is here."""
    who = request.user
    return Me(tenant_id=who.tenant_id, email=who.email, roles=list(who.roles), operator=who.operator)


router = Routes("", route_handlers=[who_am_i], tags=["identity"])
