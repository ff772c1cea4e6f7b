"""Every flow, with every step that fails, is never answered or is cancelled: what is there when the run has ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from contracts.deployments import DeploymentState
from contracts.provider import ProviderCommand
from contracts.sagas import UNFINISHED, SagaStatus, StepStatus
from services.sagas.domain import Plan, Run, Sending, advance
from services.sagas.flows import FLOWS
from services.sagas.signals import Answered, Begin, Cancel, Due, Retry, Signal
from shared.outcome import Refused
from tests.sagas.neighbours import ADDRESS, Droplet, Neighbours, There, resource_of

SAGA = UUID("019e2f4a-6c00-7000-8000-5a6a00000001")
DEPLOYMENT = UUID("019e2f4a-6c00-7000-8000-dd0000000001")
NAME = "shop.acme"
SMALL, LARGE = "s-1vcpu-1gb", "s-2vcpu-2gb"

S = DeploymentState


def droplet(id: int) -> dict[str, Any]:
    return {"droplet_id": id, "resource_id": str(resource_of(id))}


@dataclass(frozen=True)
class Case:
    """A run to be: what is there before it, when it is completed, and when it is undone (default: as before).

    `left`: what it leaves of droplets, when it is completed; None of one that is to be no more.
    """

    kind: str
    inputs: Mapping[str, Any]
    before: There
    after: There
    undone: There | None = None
    left: Mapping[int, Mapping[str, Any] | None] = field(default_factory=dict)

    @property
    def whole_inputs(self) -> dict[str, Any]:
        """The inputs, defaults and all."""
        return FLOWS.newest[self.kind].inputs.model_validate(self.inputs).model_dump(mode="json")

    @property
    def plan(self) -> Plan:
        return FLOWS.plan_of(self.kind, FLOWS.newest[self.kind].version, self.whole_inputs)

    @property
    def point_of_no_return(self) -> int:
        """The index of the step after which there is no way back."""
        names = [step.name for step in self.plan.steps]
        return names.index(self.plan.pivot) if self.plan.pivot else len(names)


TWO_ON = {1: Droplet(SMALL), 2: Droplet(SMALL)}
ONE_ON = {1: Droplet(SMALL), 2: Droplet(SMALL, "off")}
TWO_OFF = {1: Droplet(SMALL, "off"), 2: Droplet(SMALL, "off")}
ONE_OFF = {1: Droplet(SMALL, "off"), 2: Droplet(SMALL)}
LINKS = {resource_of(1), resource_of(2)}
OF_DEPLOYMENT = {"deployment_id": str(DEPLOYMENT), "authority": "operator", "reason": "asked"}
RESIZED = {"droplet": droplet(1), "size": LARGE}
REVERTED = {"drift_id": str(DEPLOYMENT), "droplet": droplet(1)}
TAGS = (f"deployment:{DEPLOYMENT}", "tenant:acme")

CASES = {
    "provision": Case(
        "provision_deployment",
        {
            "deployment_id": str(DEPLOYMENT),
            "tenant_id": "acme",
            "slug": "shop",
            "region": "syd1",
            "size": SMALL,
            "image": "ubuntu-24-04-x64",
            "domain": "apps.example.com",
        },
        before=There(S.PROVISIONING, SAGA, records={NAME: "198.51.100.1"}),
        after=There(S.ACTIVE, None, {101: Droplet(SMALL, tags=TAGS)}, {NAME: ADDRESS}, {resource_of(101)}),
        undone=There(S.CANCELLED, None, records={NAME: "198.51.100.1"}),
        left={
            101: {
                "name": NAME,
                "region": "syd1",
                "size_slug": SMALL,
                "state": "active",
                "tags": [*TAGS],
            }
        },
    ),
    "suspend": Case(
        "suspend_deployment",
        {**OF_DEPLOYMENT, "droplets": [droplet(1), droplet(2)]},
        before=There(S.ACTIVE, None, ONE_ON, links=LINKS),
        after=There(S.SUSPENDED, None, TWO_OFF, links=LINKS),
        left={1: {"state": "off"}, 2: {"state": "off"}},
    ),
    "resume": Case(
        "resume_deployment",
        {**OF_DEPLOYMENT, "droplets": [droplet(1), droplet(2)]},
        before=There(S.SUSPENDED, None, ONE_ON, links=LINKS),
        after=There(S.ACTIVE, None, TWO_ON, links=LINKS),
        left={1: {"state": "active"}, 2: {"state": "active"}},
    ),
    "offboard": Case(
        "offboard_deployment",
        {
            **OF_DEPLOYMENT,
            "tenant_id": "acme",
            "slug": "shop",
            "domain": "apps.example.com",
            "droplets": [droplet(1), droplet(2)],
        },
        before=There(S.ACTIVE, None, ONE_ON, {NAME: ADDRESS}, LINKS),
        after=There(S.CANCELLED),
        left={1: None, 2: None},
    ),
    "offboard one without droplets": Case(
        "offboard_deployment",
        {**OF_DEPLOYMENT, "tenant_id": "acme", "slug": "shop", "domain": "apps.example.com", "droplets": []},
        before=There(S.SUSPENDED, None, records={NAME: ADDRESS}),
        after=There(S.CANCELLED),
    ),
    "resize": Case(
        "resize_droplet",
        {**RESIZED, "deployment_id": str(DEPLOYMENT)},
        before=There(S.ACTIVE, None, TWO_ON, links=LINKS),
        after=There(S.ACTIVE, None, TWO_ON | {1: Droplet(LARGE)}, links=LINKS),
        left={1: {"size_slug": LARGE}},
    ),
    "resize with the disk": Case(
        "resize_droplet",
        {**RESIZED, "deployment_id": str(DEPLOYMENT), "disk": True},
        before=There(S.ACTIVE, None, TWO_ON, links=LINKS),
        after=There(S.ACTIVE, None, TWO_ON | {1: Droplet(LARGE)}, links=LINKS),
        left={1: {"size_slug": LARGE}},
    ),
    "resize what is nobody's": Case(
        "resize_droplet",
        RESIZED,
        before=There(droplets=TWO_ON),
        after=There(droplets=TWO_ON | {1: Droplet(LARGE)}),
        left={1: {"size_slug": LARGE}},
    ),
    "revert a size": Case(
        "revert_drift",
        {**REVERTED, "size_slug": LARGE, "deployment_id": str(DEPLOYMENT)},
        before=There(S.ACTIVE, None, TWO_ON, links=LINKS),
        after=There(S.ACTIVE, None, TWO_ON | {1: Droplet(LARGE)}, links=LINKS),
        left={1: {}},
    ),
    "revert a name": Case(
        "revert_drift",
        {**REVERTED, "name": "blog"},
        before=There(droplets=TWO_ON),
        after=There(droplets=TWO_ON | {1: Droplet(SMALL, name="blog")}),
        left={1: {}},
    ),
    "revert tags": Case(
        "revert_drift",
        {**REVERTED, "tags": ["a"]},
        before=There(droplets=TWO_ON),
        after=There(droplets=TWO_ON | {1: Droplet(SMALL, tags=("a",))}),
        left={1: {}},
    ),
    "revert power": Case(
        "revert_drift",
        {**REVERTED, "state": "off", "deployment_id": str(DEPLOYMENT)},
        before=There(S.ACTIVE, None, TWO_ON, links=LINKS),
        after=There(S.ACTIVE, None, ONE_OFF, links=LINKS),
        left={1: {}},
    ),
}


def each_step(*, revocable: bool = False) -> list[Any]:
    """Every flow, and each of its steps; `revocable`: those alone that can be undone while there is a way back."""
    return [
        pytest.param(case, index, id=f"{name}, {step.name}")
        for name, case in CASES.items()
        for index, step in enumerate(case.plan.steps)
        if not revocable or (step.compensate and index < min(case.point_of_no_return, len(case.plan.steps) - 1))
    ]


Strike = Callable[[int, str, int], str]
"""What becomes of a command, by its step, its way and its attempt: `yes`, `no`: it is done or refused, and answered;
`silent`, `dies`: it is done, and not answered, or as having died; `late`: the provider gets it when the run has ended
(all others have their commands in the order in which they were sent)."""


def well(*_: Any) -> str:
    return "yes"


def striking(step: int, how: str, *, way: str = "do", attempts: int = 10_000) -> Strike:
    """What strikes the first attempts at one step, one way."""
    return lambda at, its_way, attempt: how if (at, its_way) == (step, way) and attempt <= attempts else "yes"


@dataclass
class Life:
    """A run, from its beginning to its end, among its neighbours."""

    case: Case
    strike: Strike = well
    cancel_at: int | None = None
    echoing: bool = False
    now: datetime = datetime(2026, 5, 1, tzinfo=UTC)
    answers: list[Answered] = field(default_factory=list)
    answered: list[Answered] = field(default_factory=list)
    late: list[Sending] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.neighbours = Neighbours(self.case.before.copy())
        self.outcomes: dict[UUID, Answered] = {}
        self.plan = self.case.plan
        self.run = Run(SAGA, SagaStatus.PENDING, self.case.whole_inputs, {}, [None] * len(self.plan.steps))

    @property
    def there(self) -> There:
        return self.neighbours.there

    def live(self, signal: Signal | None = None) -> SagaStatus:
        """Go on until the run has ended, and everything that was late has arrived."""
        self._take(signal or Begin())
        while self.run.status in UNFINISHED:
            if self.cancel_at == self.run.at and self.run.status is SagaStatus.RUNNING:
                self._take(Cancel())
                self.cancel_at = None
            elif self.answers:
                self._hear(self.answers.pop(0))
            else:
                assert self.run.due_at is not None
                self.now = self.run.due_at
                self._take(Due(self.run.timer))
        while self.late:
            self._hear(self._handled(self.late.pop(), "yes"))
        return self.run.status

    def _hear(self, answer: Answered) -> None:
        self._take(answer)
        self.answered.append(answer)
        if self.echoing:
            for again in self.answered:
                self._take(again)

    def _take(self, signal: Signal) -> None:
        advanced = advance(self.run, self.plan, signal, self.now)
        self.run = advanced.run
        if advanced.sending:
            self._send(advanced.sending)

    def _send(self, sending: Sending) -> None:
        way = "do" if self.run.status is SagaStatus.RUNNING else "undo"
        how = self.strike(self.run.at, way, self.run.attempts)
        if how == "late" and isinstance(sending.command, ProviderCommand):
            self.late.append(sending)
            return
        for _ in range(2 if self.echoing else 1):
            answer = self._handled(sending, how)
            if how not in {"silent", "late"}:
                self.answers.append(answer)

    def _handled(self, sending: Sending, how: str) -> Answered:
        """A command's outcome: the same whenever it comes, as the inbox sees to."""
        if sending.id not in self.outcomes:
            self.outcomes[sending.id] = self._outcome(sending, how)
        return self.outcomes[sending.id]

    def _outcome(self, sending: Sending, how: str) -> Answered:
        if how == "no":
            return Answered(sending.id, "refused", code="told_to")
        try:
            result = self.neighbours.handle(sending.command)
        except Refused as refusal:
            return Answered(sending.id, "refused", code=refusal.code)
        if how == "dies":
            return Answered(sending.id, "failed", code="bug")
        return Answered(sending.id, "ok", result)

    def must_be_undone(self) -> None:
        """The run is rolled back, and of what it did nothing is left."""
        assert self.run.status is SagaStatus.ROLLED_BACK, self.run
        assert self.there == (self.case.undone or self.case.before)

    def must_be_completed(self) -> None:
        """The run is completed, and what it was for is there."""
        assert self.run.status is SagaStatus.COMPLETED, self.run
        assert self.there == self.case.after
        left = {UUID(each["resource_id"]): each for each in self.run.context.get("left", [])}
        assert {id: each["spec"] for id, each in left.items()} == {
            resource_of(id): spec for id, spec in self.case.left.items()
        }
        assert all(each["version"] == 7 for each in left.values() if each["spec"] is not None)


