"""The shortcut from a commit to the relay beside it, past the look into the outbox that would find the same.

What a transaction wrote may be published unlooked-for where no other message of its keys can come between: all that
were committed before it are published by now, or will be in the same go at the latest (it held its aggregates' rows by
then, so it saw them if they were there), and those that are committed after it come after it, or wait for the leader's
next look. So everything that it saw in the outbox has to be of this process, the leader, and the leader must not have
looked since.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from shared.outbox import Stored, Written


class Shortcut:
    """What the leader is to publish next, if it knows; else it has to look. And what it has published."""

    def __init__(self) -> None:
        self.published: set[int] = set()
        """The positions in the outbox of what is published and not deleted."""
        self._offered: list[Stored] = []
        self._coming: set[int] = set()  # what is offered, and what is being published
        self._look_due = True
        self._looked_at = math.inf

    def look(self) -> None:
        """Say that the outbox may have something that was not offered."""
        self._look_due = True

    def offer(self, written: Written) -> None:
        """Say what was committed to it."""
        before = written.before
        known = before is not None and all(it in self.published or it in self._coming for it in before)
        if known and self._looked_at < written.since:
            self._offered += written.rows
            self._coming.update(position for position, *_ in written.rows)
        else:
            self.look()

    def take(self) -> list[Stored] | None:
        """What may be published without a look, in order; None where a look is due, which finds that as well."""
        rows, self._offered = sorted(self._offered), []
        return None if self._look_due else rows

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Around a look for what is not published."""
        self._look_due = False
        self._looked_at = math.inf
        yield
        self._looked_at = time.monotonic()

    def publishing(self, rows: Sequence[Stored]) -> None:
        """Say what is published next. (Where that fails, a look is due.)"""
        self._coming.update(position for position, *_ in rows)

    def sent(self, rows: Sequence[Stored]) -> None:
        """Say what was published."""
        self.published.update(position for position, *_ in rows)
        self._coming = {position for position, *_ in self._offered}

    def deleted(self, positions: Collection[int]) -> None:
        """Say what was deleted."""
        self.published.difference_update(positions)
