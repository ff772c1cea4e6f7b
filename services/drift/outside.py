"""What the jobs ask outside: the bus, whether all is known that is on it; and the provider, for its prices."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, Final

from contracts.drift import RefreshSizes
from contracts.inventory import RESOURCES
from contracts.sagas import RUNS
from services.drift import store
from shared.catchup import CatchUp
from shared.config import Settings
from shared.db import Connection
from shared.digitalocean import DigitalOcean, TokenResolver
from shared.jobs import JobRun
from shared.outcome import Meta, Outcome
from shared.patience import patience
from shared.service import Work

PURPOSE: Final = "sync"


@dataclass(frozen=True)
class Outside:
    """What the jobs get. `told`: how far this service has come in what others tell."""

    told: CatchUp
    do: DigitalOcean


@asynccontextmanager
async def access(settings: Settings) -> AsyncIterator[Outside]:
    """The bus, and the provider with the token for syncs, for as long as the process lives."""
    tokens = TokenResolver(os.environ, settings.do_rate_limit)
    async with DigitalOcean(tokens, PURPOSE, base_url=settings.do_api_url) as do:
        yield Outside(CatchUp(settings, "drift", [RESOURCES, RUNS]), do)


async def refresh_sizes(_: RefreshSizes, run: JobRun[Outside]) -> Work:
    """Read the provider's sizes, with what they cost."""
    rows: list[dict[str, Any]] = []
    walk = run.resources.do.walk("/v2/sizes", "sizes", identity="slug")
    with patience(PURPOSE):
        async for page in walk:
            rows += page
    return partial(_keep, [price for row in rows if (price := _price_of(row))])


def _price_of(row: Mapping[str, Any]) -> tuple[str, Decimal] | None:
    """A size and what it costs a month, in cents; None where the provider does not tell that."""
    try:
        return str(row["slug"]), Decimal(str(row["price_monthly"])) * 100
    except (KeyError, ArithmeticError):
        return None


async def _keep(prices: list[tuple[str, Decimal]], conn: Connection, meta: Meta) -> Outcome:
    await store.replace_sizes(conn, prices, meta.now)
    return Outcome(result={"sizes": len(prices)})