def test_every_flow_about_deployments_is_among_the_cases() -> None:
    assert {case.kind for case in CASES.values()} == FLOWS.newest.keys() - {"exercise"}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("echoing", [False, True], ids=["once", "again and again"])
def test_a_flow_does_what_it_is_for_however_often_it_is_asked_and_answered(case: Case, echoing: bool) -> None:
    life = Life(case, echoing=echoing)
    life.live()
    life.must_be_completed()


@pytest.mark.parametrize(("case", "step"), each_step())
@pytest.mark.parametrize("echoing", [False, True], ids=["once", "again and again"])
def test_a_step_that_fails_for_certain_undoes_all_before_it(case: Case, step: int, echoing: bool) -> None:
    life = Life(case, striking(step, "no"), echoing=echoing)
    if life.live() is SagaStatus.FAILED:
        assert step > case.point_of_no_return
        _finish(life)
    else:
        life.must_be_undone()
        assert step <= case.point_of_no_return


@pytest.mark.parametrize(("case", "step"), each_step())
@pytest.mark.parametrize("how", ["silent", "dies", "late"])
def test_a_step_of_which_nobody_knows_whether_it_was_done_is_undone_too(case: Case, step: int, how: str) -> None:
    life = Life(case, striking(step, how))
    if life.live() is SagaStatus.FAILED:
        assert step >= case.point_of_no_return
        _finish(life)
    else:
        life.must_be_undone()
        assert step < case.point_of_no_return


