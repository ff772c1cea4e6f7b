"""The steps of a walk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from services.inventory import store, sync_store
from services.inventory.provider import Provider
from services.inventory.sync_store import Sync
from shared.db import Connection
from shared.digitalocean import DigitalOcean
from shared.jobs import JobRun, Progress
from shared.outcome import Meta
from shared.steps import Said, Step, transact

T = TypeVar("T")


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
