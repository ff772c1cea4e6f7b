"""Who asks: tokens are issued elsewhere (Guardian) and only verified here."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

from shared.config import Settings

OPERATOR_ROLE = "platform-admin"
_REQUIRED = ["exp", "iss", "aud"]
_LEEWAY_S = 10
_CACHE_SIZE = 10_000
# What may stand in a claim that goes into rows, message attributes and log lines.
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,255}")
# Each algorithm with the type of key that it needs, so that a public key is never taken for a shared secret.
_KEY_TYPES = {
    "HS256": "oct",
    "HS384": "oct",
    "HS512": "oct",
    "RS256": "RSA",
    "RS384": "RSA",
    "RS512": "RSA",
    "EdDSA": "OKP",
}


class Unauthorized(Exception):
    """The token is missing or not to be believed. The message says why, without quoting it."""


class Misconfigured(Exception):
    """The settings do not allow any token to be verified. The message says which to mend."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller, as the token says. `operator` manages all tenants; everybody else only `tenant_id`."""

    tenant_id: str
    email: str
    roles: tuple[str, ...]
    expires_at: float

    @property
    def operator(self) -> bool:
        return OPERATOR_ROLE in self.roles


class Verifier:
    """Verifies access tokens by the settings alone: a token chooses neither its algorithm nor its key.

    Verified tokens are remembered until they expire.
    """

    def __init__(self, settings: Settings) -> None:
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._keys = _keys(settings)
        self._verified: dict[str, Identity] = {}

    def identity(self, authorization: str | None) -> Identity:
        """The caller named by an `Authorization` header. Raises `Unauthorized`."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized("a token is needed: `Authorization: Bearer <token>`")
        identity = self._verified.get(token)
        if identity is None:
            identity = self._verify(token)
            self._remember(token, identity)
        elif identity.expires_at + _LEEWAY_S <= time.time():
            del self._verified[token]
            raise Unauthorized("the token has expired")
        return identity

    def _remember(self, token: str, identity: Identity) -> None:
        if len(self._verified) >= _CACHE_SIZE:
            self._verified.pop(next(iter(self._verified)))
        self._verified[token] = identity

    def _verify(self, token: str) -> Identity:
        reason = "the token's signature is not from a key that is accepted here"
        for key, algorithms in self._keys:
            try:
                return _identity(self._decoded(token, key, algorithms))
            except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError, jwt.InvalidKeyError):
                continue
            except jwt.ExpiredSignatureError:
                raise Unauthorized("the token has expired") from None
            except (jwt.InvalidTokenError, ValueError, OverflowError) as error:
                raise Unauthorized(f"the token is not valid here: {error}") from None
        raise Unauthorized(reason)

    def _decoded(self, token: str, key: Any, algorithms: Sequence[str]) -> dict[str, Any]:
        return jwt.decode(
            token,
            key,
            algorithms=algorithms,
            audience=self._audience,
            issuer=self._issuer,
            leeway=_LEEWAY_S,
            options={"require": _REQUIRED},
        )


def _identity(claims: Mapping[str, Any]) -> Identity:
    """What an access token says of its bearer. Raises `ValueError` naming the claim that is wrong."""
    if claims.get("typ") != "access":
        raise ValueError("the claim typ is not 'access'")
    roles = claims.get("roles") or []
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise ValueError("the claim roles is not a list of names")
    return Identity(_name(claims, "tenant_id"), _name(claims, "email"), tuple(roles), float(claims["exp"]))


def _name(claims: Mapping[str, Any], claim: str) -> str:
    value = claims.get(claim)
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(f"the claim {claim} is missing or not a name")
    return value


def _keys(settings: Settings) -> list[tuple[Any, list[str]]]:
    """The accepted keys, each with the accepted algorithms of its type. Raises `Misconfigured`."""
    unknown = set(settings.jwt_algorithms) - _KEY_TYPES.keys()
    if unknown:
        raise Misconfigured(
            f"JWT_ALGORITHMS: {', '.join(sorted(unknown))} unknown; use some of {', '.join(_KEY_TYPES)}"
        )
    keys = [("oct", secret.get_secret_value()) for secret in settings.jwt_secrets] + _key_file(settings.jwt_keys_file)
    by_type = {key_type: [a for a in settings.jwt_algorithms if _KEY_TYPES[a] == key_type] for key_type, _ in keys}
    usable = [(key, by_type[key_type]) for key_type, key in keys if key and by_type[key_type]]
    if not usable:
        raise Misconfigured("no key for JWT_ALGORITHMS: set JWT_SECRETS (HS...) or JWT_KEYS_FILE (RS..., EdDSA)")
    return usable


def _key_file(path: str | None) -> list[tuple[str, Any]]:
    """The public keys of a JWKS file. Shared secrets do not belong there and are not taken from it."""
    if path is None:
        return []
    try:
        documents = json.loads(Path(path).read_text())["keys"]
        return [(d["kty"], jwt.PyJWK(d).key) for d in documents if d["kty"] in {"RSA", "OKP"}]
    except (OSError, ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
        raise Misconfigured(f"JWT_KEYS_FILE {path} is not a readable JWKS: {error}") from None
