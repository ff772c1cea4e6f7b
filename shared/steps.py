"""A job's work in steps: each is one transaction, gives what came of it, and sends what is to be sent with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from contracts.message import Event
from shared.db import Connection
from shared.jobs import JobRun, Progress
from shared.outcome import Meta, Outcome, Send

T = TypeVar("T")

Said: TypeAlias = Sequence[Event | Send]
"""The events and the commands to be sent with a step."""

Step: TypeAlias = Callable[[Connection, Meta], Awaitable[tuple[T, Said]]]
"""What is done in one transaction. Gives what came of it, and what is to be sent."""


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
