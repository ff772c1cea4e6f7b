"""The provider's rate budget: so many requests an hour and a minute for each token, in sliding windows of real time."""

import math
import time
from collections import deque

from dev.digitalocean.faults import too_many
from dev.digitalocean.http import Answer
from dev.digitalocean.settings import Settings


class Budget:
    """What one token has used. A request leaves a window that long after it was made; refused ones are not counted."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: deque[float] = deque()

    def spend(self) -> Answer | None:
        """Count a request, or refuse it."""
        settings = self._settings
        if not settings.rate_hour and not settings.rate_minute:
            return None
        now = time.time()
        self._forget(now)
        burst = self._refuse_burst(now)
        if burst:
            return burst
        if settings.rate_hour and len(self._made) >= settings.rate_hour:
            return too_many({})
        self._made.append(now)
        return None

    def headers(self) -> dict[str, str]:
        """The headers that every answer carries."""
        settings = self._settings
        now = time.time()
        self._forget(now)
        reset = self._made[0] if self._made else now
        if not settings.reset_in_past:
            reset += settings.rate_hour_seconds
        limit = settings.rate_hour or 5000
        left = limit - len(self._made) if settings.rate_hour else limit
        return {
            "ratelimit-limit": str(limit),
            "ratelimit-remaining": str(max(0, left)),
            "ratelimit-reset": str(math.ceil(reset)),
        }

    def _refuse_burst(self, now: float) -> Answer | None:
        settings = self._settings
        if not settings.rate_minute or len(self._made) < settings.rate_minute:
            return None
        oldest_that_counts = self._made[-settings.rate_minute]
        wait = oldest_that_counts + settings.rate_minute_seconds - now
        if wait <= 0:
            return None
        # The remaining count is 0 although the hour's budget is not used up.
        return too_many({"retry-after": str(math.ceil(wait)), "ratelimit-remaining": "0"})

    def _forget(self, now: float) -> None:
        while self._made and self._made[0] <= now - self._settings.rate_hour_seconds:
            self._made.popleft()
