"""The rate limit: a token bucket per tenant, in this process alone (with n gateways a tenant has n times as much)."""

from __future__ import annotations

import time
from collections.abc import Callable

_MANY_BUCKETS = 10_000


class RateLimit:
    """At most `per_minute` requests of a tenant per minute, all at once if it likes; 0: no limit."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = float(per_minute)
        self._per_second = per_minute / 60
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # tenant -> (tokens, when they were counted)

    def wait_for(self, tenant: str) -> float:
        """Take a token. Gives 0, or the seconds after which the tenant should try again."""
        if not self._capacity:
            return 0.0
        now = self._clock()
        tokens = self._tokens(tenant, now)
        if tokens < 1:
            return (1 - tokens) / self._per_second
        self._buckets[tenant] = (tokens - 1, now)
        return 0.0

    def _tokens(self, tenant: str, now: float) -> float:
        bucket = self._buckets.get(tenant)
        if bucket is None:
            self._forget_full(now)
            return self._capacity
        tokens, counted = bucket
        return min(self._capacity, tokens + (now - counted) * self._per_second)

    def _forget_full(self, now: float) -> None:
        """A bucket that is full again says no more than one that is not there."""
        if len(self._buckets) < _MANY_BUCKETS:
            return
        full = [tenant for tenant in self._buckets if self._tokens(tenant, now) >= self._capacity]
        for tenant in full:
            del self._buckets[tenant]
