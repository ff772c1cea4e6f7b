"""What was asked of the stand-in, for tests to look at. Tokens are kept as fingerprints only."""

import hashlib
import time
from collections import Counter, deque

from pydantic import BaseModel

from dev.digitalocean.http import Answer, Request


class Entry(BaseModel):
    """One request; `at` in real seconds since 1970, `status` 0 where the connection was reset."""

    at: float
    seconds: float
    method: str
    path: str
    route: str
    query: dict[str, str]
    status: int
    token: str
    faults: list[str]


class Journal:
    """The last requests, and the count of all of them by route and status."""

    def __init__(self, length: int) -> None:
        self.entries: deque[Entry] = deque(maxlen=length)
        self.counts: Counter[str] = Counter()

    def note(self, request: Request, route: str, given: Answer, began: float) -> None:
        """Write down a request that was answered, or was not."""
        status = 0 if given.broken == "reset" else given.status
        self.counts[f"{request.method} {route} {status}"] += 1
        self.entries.append(
            Entry.model_construct(
                at=began,
                seconds=time.time() - began,
                method=request.method,
                path=request.path,
                route=route,
                query=request.query,
                status=status,
                token=fingerprint(request.token),
                faults=[fault.effect for fault in request.faults],
            )
        )

    def clear(self) -> None:
        """Forget what was asked so far."""
        self.entries.clear()
        self.counts.clear()


def fingerprint(token: str) -> str:
    """What the journal shows of a token."""
    return hashlib.sha256(token.encode()).hexdigest()[:12] if token else ""
