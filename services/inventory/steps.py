"""A job's work goes in steps: each is one transaction, which checks the job's lease and sends what is to be sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from contracts.message import Event
from services.inventory import store, sync_store
from services.inventory.provider import Provider
from services.inventory.sync_store import Sync
from shared.db import Connection
from shared.digitalocean import DigitalOcean
from shared.jobs import JobRun, Progress
from shared.outcome import Meta, Outcome, Send

T = TypeVar("T")

Said: TypeAlias = Sequence[Event | Send]
"""The events and the commands to be sent with a step."""

Step: TypeAlias = Callable[[Connection, Meta], Awaitable[tuple[T, Said]]]
"""What is done in one transaction. Gives what came of it, and what is to be sent."""


class Superseded(Exception):
    """Another walk of the same kind has begun: this one is of no consequence any more."""


@dataclass(frozen=True)
class Walking:
    """A walk under way, and what the job's walks before it have found, by their names."""

    run: JobRun[Provider]
    sync: Sync
    done: dict[str, Any]

    @property
    def do(self) -> DigitalOcean:
        """The provider."""
        return self.run.resources.do

    async def step(self, step: Step[T], *, progress: Progress = None) -> T:
        """Do a step of the walk, in turn, while no later walk of its kind has begun. Raises `Superseded`."""

        async def do(conn: Connection, meta: Meta) -> tuple[T, Said]:
            await store.take_turn(conn)
            if not await sync_store.lock_running(conn, self.sync):
                raise Superseded(self.sync.kind)
            return await step(conn, meta)

        return await transact(self.run, do, progress=progress)


async def transact(run: JobRun[Any], step: Step[T], *, progress: Progress = None) -> T:
    """Do a step of a job, and give what came of it. Raises `LeaseLost`."""
    results: list[T] = []

    async def do(conn: Connection, meta: Meta) -> Outcome:
        result, said = await step(conn, meta)
        results.append(result)
        commands = [each for each in said if isinstance(each, Send)]
        return Outcome(events=[each for each in said if not isinstance(each, Send)], commands=commands)

    await run.apply(do, progress=progress)
    return results[0]
