"""Who is believed. The issuer is Guardian with a shared secret; nothing about a token but its key and claims counts."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from dev.tokens import DEVELOPMENT_SECRET, OPERATOR_ROLES, claims, mint
from services.gateway.auth import Misconfigured, Unauthorized, Verifier
from services.gateway.gateway import Gateway
from shared.config import Settings
from tests.gateway.world import client

OTHER_SECRET = "another secret, of which the gateway knows nothing at all, and just as long"


def signed(secret: str = DEVELOPMENT_SECRET, algorithm: str = "HS512", *, without: str = "", **changed: Any) -> str:
    """An operator's token with some claims changed, or one left out."""
    payload = claims("acme", "ann@acme.test", OPERATOR_ROLES) | changed
    payload.pop(without, None)
    return jwt.encode(payload, secret, algorithm=algorithm)


def unsigned() -> str:
    return jwt.encode(claims("acme", "ann@acme.test", OPERATOR_ROLES), "", algorithm="none")


def stripped() -> str:
    """A good token without its signature."""
    return signed().rpartition(".")[0] + "."


def tampered() -> str:
    """A tenant's token with an operator's claims under the tenant's signature."""
    header, _, signature = mint("acme", "ann@acme.test").split(".")
    return f"{header}.{signed().split('.')[1]}.{signature}"


def told_to_check(extension: str) -> str:
    """A token whose header names an extension that must be understood (RFC 7515, `crit`)."""
    header = json.dumps({"alg": "HS512", "crit": [extension]}, ensure_ascii=False).encode()
    return f"{base64.urlsafe_b64encode(header).decode().rstrip('=')}.{signed().partition('.')[2]}"


now = time.time
REFUSED: dict[str, Callable[[], str]] = {
    "expired": lambda: signed(exp=int(now()) - 60),
    "no exp": lambda: signed(without="exp"),
    "exp is no number": lambda: signed(exp="tomorrow"),
    "not valid yet": lambda: signed(nbf=int(now()) + 60),
    "wrong issuer": lambda: signed(iss="somebody_else"),
    "no issuer": lambda: signed(without="iss"),
    "wrong audience": lambda: signed(aud="another_app"),
    "no audience": lambda: signed(without="aud"),
    "alg none": unsigned,
    "no signature": stripped,
    "another signature": tampered,
    "another algorithm": lambda: signed(algorithm="HS256"),
    "another secret": lambda: signed(secret=OTHER_SECRET),
    "a refresh token": lambda: signed(typ="refresh"),
    "no typ": lambda: signed(without="typ"),
    "no tenant": lambda: signed(without="tenant_id"),
    "an empty tenant": lambda: signed(tenant_id=""),
    "a tenant that is a number": lambda: signed(tenant_id=7),
    "a tenant with a control character": lambda: signed(tenant_id="acme\x00"),
    "no e-mail": lambda: signed(without="email"),
    "roles that are no list": lambda: signed(roles="platform-admin"),
    "no token but words": lambda: "let me in",
    "too long to be one": lambda: "x" * 10_000,
    "a header of depths": lambda: f"{base64.urlsafe_b64encode(b'[' * 20_000).decode()}.{signed().partition('.')[2]}",
    "a header that asks for what no header line can say": lambda: told_to_check("\u0416"),
    "a header that is no object": lambda: f"{base64.urlsafe_b64encode(b'[]').decode()}.{signed().partition('.')[2]}",
    "an exp beyond all numbers": lambda: signed(exp=10**400),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_token_that_is_not_to_be_believed_is_refused(stranger: httpx.AsyncClient, name: str) -> None:
    answer = await stranger.get("/api/v1/me", headers={"authorization": f"Bearer {REFUSED[name]()}"})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["error"] == "unauthorized"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic YTpi", "Token x"])
async def test_a_request_without_a_bearer_token_is_refused(stranger: httpx.AsyncClient, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    assert (await stranger.get("/api/v1/me", headers=headers)).status_code == 401


@pytest.mark.parametrize(
    ("roles", "is_operator"),
    [
        (["admin", "platform-admin"], True),
        (["platform-admin"], True),
        (["admin"], False),
        (["platform_admin"], False),
        (["Platform-Admin"], False),
        (["platform-admin "], False),
        (["admin", "owner", "operator"], False),
        ([], False),
    ],
)
async def test_only_the_role_with_the_hyphen_makes_an_operator(
    gateway: Gateway, roles: list[str], is_operator: bool
) -> None:
    async with client(gateway, mint("acme", "ann@acme.test", roles)) as http:
        assert (await http.get("/api/v1/me")).json()["operator"] is is_operator
        answer = await http.get("/api/v1/projects")
    assert answer.status_code == (200 if is_operator else 403)
    if not is_operator:
        assert answer.json()["error"] == "forbidden"


async def test_me_tells_what_the_token_says(gateway: Gateway) -> None:
    async with client(gateway, mint("acme", "ann@acme.test", ["admin"])) as http:
        me = (await http.get("/api/v1/me")).json()
    assert me == {"tenant_id": "acme", "email": "ann@acme.test", "roles": ["admin"], "operator": False}


def verifier(**changed: Any) -> Verifier:
    required = {"database_url": "postgresql://unused", "kafka_bootstrap_servers": ["unused:1"]}
    return Verifier(Settings(**(required | {"jwt_secrets": [DEVELOPMENT_SECRET]} | changed)))


def test_while_a_secret_is_rotated_both_are_accepted() -> None:
    rotating = verifier(jwt_secrets=[OTHER_SECRET, DEVELOPMENT_SECRET])
    assert rotating.identity(f"Bearer {signed()}").operator
    assert rotating.identity(f"Bearer {signed(OTHER_SECRET)}").operator
    with pytest.raises(Unauthorized):
        verifier(jwt_secrets=[OTHER_SECRET]).identity(f"Bearer {signed()}")


def test_a_remembered_token_is_refused_once_it_has_expired() -> None:
    ours = verifier()
    token = signed(exp=int(now()) - 9)  # the leeway is ten seconds
    assert ours.identity(f"Bearer {token}").tenant_id == "acme"
    time.sleep(2.1)
    with pytest.raises(Unauthorized, match="expired"):
        ours.identity(f"Bearer {token}")


def key_file(tmp_path: Path, **keys: Any) -> str:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [json.loads(key) | {"kid": kid} for kid, key in keys.items()]}))
    return str(path)


