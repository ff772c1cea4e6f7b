"""A droplet is created once or not at all, whatever becomes of the answer and of whoever waits for it."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.provider import DestroyDroplet, OperationRepublished, ProviderCommand, operation_tag
from dev.digitalocean.faults import Effect, Fault
from dev.digitalocean.running import RunningStandIn
from services.provider.access import Patience, access
from services.provider.app import LEASE, service
from shared.ids import uuid7
from shared.process import running
from shared.republish import republish
from tests.provider.world import PATIENCE, Provisioning, create, process, service_with, undo, within

POST = {"method": "POST", "path": "/v2/droplets"}


async def test_a_droplet_is_created_as_asked_with_the_operations_tag(provisioning: Provisioning) -> None:
    command = create(tags=["acme", "web"], ipv6=True, user_data="#cloud-config\npassword: planted-5ecret")

    result = await provisioning.ok(command, tenant_id="acme")

    (droplet,) = await provisioning.droplets()
    assert result == {"droplet_id": droplet.id}
    assert (droplet.name, droplet.size, droplet.region) == ("web-1", "s-1vcpu-1gb", "nyc3")
    assert droplet.tags == ["acme", "web", operation_tag(command.operation_id)]
    row = await provisioning.operation(command.operation_id)
    assert (row["status"], row["target"], row["tenant_id"]) == ("done", f"droplet:{droplet.id}", "acme")
    assert "planted-5ecret" not in str(dict(row))


async def test_every_change_is_told_in_order_and_without_secrets(provisioning: Provisioning) -> None:
    command = create(user_data="planted-5ecret")
    await provisioning.ok(command, tenant_id="acme")

    told = await provisioning.told(command.operation_id, "done")

    assert [each.data["operation"]["status"] for each in told] == ["pending", "sent", "done"]
    assert [each.sequence for each in told] == [1, 2, 3]
    assert {each.tenantid for each in told} == {"acme"}
    assert "planted-5ecret" not in str(told)


async def test_the_same_operation_again_gives_the_same_droplet(provisioning: Provisioning) -> None:
    command = create()

    first, second = await provisioning.ok(command), await provisioning.ok(command)

    assert first == second
    assert len(await provisioning.droplets()) == 1


async def test_an_operation_of_another_kind_is_not_taken_for_this_one(provisioning: Provisioning) -> None:
    command = create()
    await provisioning.ok(command)

    assert await provisioning.refused(undo(uuid7(), own=command.operation_id)) == "operation_mismatch"


LOST: list[tuple[Effect, dict[str, Any]]] = [
    ("lost", {}),
    ("lost", {"answered": True, "status": 502, "html": True}),
    ("half_json", {}),
    ("half_body", {}),
    ("slow", {"seconds": PATIENCE.call_s + 1}),
]


@pytest.mark.parametrize(("effect", "more"), LOST)
async def test_a_droplet_whose_answer_is_lost_is_found_by_its_tag(
    provisioning: Provisioning, effect: Effect, more: dict[str, Any]
) -> None:
    await provisioning.provider.arm(Fault(effect=effect, count=1, **POST, **more))
    command = create()

    result = await provisioning.ok(command)

    (droplet,) = await provisioning.droplets()
    assert result == {"droplet_id": droplet.id}
    assert (await provisioning.asked("POST")).total() == 1


async def test_a_droplet_that_lists_show_late_is_waited_for_and_not_made_again(provisioning: Provisioning) -> None:
    await provisioning.provider.set(list_lag=30, tag_lag=30)
    await provisioning.provider.arm(Fault(effect="lost", count=1, **POST))
    command = create()

    result = await provisioning.ok(command)

    (droplet,) = await provisioning.droplets()
    assert result == {"droplet_id": droplet.id}
    assert (await provisioning.asked("POST")).total() == 1


async def test_a_create_that_takes_effect_late_is_waited_for_and_not_sent_again(provisioning: Provisioning) -> None:
    await provisioning.provider.set(list_lag=20, tag_lag=10)
    await provisioning.provider.arm(Fault(effect="late", seconds=60, hangs=1, count=1, **POST))
    command = create()

    result = await provisioning.ok(command)

    assert [droplet.id for droplet in await provisioning.droplets()] == [result["droplet_id"]]
    assert (await provisioning.asked("POST")).total() == 1


async def test_a_gpu_droplet_is_found_although_the_list_by_tag_leaves_it_out(provisioning: Provisioning) -> None:
    await provisioning.provider.arm(Fault(effect="lost", count=1, **POST))
    command = create(size="gpu-h100x1-80gb", region="tor1")

    result = await provisioning.ok(command)

    assert [droplet.id for droplet in await provisioning.droplets()] == [result["droplet_id"]]


async def test_a_create_that_came_to_nothing_is_sent_again_when_that_is_certain(provisioning: Provisioning) -> None:
    await provisioning.provider.arm(Fault(effect="reset", count=1, **POST))
    command = create()

    result = await provisioning.ok(command)

    assert [droplet.id for droplet in await provisioning.droplets()] == [result["droplet_id"]]
    first, second = [
        e.at for e in (await provisioning.provider.requests("/v2/droplets")).requests if e.method == "POST"
    ]
    assert second - first > PATIENCE.unsure.total_seconds() - PATIENCE.start_s


async def test_a_list_that_was_not_shown_whole_proves_nothing(provisioning: Provisioning) -> None:
    await provisioning.provider.arm(Fault(effect="lost", count=1, **POST))
    hidden = await provisioning.provider.arm(Fault(effect="short_page", method="GET", path="/v2/droplets"))
    command = create()
    (id,) = await provisioning.send(command)
    await provisioning.until(
        "select clock_timestamp() > unsure_until + interval '2 s' from operations where id = $1", command.operation_id
    )

    await provisioning.provider.disarm(hidden)
    outcome = await provisioning.outcome(id)

    assert outcome.result == {"droplet_id": (await provisioning.droplets())[0].id}
    assert (await provisioning.asked("POST")).total() == 1


async def test_of_two_droplets_of_one_operation_the_older_is_kept(provisioning: Provisioning) -> None:
    command = create()
    tag = operation_tag(command.operation_id)
    older, younger = await provisioning.provider.add_droplets(2, tags=[tag])
    await provisioning.provider.arm(Fault(effect="reset", count=1, **POST))

    result = await provisioning.ok(command)

    assert result == {"droplet_id": min(older.id, younger.id)}
    assert [droplet.id for droplet in await provisioning.droplets()] == [min(older.id, younger.id)]


async def test_what_the_provider_refuses_is_refused(provisioning: Provisioning) -> None:
    command = create(image="no-such-image")

    outcome = await provisioning.ask(command)

    assert (outcome.status, outcome.code) == ("refused", "provider_refused")
    assert "invalid image" in (outcome.detail or {})["reason"]
    assert (await provisioning.asked("POST")).total() == 1
    assert await provisioning.status(command.operation_id) == ("refused", False)


async def test_what_was_refused_is_tried_anew_when_another_message_asks(provisioning: Provisioning) -> None:
    await provisioning.provider.arm(Fault(effect="status", status=422, message="no", count=1, **POST))
    command = create()
    assert await provisioning.refused(command) == "provider_refused"

    result = await provisioning.ok(command)

    assert [droplet.id for droplet in await provisioning.droplets()] == [result["droplet_id"]]
    statuses = [each.data["operation"]["status"] for each in await provisioning.told(command.operation_id, "done")]
    assert statuses == ["pending", "sent", "refused", "pending", "sent", "done"]


async def test_what_was_refused_is_refused_again_to_the_same_message(no_replica: Provisioning) -> None:
    """Its job died before it could answer."""
    command = create()
    (id,) = await no_replica.send(command)
    await no_replica.db.pool.execute(
        """
        insert into operations (id, kind, status, request, error, detail, refused_by, created_at, updated_at, version)
        values ($1, 'create-droplet', 'refused', '{}', 'provider_refused', '{"reason": "no"}', $2, now(), now(), 3)
        """,
        command.operation_id,
        id,
    )
    async with running(service_with(), no_replica.settings):
        outcome = await no_replica.outcome(id)

    assert (outcome.status, outcome.code, outcome.detail) == ("refused", "provider_refused", {"reason": "no"})
    assert (await no_replica.asked("POST")).total() == 0


async def test_a_token_that_is_not_let_in_is_a_refusal(provisioning: Provisioning, stand_in: RunningStandIn) -> None:
    await provisioning.provider.set(read_only_tokens=[stand_in.token])

    assert await provisioning.refused(create()) == "provider_denied_access"


async def test_a_token_that_is_not_let_in_leaves_no_droplet_behind(
    provisioning: Provisioning, stand_in: RunningStandIn
) -> None:
    """To refuse would be to say that nothing was made."""
    await provisioning.provider.arm(Fault(effect="slow", seconds=PATIENCE.call_s + 1, count=1, **POST))
    command = create()
    (id,) = await provisioning.send(command)
    await provisioning.until_asked("POST")
    await provisioning.provider.set(refused_tokens=[stand_in.token])
    await provisioning.until("select error like '%denied%' from jobs where id = $1", id)

    await provisioning.provider.set(refused_tokens=[])

    assert (await provisioning.outcome(id)).result == {"droplet_id": (await provisioning.droplets())[0].id}


@pytest.mark.parametrize("effect", ["burst", "edge_gateway"])
async def test_a_rate_limit_only_delays(provisioning: Provisioning, effect: Effect) -> None:
    await provisioning.provider.arm(Fault(effect=effect, count=2, seconds=1, **POST))
    command = create()

    await provisioning.ok(command)

    assert await provisioning.asked("POST") == {429: 2, 202: 1}
    assert len(await provisioning.droplets()) == 1


async def test_an_outage_during_the_lookup_only_delays(provisioning: Provisioning) -> None:
    await provisioning.provider.arm(Fault(effect="lost", count=1, **POST))
    await provisioning.provider.arm(Fault(effect="status", status=503, method="GET", path="/v2/droplets", count=3))
    await provisioning.provider.arm(Fault(effect="burst", seconds=1, method="GET", path="/v2/droplets", count=1))

    result = await provisioning.ok(create())

    assert [droplet.id for droplet in await provisioning.droplets()] == [result["droplet_id"]]


async def test_what_nobody_waits_for_any_more_is_not_sent_again(provisioning: Provisioning) -> None:
    await provisioning.provider.arm(Fault(effect="reset", **POST))
    command = create()

    assert await provisioning.refused(command, expires=within(3)) == "expired"

    assert await provisioning.droplets() == []
    assert (await provisioning.asked("POST")).total() == 1
    assert await provisioning.status(command.operation_id) == ("pending", False)
    await provisioning.provider.disarm()
    await provisioning.ok(command)  # whoever asks next waits for it
    assert len(await provisioning.droplets()) == 1


async def test_two_replicas_and_two_messages_make_one_droplet(two_replicas: Provisioning) -> None:
    commands = [create() for _ in range(4)]
    await two_replicas.provider.arm(Fault(effect="lost", probability=0.4, seed=3, **POST))

    results = await asyncio.gather(*(two_replicas.ok(command, 60) for command in commands * 3))

    droplets = await two_replicas.droplets()
    assert len(droplets) == 4
    assert {result["droplet_id"] for result in results} == {droplet.id for droplet in droplets}


async def test_a_worker_killed_between_sending_and_recording_makes_one_droplet(
    no_replica: Provisioning, stand_in: RunningStandIn, tmp_path: Path
) -> None:
    command = create()
    await no_replica.provider.arm(Fault(effect="slow", seconds=1.5, count=1, **POST))
    with process(no_replica.settings, stand_in.token, tmp_path / "first.log") as victim:
        (id,) = await no_replica.send(command)
        await no_replica.until_asked("POST")
        victim.kill()
        victim.wait()
    assert await no_replica.status(command.operation_id) == ("sent", False)

    with process(no_replica.settings, stand_in.token, tmp_path / "second.log"):
        outcome = await no_replica.outcome(id, 60)

    (droplet,) = await no_replica.droplets()
    assert (outcome.status, outcome.result) == ("ok", {"droplet_id": droplet.id})
    assert (await no_replica.asked("POST")).total() == 1


async def test_a_worker_killed_before_sending_is_replaced_by_one_that_sends(
    no_replica: Provisioning, stand_in: RunningStandIn, tmp_path: Path
) -> None:
    command = create()
    await no_replica.provider.arm(Fault(effect="hang", seconds=3, count=1, **POST))
    with process(no_replica.settings, stand_in.token, tmp_path / "first.log") as victim:
        (id,) = await no_replica.send(command)
        await no_replica.until_asked("POST")
        victim.kill()
        victim.wait()

    with process(no_replica.settings, stand_in.token, tmp_path / "second.log"):
        outcome = await no_replica.outcome(id, 60)

    assert [droplet.id for droplet in await no_replica.droplets()] == [(outcome.result or {})["droplet_id"]]


async def test_a_worker_that_was_frozen_changes_nothing_when_it_wakes(
    no_replica: Provisioning, stand_in: RunningStandIn, tmp_path: Path
) -> None:
    command = create()
    await no_replica.provider.arm(Fault(effect="slow", seconds=1, count=1, **POST))
    with process(no_replica.settings, stand_in.token, tmp_path / "frozen.log") as frozen:
        (id,) = await no_replica.send(command)
        await no_replica.until_asked("POST")
        frozen.send_signal(signal.SIGSTOP)
        with process(no_replica.settings, stand_in.token, tmp_path / "other.log"):
            outcome = await no_replica.outcome(id, 60)
            frozen.send_signal(signal.SIGCONT)
            await asyncio.gather(*(no_replica.ok(create(), 60) for _ in range(4)))

    (made,) = await no_replica.droplets(command.operation_id)
    assert outcome.result == {"droplet_id": made.id}
    assert (await no_replica.operation(command.operation_id))["version"] == 3
    assert (await no_replica.asked("POST")).total() == 5


async def test_what_cannot_be_sent_at_once_is_not_sent(no_replica: Provisioning) -> None:
    """Others may believe by then that it never will be."""
    command = create()
    at_once = replace(PATIENCE, start_s=-PATIENCE.slot_s)
    async with running(service_with(at_once), no_replica.settings):
        (id,) = await no_replica.send(command)
        await no_replica.until("select put_offs > 1 from jobs where id = $1", id)
    assert (await no_replica.asked("POST")).total() == 0
    assert await no_replica.status(command.operation_id) == ("pending", False)


async def test_what_had_its_turn_in_the_rate_budget_too_late_is_not_sent(no_replica: Provisioning) -> None:
    """The process is frozen while a write waits for its turn."""
    await no_replica.provider.arm(Fault(effect="burst", seconds=1, count=1, **POST))
    first, second = create(), create()
    waits = replace(PATIENCE, start_s=0.5, slot_s=3)
    # A lease that outlasts the freeze: without it, the job would be taken over, which is another test.
    async with running(service_with(waits, lease=timedelta(seconds=60)), no_replica.settings):
        await no_replica.send(first)
        await no_replica.until_asked("POST")
        await no_replica.send(second)
        await no_replica.until_sent(second.operation_id)

        time.sleep(4)  # noqa: ASYNC251 - all of this process stands still

        told = await no_replica.told(second.operation_id, "done")
    assert [each.data["operation"]["status"] for each in told] == ["pending", "sent", "pending", "sent", "done"]


@pytest.mark.parametrize("command", [create(), DestroyDroplet(operation_id=uuid7(), droplet_id=7)])
async def test_who_asks_for_much_patience_is_asked_again_after_a_minute(
    no_replica: Provisioning, command: ProviderCommand
) -> None:
    await no_replica.provider.arm(Fault(effect="burst", seconds=3600, path="/v2/droplets*"))
    async with running(service_with(), no_replica.settings):
        (id,) = await no_replica.send(command)
        await no_replica.until("select put_offs > 0 from jobs where id = $1", id)

        rest = await no_replica.db.pool.fetchval("select run_at - now() from jobs where id = $1", id)
    assert rest.total_seconds() <= PATIENCE.limited_s


async def test_a_setting_shortens_the_waits_at_a_stand_in(provisioning: Provisioning) -> None:
    async with access(provisioning.settings.model_copy(update={"provider_time_scale": 0.1})) as opened:
        assert (opened.patience.lookup_s, opened.do.attempt_timeout) == (6.0, 4.5)
        assert opened.do.call_timeout == 5.5
    async with access(provisioning.settings) as opened:
        assert opened.patience == Patience()
        assert opened.do.call_timeout < LEASE.total_seconds()


def test_waits_are_shortened_together_and_no_call_gets_too_little() -> None:
    waits = Patience().scaled(0.01)

    assert (waits.lookup_s, waits.poll_s, waits.call_s) == (0.6, 0.02, 2.0)


async def test_everything_is_told_again_when_asked(provisioning: Provisioning) -> None:
    commands = [create() for _ in range(3)]
    for command in commands:
        await provisioning.ok(command)
    ids = {str(command.operation_id) for command in commands}

    assert await republish(service, provisioning.db, by="olga") == 3

    again = await provisioning.published(OperationRepublished, 3)
    assert {event.subject for event in again} == ids
    assert {(event.data["operation"]["status"], event.sequence) for event in again} == {("done", 3)}
