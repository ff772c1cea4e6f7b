"""Whatever is asked, in whatever order, and however late the clock is: what always holds of catalog and subscriptions.

What is drawn, the service and a model of it must both do, or refuse alike. Then tables and events are the model's.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings, stateful
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from contracts import catalog, subscriptions
from contracts.deployments import Authority, CreateDeployment, DeploymentCommand, TransitionDeployment
from contracts.message import Command
from services.deployments.domain import Ends, PeriodOpens, Span, Standing, TrialEnds, following, month_of, steps_until
from services.deployments.history import EVENT_TYPES
from shared.outcome import Refused
from tests.deployments.world import Deployments, Row

Addon: TypeAlias = dict[str, Any]  # as it was put on sale, or attached: what subscriptions tell of it

BEGINNING = datetime(2027, 12, 1, tzinfo=UTC)
WAYS = {("trial", "paused"), ("trial", "active"), ("active", "paused"), ("paused", "active")}  # here, for operators
ROWS = """
    select d.id, d.state, d.version as moves, s as subscription,
      array(select p from subscription_periods p where p.subscription_id = s.id order by p.period_start) as periods,
      array(select a from subscription_addons a where a.subscription_id = s.id order by a.id) as addons,
      array(select e from subscription_events e where e.subscription_id = s.id order by e.id) as events
    from cloud_deployments d left join subscriptions s on s.deployment_id = d.id where d.id = any($1)
