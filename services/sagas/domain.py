"""The engine's rules: what follows in a run when something is answered, comes due, or is asked for.

`advance` decides everything and does nothing: it takes a run and a signal, and gives the run as it is then, and the
command that is to be sent. It bears any order of signals, and each of them again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias
from uuid import UUID, uuid5

from contracts.message import Command
from contracts.sagas import UNFINISHED, SagaStatus, StepStatus
from services.sagas.signals import Answered, Begin, Cancel, Due, Retry, Signal, WriteOff

EXPIRED = "expired"
"""The code with which the runtime refuses a command whose time was over before it began."""

_OF_AN_EARLIER_ROUND = 0
"""Among a run's open attempts: those of which nobody will hear any more."""

_NOTHING_TO_UNDO = frozenset({StepStatus.COMPENSATED, StepStatus.SKIPPED})

Json: TypeAlias = Mapping[str, Any]
Way: TypeAlias = Literal["do", "undo"]


@dataclass(frozen=True)
class State:
    """What a step decides by: the run's inputs, what the steps before it left behind, and which step it is."""

    saga_id: UUID
    step: int
    inputs: Json
    context: Json

    @property
    def operation_id(self) -> UUID:
        """Names the step's effect: the same in every attempt, and in what undoes it."""
        return uuid5(self.saga_id, f"operation/{self.step}")

    @property
    def undo_id(self) -> UUID:
        """Names the undoing of the step's effect."""
        return uuid5(self.saga_id, f"undo/{self.step}")


Asking: TypeAlias = Callable[[State], Command | None]
"""The command that does a step, or undoes it; None where there is nothing to do."""


def _nothing(_: State, __: Json) -> Json:
    return {}


@dataclass(frozen=True)
class Step:
    """One step of a flow.

    `keep`: what of the command's result enters the context. `attempts`: how often its command is sent at most;
    `undo_attempts`: how often the one that undoes it. `timeout`: how long an attempt may take; then its outcome is
    unknown. `transient`: the codes of refusals after which another attempt makes sense. `back_off`: the pauses before
    the second attempt, the third and so on; the last one stands for all that follow. `always_undone`: also where it
    failed for certain, since there is something to undo that was there before it. `nothing_left`: the codes of refusals
    of what undoes it that say that nothing is left to be undone.
    """

    name: str
    execute: Asking
    compensate: Asking | None = None
    keep: Callable[[State, Json], Json] = _nothing
    attempts: int = 3
    undo_attempts: int = 10
    timeout: timedelta = timedelta(minutes=1)
    transient: AbstractSet[str] = frozenset()
    back_off: Sequence[timedelta] = (timedelta(seconds=1), timedelta(seconds=5), timedelta(seconds=30))
    always_undone: bool = False
    nothing_left: AbstractSet[str] = frozenset()


@dataclass(frozen=True)
class Plan:
    """The steps of one run. `pivot`: once this step is done, there is no way back: the run only goes forward.

    Where nobody knows whether it was, neither way is right: the run has failed, and an operator has it go on.
    """

    steps: Sequence[Step]
    pivot: str | None = None


@dataclass(slots=True)  # nobody changes one but `advance`, a copy of its own; a frozen one takes four times as long
class Run:
    """A run. `marks`: the status of each step, None where it has not begun. `error`: why it is undone, or failed.

    `at`: the step under way; forwards while the run is running, backwards while it is compensating. `attempts`: how
    often its command was sent in this round; `open`: the attempts of which it is not known what they did, or will do.
    `resting`: the next attempt waits for the timer. `timer`: the number of the newest timer, which rings at `due_at`.
    `round`: how often an operator had the run go on.
    """

    id: UUID
    status: SagaStatus
    inputs: Json
    context: Json
    marks: Sequence[StepStatus | None]
    at: int = 0
    attempts: int = 0
    open: frozenset[int] = frozenset()
    resting: bool = False
    round: int = 0
    cancel_requested: bool = False
    error: Json | None = None
    timer: int = 0
    due_at: datetime | None = None


