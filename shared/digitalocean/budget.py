"""The client's own rate limit: requests wait here instead of being refused there.

DigitalOcean counts by token, in two sliding windows: 250 requests in a minute and 5,000 in an hour. A request leaves a
window when the window's length has passed since it was made.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable

PER_MINUTE = 250
PER_HOUR = 5000

# Requests overtake each other on the way: a slot is used again only when it is free at the provider for certain.
MARGIN = 1.0
# How often to ask when others have used the token up; every answer then says what is left.
PROBE_EVERY = 10.0

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 60.0


class _Window:
    """A sliding window: `limit` requests in `seconds`."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        # Full, its first entry is the one that must leave before another may come; maxlen then drops it.
        self._slots: deque[float] = deque(maxlen=limit)

    def opens_at(self, now: float) -> float:
        return self._slots[0] + self.seconds if self.used(now) == self.limit else now

    def book(self, at: float) -> None:
        self._slots.append(at)

    def used(self, now: float) -> int:
        while self._slots and self._slots[0] + self.seconds <= now:
            self._slots.popleft()
        return len(self._slots)


class RateBudget:
    """The requests that one token may still make. Not for use from several threads."""

    def __init__(
        self,
        share: float = 1.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._minute = _Window(max(1, int(PER_MINUTE * share)), 60 + MARGIN)
        self._hour = _Window(max(1, int(PER_HOUR * share)), 3600 + MARGIN)
        self._limited = share > 0
        self._held_until = float("-inf")
        self._refusals = 0
        self._last = float("-inf")
        self._provider_limit = PER_HOUR
        self._others = 0
        self.waiting = 0

    @property
    def remaining(self) -> float:
        """Requests left in this hour, as far as is known; infinite where the budget is off."""
        if not self._limited:
            return float("inf")
        used = self._hour.used(self._clock())
        return max(0, min(self._hour.limit - used, self._provider_limit - used - self._others))

    async def take(self, patience: float) -> float:
        """Waits for a slot and returns 0. Where that takes longer than `patience`: the seconds until one is free."""
        deadline = self._clock() + patience
        slot = self._next_slot()
        if slot > deadline:
            return slot - self._clock()
        self._book(slot)
        self.waiting += 1
        try:
            # A 429 that arrives meanwhile holds back those who already wait as well.
            while (wait := max(slot, self._held_until) - self._clock()) > 0:
                if self._clock() + wait > deadline:
                    return wait
                await self._sleep(wait)
        finally:
            self.waiting -= 1
        return 0.0

    def refused(self, sent_at: float, told: float | None) -> float:
        """How many seconds to `hold` after a 429 to a request sent at `sent_at`, by this budget's clock.

        As long as the provider `told`, and no shorter than a back-off that grows with each 429 in a row, whoever of
        the token's users meets it. Requests that were under way together count once.
        """
        if sent_at >= self._held_until or not self._refusals:
            self._refusals += 1
        backoff = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(self._refusals - 1, 10))
        # Jitter, so that all who were told the same time do not come back in the same instant.
        return max(backoff, told or 0.0) + FIRST_BACKOFF * random.random()  # noqa: S311 - spreads load, guards nothing

    def answered(self) -> None:
        """Takes note of an answer that was no 429."""
        self._refusals = 0

    def hold(self, seconds: float) -> None:
        """Nobody sends with this token for so long."""
        self._held_until = max(self._held_until, self._clock() + seconds)

    def observe(self, limit: int, remaining: int) -> None:
        """Learns from an answer's `ratelimit-limit` and `ratelimit-remaining` how much others use the token."""
        self._provider_limit = limit
        self._others = max(0, limit - remaining - self._hour.used(self._clock()))

    def _next_slot(self) -> float:
        now = self._clock()
        if not self._limited:
            return max(now, self._held_until)
        slot = max(now, self._held_until, self._minute.opens_at(now), self._hour.opens_at(now))
        return max(slot, self._last + PROBE_EVERY) if self.remaining <= 0 else slot

    def _book(self, slot: float) -> None:
        if self._limited:
            self._minute.book(slot)
            self._hour.book(slot)
            self._last = slot
