"""The shortcut from a commit to the relay beside it, past the look into the outbox that would find the same.

What a transaction wrote may be published unlooked-for where no other message of its keys can come between: those that
were committed before it were gone from the outbox when it wrote (it held its aggregates' rows by then, so it saw them
if they were there), and those that are committed after it wait for the leader's next look. So the outbox has to have
been empty for the transaction, and the leader, this process, must not have looked since.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from shared.outbox import Stored, Written


class Shortcut:
    """What the leader is to publish next, if it knows; else it has to look."""

    def __init__(self) -> None:
        self._rows: list[Stored] = []
        self._look_due = True
        self._looked_at = math.inf

    def look(self) -> None:
        """Say that the outbox may have something that was not offered."""
        self._look_due = True

    def offer(self, written: Written) -> None:
        """Say what was committed to it."""
        if written.alone and self._looked_at < written.since:
            self._rows += written.rows
        else:
            self.look()

    def take(self) -> list[Stored] | None:
        """What may be published without a look, in order; None where a look is due, which finds that as well."""
        rows, self._rows = sorted(self._rows), []
        return None if self._look_due else rows

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Around a look."""
        self._look_due = False
        self._looked_at = math.inf
        yield
        self._looked_at = time.monotonic()
