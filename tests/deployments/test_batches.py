"""Transitions that are handled together come out as if each had come alone, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from contracts.deployments import Authority, DeploymentState, TransitionDeployment
from services.deployments import handlers
from services.deployments.app import service
from shared.ids import uuid7
from shared.outcome import Meta, Outcome, Received, Refused
from shared.process import running
from tests.deployments.customers import NOW, Customer, customer, subscriber, types
from tests.deployments.world import Deployments

OPERATOR, TENANT = Authority.OPERATOR, Authority.TENANT
LATE = datetime(2026, 5, 2, tzinfo=UTC)


def wish(acme: Customer, to: str, by: Authority = TENANT) -> TransitionDeployment:
    return TransitionDeployment(deployment_id=acme.id, authority=by, to_state=DeploymentState(to), reason=f"to {to}")


async def together(
    world: Deployments, *wishes: TransitionDeployment, now: datetime = NOW, tenant: str = "acme"
) -> Sequence[Outcome | Refused]:
    """What is decided of wishes that are handled in one call."""
    received = [
        Received(each, Meta(uuid7(), now, tenant_id=tenant, actor=f"{n}@acme.test")) for n, each in enumerate(wishes)
    ]
    async with world.db.transaction() as conn:
        return await handlers.transition_deployments(received, conn)


def short(decided: Sequence[Outcome | Refused]) -> list[str]:
    """Each decision in a word: the state that came of it, or the code of its refusal."""
    return [each.code if isinstance(each, Refused) else (each.result or {})["deployment"]["state"] for each in decided]


def told(decided: Outcome | Refused) -> list[str]:
    assert isinstance(decided, Outcome)
    return types(decided.events)


async def transitions(acme: Customer) -> list[tuple[str, str, str]]:
    """Where the deployment went since its creation, and who wished it."""
    rows = await acme.world.fetch(
        "select from_state, to_state, actor from cloud_deployment_events where deployment_id = $1 order by version",
        acme.id,
    )
    return [tuple(row) for row in rows[1:]]


async def test_each_gets_its_own_answer_in_the_order_in_which_they_were_asked(deployments: Deployments) -> None:
    made = [await customer(deployments) for _ in range(4)]
    wishes = [wish(acme, to) for acme, to in zip(made, ("paused", "archived", "cancelled", "paused"), strict=True)]
    decided = await together(deployments, *wishes)

    assert short(decided) == ["paused", "invalid_transition", "cancelled", "paused"]
    for acme, each in zip(made, decided, strict=True):
        if isinstance(each, Outcome):
            assert (each.result or {})["deployment"]["id"] == str(acme.id)
            assert told(each) == ["DeploymentTransitioned"]
    assert [await acme.state() for acme in made] == ["paused", "active", "cancelled", "paused"]
    assert [await transitions(acme) for acme in made] == [
        [("active", "paused", "0@acme.test")],
        [],
        [("active", "cancelled", "2@acme.test")],
        [("active", "paused", "3@acme.test")],
    ]


async def test_a_refused_one_does_not_disturb_the_others(deployments: Deployments) -> None:
    first, second, third = [await subscriber(deployments) for _ in range(3)]
    nowhere = Customer(deployments, uuid7())
    before = await second.rows()
    decided = await together(
        deployments,
        wish(second, "suspended"),
        wish(first, "paused"),
        wish(nowhere, "paused"),
        wish(second, "archived", OPERATOR),
        wish(third, "paused"),
    )
    assert short(decided) == ["forbidden", "paused", "not_found", "invalid_transition", "paused"]
    assert await second.rows() == before
    for acme, each in ((first, decided[1]), (third, decided[4])):
        assert told(each) == ["DeploymentTransitioned", "SubscriptionPaused"]
        assert (await acme.subscription())["status"] == "paused"


async def test_those_of_one_deployment_apply_one_after_another(deployments: Deployments) -> None:
    acme, other = await customer(deployments), await customer(deployments)
    decided = await together(
        deployments,
        wish(acme, "paused"),
        wish(other, "paused"),
        wish(acme, "active"),
        wish(acme, "active"),
        wish(acme, "past_due", OPERATOR),
        wish(other, "cancelled"),
    )
    assert short(decided) == ["paused", "paused", "active", "invalid_transition", "past_due", "cancelled"]
    assert await transitions(acme) == [
        ("active", "paused", "0@acme.test"),
        ("paused", "active", "2@acme.test"),
        ("active", "past_due", "4@acme.test"),
    ]
    assert await transitions(other) == [("active", "paused", "1@acme.test"), ("paused", "cancelled", "5@acme.test")]
    refusal = decided[3]
    assert isinstance(refusal, Refused)
    assert refusal.detail == {"from": "active", "to": "active"}
    assert all(told(each) == ["DeploymentTransitioned"] for each in decided if isinstance(each, Outcome))


@pytest.mark.parametrize(
    ("targets", "status", "history"),
    [
        (("paused", "active"), "active", ["paused", "resumed"]),
        (("paused", "active", "paused"), "paused", ["paused", "resumed", "paused"]),
        (("paused", "cancelled", "archived"), "cancelled", ["paused", "cancelled"]),
    ],
)
async def test_a_subscription_follows_each_of_several_moves(
    deployments: Deployments, targets: Sequence[str], status: str, history: Sequence[str]
) -> None:
    acme = await subscriber(deployments)
    decided = await together(deployments, *(wish(acme, to, OPERATOR) for to in targets))
    assert short(decided) == list(targets)
    assert (await acme.subscription())["status"] == status
    assert [row["event_type"] for row in await acme.history()] == ["started", *history]


async def test_each_move_of_a_late_deployment_tells_its_own(deployments: Deployments) -> None:
    acme = await subscriber(deployments)
    paused, cancelled = await together(deployments, wish(acme, "paused"), wish(acme, "cancelled"), now=LATE)
    assert told(paused) == [*["SubscriptionPeriodOpened"] * 2, "DeploymentTransitioned", "SubscriptionPaused"]
    assert told(cancelled) == ["DeploymentTransitioned", "SubscriptionCancelled"]


async def test_a_refusal_of_a_late_deployment_undoes_what_was_done_together(deployments: Deployments) -> None:
    late, punctual = await subscriber(deployments), await customer(deployments)
    before = [await late.rows(), await punctual.rows()]
    with pytest.raises(handlers.Apart):
        await together(deployments, wish(punctual, "paused"), wish(late, "archived"), now=LATE)
    assert [await late.rows(), await punctual.rows()] == before
    assert short(await together(deployments, wish(punctual, "paused"), now=LATE)) == ["paused"]


async def test_the_service_answers_all_that_came_at_once_though_some_are_late_and_refused(
    own_deployments: Deployments,
) -> None:
    world = own_deployments
    late, refused, punctual = [await subscriber(world) for _ in range(3)]
    moving = await customer(world)
    before = await refused.rows()
    ids = await world.send(
        wish(moving, "paused"),
        wish(refused, "archived"),
        wish(late, "paused", OPERATOR),
        wish(refused, "past_due"),
        wish(moving, "active"),
        wish(punctual, "cancelled"),
        tenant_id="acme",
    )
    async with running(service, world.settings):
        outcomes = [await world.outcome(id) for id in ids]

    assert [outcome.code or (outcome.result or {})["deployment"]["state"] for outcome in outcomes] == [
        "paused",
        "invalid_transition",
        "paused",
        "forbidden",
        "active",
        "cancelled",
    ]
    assert await refused.rows() == before
    assert [row["event_type"] for row in await late.history()][-2:] == ["period_opened", "paused"]
    assert [await acme.state() for acme in (late, punctual, moving)] == ["paused", "cancelled", "active"]
