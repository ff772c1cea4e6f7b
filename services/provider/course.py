"""Bringing a target from the state it is in into another, one write at a time, and back again where that is refused.

Each round reads what is there, finds out what came of the write that was begun last, and decides anew what is next. So
nothing depends on where an earlier attempt stopped, and a target that is where it should be is left alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from services.provider import ledger
from services.provider.access import Provider
from services.provider.ledger import Claim, Intent
from services.provider.store import Json, Row
from shared.jobs import JobRun
from shared.outcome import Refused

Run: TypeAlias = JobRun[Provider]


@dataclass(frozen=True)
class Course:
    """How a kind of target is changed.

    `read` gives its state; `settle` finds out what came of the step under way, and is put off until that is known;
    `next` gives the step from a state towards a goal, or None; `send` sends the step that was claimed; `restore` is the
    goal that a state itself is.
    """

    read: Callable[[Run, Row], Awaitable[Json]]
    settle: Callable[[Run, Row, Json], Awaitable[Row]]
    next: Callable[[Json, Json], Json | None]
    send: Callable[[Run, Claim], Awaitable[Row]]
    restore: Callable[[Json], Json]


@dataclass(frozen=True)
class Arrived:
    """A target is where it should be: the operation's row, the state before its first write, and the state now."""

    row: Row
    before: Json
    now: Json


async def follow(course: Course, run: Run, row: Row, aim: Callable[[Json], Json]) -> Arrived:
    """Bring a target where `aim` says, from the state that it had before.

    Where a step is refused, whatever was done before it is taken back, and then that refusal is raised.
    """
    while True:
        state = await course.read(run, row)
        if row["step"]:
            row = await course.settle(run, row, state)
        before = state if row["before"] is None else row["before"]
        step = course.next(state, course.restore(before) if row["error"] else aim(before))
        if step is not None:
            row = await course.send(run, await ledger.claim(run, row, Intent(step, state)))
        elif row["error"]:
            raise await ledger.refuse(run, row, Refused(row["error"], **row["detail"] or {}))
        else:
            return Arrived(row, before, state)