def test_keys_of_a_file_are_accepted_for_their_own_algorithm_alone(tmp_path: Path) -> None:
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    ed_key = ed25519.Ed25519PrivateKey.generate()
    path = key_file(tmp_path, r=RSAAlgorithm.to_jwk(rsa_key.public_key()), e=OKPAlgorithm.to_jwk(ed_key.public_key()))
    ours = verifier(jwt_secrets=[], jwt_algorithms=["RS256", "EdDSA"], jwt_keys_file=path)
    payload = claims("acme", "ann@acme.test", OPERATOR_ROLES)
    for key, algorithm in ((rsa_key, "RS256"), (ed_key, "EdDSA")):
        assert ours.identity(f"Bearer {jwt.encode(payload, key, algorithm=algorithm)}").operator
    for token in (signed(), unsigned(), jwt.encode(payload, rsa_key, algorithm="RS512")):
        with pytest.raises(Unauthorized):
            ours.identity(f"Bearer {token}")


def test_a_public_key_is_never_taken_for_a_shared_secret(tmp_path: Path) -> None:
    public = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    path = key_file(tmp_path, r=RSAAlgorithm.to_jwk(public))
    ours = verifier(jwt_algorithms=["RS256", "HS512"], jwt_keys_file=path)
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    header, payload, _ = signed().split(".")
    signature = jwt.utils.base64url_encode(
        jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA512).sign(f"{header}.{payload}".encode(), pem)
    )
    with pytest.raises(Unauthorized):
        ours.identity(f"Bearer {header}.{payload}.{signature.decode()}")
    assert ours.identity(f"Bearer {signed()}").operator


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"jwt_secrets": []}, "JWT_SECRETS"),
        ({"jwt_secrets": [""]}, "JWT_SECRETS"),
        ({"jwt_algorithms": ["none"]}, "JWT_ALGORITHMS"),
        ({"jwt_algorithms": ["RS256"]}, "JWT_KEYS_FILE"),
        ({"jwt_keys_file": "/nowhere"}, "JWT_KEYS_FILE"),
    ],
)
def test_settings_that_could_verify_nothing_are_refused_by_name(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(Misconfigured, match=named):
        verifier(**changed)
