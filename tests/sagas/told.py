"""A neighbour of the engine that answers as it is told, and flows that ask nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Literal
from uuid import UUID

from pydantic import Field

from contracts import topics
from contracts.message import Command
from services.sagas.domain import Asking, Plan, State, Step
from services.sagas.flow import Flow, Inputs
from services.sagas.flows import Flows
from shared.config import Settings
from shared.db import Connection, Database
from shared.migrate import migrate
from shared.outcome import Meta, Outcome, Refused
from shared.process import running
from shared.service import Service

COMMANDS = topics.commands("neighbour", "run")
topics.dead_letters("neighbour")

MIGRATIONS = Path(__file__).parent / "migrations" / "neighbour"


class Tell(Command):
    """Do a step of that name, or undo it."""

    TYPE: ClassVar[str] = "arcadia.neighbour.tell.v1"
    TOPIC: ClassVar[str] = COMMANDS

    saga_id: UUID
    way: Literal["do", "undo"]
    name: str

    def key(self) -> str:
        return str(self.saga_id)


@dataclass
class Neighbour:
    """The service, as it answers now: `refuses` has what it refuses, as `do a`."""

    db: Database
    settings: Settings
    refuses: set[str] = field(default_factory=set)

    @property
    def service(self) -> Service[None]:
        service: Service[None] = Service("neighbour")
        service.on(Tell)(self._handle)
        return service

    async def _handle(self, cmd: Tell, conn: Connection, _: Meta) -> Outcome:
        if f"{cmd.way} {cmd.name}" in self.refuses:
            raise Refused("told_to")
        await conn.execute("insert into done (saga_id, way, name) values ($1, $2, $3)", cmd.saga_id, cmd.way, cmd.name)
        return Outcome(result={"name": cmd.name})

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Answer what was asked, and what will be."""
        async with running(self.service, self.settings):
            yield

    async def done(self, saga_id: UUID) -> list[str]:
        """What was done for a run, in that order."""
        rows = await self.db.pool.fetch("select way, name from done where saga_id = $1 order by at", saga_id)
        return [f"{row['way']} {row['name']}" for row in rows]


@asynccontextmanager
async def neighbourhood(settings: Settings) -> AsyncIterator[Neighbour]:
    """The neighbour, not at work yet."""
    await migrate(settings, {"neighbour": MIGRATIONS})
    db = await Database.of_service(settings, "neighbour")
    try:
        yield Neighbour(db, settings)
    finally:
        await db.close()


class ToldInputs(Inputs):
    """`steps`: their names. `timeout_s`: of each attempt."""

    steps: list[str]
    timeout_s: float = Field(default=60.0)
    attempts: int = 1


def _telling(way: Literal["do", "undo"], name: str) -> Asking:
    def asking(state: State) -> Command:
        return Tell(saga_id=state.saga_id, way=way, name=name)

    return asking


def _step(name: str, inputs: ToldInputs) -> Step:
    return Step(
        name,
        _telling("do", name),
        _telling("undo", name),
        timeout=timedelta(seconds=inputs.timeout_s),
        attempts=inputs.attempts,
    )


def _plan(inputs: ToldInputs) -> Plan:
    return Plan([_step(name, inputs) for name in inputs.steps])


def _changed_plan(inputs: ToldInputs) -> Plan:
    return Plan([_step(name, inputs) for name in ["new", *reversed(inputs.steps)]])


FIRST = Flow("told", 1, ToldInputs, _plan)
SECOND = Flow("told", 2, ToldInputs, _changed_plan)

OLD = Flows([FIRST])
NEW = Flows([FIRST, SECOND])