@dataclass(frozen=True)
class Sending:
    """A command to be sent, under the id that the same attempt always has. Not to be begun after `expires`."""

    id: UUID
    command: Command
    expires: datetime


@dataclass(frozen=True)
class Entry:
    """What the ledger is to say of a step. `attempts` and `undo_attempts` are added, what is None stays as it is."""

    step: int
    status: StepStatus
    attempts: int = 0
    undo_attempts: int = 0
    output: Json | None = None
    error: Json | None = None


def merged(earlier: Entry | None, later: Entry) -> Entry:
    """What two entries of one step say together."""
    if earlier is None:
        return later
    return replace(
        later,
        attempts=earlier.attempts + later.attempts,
        undo_attempts=earlier.undo_attempts + later.undo_attempts,
        output=earlier.output if later.output is None else later.output,
        error=earlier.error if later.error is None else later.error,
    )


@dataclass(frozen=True)
class Advanced:
    """What comes of a signal."""

    run: Run
    sending: Sending | None
    entries: Sequence[Entry]


def advance(run: Run, plan: Plan, signal: Signal, now: datetime) -> Advanced:
    """What follows from a signal. One that comes late, or again, changes nothing, and gives the very same run."""
    move = _Move(copy(run), plan, now)
    if not move.take(signal):
        return Advanced(run, None, ())
    return Advanced(move.run, move.sending, list(move.entries.values()))


def resources_in(inputs: Any) -> set[UUID]:
    """The resources that a run's inputs name, wherever they do."""
    match inputs:
        case {"resource_id": str(id)}:
            return {UUID(id)}
        case Mapping():
            return set().union(*map(resources_in, inputs.values()))
        case [*_]:
            return set().union(*map(resources_in, inputs))
    return set()


def is_cancellable(run: Run, plan: Plan) -> bool:
    """Whether a run can still be stopped and undone."""
    return run.status in {SagaStatus.PENDING, SagaStatus.RUNNING} and not _is_past_pivot(run, plan)


def is_waiting(run: Run) -> bool:
    """Whether a run has failed and waits for an operator."""
    return run.status is SagaStatus.FAILED and "written_off" not in (run.error or {})


def _is_past_pivot(run: Run, plan: Plan) -> bool:
    return any(
        step.name == plan.pivot and mark is StepStatus.COMPLETED
        for step, mark in zip(plan.steps, run.marks, strict=True)
    )


def command_id(run: Run, way: Way, attempt: int) -> UUID:
    """The id of an attempt's command at the step under way."""
    return uuid5(run.id, f"{way}/{run.at}/{run.round}/{attempt}")


