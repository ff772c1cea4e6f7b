"""The runs that this process has written last: what it need not read again, if nobody else has written them since.

Nothing depends on it. Whoever writes what was remembered says which version that was, and where it is another by now,
nothing is written, and the runs are read and locked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from uuid import UUID

from services.sagas.store import Stored

_MOST = 5000


class Memory:
    """Unfinished runs, as they were committed."""

    def __init__(self) -> None:
        self._runs: OrderedDict[UUID, Stored] = OrderedDict()

    def recall(self, ids: Iterable[UUID]) -> dict[UUID, Stored] | None:
        """These runs; None where one of them is not remembered."""
        found = {id: self._runs.get(id) for id in ids}
        known = {id: stored for id, stored in found.items() if stored is not None}
        return known if len(known) == len(found) else None

    def keep(self, runs: Iterable[Stored]) -> None:
        """Remember runs that were committed."""
        for stored in runs:
            if stored.finished_at is None:
                self._runs[stored.run.id] = stored
                self._runs.move_to_end(stored.run.id)
            else:
                self._runs.pop(stored.run.id, None)
        while len(self._runs) > _MOST:
            self._runs.popitem(last=False)

    def forget(self, ids: Iterable[UUID]) -> None:
        """Forget runs that somebody else may have written."""
        for id in ids:
            self._runs.pop(id, None)
