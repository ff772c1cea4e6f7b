"""Takes secrets out of what the provider sends, before it is stored, logged or put on the bus.

DigitalOcean's lists carry live secrets: a database's password and its URI, an app's environment.
Too much is taken out rather than too little: a key that sounds like a secret is one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

REDACTED = "[redacted]"

SECRET_KEYS = re.compile(
    r"""(
        password | passwd | passphrase | secret | token | credential | authorization
      | kubeconfig | user_?data
      | (api | access | private | secret | ssh_private | client) _?key (_data)?
      | access_cert | client_certificate(_data)? | certificate_authority_data
    )s?($|_)""",
    re.VERBOSE,
)
"""Keys whose whole value is a secret, as snake case in lower case."""

SECRET_IN = {"envs": "value"}
"""Lists of objects in which one key, harmless elsewhere, is a secret: an app's environment variables."""

SECRET_TEXTS = (
    (re.compile(r"(?<=://)[^/\s]+(?=@)"), REDACTED),  # user:password@ or token@ of a URI
    (re.compile(r"\bdo[opr]_v1_\w+"), REDACTED),  # DigitalOcean's own tokens
    (re.compile(r"(?i)\bbearer\s+[\w.~+/=-]+"), f"Bearer {REDACTED}"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), REDACTED),
)
"""Secrets inside any text, whatever its key."""

_MAY_HOLD_ONE = re.compile(r"://|_v1_|(?i:bearer)|PRIVATE KEY")


def redact(value: Any) -> Any:
    """A copy of a decoded JSON value without its secrets; null and empty values stay, so that absence can be seen."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return {key: _redact_entry(key, item) for key, item in value.items()}
    if isinstance(value, list):
        return [redact(item) for item in value]
    return value


def redact_text(text: str) -> str:
    """The text without the credentials of URIs, tokens and private keys in it."""
    if _MAY_HOLD_ONE.search(text):
        for pattern, replacement in SECRET_TEXTS:
            text = pattern.sub(replacement, text)
    return text


def _redact_entry(key: str, value: Any) -> Any:
    if not value or value is True:
        return value
    if _is_secret(key):
        return REDACTED
    if key in SECRET_IN and isinstance(value, list):
        return [_without(SECRET_IN[key], item) for item in value]
    return redact(value)


def _without(secret: str, value: Any) -> Any:
    redacted = redact(value)
    return {**redacted, secret: REDACTED} if isinstance(redacted, dict) and redacted.get(secret) else redacted


@lru_cache(maxsize=4096)
def _is_secret(key: str) -> bool:
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).replace("-", "_").lower()
    return SECRET_KEYS.search(snake) is not None