@pytest.mark.parametrize(("case", "step"), each_step())
def test_an_answer_that_is_lost_once_makes_no_difference(case: Case, step: int) -> None:
    if case.plan.steps[step].attempts > 1:
        life = Life(case, striking(step, "silent", attempts=1))
        life.live()
        life.must_be_completed()


def test_a_droplet_that_goes_meanwhile_leaves_nothing_to_be_undone() -> None:
    life = Life(CASES["revert a name"])

    def destroy(at: int, way: str, _: int) -> str:
        if (at, way) == (1, "do"):
            life.there.droplets.clear()
        return "yes"

    life.strike = destroy
    assert life.live() is SagaStatus.ROLLED_BACK
    assert life.run.marks[:2] == [StepStatus.COMPENSATED, StepStatus.FAILED]


@pytest.mark.parametrize(("case", "step"), each_step())
def test_a_cancellation_between_two_steps_undoes_what_was_done(case: Case, step: int) -> None:
    life = Life(case, cancel_at=step)
    if life.live() is SagaStatus.COMPLETED:
        life.must_be_completed()
        assert step >= min(case.point_of_no_return, len(case.plan.steps) - 1), "too late"
    else:
        life.must_be_undone()
        assert life.run.error == {"compensate_from_idx": step, "reason": "cancelled"}


@pytest.mark.parametrize(("case", "step"), each_step(revocable=True))
def test_what_cannot_be_undone_is_recorded_and_all_else_undone_and_a_retry_finishes_it(case: Case, step: int) -> None:
    """The last step that may fails, and then the undoing of this one."""
    last = min(case.point_of_no_return, len(case.plan.steps) - 1)

    def both(at: int, way: str, _: int) -> str:
        return "no" if (at, way) in {(last, "do"), (step, "undo")} else "yes"

    life = Life(case, both)
    assert life.live() is SagaStatus.FAILED
    assert [n for n, mark in enumerate(life.run.marks) if mark is StepStatus.COMPENSATION_FAILED] == [step]
    life.strike = well
    life.live(Retry())
    life.must_be_undone()


def _finish(life: Life) -> None:
    """An operator has a run go on that is past the point of no return."""
    assert StepStatus.COMPENSATED not in life.run.marks
    life.strike = well
    life.live(Retry())
    life.must_be_completed()
