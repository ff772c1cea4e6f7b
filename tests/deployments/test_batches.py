"""Transitions that are handled together come out as if each had come alone, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from contracts.deployments import DEPLOYMENTS, Authority, DeploymentState, TransitionDeployment
from contracts.subscriptions import SUBSCRIPTIONS, CancelSubscription, RollPeriods, SubscriptionEvent
from services.deployments import handlers
from services.deployments.app import service
from shared.ids import uuid7
from shared.outcome import Meta, Outcome, Received, Refused
from shared.process import running
from tests.deployments.customers import NOW, Customer, customer, subscriber, types
from tests.deployments.world import Deployments
from tests.e2e.stranger import everything_said

OPERATOR, TENANT = Authority.OPERATOR, Authority.TENANT
LATE = datetime(2026, 5, 2, tzinfo=UTC)
_OF_ASYNCPG = ("typeinfo", "'jit'")  # what a new connection asks by itself


def wish(acme: Customer, to: str, by: Authority = TENANT) -> TransitionDeployment:
    return TransitionDeployment(deployment_id=acme.id, authority=by, to_state=DeploymentState(to), reason=f"to {to}")


async def together(
    world: Deployments, *wishes: TransitionDeployment, now: datetime = NOW, asked: list[str] | None = None
) -> Sequence[Outcome | Refused]:
    """What is decided of wishes that are handled in one call. `asked`: gets the statements that this takes."""
    statements = asked if asked is not None else []
    received = [
        Received(each, Meta(uuid7(), now, tenant_id="acme", actor=f"{n}@acme.test")) for n, each in enumerate(wishes)
    ]
    async with world.db.transaction() as conn, asyncio.timeout(30):
        with conn.query_logger(lambda logged: statements.append(logged.query)):
            decided = await handlers.transition_deployments(received, conn)
    statements[:] = [each for each in statements if not any(word in each for word in _OF_ASYNCPG)]
    return decided


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


async def test_a_lone_refusal_of_a_late_deployment_leaves_to_the_clock_what_is_due(
    own_deployments: Deployments,
) -> None:
    world, late = own_deployments, await subscriber(own_deployments)
    await late.ask(CancelSubscription, at="period_end")
    before = await late.rows()
    async with running(service, world.settings):
        (id,) = await world.send(wish(late, "paused"), tenant_id="acme")
        refused = await world.outcome(id)
        assert (refused.code, refused.detail) == ("invalid_transition", {"from": "cancelled", "to": "paused"})
        assert await late.rows() == before
        (id,) = await world.send(RollPeriods(until=LATE), actor="scheduler")
        assert (await world.outcome(id)).status == "ok"
        async with asyncio.timeout(30):
            while (await world.fetch("select count(*) from outbox"))[0]["count"]:
                await asyncio.sleep(0.05)
    servers, prefix = world.settings.kafka_bootstrap_servers, world.settings.kafka_prefix
    said = await everything_said(servers[0], [prefix + topic for topic in (DEPLOYMENTS, SUBSCRIPTIONS)])
    assert sorted(message["type"] for _, _, message in said) == [
        "arcadia.deployments.deployment-transitioned.v1",
        "arcadia.deployments.subscription-cancelled.v1",
    ]


async def test_however_many_are_late_they_catch_up_together(deployments: Deployments) -> None:
    needed: list[list[str]] = []
    for count in (1, 7):
        made = [await subscriber(deployments) for _ in range(count)]
        needed.append([])
        decided = await together(deployments, *(wish(acme, "paused") for acme in made), now=LATE, asked=needed[-1])
        assert [told(each) for each in decided] == [
            [*["SubscriptionPeriodOpened"] * 2, "DeploymentTransitioned", "SubscriptionPaused"]
        ] * count
        for acme, each in zip(made, decided, strict=True):
            assert isinstance(each, Outcome)
            mine = [event.subscription for event in each.events if isinstance(event, SubscriptionEvent)]
            assert [(state.deployment_id, state.version) for state in mine] == [(acme.id, n) for n in (2, 3, 4)]
    assert len(needed[0]) == len(needed[1])


async def test_whoever_reads_a_late_subscription_is_waited_for(deployments: Deployments) -> None:
    undisturbed, disturbed = list[str](), list[str]()
    await together(deployments, wish(await subscriber(deployments), "paused"), now=LATE, asked=undisturbed)
    acme = await subscriber(deployments)
    async with deployments.db.transaction() as conn:  # as a republisher reads it
        await conn.execute("select from subscriptions where deployment_id = $1 for share", acme.id)
        moving = asyncio.create_task(together(deployments, wish(acme, "paused"), now=LATE, asked=disturbed))
        await asyncio.sleep(0.5)
        assert not moving.done()
    assert short(await moving) == ["paused"]
    assert disturbed == undisturbed


async def test_what_is_refused_asks_the_database_for_nothing_more(deployments: Deployments) -> None:
    acme, asked = await subscriber(deployments), list[str]()
    assert short(await together(deployments, wish(acme, "archived"), asked=asked)) == ["invalid_transition"]
    assert asked == ["select deployment, subscription from lock_deployments($1)"]
