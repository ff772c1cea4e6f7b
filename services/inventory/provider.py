"""The jobs' access to the provider, and which of its errors pass by themselves."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from shared.config import Settings
from shared.digitalocean import (
    BadAnswer,
    DigitalOcean,
    MissingToken,
    ProviderError,
    RateLimited,
    TokenResolver,
    Unauthorized,
    Unavailable,
)

if TYPE_CHECKING:
    from services.inventory.spaces import Spaces


@dataclass(frozen=True)
class Provider:
    """What the inventory's jobs get. `strike_interval`: two strikes are at least so far apart.

    `spaces`: None where no keys for Spaces are configured.
    """

    do: DigitalOcean
    strike_interval: timedelta
    spaces: Spaces | None = None


@asynccontextmanager
async def access(settings: Settings) -> AsyncIterator[Provider]:
    """The provider, with the token for syncs, for as long as the process lives."""
    tokens = TokenResolver(os.environ, settings.do_rate_limit)
    async with DigitalOcean(tokens, "sync", base_url=settings.do_api_url) as do:
        yield Provider(do, timedelta(minutes=settings.inventory_strike_minutes), _spaces(settings))


def _spaces(settings: Settings) -> Spaces | None:
    access, secret = settings.spaces_access_key_id, settings.spaces_secret_access_key
    if access is None or secret is None:
        return None
    from services.inventory.spaces import Spaces  # see there why so late

    return Spaces(settings.spaces_url, access.get_secret_value(), secret.get_secret_value())


async def is_away(do: DigitalOcean, error: ProviderError) -> bool:
    """Whether, after one list failed, no other would fare better: what is asked for the account fails likewise.

    Raises what concerns the token, which is every list's matter.
    """
    if isinstance(error, MissingToken | Unauthorized):
        raise error
    if not isinstance(error, Unavailable | BadAnswer):
        return isinstance(error, RateLimited)
    try:
        await do.account()
    except (Unavailable, BadAnswer, RateLimited):
        return True
    except ProviderError:
        return False  # our token may not see the account; but somebody is there
    return False


def worth_waiting_for(failures: Iterable[ProviderError], until: datetime | None) -> ProviderError | None:
    """The failure that asks for the longest wait, of those that pass by themselves; None where `until` comes first."""
    passing = [error for error in failures if isinstance(error, RateLimited | Unavailable | BadAnswer)]
    longest = max(passing, key=_wait, default=None)
    in_time = longest and until and datetime.now(UTC) + _wait(longest) < until
    return longest if in_time else None


def _wait(error: ProviderError) -> timedelta:
    return timedelta(seconds=error.retry_after) if isinstance(error, RateLimited) else timedelta(0)
