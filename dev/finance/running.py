"""A stand-in in a process of its own, for as long as a `with` block."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dev.finance.control import FinanceControl
from dev.finance.tokens import Settings
from dev.serving import running


@dataclass(frozen=True)
class RunningFinance:
    """Where it listens, its process id, and what tokens for it are signed with."""

    url: str
    pid: int
    secret: str

    def control(self) -> FinanceControl:
        """A client for its control routes, to be used in an `async with`."""
        return FinanceControl(self.url)


@contextmanager
def running_finance(**settings: Any) -> Iterator[RunningFinance]:
    """Start the stand-in with these settings on a free loopback port, and end it with the block, or this process."""
    chosen = Settings(**settings)
    with running("dev.finance", chosen) as (url, pid):
        yield RunningFinance(url, pid, chosen.secret)
