"""What the provider's errors mean for a job, and for how long one is leased."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog

from shared.config import Settings
from shared.digitalocean import (
    BadAnswer,
    Forbidden,
    MissingToken,
    ProviderError,
    Purpose,
    RateLimited,
    Unauthorized,
    Unavailable,
)
from shared.digitalocean import Refused as RefusedByProvider
from shared.jobs import PutOff
from shared.outcome import Refused

log = structlog.get_logger(__name__)

_SHORTEST_LEASE = timedelta(seconds=4)

DENIED = (MissingToken, Unauthorized, Forbidden)
"""The provider does not let us in."""


def leased(settings: Settings, lease: timedelta) -> timedelta:
    """A job's lease, shortened as the waits at the provider are."""
    return max(lease * settings.provider_time_scale, _SHORTEST_LEASE)


@contextmanager
def patience(purpose: Purpose, after: timedelta | None = None, *, longest: timedelta = timedelta.max) -> Iterator[None]:
    """Puts the job off while the provider is away or asks for patience; refuses it where the provider does.

    `after`: how long it rests while the provider is away. Default: with growing pauses. `longest`: how long it rests
    at most where the provider asks for it.
    """
    try:
        yield
    except RateLimited as error:
        raise PutOff(str(error), min(timedelta(seconds=error.retry_after), longest)) from error
    except (Unavailable, BadAnswer) as error:
        raise PutOff(str(error), after) from error
    except (*DENIED, RefusedByProvider) as error:
        raise refusal_of(error, purpose) from error


def refusal_of(error: ProviderError, purpose: Purpose) -> Refused:
    """What whoever sent the command is told of an error that the provider will repeat."""
    if isinstance(error, DENIED):
        variable = f"DO_{purpose.upper()}_TOKEN"
        log.error(f"the provider does not let us in: check {variable} or DO_API_TOKEN", error=str(error))
        return Refused("provider_denied_access", reason=str(error))
    return Refused("provider_refused", reason=str(error))
