"""Which token a purpose uses, and the rate budget that belongs to that token.

One resolver per process: the provider counts requests by token, so two purposes with one token share its budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from shared.digitalocean.budget import RateBudget

Purpose = Literal["sync", "billing", "provisioning"]

FALLBACK = "DO_API_TOKEN"


class NoToken(LookupError):
    """The environment has no usable token for a purpose."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A token and its budget. The token is in no repr."""

    token: str = field(repr=False)
    budget: RateBudget


class TokenResolver:
    """Finds tokens in the environment: `DO_SYNC_TOKEN`, `DO_BILLING_TOKEN`, `DO_PROVISIONING_TOKEN`, or `DO_API_TOKEN`.

    `environ` is read at each call, so that a token renewed in place is followed. `rate_share` is the share of the
    provider's limits that this process may use; 0 lifts them.
    """

    def __init__(self, environ: Mapping[str, str], rate_share: float = 1.0) -> None:
        self._environ = environ
        self._rate_share = rate_share
        self._credentials: dict[str, Credential] = {}

    def credential(self, purpose: Purpose) -> Credential:
        """The credential for a purpose. Raises `NoToken`, naming the variables and never a value."""
        own = f"DO_{purpose.upper()}_TOKEN"
        name = own if self._environ.get(own, "").strip() else FALLBACK
        token = self._environ.get(name, "").strip()
        if not token:
            raise NoToken(f"no token for {purpose}: set {own} or {FALLBACK}")
        # An HTTP library quotes a malformed header in its error; a token must never get that far.
        if not (token.isascii() and token.isprintable() and " " not in token):
            raise NoToken(f"{name} is not a token: it has spaces or characters that no header can carry")
        if token not in self._credentials:
            self._credentials[token] = Credential(token, RateBudget(self._rate_share))
        return self._credentials[token]
