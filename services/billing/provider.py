"""The jobs' access to the provider."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from shared.config import Settings
from shared.digitalocean import DigitalOcean, TokenResolver

PURPOSE: Final = "billing"


@asynccontextmanager
async def access(settings: Settings) -> AsyncIterator[DigitalOcean]:
    """The provider, with the token for billing, for as long as the process lives."""
    tokens = TokenResolver(os.environ, settings.do_rate_limit)
    async with DigitalOcean(tokens, PURPOSE, base_url=settings.do_api_url) as do:
        yield do
