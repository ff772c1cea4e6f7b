"""What was asked of the stand-in, for tests to look at. Tokens are kept as fingerprints only."""

import hashlib
import time
from collections import Counter, deque

from pydantic import BaseModel

from dev.digitalocean.http import Answer, Request


class Entry(BaseModel):
    """One request; `at` in real seconds since 1970, `status` 0 after a reset and None while it is not answered.

    `late_status` is what would have been answered when a request that was under way for long took effect.
    """

    at: float
    method: str
    path: str
    route: str
    query: dict[str, str]
    token: str
    seconds: float = 0.0
    status: int | None = None
    late_status: int | None = None
    faults: list[str] = []


class Journal:
    """The last requests, and the count of all that were answered, by route and status."""

    def __init__(self, length: int) -> None:
        self.entries: deque[Entry] = deque(maxlen=length)
        self.counts: Counter[str] = Counter()

    def begin(self, request: Request, route: str) -> Entry:
        """Write a request down as it comes: one that hangs is seen too."""
        entry = Entry(
            at=time.time(),
            method=request.method,
            path=request.path,
            route=route,
            query=request.query,
            token=fingerprint(request.token),
        )
        self.entries.append(entry)
        return entry

    def end(self, entry: Entry, request: Request, given: Answer) -> None:
        """Add what became of it."""
        entry.seconds = time.time() - entry.at
        entry.status = 0 if given.broken == "reset" else given.status
        entry.faults = [fault.effect for fault in request.faults]
        self.counts[f"{entry.method} {entry.route} {entry.status}"] += 1

    def clear(self) -> None:
        """Forget what was asked so far."""
        self.entries.clear()
        self.counts.clear()


def fingerprint(token: str) -> str:
    """What the journal shows of a token."""
    return hashlib.sha256(token.encode()).hexdigest()[:12] if token else ""
