"""What the engine makes of one signal after the other, told step by step."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.message import Command
from contracts.sagas import Echo, SagaStatus, StepStatus, Unecho
from services.sagas.domain import EXPIRED, Advanced, Asking, Plan, Run, Sending, State, Step, advance
from services.sagas.signals import Answered, Begin, Cancel, Due, Retry, Signal

NOW = datetime(2026, 5, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def do(state: State) -> Echo:
    return Echo(saga_id=state.saga_id, step=state.step, say="hello")


def undo(state: State) -> Unecho:
    return Unecho(saga_id=state.saga_id, step=state.step)


STEP = Step("a", do, undo, attempts=2, undo_attempts=2, timeout=MINUTE, transient=frozenset({"busy"}))


def named(*names: str, **changes: Any) -> list[Step]:
    return [replace(STEP, name=name, **changes) for name in names]


class Told:
    """A run, and what is said to it."""

    def __init__(self, *steps: Step, pivot: str | None = None) -> None:
        self.plan = Plan(steps, pivot)
        self.run = Run(uuid4(), SagaStatus.PENDING, {}, {}, [None] * len(steps))
        self.sent: list[Sending] = []
        self.last: Advanced
        self.tell(Begin())

    def tell(self, signal: Signal) -> Advanced:
        self.last = advance(self.run, self.plan, signal, NOW)
        self.run = self.last.run
        if self.last.sending:
            self.sent.append(self.last.sending)
        return self.last

    def ok(self, **result: Any) -> Advanced:
        return self.tell(Answered(self.sent[-1].id, "ok", result))

    def refused(self, code: str = "no", of: Sending | None = None) -> Advanced:
        return self.tell(Answered((of or self.sent[-1]).id, "refused", code=code))

    def died(self) -> Advanced:
        return self.tell(Answered(self.sent[-1].id, "failed", code="bug"))

    def ring(self) -> Advanced:
        return self.tell(Due(self.run.timer))

    @property
    def status(self) -> SagaStatus:
        return self.run.status

    @property
    def marks(self) -> list[str | None]:
        return [mark and str(mark) for mark in self.run.marks]


def undone_step(advanced: Advanced) -> int:
    assert advanced.sending is not None
    assert isinstance(advanced.sending.command, Unecho)
    return advanced.sending.command.step


def test_each_attempt_has_an_id_of_its_own_and_all_name_one_operation() -> None:
    said: list[UUID] = []

    def noted(state: State) -> Echo:
        said.append(state.operation_id)
        return do(state)

    told = Told(replace(STEP, execute=noted))
    told.ring()
    assert told.sent[0].id != told.sent[1].id
    assert said[0] == said[1]


def test_a_timer_that_is_no_longer_the_newest_means_nothing() -> None:
    told = Told(*named("a", "b"))
    old = told.run.timer
    told.ok()
    assert told.tell(Due(old)).run is told.run
    assert len(told.sent) == 2


def test_an_answer_to_something_else_means_nothing() -> None:
    told = Told(*named("a", "b"))
    before = told.run
    assert told.tell(Answered(uuid4(), "ok")).run is before
    first = told.sent[-1]
    told.ok()
    before = told.run
    assert told.tell(Answered(first.id, "ok")).run is before


def test_what_timed_out_is_asked_again_at_once_and_its_late_answer_counts() -> None:
    told = Told(*named("a", "b"))
    first = told.sent[-1]
    assert told.ring().sending is not None
    told.tell(Answered(first.id, "ok"))
    assert told.marks == ["completed", "running"]


def test_an_early_attempts_refusal_leaves_the_newest_its_chance() -> None:
    told = Told(*named("a"))
    first = told.sent[-1]
    told.ring()
    told.refused(of=first)
    assert told.status == "running"
    told.ok()
    assert told.status == "completed"


def test_a_step_that_never_answered_is_undone_too() -> None:
    told = Told(*named("a", "b"))
    told.ok()
    told.ring()
    assert undone_step(told.ring()) == 1
    assert told.run.error == {"compensate_from_idx": 1, "reason": "step_unknown:b"}
    told.ok()
    told.ok()
    assert told.marks == ["compensated", "compensated"]
    assert told.status == "rolled_back"


def test_a_refusal_after_a_silence_is_not_certain() -> None:
    told = Told(*named("a", "b"))
    told.ok()
    told.ring()
    assert undone_step(told.refused()) == 1


def test_what_an_earlier_step_left_unanswered_makes_a_later_one_no_less_certain() -> None:
    told = Told(*named("a", "b"))
    first = told.sent[-1]
    told.ring()
    told.tell(Answered(first.id, "ok"))  # the second attempt is never heard of
    assert undone_step(told.refused()) == 0
    assert told.run.error == {"compensate_from_idx": 0, "reason": "step_failed:b"}


def test_a_refusal_that_will_pass_is_waited_out() -> None:
    told = Told(*named("a"))
    told.refused("busy")
    assert told.run.due_at == NOW + STEP.back_off[0]
    assert told.last.sending is None
    assert told.ring().sending is not None
    told.refused("busy")
    assert told.status == "rolled_back"


def test_a_command_that_came_too_late_to_begin_is_sent_again() -> None:
    told = Told(*named("a"))
    told.refused(EXPIRED)
    assert told.status == "running"
    told.ring()
    told.ok()
    assert told.status == "completed"


def test_a_command_that_died_may_have_done_something() -> None:
    told = Told(*named("a"))
    told.died()
    told.ring()
    assert undone_step(told.died()) == 0


def test_a_step_that_is_always_undone_is_so_even_where_it_failed_for_certain() -> None:
    told = Told(*named("mark", always_undone=True))
    assert undone_step(told.refused()) == 0
    assert told.run.error == {"compensate_from_idx": 0, "reason": "step_failed:mark"}
    told.ok()
    assert told.marks == ["compensated"]


def test_a_cancellation_waits_for_the_step_under_way() -> None:
    told = Told(*named("a", "b", "c"))
    told.ok()
    told.tell(Cancel())
    assert told.status == "running"
    assert undone_step(told.ok()) == 1
    assert told.run.error == {"compensate_from_idx": 1, "reason": "cancelled"}


def test_a_cancellation_during_the_last_step_comes_too_late() -> None:
    told = Told(*named("a"))
    told.tell(Cancel())
    told.ok()
    assert told.status == "completed"


@pytest.mark.parametrize(("earlier", "undone"), [("refused", 0), ("silent", 1)])
def test_a_cancellation_between_two_attempts_is_heeded_at_once(earlier: str, undone: int) -> None:
    told = Told(*named("a", "b", attempts=3))
    told.ok()
    if earlier == "silent":
        told.ring()
    told.refused("busy")
    assert undone_step(told.tell(Cancel())) == undone
    assert told.run.error == {"compensate_from_idx": undone, "reason": "cancelled"}


def test_a_compensation_that_fails_is_recorded_and_the_others_run_and_a_retry_finishes_it() -> None:
    told = Told(*named("a", "b", "c"), *named("d"))
    for _ in range(3):
        told.ok()
    told.refused()
    told.ok()
    assert undone_step(told.last) == 1
    told.refused()
    assert undone_step(told.last) == 0
    told.ok()
    assert told.status == "failed"
    assert told.marks == ["compensated", "compensation_failed", "compensated", "failed"]
    first_round = told.sent[-2]
    assert undone_step(told.tell(Retry())) == 1
    assert told.sent[-1].id != first_round.id
    told.ok()
    assert told.marks == ["compensated", "compensated", "compensated", "failed"]
    assert told.status == "rolled_back"
    assert told.run.error == {"compensate_from_idx": 2, "reason": "step_failed:d"}


def test_past_the_pivot_nothing_is_cancelled_or_undone_and_a_retry_goes_on() -> None:
    told = Told(*named("a", "b", "c"), pivot="b")
    told.ok()
    told.ok()
    before = told.run
    assert told.tell(Cancel()).run is before
    told.refused()
    assert told.status == "failed"
    assert told.run.error == {"reason": "step_failed:c"}
    assert told.marks == ["completed", "completed", "failed"]
    told.tell(Retry())
    assert told.status == "running"
    told.ok()
    assert told.status == "completed"


def test_a_cancellation_that_the_pivot_overtakes_is_not_heeded() -> None:
    told = Told(*named("a", "b", "c"), pivot="b")
    told.ok()
    told.tell(Cancel())
    told.ok()
    told.ok()
    assert told.status == "completed"


def test_a_pivot_of_which_nobody_knows_whether_it_is_done_is_not_undone_but_left_to_an_operator() -> None:
    told = Told(*named("a", "b", "c"), pivot="b")
    told.ok()
    told.ring()
    told.ring()
    assert (told.status, told.run.error) == ("failed", {"reason": "step_unknown:b"})
    told.tell(Retry())
    told.refused()  # what the attempts before the retry did is no better known by this
    assert (told.status, told.run.error) == ("failed", {"reason": "step_unknown:b"})
    told.tell(Retry())
    told.ok()
    told.ok()
    assert told.status == "completed"


def test_a_pivot_that_fails_for_certain_is_no_point_of_no_return() -> None:
    told = Told(*named("a", "b"), pivot="b")
    told.ok()
    assert undone_step(told.refused()) == 0


def test_a_cancellation_waits_until_it_is_known_whether_the_pivot_is_done() -> None:
    told = Told(*named("a", "b", attempts=3), pivot="b")
    told.ok()
    told.ring()
    told.refused("busy")
    told.tell(Cancel())
    assert told.status == "running"
    told.ring()
    told.refused()
    assert told.status == "failed"
    told.tell(Retry())
    assert told.status == "running"  # the operator's last word
    told.ok()
    assert told.status == "completed"


def test_a_bug_in_a_step_is_a_failed_step() -> None:
    def broken(_: State) -> Echo:
        raise ValueError("a bug in a flow")

    told = Told(*named("a"), *named("b", execute=broken))
    assert undone_step(told.ok()) == 0
    (failed,) = [entry for entry in told.last.entries if entry.step == 1]
    assert failed.status is StepStatus.FAILED
    assert failed.error == {"code": "bug", "detail": {"error": "ValueError: a bug in a flow"}}


def test_a_bug_in_what_is_kept_undoes_what_was_done() -> None:
    told = Told(*named("a", keep=lambda state, result: {"x": result["missing"]}))
    assert undone_step(told.ok()) == 0


def _changing(first: Asking, then: Asking) -> Asking:
    """What a step asks before its code is changed under a run, and afterwards."""
    said: list[Command | None] = []

    def asking(state: State) -> Command | None:
        said.append(None)
        return first(state) if len(said) == 1 else then(state)

    return asking


def _nothing(_: State) -> None:
    return None


def _broken(_: State) -> Command:
    raise ValueError("a bug in a flow")


@pytest.mark.parametrize("then", [_nothing, _broken])
def test_a_step_that_has_nothing_to_ask_any_more_ends_all_the_same(then: Asking) -> None:
    told = Told(*named("a"), *named("b", execute=_changing(do, then)))
    told.ok()
    assert undone_step(told.ring()) == 1, "what the first attempt did is not known"

    undoing = Told(*named("a"), *named("b", compensate=_changing(undo, then)), *named("c"))
    undoing.ok()
    undoing.ok()
    undoing.refused()
    assert undone_step(undoing.ring()) == 0
    undoing.ok()
    assert (undoing.status, undoing.marks) == ("failed", ["compensated", "compensation_failed", "failed"])


def test_a_pivot_that_may_be_done_is_not_undone_where_a_retry_finds_its_code_broken() -> None:
    told = Told(*named("a"), *named("b", execute=_changing(do, _broken), attempts=1), pivot="b")
    told.ok()
    told.ring()
    told.tell(Retry())
    assert (told.status, told.run.error) == ("failed", {"reason": "step_unknown:b"})


def test_a_refusal_that_is_heard_twice_changes_nothing() -> None:
    told = Told(*named("a"))
    told.refused("busy")
    before = told.run
    assert told.refused("busy").run is before


def test_what_a_step_leaves_behind_is_there_for_those_after_it() -> None:
    told = Told(*named("a", keep=lambda state, result: {"x": result["x"]}), *named("b"))
    told.ok(x=1)
    assert told.run.context == {"x": 1}


def test_a_step_with_nothing_to_do_is_skipped_both_ways() -> None:
    told = Told(*named("a"), *named("b", execute=lambda state: None), *named("c"))
    told.ok()
    assert told.marks == ["completed", "skipped", "running"]
    assert undone_step(told.refused()) == 0
