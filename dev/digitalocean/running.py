"""A stand-in in a process of its own, for as long as a `with` block."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dev.digitalocean.control import Control
from dev.digitalocean.settings import Settings
from dev.serving import running

TOKEN = "dop_v1_of_the_stand_in"


@dataclass(frozen=True)
class RunningStandIn:
    """Where it listens, its process id, and a token that it takes."""

    url: str
    pid: int
    token: str = TOKEN

    def control(self) -> Control:
        """A client for its control routes, to be used in an `async with`."""
        return Control(self.url)


@contextmanager
def running_stand_in(**settings: Any) -> Iterator[RunningStandIn]:
    """Start the stand-in with these settings on a free loopback port, and end it with the block, or this process."""
    with running("dev.digitalocean", Settings(**settings)) as (url, pid):
        yield RunningStandIn(url, pid)
