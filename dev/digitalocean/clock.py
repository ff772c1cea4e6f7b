"""The provider's time, and what is due in it."""

import heapq
import time
from collections.abc import Callable
from datetime import UTC, datetime


class Clock:
    """Stands at `start` until it runs, at `speed` times the real time, and jumps when told to.

    Times are seconds since 1970. Nothing happens by itself: `settle` does what is due, in order, each at its own time,
    so that a slow reader sees the same history as a quick one.
    """

    def __init__(self, start: datetime) -> None:
        self._at = start.timestamp()
        self._since = time.monotonic()
        self.speed = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._settling: float | None = None

    def now(self) -> float:
        """The time at the provider; for what `settle` does, the time when it was due."""
        if self._settling is not None:
            return self._settling
        return self._at + (time.monotonic() - self._since) * self.speed

    def advance(self, seconds: float) -> None:
        """Jump ahead, never back."""
        self._restart(self.now() + max(0.0, seconds))

    def run_at(self, speed: float) -> None:
        """Change the speed from now on."""
        self._restart(self.now())
        self.speed = speed

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Have `do` called by the first `settle` after `when`."""
        self._count += 1
        heapq.heappush(self._due, (when, self._count, do))

    def settle(self) -> None:
        """Do everything that is due by now, and what that makes due."""
        now = self.now()
        try:
            while self._due and self._due[0][0] <= now:
                self._settling, _, do = heapq.heappop(self._due)
                do()
        finally:
            self._settling = None

    def _restart(self, at: float) -> None:
        self._at = at
        self._since = time.monotonic()


def stamp(at: float) -> str:
    """A time as the API writes it: `2020-07-21T18:37:44Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
