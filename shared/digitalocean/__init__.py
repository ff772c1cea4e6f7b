"""The client of DigitalOcean's API, for all services.

    tokens = TokenResolver(os.environ, settings.do_rate_limit)  # one per process
    async with DigitalOcean(tokens, "sync", base_url=settings.do_api_url) as do:
        walk = do.droplets()
        async for rows in walk:
            ...
        if walk.complete:
            ...

`client.py` makes a call (`call.py`): within the rate budget (`budget.py`) of the purpose's token (`tokens.py`),
repeated only where that is safe. `answers.py` reads what comes back, `errors.py` draws what can go wrong. `walk.py`
follows the pages of a list and knows whether it saw all of it. `redact.py` takes secrets out of what is kept.
`metrics.py` counts and traces.
"""

from shared.digitalocean.client import API_URL, DigitalOcean
from shared.digitalocean.errors import (
    BadAnswer,
    Forbidden,
    MissingToken,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Refused,
    TooLate,
    Unauthorized,
    Unavailable,
)
from shared.digitalocean.redact import redact, redact_text
from shared.digitalocean.tokens import Purpose, TokenResolver
from shared.digitalocean.walk import Walk

__all__ = [
    "API_URL",
    "BadAnswer",
    "DigitalOcean",
    "Forbidden",
    "MissingToken",
    "NotFound",
    "OutcomeUnknown",
    "ProviderError",
    "Purpose",
    "RateLimited",
    "Refused",
    "TokenResolver",
    "TooLate",
    "Unauthorized",
    "Unavailable",
    "Walk",
    "redact",
    "redact_text",
]
