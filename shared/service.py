"""A service as data: its name and the table of its handlers.

service = Service("deployments")

@service.on(TransitionDeployment)
async def transition_deployment(cmd, conn, meta) -> Outcome:
    ...
    return Outcome(result=..., events=[DeploymentTransitioned(...)])
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from contracts.message import MESSAGES, Command, Event, Message, Reply
from contracts.topics import replies_to
from shared.config import Settings
from shared.db import Connection
from shared.outcome import Meta, Outcome, Refused

if TYPE_CHECKING:
    from shared.jobs import JobRun

R = TypeVar("R")


Handler = Callable[[Any, Connection, Meta], Awaitable[Outcome | None]]
BatchHandler = Callable[[Sequence[Any], Connection], Awaitable[Outcome | Sequence[Outcome | Refused] | None]]
"""Gives one outcome for all that it got; or, of commands, one for each, in their order, where a refused one has done
nothing."""
Work = Callable[[Connection, Meta], Awaitable[Outcome | None]]
"""A part of a job: what it does in one transaction, and what is to be sent with it."""
JobHandler = Callable[[Any, "JobRun[Any]"], Awaitable[Outcome | Work | None]]
"""Gives its outcome; or, where its last part writes something, that part: it is done in the transaction that ends the
job, so that whoever dies between the two does not do it twice."""
Tick = Callable[[Connection, datetime], Awaitable[Outcome | None]]


@dataclass(frozen=True)
class Job:
    """How a command's job is run: at most `concurrency` at once per process, one at a time and in order per key."""

    command: type[Command]
    run: JobHandler
    key: Callable[[Any], str]
    concurrency: int
    lease: timedelta

    @property
    def name(self) -> str:
        return self.command.TYPE


@dataclass(frozen=True)
class Every:
    """Work of the clock: `run` every `interval`, in a transaction, in every replica; it must tolerate company."""

    run: Tick
    interval: timedelta


def _as_it_is(_: Settings, lease: timedelta) -> timedelta:
    return lease


@asynccontextmanager
async def _nothing(_: Settings) -> AsyncIterator[None]:
    yield None


@dataclass
class Service(Generic[R]):
    """A service's name, its handlers, and the resources (clients of the outside) that its jobs get.

    `resources`: opened once per process from the settings, closed at its end. `leased`: how long a job's lease is with
    these settings; they may shorten the calls that it must outlast.
    """

    name: str
    resources: Callable[[Settings], AbstractAsyncContextManager[R]] = _nothing  # type: ignore[assignment]  # then R is None
    leased: Callable[[Settings, timedelta], timedelta] = _as_it_is
    handlers: dict[type[Message], Handler] = field(default_factory=dict)
    batch_handlers: dict[type[Message], BatchHandler] = field(default_factory=dict)
    jobs: dict[type[Message], Job] = field(default_factory=dict)
    ticks: list[Every] = field(default_factory=list)
    republishers: list[Callable[[Connection], AsyncIterator[Sequence[Event]]]] = field(default_factory=list)

    def on(self, *classes: type[Message]) -> Callable[[Handler], Handler]:
        """Handle messages of these classes one by one, each under a savepoint of the batch's transaction."""

        def register(handler: Handler) -> Handler:
            for cls in _concrete(classes):
                self._claim(cls)
                self.handlers[cls] = handler
            return handler

        return register

    def on_batch(self, *classes: type[Message]) -> Callable[[BatchHandler], BatchHandler]:
        """Handle runs of `Received` messages with set-based SQL. A class stands for all that derive from it.

        If a run fails, it is split until the message that cannot be handled is alone.
        """

        def register(handler: BatchHandler) -> BatchHandler:
            for cls in _concrete(classes):
                self._claim(cls)
                self.batch_handlers[cls] = handler
            return handler

        return register

    def job(
        self,
        command: type[Command],
        *,
        lease: timedelta,
        key: Callable[[Any], str] = lambda command: command.key(),
        concurrency: int = 1,
    ) -> Callable[[JobHandler], JobHandler]:
        """Run this command outside any handler and transaction: it talks to the outside or walks for long.

        `lease` must be longer than the longest single call that the job makes; it is renewed while the job lives.
        """

        def register(run: JobHandler) -> JobHandler:
            self._claim(command)
            self.jobs[command] = Job(command, run, key, concurrency, lease)
            return run

        return register

    def every(self, interval: timedelta) -> Callable[[Tick], Tick]:
        """Run this at the interval, in a transaction of its own."""

        def register(run: Tick) -> Tick:
            self.ticks.append(Every(run, interval))
            return run

        return register

    def republisher(
        self, emit: Callable[[Connection], AsyncIterator[Sequence[Event]]]
    ) -> Callable[[Connection], AsyncIterator[Sequence[Event]]]:
        """Register what `arcadia republish` sends: the current state of everything, in pages."""
        self.republishers.append(emit)
        return emit

    def consumed_topics(self) -> list[str]:
        """The topics on which something is handled. Replies are this service's own, not all that there are."""
        handled = (*self.handlers, *self.batch_handlers, *self.jobs)
        return sorted({replies_to(self.name) if cls is Reply else cls.TOPIC for cls in handled})

    def _claim(self, cls: type[Message]) -> None:
        if cls in self.handlers or cls in self.batch_handlers or cls in self.jobs:
            raise ValueError(f"{self.name} handles {cls.__name__} twice")


def _concrete(classes: Sequence[type[Message]]) -> list[type[Message]]:
    """The classes themselves where they are messages, and every message that derives from them."""
    return [cls for cls in MESSAGES.values() if issubclass(cls, tuple(classes))]
