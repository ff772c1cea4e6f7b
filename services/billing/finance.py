"""The finance service: it takes invoices, one at a time, and knows each again by its id at the provider."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple
from uuid import uuid4

import httpx
import jwt
import orjson

from shared.config import Settings
from shared.dead_letters import storable

IMPORT: Final = "/api/v1/integrations/cloud/import-invoice"
# Whom finance keeps our invoices for, and what it wants of whoever writes.
IDENTITY: Final = {"tenant_id": "platform-admin", "email": "billing@arcadia-cloud", "roles": ["admin"]}

TIMEOUT_S = 30.0
_TOKEN_LASTS = timedelta(seconds=60)
_LONGEST_REASON = 500


class FinanceAway(Exception):
    """Finance is away or asks for patience: it may take the invoice later, or may have taken it."""


class FinanceRefused(Exception):
    """Finance does not take the invoice, and will not without somebody's doing something. `code`: of our refusal."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Taken(NamedTuple):
    """Finance's answer: its word for what it did (`created` or `updated`), and its id of the invoice."""

    action: str
    invoice_id: str | None


@dataclass(frozen=True)
class Finance:
    """A client of the finance service; signs a token of its own for every call."""

    http: httpx.AsyncClient
    settings: Settings

    async def import_invoice(self, payload: Mapping[str, Any]) -> Taken:
        """Send an invoice. Raises `FinanceAway` and `FinanceRefused`."""
        headers = {"authorization": f"Bearer {self._token()}", "content-type": "application/json"}
        try:
            answer = await self.http.post(IMPORT, content=orjson.dumps(payload), headers=headers)
        except httpx.RequestError as error:
            raise FinanceAway(f"finance does not answer: {type(error).__name__} {error}".strip()) from error
        if answer.is_success:
            return _taken(answer)
        reason = f"finance answered {answer.status_code}: {_said(answer)}"
        match answer.status_code:
            case 401 | 403:
                raise FinanceRefused("finance_denied_access", reason)
            case status if status in {408, 425, 429} or status >= 500:
                raise FinanceAway(reason)
            case _:
                raise FinanceRefused("finance_refused", reason)

    def _token(self) -> str:
        """A token that lasts for this call. It is shown to nobody else, and is in no log."""
        if not self.settings.jwt_secrets:
            raise FinanceRefused("finance_denied_access", "JWT_SECRETS is not set: nothing can be signed for finance")
        now = int(time.time())
        claims = {
            **IDENTITY,
            "iss": self.settings.jwt_issuer,
            "aud": self.settings.jwt_audience,
            "sub": IDENTITY["email"],
            "typ": "access",
            "iat": now,
            "nbf": now - 1,
            "exp": now + int(_TOKEN_LASTS.total_seconds()),
            "jti": str(uuid4()),
        }
        return jwt.encode(claims, self.settings.jwt_secrets[0].get_secret_value(), algorithm="HS512")


def _taken(answer: httpx.Response) -> Taken:
    try:
        body = orjson.loads(answer.content)
        invoice = body.get("invoice") or {}
        return Taken(str(body["action"]), str(invoice["id"]) if "id" in invoice else None)
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        # Something else than finance answers at its address.
        raise FinanceAway(f"finance's answer cannot be read: {_said(answer)}") from error


def _said(answer: httpx.Response) -> str:
    return storable(answer.text[:_LONGEST_REASON])
