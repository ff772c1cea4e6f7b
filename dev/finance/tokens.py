"""Whose a call is: its token, checked as the finance service checks it."""

from __future__ import annotations

from typing import Any

import jwt
from pydantic import BaseModel, ConfigDict

from dev.tokens import DEVELOPMENT_SECRET

ISSUER = AUDIENCE = "arcadia_app"
WRITER = "admin"
LONGEST_S = 600
_REQUIRED = ("iat", "exp", "typ", "tenant_id", "roles")


class Settings(BaseModel):
    """What the stand-in has to know. An option of the command each."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    secret: str = DEVELOPMENT_SECRET
    """What tokens are signed with."""


def verified(token: str, secret: str) -> dict[str, Any]:
    """A token's claims. Raises `jwt.InvalidTokenError`, whose text says what is wrong with it."""
    claims: dict[str, Any] = jwt.decode(
        token, secret, algorithms=["HS512"], issuer=ISSUER, audience=AUDIENCE, options={"require": list(_REQUIRED)}
    )
    tenant_id, roles = claims["tenant_id"], claims["roles"]
    if claims["typ"] != "access":
        raise jwt.InvalidTokenError("typ is not access")
    if int(claims["exp"]) - int(claims["iat"]) > LONGEST_S:
        raise jwt.InvalidTokenError(f"lives longer than {LONGEST_S} seconds")
    if not (isinstance(tenant_id, str) and tenant_id):
        raise jwt.InvalidTokenError("tenant_id names nobody")
    if not (isinstance(roles, list) and all(isinstance(role, str) for role in roles)):
        raise jwt.InvalidTokenError("roles is no list of names")
    return claims