"""

steady = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])  # the same everywhere
times = st.timedeltas(timedelta(0), timedelta(days=9_999)).map(lambda since: BEGINNING + since)
delays = st.integers(1, 72).map(lambda n: timedelta(hours=n)) | st.integers(1, 100).map(lambda n: timedelta(days=n))
standings = st.builds(Standing, st.just(month_of(BEGINNING)), st.none() | delays.map(BEGINNING.__add__), st.booleans())
which = st.sampled_from([0, 0, 1, -1])
prices = st.integers(0, 20_000)
currencies = st.sampled_from(["AUD", "AUD", "AUD", "USD"])
authorities = st.sampled_from([Authority.TENANT, Authority.OPERATOR])
turns = st.tuples(st.sampled_from([*["period_end", "withdraw"] * 5, "now"]), authorities)

of_all = st.one_of(
    st.tuples(st.just("publish"), which, st.none() | prices, currencies, st.sampled_from([0, 0, 1, 2])),
    st.tuples(st.just("create_addon"), st.sampled_from(["llm_tokens", "dns_zones"]), prices, currencies),
    st.tuples(st.just("subscribe"), which, st.sets(which, max_size=2), st.none() | delays, st.booleans()),
    st.tuples(st.just("migrate"), which, st.booleans(), st.booleans()),
    st.tuples(st.just("roll"), st.booleans()),
)
of_one = st.one_of(
    st.tuples(st.just("attach_or_detach"), which, which, st.booleans()),
    st.tuples(st.just("change_plan"), which, which, st.booleans()),
    st.tuples(st.just("cancel"), which, st.lists(turns, min_size=1, max_size=3)),
    st.tuples(st.just("transition"), which, st.lists(st.sampled_from(["paused", "active"]), min_size=1, max_size=3)),
)
wishes = st.integers(0, 2).flatmap(lambda n: of_one if n else of_all)  # for one rule: each example is to have them all


def next_month(time: datetime) -> datetime:
    return (time.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)).replace(day=1)


@steady
@given(times)
def test_a_month_holds_its_time_and_a_period_ends_with_the_month_in_which_it_begins(time: datetime) -> None:
    month = month_of(time)
    assert next_month(month.start - timedelta.resolution) == month.start <= time < month.end == next_month(time)
    assert following(month) == month_of(month.end)
    assert following(Span(month.start, time)) == Span(time, month.end)


@steady
@given(standings, delays)
def test_steps_come_in_time_and_leave_neither_gap_nor_overlap(standing: Standing, late: timedelta) -> None:
    until = standing.period.start + late
    steps = list(steps_until(standing, until))
    happens = [step.span.start if isinstance(step, PeriodOpens) else step.at for step in steps]
    assert happens == sorted(happens)
    spans = [standing.period, *(step.span for step in steps if isinstance(step, PeriodOpens))]
    assert all(earlier.end == later.start < later.end for earlier, later in pairwise(spans))
    over = standing.to_be_cancelled and standing.period.end <= until
    assert [step for step in steps if isinstance(step, Ends)] == ([Ends(standing.period.end)] if over else [])
    trial, last = standing.trial_ends_at, standing.period.end if over else until
    assert [step.at for step in steps if isinstance(step, TrialEnds)] == ([trial] if trial and trial <= last else [])
    assert over or spans[-1].start <= until < spans[-1].end


@steady
@given(standings, delays, delays)
def test_stepping_twice_leads_where_stepping_once_does(standing: Standing, soon: timedelta, later: timedelta) -> None:
    first, second = standing.period.start + soon, standing.period.start + soon + later
    steps = list(steps_until(standing, first))
    if not any(isinstance(step, Ends) for step in steps):
        period = [standing.period, *(step.span for step in steps if isinstance(step, PeriodOpens))][-1]
        trial = None if any(isinstance(step, TrialEnds) for step in steps) else standing.trial_ends_at
        between = Standing(period, trial, standing.to_be_cancelled)
        assert list(steps_until(between, first)) == []
        steps += steps_until(between, second)
    assert steps == list(steps_until(standing, second))


class Version(NamedTuple):
    id: UUID
    base_price_cents: int
    currency: str

    def check(self, addons: Iterable[Addon]) -> None:
        if any(addon["currency"] != self.currency for addon in addons):
            raise Refused("currency_mismatch")


@dataclass
class Plan:
    code: str
    versions: list[Version] = field(default_factory=list)
    published: list[Version] = field(default_factory=list)  # the last one is on sale

    def status(self, version: Version) -> str:
        if version not in self.published:
            return "draft"
        return "active" if version == self.published[-1] else "retired"

    def on_sale(self, refusal: str = "plan_or_version_not_found") -> Version:
        if not self.published:
            raise Refused(refusal)
        return self.published[-1]


@dataclass
class Bound:
    to: Version
    status: str
    periods: list[dict[str, Any]]  # all, the current one last
    trial_ends_at: datetime | None
    addons: list[Addon]  # all that it ever had
    trial_told: bool = False
    cancel_by: Authority | None = None
    ended_at: datetime | None = None
    history: list[dict[str, Any]] = field(default_factory=list)

    def tell(self, happening: str, now: datetime) -> None:
        """Note what happened, with what is told of it: the last two periods, and the addons that were attached then."""
        last, since = self.periods[-1], self.periods[-2:][0]["start"]
        state = {
            "event_type": happening,
            "occurred_at": now,
            "version": len(self.history) + 1,
            "status": self.status,
            "plan_version_id": self.to.id,
            "current_period_start": last["start"],
            "current_period_end": last["end"],
            "trial_ends_at": self.trial_ends_at,
            "cancel_at": last["end"] if self.cancel_by and not self.ended_at else None,
            "ended_at": self.ended_at,
            "periods": self.periods[:-3:-1],
            "addons": [addon for addon in self.addons if not addon["detached_at"] or addon["detached_at"] > since],
        }
        self.history.append(state)

    def open(self, start: datetime) -> None:
        self.periods.append({"start": start, "end": next_month(start), "plan_version_id": self.to.id})

    def attached(self) -> dict[UUID, Addon]:
        return {addon["addon_id"]: addon for addon in self.addons if not addon["detached_at"]}

    def bind(self, version: Version, now: datetime) -> None:
        if version != self.to:
            self.to = version
            self.periods[-1] = self.periods[-1] | {"plan_version_id": version.id}
            self.tell("plan_changed", now)


@dataclass
class App:
    id: UUID
    states: list[str]  # all that it went through
    bound: Bound | None = None

    def pass_time(self, until: datetime, now: datetime) -> None:
        """What time alone does up to `until`, where it is seen to at `now`."""
        while (it := self.bound) and not it.ended_at:
            trial = [(it.trial_ends_at, "a trial")] if it.trial_ends_at and not it.trial_told else []
            due, what = min([(it.periods[-1]["end"], "period"), *trial])
            if due > until:
                return
            if what == "a trial":
                it.trial_told = True
                self.states += ["active"] if self.states[-1] == "trial" else []
                it.tell("trial_ended", now)
            elif it.cancel_by:
                self.end(it, due, now)
            else:
                it.open(due)
                it.tell("period_opened", now)

    def end(self, it: Bound, ended_at: datetime, now: datetime) -> None:
        self.states.append("cancelled")
        it.status, it.ended_at = "cancelled", ended_at
        it.tell("cancelled", now)

    def going_on(self) -> Bound:
        if self.bound is None or self.bound.ended_at:
            raise Refused("subscription_cancelled" if self.bound else "subscription_not_found")
        return self.bound


def check_same(rows: Sequence[Row], expected: Sequence[dict[str, Any]]) -> None:
    """Of what rows and model say, each more than the other, they must say the same where both say it."""
    for row, each in zip(rows, expected, strict=True):
        names = each.keys() & set(row.keys())
        assert {name: row[name] for name in names} == {name: each[name] for name in names}


def check_follow(starts: Sequence[datetime], subscription: Row) -> None:
    """Periods follow one another, month by month, from that of the start; and none begins after the end."""
    assert [*starts[1:], subscription["current_period_end"]] == [next_month(start) for start in starts]
    assert starts[0] <= subscription["started_at"] < next_month(starts[0])
    assert starts[-1] <= (subscription["ended_at"] or starts[-1])


class Asked(stateful.RuleBasedStateMachine):
    """`told`: what was told of each deployment's subscription. `n`: which plan or deployment something is about."""

    world: Deployments
    loop: asyncio.AbstractEventLoop
    seen: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.now = self.rolled = BEGINNING
        self.plans, self.addons = list[Plan](), list[Addon]()
        self.apps, self.told = dict[UUID, App](), defaultdict[UUID, list[dict[str, Any]]](list)
        self.result: dict[str, Any] = {}

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def ask(self, command: Command) -> dict[str, Any]:
        """Have the service do what it must not refuse, and hear what it tells of subscriptions."""
        self.world.said.clear()
        result: dict[str, Any] = self.wait(self.world.do(command, now=self.now))
        for event in self.world.said:
            if isinstance(event, subscriptions.SubscriptionEvent):
                happening = event.TYPE.split(".")[2].removeprefix("subscription-").replace("-", "_")
                left_out = {"id": True, "tenant_id": True, "plan_code": True, "started_at": True}
                state = event.subscription.model_dump(exclude=left_out | {"addons": {"__all__": {"id"}}})
                state |= {"event_type": happening, "occurred_at": self.now}
                self.told[state.pop("deployment_id")].append(state)
                self.seen[happening] += 1
        return result

    @contextmanager
    def asked(self, command: Command) -> Iterator[None]:
        """What is done here to the model, the service must do, or refuse alike, and then there is no `result`."""
        try:
            yield
        except Refused as refusal:
            code, self.result = refusal.code, {}
            assert self.wait(self.world.refusal(command, now=self.now)).code == code
            self.seen[code] += 1
        else:
            self.result = self.ask(command)

    @contextmanager
    def of_app(self, n: int, command: type[DeploymentCommand], **fields: Any) -> Iterator[App]:
        """The same for a deployment; counted from those that go on to those without subscription."""
        apps = sorted(self.apps.values(), key=lambda app: 2 if app.bound is None else bool(app.bound.ended_at))
        app = deepcopy(apps[n % len(apps)])
        with self.asked(command.model_validate({"deployment_id": app.id, "authority": "operator", **fields})):
            app.pass_time(self.now, self.now)  # what is due by now comes first
            yield app
            self.apps[app.id] = app

    @initialize()
    def begin(self) -> None:
        for n in range(3):
            self.plans.append(Plan(f"plan-{uuid4().hex}"))
            self.ask(catalog.CreatePlan(code=self.plans[n].code, name="A plan"))
            self.create_addon("llm_tokens", n, "AUD")
        for n in (0, 1, 0):
            self.publish(n, 100, "AUD", 0)
            self.subscribe(n, {n}, None, new=True)

    @rule(hours=st.sampled_from([0] * 16 + [1, 7, 24, 120, 336, 744, 1500, 2400, None]), wish=wishes)
    def something_is_asked(self, hours: int | None, wish: tuple[Any, ...]) -> None:
        """`hours`: how long after what was asked before; None: when the next month begins."""
        self.now = next_month(self.now) if hours is None else self.now + timedelta(hours=hours)
        getattr(self, wish[0])(*wish[1:])

    def publish(self, n: int, price: int | None, currency: str, back: int) -> None:
        """Draft a version, or do not, and publish one: the last or one from further back."""
        plan = self.plans[n]
        if price is not None:
            terms = {"plan_code": plan.code, "base_price_cents": price, "currency": currency, "items": []}
            made = self.ask(catalog.DraftPlanVersion.model_validate(terms))
            plan.versions.append(Version(UUID(made["version"]["id"]), price, currency))
        for version in plan.versions[::-1][back : back + 1]:
            with self.asked(catalog.PublishPlanVersion(plan_version_id=version.id)):
                if plan.status(version) == "retired":
                    raise Refused("version_retired")
                plan.published += [version] if plan.status(version) == "draft" else []

    def create_addon(self, kind: str, price: int, currency: str) -> None:
        code = f"addon-{len(self.addons):03}-{uuid4().hex}"
        addon = {"code": code, "resource_kind": kind, "qty": price + 1, "price_cents": price, "currency": currency}
        made = self.ask(catalog.CreateAddon.model_validate(addon | {"name": "An addon"}))
        self.addons.append(addon | {"addon_id": UUID(made["addon"]["id"]), "attached_at": None, "detached_at": None})

    def subscribe(self, plan: int, addons: set[int], trial: timedelta | None, new: bool) -> None:
        """Subscribe a deployment that is created first, or one that may be subscribed already."""
        if new:
            made = self.ask(CreateDeployment(tenant_id="acme", slug=uuid4().hex, display_name="App", trial=bool(trial)))
            id = UUID(made["deployment"]["id"])
            self.apps[id] = App(id, [made["deployment"]["state"]])
        wanted, until = self.plans[plan], self.now + trial if trial else None
        attached = [self.addons[n] | {"attached_at": self.now} for n in sorted(n % len(self.addons) for n in addons)]
        codes = [addon["code"] for addon in attached]
        with self.of_app(-1, subscriptions.Subscribe, plan_code=wanted.code, addons=codes, trial_ends_at=until) as app:
            if app.bound:
                raise Refused("subscription_exists")
            wanted.on_sale().check(attached)
            app.states += ["active"] if (app.states[-1], until) == ("trial", None) else []
            status = "paused" if app.states[-1] == "paused" else "active"
            app.bound = Bound(wanted.on_sale(), status, [], until, attached)
            app.bound.open(self.now.replace(day=1, hour=0))
            app.bound.tell("started", self.now)

    def attach_or_detach(self, n: int, addon: int, attach: bool) -> None:
        wanted = self.addons[addon]
        command = subscriptions.AttachAddon if attach else subscriptions.DetachAddon
        with self.of_app(n, command, code=wanted["code"], addon_id=wanted["addon_id"]) as app:
            it, held = app.going_on(), app.going_on().attached().get(wanted["addon_id"])
            it.to.check([wanted] if attach else [])
            if attach == bool(held):
                raise Refused("addon_attached" if attach else "addon_not_attached")
            if held:
                it.addons[it.addons.index(held)] = held | {"detached_at": self.now}
            else:
                it.addons.append(wanted | {"attached_at": self.now})
            it.tell("addon_attached" if attach else "addon_detached", self.now)

    def change_plan(self, n: int, plan: int, really: bool) -> None:
        wanted = self.plans[plan]
        for dry_run in [True, False][: 1 + really]:
            foretold = self.result.get("change")
            with self.of_app(n, subscriptions.ChangePlanVersion, plan_code=wanted.code, dry_run=dry_run) as app:
                it = app.going_on()
                wanted.on_sale().check(it.attached().values())
                if not dry_run:
                    it.bind(wanted.on_sale(), self.now)
            assert dry_run or self.result.get("change") == foretold

    def cancel(self, n: int, turns: Sequence[tuple[str, Authority]]) -> None:
        for turn, authority in turns:
            command = subscriptions.UncancelSubscription if turn == "withdraw" else subscriptions.CancelSubscription
            with self.of_app(n, command, at=turn, authority=authority) as app:
                it = app.going_on()
                if turn == "now":
                    app.end(it, self.now, self.now)
                elif turn == "withdraw":
                    if not it.cancel_by:
                        raise Refused("not_to_be_cancelled")
                    if (it.cancel_by, authority) == (Authority.OPERATOR, Authority.TENANT):
                        raise Refused("forbidden")
                    it.cancel_by = None
                    it.tell("cancellation_withdrawn", self.now)
                elif not it.cancel_by or (it.cancel_by, authority) == (Authority.TENANT, Authority.OPERATOR):
                    it.cancel_by = authority
                    it.tell("cancellation_requested", self.now)

    def transition(self, n: int, to_states: Sequence[str]) -> None:
        for to_state in to_states:
            with self.of_app(n, TransitionDeployment, to_state=to_state) as app:
                if (app.states[-1], to_state) not in WAYS:
                    raise Refused("invalid_transition")
                app.states.append(to_state)
                if app.bound and app.bound.status != to_state:
                    app.bound.status = to_state
                    app.bound.tell("paused" if to_state == "paused" else "resumed", self.now)

    def migrate(self, n: int, oldest: bool, really: bool) -> None:
        plan = self.plans[n]
        alone = plan.versions[0].id if oldest and plan.versions else None
        retired = [v for v in plan.published[:-1] if alone in (None, v.id)]
        those = [it for app in self.apps.values() if (it := app.bound) and it.to in retired and not it.ended_at]
        for dry_run in [True, False][: 1 + really]:
            foretold = self.result
            with self.asked(catalog.MigrateSubscriptions(plan_code=plan.code, from_version_id=alone, dry_run=dry_run)):
                target = plan.on_sale("no_active_version")
                target.check([{"currency": it.to.currency} for it in those])
                if not dry_run:
                    for app in self.apps.values():
                        app.pass_time(self.now, self.now)
                    for it in those:
                        it.bind(it.to if it.ended_at else target, self.now)
            assert dry_run or self.result == (foretold and foretold | {"dry_run": False})
            assert self.result.get("subscriptions", len(those)) == len(those)

    def roll(self, one_by_one: bool) -> None:
        """Roll the periods once, and again; or for one midnight after another, as far as they were missed."""
        missed = [self.rolled.replace(hour=0) + timedelta(days=n) for n in range(1, (self.now - self.rolled).days, 7)]
        for until in [*missed, self.now] if one_by_one else [self.now, self.now]:
            self.ask(subscriptions.RollPeriods(until=until))
            for app in self.apps.values():
                app.pass_time(until, self.now)
            self.rolled = until

    @invariant()
    def a_plan_sells_what_was_published_last_and_terms_stay(self) -> None:
        versions = {v.id: v._asdict() | {"status": plan.status(v)} for plan in self.plans for v in plan.versions}
        query = "select id, base_price_cents, currency, status from plan_versions where id = any($1)"
        assert {row["id"]: dict(row) for row in self.wait(self.world.fetch(query, list(versions)))} == versions

    @invariant()
    def all_that_happens_is_written_and_told_once_and_in_order(self) -> None:
        for row in self.wait(self.world.fetch(ROWS, list(self.apps))):
            app = self.apps[row["id"]]
            assert (row["state"], row["moves"]) == (app.states[-1], len(app.states))
            assert self.told[app.id] == (app.bound.history if app.bound else [])
            if it := app.bound:
                check_follow([period["period_start"] for period in row["periods"]], row["subscription"])
                check_same([row["subscription"]], [it.history[-1] | {"trial_ended": it.trial_told}])
                check_same(row["periods"], it.periods)
                check_same(row["addons"], it.addons)
                check_same(row["events"], it.history)

    def teardown(self) -> None:
        """End what is left, so that time passes for nothing of it in the examples that follow."""
        self.wait(self.world.fetch("update subscriptions set status = 'cancelled', ended_at = now(), cancel_at = null"))


@pytest.mark.timeout(450)  # before a failure is shown it is made small, for up to five minutes
# Hypothesis draws in a thread of its own; what it sees is the service's clients, whose pauses vary at random meanwhile.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
async def test_whatever_is_asked_happens_as_the_model_says(own_deployments: Deployments) -> None:
    class Here(Asked):
        world, loop, seen = own_deployments, asyncio.get_running_loop(), Counter[str]()

    how = settings(steady, max_examples=25, stateful_step_count=40)
    await asyncio.to_thread(stateful.run_state_machine_as_test, Here, settings=how)
    assert {*EVENT_TYPES.values(), "subscription_exists", "version_retired", "forbidden"} <= Here.seen.keys()
