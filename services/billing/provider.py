"""What the jobs talk to outside: the provider, and finance."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx

from services.billing.finance import TIMEOUT_S, Finance
from shared.config import Settings
from shared.digitalocean import DigitalOcean, TokenResolver
from shared.digitalocean.walk import PER_PAGE
from shared.jobs import PutOff
from shared.patience import patience

PURPOSE: Final = "billing"
ACCOUNT: Final = "/v2/customers/my"


@dataclass(frozen=True)
class Outside:
    """What the jobs get. `finance`: None where none is configured."""

    do: DigitalOcean
    finance: Finance | None


@asynccontextmanager
async def access(settings: Settings) -> AsyncIterator[Outside]:
    """The provider, with the token for billing, and finance, for as long as the process lives."""
    tokens = TokenResolver(os.environ, settings.do_rate_limit)
    async with DigitalOcean(tokens, PURPOSE, base_url=settings.do_api_url) as do:
        if settings.finance_url is None:
            yield Outside(do, None)
            return
        async with httpx.AsyncClient(base_url=settings.finance_url, timeout=TIMEOUT_S, trust_env=False) as http:
            yield Outside(do, Finance(http, settings))


async def pages(do: DigitalOcean, route: str, key: str, **ids: str) -> AsyncIterator[list[dict[str, Any]]]:
    """A list page by page. (Its rows are told apart by nothing, so they are no `Walk`; nor do they ever go.)"""
    page, seen = 1, 0
    while True:
        params = {"page": str(page), "per_page": str(PER_PAGE)}
        with patience(PURPOSE):
            body = await do.get(f"{ACCOUNT}/{route}", params=params, **ids)
        rows, total = body.get(key), (body.get("meta") or {}).get("total")
        if not isinstance(rows, list):
            raise PutOff(f"what the provider tells at {route} has no list {key!r}")
        yield rows
        seen += len(rows)
        more = ((body.get("links") or {}).get("pages") or {}).get("next")
        if not more or not rows:
            break
        page += 1
    if isinstance(total, int) and seen < total:
        raise PutOff(f"the provider told {seen} of {total} rows at {route}")
