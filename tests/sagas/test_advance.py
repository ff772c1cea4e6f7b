"""`advance` under any order, duplication, delay and loss of answers, whoever cancels or retries."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.sagas import UNFINISHED, Echo, SagaStatus, StepStatus, Unecho
from services.sagas.domain import Advanced, Plan, Run, Sending, State, Step, advance
from services.sagas.signals import Answered, Begin, Cancel, Due, Retry, Signal

SAGA = UUID("019e2f4a-6c00-7000-8000-5a6a00000001")
START = datetime(2026, 5, 1, tzinfo=UTC)
TRANSIENT = "busy"


def do(state: State) -> Echo:
    return Echo(saga_id=state.saga_id, step=state.step, say=str(state.operation_id))


def undo(state: State) -> Unecho:
    return Unecho(saga_id=state.saga_id, step=state.step)


def nothing(_: State) -> None:
    return None


def broken(_: State) -> None:
    raise ValueError("a bug in a flow")


STEPS = st.builds(
    Step,
    name=st.just("step"),
    execute=st.sampled_from([do, do, do, do, nothing, broken]),
    compensate=st.sampled_from([undo, undo, undo, None, nothing, broken]),
    attempts=st.integers(1, 3),
    undo_attempts=st.integers(1, 3),
    transient=st.just(frozenset({TRANSIENT})),
    always_undone=st.booleans(),
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    steps = draw(st.lists(STEPS, min_size=1, max_size=5))
    named = [Step(**{**vars(step), "name": f"step {n}"}) for n, step in enumerate(steps)]
    pivot = draw(st.none() | st.sampled_from([step.name for step in named]))
    return Plan(named, pivot)


@dataclass
class Elsewhere:
    """The services that are asked: a command has one outcome, and a step's effect is there once, or undone for good."""

    effects: set[int] = field(default_factory=set)
    undone: set[int] = field(default_factory=set)
    taken_back: Counter[int] = field(default_factory=Counter)
    outcomes: dict[UUID, Answered] = field(default_factory=dict)

    def handle(self, sending: Sending, how: str) -> Answered:
        """Do what a command asks, if it is not refused, and answer; the same again where it comes again."""
        if sending.id not in self.outcomes:
            self.outcomes[sending.id] = self._handled(sending, how)
        return self.outcomes[sending.id]

    def _handled(self, sending: Sending, how: str) -> Answered:
        if how in {"no", TRANSIENT}:
            return Answered(sending.id, "refused", code=how)
        command = sending.command
        if isinstance(command, Echo):
            if command.step in self.undone:
                return Answered(sending.id, "refused", code="operation_cancelled")
            self.effects.add(command.step)
        elif isinstance(command, Unecho):
            self.taken_back[command.step] += command.step in self.effects
            self.undone.add(command.step)
            self.effects.discard(command.step)
        if how == "dies":  # after it took effect: the worst of cases
            return Answered(sending.id, "failed", code="bug")
        return Answered(sending.id, "ok")


class Life:
    """A run from its beginning to its end, with everything that was ever said to it or by it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.elsewhere = Elsewhere()
        self.now = START
        self.sent: list[Sending] = []
        self.undoings: list[tuple[int, int]] = []
        self.answers: list[Answered] = []
        self.timers: list[Due] = []
        self.run = Run(SAGA, SagaStatus.PENDING, {}, {}, [None] * len(plan.steps))
        self.take(Begin())

    def take(self, signal: Signal) -> Advanced:
        """Take a signal in; twice must be as once."""
        before = self.run
        advanced = advance(before, self.plan, signal, self.now)
        self.run = advanced.run
        self._check(before, advanced)
        if advanced.sending:
            self.sent.append(advanced.sending)
            if isinstance(advanced.sending.command, Unecho):
                self.undoings.append((self.run.round, advanced.sending.command.step))
        if self.run.due_at:
            self.timers.append(Due(self.run.timer))
        return advanced

    def _check(self, before: Run, advanced: Advanced) -> None:
        run = self.run
        assert (run.due_at is None) == (run.status not in UNFINISHED), "whoever waits has a timer, and nobody else"
        for entry in advanced.entries:
            assert run.marks[entry.step] is entry.status
        changed = [n for n, (a, b) in enumerate(zip(before.marks, run.marks, strict=True)) if a is not b]
        assert {entry.step for entry in advanced.entries} >= set(changed), "the ledger says what the run says"
        compensated = [n for n, mark in enumerate(before.marks) if mark is StepStatus.COMPENSATED]
        assert all(run.marks[n] is StepStatus.COMPENSATED for n in compensated), "what is undone stays undone"
        if advanced.sending and isinstance(advanced.sending.command, Unecho):
            assert advanced.sending.command.step not in compensated, "and is not undone again"

    def drain(self) -> None:
        """Let everything that is still on its way arrive, and every timer ring, until the run has ended."""
        for _ in range(1000):
            if self.run.status not in UNFINISHED:
                return
            self.now += timedelta(minutes=5)
            self.take(Due(self.run.timer))
        raise AssertionError(f"does not end: {self.run}")


@settings(max_examples=400, deadline=None)
@given(plans(), st.data())
def test_any_order_duplication_delay_and_loss_ends_in_a_legal_state(plan: Plan, data: st.DataObject) -> None:
    life = Life(plan)
    for _ in range(3):
        for _ in range(data.draw(st.integers(0, 20))):
            _happen(life, data)
        life.drain()
        life.take(Retry())
    life.drain()
    for sending in life.sent:  # whatever was late comes now, in vain
        life.take(life.elsewhere.handle(sending, "ok"))
    _check_end(life)


def _happen(life: Life, data: st.DataObject) -> None:
    """One more thing happens: a command arrives, an answer, a timer, an operator."""
    life.now += timedelta(seconds=data.draw(st.integers(0, 90)))
    match data.draw(st.sampled_from(["command", "command", "command", "answer", "answer", "timer", "cancel", "retry"])):
        case "command" if life.sent:
            sending = data.draw(st.sampled_from(life.sent[-4:]))
            how = data.draw(st.sampled_from(["yes", "yes", "yes", "no", TRANSIENT, "dies"]))
            life.answers.append(life.elsewhere.handle(sending, how))
            if data.draw(st.booleans()):
                life.take(life.answers[-1])
        case "answer" if life.answers:
            life.take(data.draw(st.sampled_from(life.answers[-4:])))
        case "timer" if life.timers:
            life.take(data.draw(st.sampled_from(life.timers[-3:])))
        case "cancel":
            life.take(Cancel())
        case "retry":
            life.take(Retry())


def _check_end(life: Life) -> None:
    run, there = life.run, life.elsewhere
    if run.status is SagaStatus.COMPLETED:
        assert set(run.marks) <= {StepStatus.COMPLETED, StepStatus.SKIPPED}
        assert run.error is None
        assert there.effects == {n for n, mark in enumerate(run.marks) if mark is StepStatus.COMPLETED}
    elif run.status is SagaStatus.ROLLED_BACK:
        left = {step for step in there.effects if life.plan.steps[step].compensate is undo}
        assert not left, f"rolled back, and the effects of {left} are left"
        assert StepStatus.COMPENSATION_FAILED not in run.marks
    else:
        assert run.status is SagaStatus.FAILED
        assert StepStatus.COMPENSATION_FAILED in run.marks or "compensate_from_idx" not in (run.error or {})
    assert max(there.taken_back.values(), default=0) <= 1
    for round in range(run.round + 1):
        steps = [step for its, step in life.undoings if its == round]
        assert steps == sorted(steps, reverse=True), "no step is undone before one that came after it"
