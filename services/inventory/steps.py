"""A job's work goes in steps: each is one transaction, which checks the job's lease and sends the step's events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from contracts.message import Event
from shared.db import Connection
from shared.jobs import JobRun
from shared.outcome import Meta, Outcome

T = TypeVar("T")

Work: TypeAlias = Callable[[Connection, Meta], Awaitable[tuple[T, Sequence[Event]]]]
"""A step's work: what came of it, and the events to be sent."""


async def transact(run: JobRun[Any], work: Work[T], *, progress: Mapping[str, Any] | None = None) -> T:
    """Do a step of a job, and give what came of it. `progress` is for a later attempt. Raises `LeaseLost`."""
    results: list[T] = []

    async def do(conn: Connection, meta: Meta) -> Outcome:
        result, events = await work(conn, meta)
        results.append(result)
        return Outcome(events=events)

    await run.apply(do, progress=None if progress is None else dict(progress))
    return results[0]
