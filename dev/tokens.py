"""Access tokens as the issuer (arcadia-app: Guardian, shared secret) makes them. For development and tests only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import jwt

# HS512 wants 64 bytes at least (RFC 7518, section 3.2).
DEVELOPMENT_SECRET = "a development secret that everybody knows; production sets JWT_SECRETS"
OPERATOR_ROLES = ("admin", "platform-admin")


def claims(
    tenant_id: str,
    email: str,
    roles: Sequence[str] = (),
    *,
    issuer: str = "arcadia_app",
    audience: str = "arcadia_app",
    lifetime_s: float = 3600,
) -> dict[str, Any]:
    """The claims that Guardian puts into an access token."""
    now = int(time.time())
    return {
        "iss": issuer,
        "aud": audience,
        "sub": email,
        "iat": now,
        "nbf": now - 1,
        "exp": now + int(lifetime_s),
        "jti": str(uuid4()),
        "typ": "access",
        "tenant_id": tenant_id,
        "email": email,
        "roles": list(roles),
    }


def mint(
    tenant_id: str,
    email: str,
    roles: Sequence[str] = (),
    *,
    secret: str = DEVELOPMENT_SECRET,
    issuer: str = "arcadia_app",
    audience: str = "arcadia_app",
    lifetime_s: float = 3600,
) -> str:
    """A signed token. An operator's `roles` are `OPERATOR_ROLES`."""
    payload = claims(tenant_id, email, roles, issuer=issuer, audience=audience, lifetime_s=lifetime_s)
    return jwt.encode(payload, secret, algorithm="HS512")