class _Move:
    """A run while it takes a signal in: it goes on until there is something to wait for."""

    def __init__(self, run: Run, plan: Plan, now: datetime) -> None:
        self.run = run
        self.sending: Sending | None = None
        self.entries: dict[int, Entry] = {}
        self._plan = plan
        self._now = now

    def take(self, signal: Signal) -> bool:
        """Take a signal in. False where it means nothing now."""
        run = self.run
        match signal:
            case Begin() if run.status is SagaStatus.PENDING:
                run.status = SagaStatus.RUNNING
                self._go_on_from(0)
            case Answered() if run.status in UNFINISHED:
                return self._answered(signal)
            case Due() if run.status in UNFINISHED and signal.timer == run.timer:
                self._rang()
            case Cancel() if is_cancellable(run, self._plan):
                self._cancel()
            case Retry() if is_waiting(run):
                self._retry()
            case WriteOff() if is_waiting(run):
                written_off = {"reason": signal.reason, "by": signal.by, "at": self._now.isoformat()}
                run.error = {**(run.error or {}), "written_off": written_off}
            case _:
                return False
        return True

    @property
    def _way(self) -> Way:
        return "do" if self.run.status is SagaStatus.RUNNING else "undo"

    @property
    def _step(self) -> Step:
        return self._plan.steps[self.run.at]

    @property
    def _is_at_pivot(self) -> bool:
        return self._step.name == self._plan.pivot

    @property
    def _most_attempts(self) -> int:
        return self._step.attempts if self._way == "do" else self._step.undo_attempts

    # What is said of the step under way.

    def _answered(self, answer: Answered) -> bool:
        run, way = self.run, self._way
        attempt = next((n for n in range(run.attempts, 0, -1) if command_id(run, way, n) == answer.command_id), None)
        if attempt is None:  # of a step that is over, or a round
            return False
        if answer.status == "ok" or (way == "undo" and answer.code in self._step.nothing_left):
            self._succeeded(answer.result)
            return True
        learned = answer.status == "refused" and attempt in run.open
        if learned:  # this attempt did nothing; one that died may have
            run.open -= {attempt}
        if attempt != run.attempts or run.resting:
            return learned
        again = answer.status == "failed" or answer.code in {EXPIRED, *self._step.transient}
        self._missed({"code": answer.code, "detail": answer.detail}, again=again)
        return True

    def _rang(self) -> None:
        """The step's time is up, or its rest."""
        if self.run.resting or self.run.attempts < self._most_attempts:
            self._ask_again()  # after a time-out at once: what was waited is rest enough
        else:
            self._gave_up({"code": "timed_out", "detail": {"seconds": self._step.timeout.total_seconds()}})

    def _missed(self, error: Json, *, again: bool) -> None:
        """An attempt came to nothing."""
        attempts, pauses = self.run.attempts, self._step.back_off
        if again and attempts < self._most_attempts:
            self._wait(pauses[min(attempts, len(pauses)) - 1], resting=True)
        else:
            self._gave_up(error)

    def _succeeded(self, result: Json) -> None:
        at = self.run.at
        if self._way == "undo":
            self._mark(at, StepStatus.COMPENSATED)
            self._go_back_from(at - 1)
            return
        try:
            kept = self._step.keep(self._state(at), result)
        except Exception as error:
            self._failed(_bug(error), certain=False)
            return
        self.run.context = {**self.run.context, **kept}
        self._mark(at, StepStatus.COMPLETED, output=result)
        self._go_on_from(at + 1)

    def _gave_up(self, error: Json) -> None:
        """There is no further attempt."""
        if self._way == "undo":
            self._mark(self.run.at, StepStatus.COMPENSATION_FAILED, error=error)
            self._go_back_from(self.run.at - 1)
        else:
            self._failed(error, certain=not self.run.open)

    def _failed(self, error: Json, *, certain: bool) -> None:
        """The step under way is not done. `certain`: nor will it be, whatever is still on its way."""
        at, step = self.run.at, self._step
        self._mark(at, StepStatus.FAILED, error=error)
        reason = f"{'step_failed' if certain else 'step_unknown'}:{step.name}"
        if _is_past_pivot(self.run, self._plan) or (self._is_at_pivot and not certain):
            self._end(SagaStatus.FAILED, {"reason": reason})
        else:
            self._undo_from(at if not certain or step.always_undone else at - 1, reason)

    # Forwards.

    def _go_on_from(self, index: int, unheard_of: frozenset[int] = frozenset()) -> None:
        """Begin the next step at which there is something to do. `unheard_of`: what is open at the first."""
        for at in range(index, len(self._plan.steps)):
            self._begin(at, unheard_of if at == index else frozenset())
            if self.run.cancel_requested and not _is_past_pivot(self.run, self._plan):
                self._undo_from(at - 1, "cancelled")
                return
            if self._ask("do") or self.run.status is not SagaStatus.RUNNING:
                return
            self._mark(at, StepStatus.SKIPPED)
        self._end(SagaStatus.COMPLETED, None)

    def _cancel(self) -> None:
        """Between two steps, and two attempts at one, at once; else after the step under way."""
        self.run.cancel_requested = True
        certain = not self.run.open
        if self.run.resting and (certain or not self._is_at_pivot):
            self._mark(self.run.at, StepStatus.FAILED, error={"code": "cancelled", "detail": None})
            self._undo_from(self.run.at - 1 if certain and not self._step.always_undone else self.run.at, "cancelled")

    # Backwards.

    def _undo_from(self, index: int, reason: str) -> None:
        self.run.status = SagaStatus.COMPENSATING
        self.run.error = {"compensate_from_idx": index, "reason": reason}
        self._go_back_from(index)

    def _go_back_from(self, index: int) -> None:
        """Begin to undo the next step, going back, at which there is something to undo."""
        for at in range(index, -1, -1):
            if self._plan.steps[at].compensate and self.run.marks[at] not in {None, *_NOTHING_TO_UNDO}:
                self._begin(at)
                if self._ask("undo"):
                    return
        stuck = StepStatus.COMPENSATION_FAILED in self.run.marks
        self._end(SagaStatus.FAILED if stuck else SagaStatus.ROLLED_BACK, self.run.error)

    def _retry(self) -> None:
        """Try again what could not be undone; or, past the pivot, what could not be done."""
        run = self.run
        run.round += 1
        undone_from = (run.error or {}).get("compensate_from_idx")
        if undone_from is None:
            run.status, run.error, run.cancel_requested = SagaStatus.RUNNING, None, False
            self._go_on_from(run.at, frozenset({_OF_AN_EARLIER_ROUND} if run.open else ()))
        else:
            run.status = SagaStatus.COMPENSATING
            self._go_back_from(undone_from)

    # What is waited for.

    def _ask(self, way: Way) -> bool:
        """Send the command of another attempt. False where there is nothing to do, or it cannot be said."""
        at, step = self.run.at, self._step
        asking = step.execute if way == "do" else step.compensate
        try:
            command = asking(self._state(at)) if asking else None
        except Exception as error:
            self._cannot_ask(way, _bug(error))
            return False
        if command is None:
            return False
        self.run.attempts += 1
        self.run.open |= {self.run.attempts}
        self.sending = Sending(command_id(self.run, way, self.run.attempts), command, self._now + step.timeout)
        if way == "do":
            self._mark(at, StepStatus.RUNNING, attempts=1)
        else:
            self._mark(at, self.run.marks[at] or StepStatus.FAILED, undo_attempts=1)
        self._wait(step.timeout)
        return True

    def _ask_again(self) -> None:
        """Send another attempt's command. The step's code may be another by now, and have none to send."""
        way, step = self._way, self.run.at
        if self._ask(way) or (self.run.status not in UNFINISHED) or (way, step) != (self._way, self.run.at):
            return
        if self.run.marks[step] is StepStatus.COMPENSATION_FAILED:
            self._go_back_from(step - 1)
        else:
            self._gave_up({"code": "nothing_to_ask", "detail": None})

    def _cannot_ask(self, way: Way, error: Json) -> None:
        if way == "do":
            self._failed(error, certain=not self.run.open)
        else:
            self._mark(self.run.at, StepStatus.COMPENSATION_FAILED, error=error)

    def _wait(self, pause: timedelta, *, resting: bool = False) -> None:
        run = self.run
        run.resting, run.timer, run.due_at = resting, run.timer + 1, self._now + pause

    def _end(self, status: SagaStatus, error: Json | None) -> None:
        run = self.run
        run.status, run.error, run.resting, run.timer, run.due_at = status, error, False, run.timer + 1, None

    def _begin(self, at: int, unheard_of: frozenset[int] = frozenset()) -> None:
        """Nothing was tried yet, in this round, at the step that is under way now."""
        run = self.run
        run.at, run.attempts, run.open = at, 0, unheard_of

    def _state(self, step: int) -> State:
        return State(self.run.id, step, self.run.inputs, self.run.context)

    def _mark(self, step: int, status: StepStatus, **said: Any) -> None:
        """Note a step's status, in the run and for the ledger."""
        self.run.marks = [*self.run.marks[:step], status, *self.run.marks[step + 1 :]]
        self.entries[step] = merged(self.entries.get(step), Entry(step, status, **said))


def _bug(error: Exception) -> Json:
    return {"code": "bug", "detail": {"error": f"{type(error).__name__}: {error}"}}
