"""The jobs' access to the provider, and what its errors mean for a job."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from shared.config import Settings
from shared.digitalocean import (
    BadAnswer,
    DigitalOcean,
    Forbidden,
    MissingToken,
    ProviderError,
    RateLimited,
    TokenResolver,
    Unauthorized,
    Unavailable,
)
from shared.digitalocean import Refused as RefusedByProvider
from shared.jobs import PutOff
from shared.outcome import Refused

if TYPE_CHECKING:
    from services.inventory.spaces import Spaces

log = structlog.get_logger(__name__)


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


@contextmanager
def patience() -> Iterator[None]:
    """Puts the job off while the provider is away or asks for patience; refuses it where the provider does."""
    try:
        yield
    except RateLimited as error:
        raise PutOff(str(error), timedelta(seconds=error.retry_after)) from error
    except (Unavailable, BadAnswer) as error:
        raise PutOff(str(error)) from error
    except (MissingToken, Unauthorized, Forbidden) as error:
        log.error("the provider does not let us in: check DO_SYNC_TOKEN or DO_API_TOKEN", error=str(error))
        raise Refused("provider_denied_access", reason=str(error)) from error
    except RefusedByProvider as error:
        raise Refused("provider_refused", reason=str(error)) from error


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
