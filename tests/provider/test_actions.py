"""Power, size and name: each action is begun once, waited for, and undone by another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from contracts.provider import (
    DestroyDroplet,
    DropletCommand,
    PowerOffDroplet,
    PowerOnDroplet,
    RenameDroplet,
    ResizeDroplet,
    UndoOperation,
)
from dev.digitalocean.control import TrueDroplet
from dev.digitalocean.faults import Effect, Fault
from shared.ids import uuid7
from shared.process import running
from tests.provider.world import PATIENCE, Provisioning, create, service_with, undo, within

POST: dict[str, Any] = {"method": "POST", "path": "/v2/droplets/*/actions"}
BIGGER = "s-2vcpu-2gb"


async def droplet(provisioning: Provisioning, status: str = "active", **fields: Any) -> int:
    (made,) = await provisioning.provider.add_droplets(1, size="s-1vcpu-1gb", **fields)
    await provisioning.provider.change_droplet(made.id, status=status)
    return made.id


async def only(provisioning: Provisioning) -> TrueDroplet:
    (there,) = await provisioning.droplets()
    return there


async def begun(provisioning: Provisioning, id: int) -> int:
    """How many actions were asked for."""
    return (await provisioning.asked("POST", f"/v2/droplets/{id}/actions")).total()


async def reads(provisioning: Provisioning) -> list[str]:
    """The paths that were read, in this order."""
    return [entry.path for entry in (await provisioning.provider.requests()).requests if entry.method == "GET"]


def off(id: int) -> PowerOffDroplet:
    return PowerOffDroplet(operation_id=uuid7(), droplet_id=id)


def on(id: int) -> PowerOnDroplet:
    return PowerOnDroplet(operation_id=uuid7(), droplet_id=id)


def resize(id: int, size: str = BIGGER, *, disk: bool = False) -> ResizeDroplet:
    return ResizeDroplet(operation_id=uuid7(), droplet_id=id, size=size, disk=disk)


def rename(id: int, name: str = "shop-1") -> RenameDroplet:
    return RenameDroplet(operation_id=uuid7(), droplet_id=id, name=name)


async def test_a_droplet_is_switched_off_and_on(provisioning: Provisioning) -> None:
    id = await droplet(provisioning)

    assert await provisioning.ok(off(id)) == {"droplet_id": id, "was": "active"}
    assert (await only(provisioning)).status == "off"
    assert await provisioning.ok(on(id)) == {"droplet_id": id, "was": "off"}
    assert (await only(provisioning)).status == "active"


async def test_a_droplet_that_is_off_already_is_left_alone(provisioning: Provisioning) -> None:
    id = await droplet(provisioning, "off")

    assert await provisioning.ok(off(id)) == {"droplet_id": id, "was": "off"}

    assert await begun(provisioning, id) == 0


async def test_that_it_is_off_already_is_no_refusal(provisioning: Provisioning) -> None:
    id = await droplet(provisioning, "off")
    await provisioning.provider.change_droplet(id, shown={"status": "active"})  # reads lag behind

    command = off(id)

    assert (await provisioning.ok(command))["was"] == "active"
    await provisioning.provider.change_droplet(id, shown={})
    assert await provisioning.ok(undo(command.operation_id)) == {"undone": []}
    assert (await only(provisioning)).status == "off"


LOST: list[tuple[Effect, dict[str, Any]]] = [
    ("lost", {}),
    ("lost", {"answered": True, "status": 504}),
    ("slow", {"seconds": PATIENCE.call_s + 1}),
    ("half_json", {}),
]


@pytest.mark.parametrize(("effect", "more"), LOST)
async def test_an_action_whose_answer_is_lost_is_found_and_not_begun_again(
    provisioning: Provisioning, effect: Effect, more: dict[str, Any]
) -> None:
    id = await droplet(provisioning)
    await provisioning.provider.arm(Fault(effect=effect, count=1, **POST, **more))

    await provisioning.ok(off(id))

    assert (await only(provisioning)).status == "off"
    assert await begun(provisioning, id) == 1


async def test_an_action_that_takes_effect_late_is_not_begun_again(provisioning: Provisioning) -> None:
    id = await droplet(provisioning)
    await provisioning.provider.arm(Fault(effect="late", seconds=50, count=1, **POST))

    await provisioning.ok(off(id))

    assert (await only(provisioning)).status == "off"
    assert await begun(provisioning, id) == 1


async def test_an_action_that_came_to_nothing_is_begun_again_when_that_is_certain(provisioning: Provisioning) -> None:
    id = await droplet(provisioning)
    await provisioning.provider.arm(Fault(effect="reset", count=1, **POST))

    await provisioning.ok(off(id))

    assert (await only(provisioning)).status == "off"
    assert await begun(provisioning, id) == 2


async def test_an_event_that_is_running_is_waited_out(provisioning: Provisioning) -> None:
    id = await droplet(provisioning)
    await provisioning.provider.arm(Fault(effect="pending_event", count=2))

    await provisioning.ok(off(id))

    assert await provisioning.asked("POST", f"/v2/droplets/{id}/actions") == {422: 2, 201: 1}


async def test_an_event_is_waited_out_until_the_command_expires(provisioning: Provisioning) -> None:
    id = await droplet(provisioning)
    await provisioning.provider.arm(Fault(effect="pending_event"))

    command = off(id)

    assert await provisioning.refused(command, expires=within(2)) == "expired"
    assert (await only(provisioning)).status == "active"
    await provisioning.provider.disarm()
    await provisioning.ok(command)  # whoever asks next waits for it
    assert (await only(provisioning)).status == "off"


ERRING: tuple[Effect, ...] = ("lost", "action_errors")


async def test_an_action_that_errs_is_a_refusal(provisioning: Provisioning) -> None:
    id = await droplet(provisioning)
    await provisioning.provider.arm(Fault(effect="action_errors", **POST))
    command = off(id)

    outcome = await provisioning.ask(command)

    assert (outcome.code, (outcome.detail or {})["action"]) == ("action_errored", "power_off")
    assert await provisioning.status(command.operation_id) == ("refused", False)


async def test_an_action_whose_answer_is_lost_and_that_errs_is_a_refusal(provisioning: Provisioning) -> None:
    id = await droplet(provisioning)
    for effect in ERRING:
        await provisioning.provider.arm(Fault(effect=effect, count=1, **POST))

    assert await provisioning.refused(off(id)) == "action_errored"
    assert await begun(provisioning, id) == 1


async def test_an_action_without_effect_is_a_refusal(provisioning: Provisioning) -> None:
    id = await droplet(provisioning)
    await provisioning.provider.arm(Fault(effect="no_effect", **POST))

    assert await provisioning.refused(off(id)) == "action_errored"
    assert await begun(provisioning, id) == 1


@pytest.mark.parametrize("command", [off, pytest.param(rename, marks=pytest.mark.long)])
async def test_an_action_whose_effect_shows_late_is_waited_for(
    no_replica: Provisioning, command: Callable[[int], DropletCommand]
) -> None:
    await no_replica.provider.set(effect_lag=150)
    id = await droplet(no_replica)

    async with running(service_with(replace(PATIENCE, lookup_s=20)), no_replica.settings):
        await no_replica.ok(command(id))

    assert await begun(no_replica, id) == 1


async def test_an_action_that_is_unknown_by_its_id_is_looked_for(provisioning: Provisioning) -> None:
    id = await droplet(provisioning)
    await provisioning.provider.arm(Fault(effect="status", status=404, method="GET", path="/v2/actions/*"))

    await provisioning.ok(off(id))

    assert await begun(provisioning, id) == 1


async def test_an_action_under_way_is_asked_for_and_nothing_else(provisioning: Provisioning) -> None:
    id = await droplet(provisioning, "off")

    await provisioning.ok(resize(id))

    for path in (f"/v2/droplets/{id}/actions", f"/v2/droplets/{id}"):  # before it, and after it
        assert len([each for each in await reads(provisioning) if each == path]) == 2
    assert len([each for each in await reads(provisioning) if each.startswith("/v2/actions/")]) > 2


async def test_a_droplet_that_is_not_there_is_not_found(provisioning: Provisioning) -> None:
    for command in (off(7), on(7), resize(7), rename(7)):
        assert await provisioning.refused(command) == "droplet_not_found"


async def test_a_droplet_is_resized_while_it_is_off(provisioning: Provisioning) -> None:
    id = await droplet(provisioning, "off")

    assert await provisioning.ok(resize(id)) == {"droplet_id": id, "was": "s-1vcpu-1gb"}

    there = await only(provisioning)
    assert (there.size, there.status) == (BIGGER, "off")


async def test_a_droplet_that_is_on_is_not_resized(provisioning: Provisioning) -> None:
    id = await droplet(provisioning)

    assert await provisioning.refused(resize(id)) == "provider_refused"

    there = await only(provisioning)
    assert (there.size, there.status) == ("s-1vcpu-1gb", "active")


async def test_a_resize_is_undone_by_the_size_before(provisioning: Provisioning) -> None:
    """Though the droplet was switched on meanwhile: it is switched off for that, and on again."""
    id = await droplet(provisioning, "off")
    command = resize(id)
    await provisioning.ok(command)
    await provisioning.ok(on(id))

    assert await provisioning.ok(undo(command.operation_id), 60) == {"undone": [f"droplet:{id}"]}

    there = await only(provisioning)
    assert (there.size, there.status) == ("s-1vcpu-1gb", "active")
    assert await provisioning.status(command.operation_id) == ("cancelled", True)


async def test_an_undoing_that_is_refused_half_way_leaves_the_droplet_as_it_was(provisioning: Provisioning) -> None:
    id = await droplet(provisioning, "off")
    command = resize(id)
    await provisioning.ok(command)
    await provisioning.ok(on(id))
    await provisioning.provider.arm(Fault(effect="action_errors", after=1, count=1, **POST))  # lets power_off through
    undoing = undo(command.operation_id)

    assert await provisioning.refused(undoing, 60) == "action_errored"

    there = await only(provisioning)
    assert (there.size, there.status) == (BIGGER, "active")
    assert await provisioning.status(undoing.operation_id) == ("refused", False)
    await provisioning.ok(undoing, 60)  # it may be asked again
    there = await only(provisioning)
    assert (there.size, there.status) == ("s-1vcpu-1gb", "active")


async def test_a_taking_back_that_errs_once_is_tried_again(provisioning: Provisioning) -> None:
    undoing, id = await undoing_that_fails(provisioning, count=2)

    assert await provisioning.refused(undoing, 60) == "action_errored"

    there = await only(provisioning)
    assert (there.id, there.size, there.status) == (id, BIGGER, "active")


async def test_what_a_person_has_put_right_is_not_taken_back_any_more(provisioning: Provisioning) -> None:
    undoing, id = await undoing_that_fails(provisioning, count=None)
    (asked,) = await provisioning.send(undoing)
    await provisioning.until("select error like '%cannot be put back%' from jobs where id = $1", asked)

    await provisioning.provider.change_droplet(id, status="active")

    assert (await provisioning.outcome(asked)).code == "action_errored"


async def undoing_that_fails(provisioning: Provisioning, count: int | None) -> tuple[UndoOperation, int]:
    """An undoing that switches a droplet off, and then so many actions err: the resize, and what takes it back."""
    id = await droplet(provisioning, "off")
    command = resize(id)
    await provisioning.ok(command)
    await provisioning.ok(on(id))
    await provisioning.provider.arm(Fault(effect="action_errors", after=1, count=count, **POST))
    return undo(command.operation_id), id


async def test_a_token_that_is_not_let_in_half_way_is_waited_out(provisioning: Provisioning) -> None:
    id = await droplet(provisioning, "off")
    command = resize(id)
    await provisioning.ok(command)
    await provisioning.ok(on(id))
    await provisioning.provider.arm(Fault(effect="status", status=403, after=1, count=1, **POST))

    assert await provisioning.ok(undo(command.operation_id), 60) == {"undone": [f"droplet:{id}"]}

    there = await only(provisioning)
    assert (there.size, there.status) == ("s-1vcpu-1gb", "active")


async def test_a_disk_that_has_grown_stays_so(provisioning: Provisioning) -> None:
    id = await droplet(provisioning, "off")
    command = resize(id, disk=True)
    await provisioning.ok(command)

    assert await provisioning.refused(undo(command.operation_id)) == "cannot_be_undone"
    assert (await only(provisioning)).size == BIGGER


@pytest.mark.parametrize("before", ["active", "off"])
async def test_power_is_undone_as_it_was_before(provisioning: Provisioning, before: str) -> None:
    id = await droplet(provisioning, before)
    command = off(id)
    await provisioning.ok(command)

    await provisioning.ok(undo(command.operation_id))

    assert (await only(provisioning)).status == before


@pytest.mark.parametrize("status", ["active", pytest.param("off", marks=pytest.mark.long)])
async def test_a_droplet_is_renamed_and_has_its_name_before_when_that_is_undone(
    provisioning: Provisioning, status: str
) -> None:
    id = await droplet(provisioning, status, name="web-1")
    command = rename(id, "Shop-1.acme.example")

    assert await provisioning.ok(command) == {"droplet_id": id, "was": "web-1"}
    there = await only(provisioning)
    assert (there.name, there.status) == ("Shop-1.acme.example", status)

    assert await provisioning.ok(undo(command.operation_id)) == {"undone": [f"droplet:{id}"]}
    there = await only(provisioning)
    assert (there.name, there.status) == ("web-1", status)
    assert await provisioning.status(command.operation_id) == ("cancelled", True)


async def test_a_droplet_that_has_the_name_already_is_left_alone(provisioning: Provisioning) -> None:
    id = await droplet(provisioning, name="shop-1")
    command = rename(id, "shop-1")

    assert (await provisioning.ok(command))["was"] == "shop-1"

    assert await provisioning.ok(undo(command.operation_id)) == {"undone": []}
    assert await begun(provisioning, id) == 0


async def test_a_droplet_is_renamed_once_the_event_that_runs_on_it_is_over(provisioning: Provisioning) -> None:
    id = (await provisioning.ok(create(name="web-1")))["droplet_id"]  # its create is still under way
    (creating,) = (await provisioning.provider.requests("/v2/droplets")).requests[-1:]
    assert (creating.method, (await only(provisioning)).status) == ("POST", "new")

    assert (await provisioning.ok(rename(id)))["was"] == "web-1"

    there = await only(provisioning)
    assert (there.name, there.status) == ("shop-1", "active")
    assert await provisioning.asked("POST", f"/v2/droplets/{id}/actions") == {201: 1}


async def test_an_event_that_nobody_sees_puts_a_rename_off(provisioning: Provisioning) -> None:
    id = await droplet(provisioning)
    await provisioning.provider.arm(Fault(effect="pending_event", count=2))

    await provisioning.ok(rename(id))

    assert (await only(provisioning)).name == "shop-1"
    assert await provisioning.asked("POST", f"/v2/droplets/{id}/actions") == {422: 2, 201: 1}


@pytest.mark.parametrize(
    "effect", ["late", *(pytest.param(each, marks=pytest.mark.long) for each in ("lost", "reset"))]
)
async def test_a_rename_whose_answer_is_lost_is_neither_lost_nor_begun_twice(
    provisioning: Provisioning, effect: Effect
) -> None:
    id = await droplet(provisioning, name="web-1")
    await provisioning.provider.arm(Fault(effect=effect, seconds=50, count=1, **POST))
    command = rename(id)

    assert (await provisioning.ok(command))["was"] == "web-1"

    assert (await only(provisioning)).name == "shop-1"
    assert await begun(provisioning, id) == (2 if effect == "reset" else 1)
    await provisioning.ok(undo(command.operation_id))
    assert (await only(provisioning)).name == "web-1"


async def test_a_rename_under_way_is_undone_after_it(provisioning: Provisioning) -> None:
    id = await droplet(provisioning, name="web-1")
    await provisioning.provider.arm(Fault(effect="late", seconds=40, count=1, **POST))
    command = rename(id)
    (renaming,) = await provisioning.send(command)
    await provisioning.until_asked("POST", f"/v2/droplets/{id}/actions")

    await provisioning.ok(undo(command.operation_id), 60)

    assert (await provisioning.outcome(renaming)).code == "operation_cancelled"
    await provisioning.provider.advance(600)  # nothing is to come
    assert (await only(provisioning)).name == "web-1"


async def test_what_a_person_changes_beside_an_operation_stays(provisioning: Provisioning) -> None:
    id = await droplet(provisioning, name="web-1")
    await provisioning.provider.arm(Fault(effect="slow", seconds=0.5, count=1, **POST))
    switching = off(id)
    (asked,) = await provisioning.send(switching)
    await provisioning.until_asked("POST", f"/v2/droplets/{id}/actions")
    await provisioning.provider.change_droplet(id, name="by-hand", size=BIGGER)
    assert (await provisioning.outcome(asked)).status == "ok"

    await provisioning.ok(undo(switching.operation_id))

    there = await only(provisioning)
    assert (there.name, there.size, there.status) == ("by-hand", BIGGER, "active")


async def test_a_power_off_under_way_is_undone_after_it(provisioning: Provisioning) -> None:
    id = await droplet(provisioning)
    await provisioning.provider.arm(Fault(effect="late", seconds=40, count=1, **POST))
    command = off(id)
    (switching,) = await provisioning.send(command)
    await provisioning.until_asked("POST", f"/v2/droplets/{id}/actions")

    await provisioning.ok(undo(command.operation_id), 60)

    assert (await only(provisioning)).status == "active"
    assert (await provisioning.outcome(switching)).code == "operation_cancelled"
    await provisioning.provider.advance(600)  # nothing is to come
    assert (await only(provisioning)).status == "active"


async def test_what_was_done_to_a_droplet_that_is_gone_is_undone(provisioning: Provisioning) -> None:
    id = await droplet(provisioning)
    command = off(id)
    await provisioning.ok(command)
    await provisioning.ok(DestroyDroplet(operation_id=uuid7(), droplet_id=id))

    assert await provisioning.ok(undo(command.operation_id)) == {"undone": []}


async def test_a_droplet_is_not_destroyed_while_another_operation_changes_it(provisioning: Provisioning) -> None:
    id = await droplet(provisioning)
    await provisioning.provider.arm(Fault(effect="reset", count=1, **POST))
    switching, destroying = off(id), DestroyDroplet(operation_id=uuid7(), droplet_id=id)
    (asked,) = await provisioning.send(switching)
    await provisioning.until_asked("POST", f"/v2/droplets/{id}/actions")

    await provisioning.ok(destroying)

    assert (await provisioning.outcome(asked)).status == "ok"
    first, second = [await provisioning.operation(each.operation_id) for each in (switching, destroying)]
    assert first["updated_at"] < second["sent_at"]


async def test_commands_to_one_droplet_follow_one_another(two_replicas: Provisioning) -> None:
    id = await droplet(two_replicas)
    await two_replicas.provider.arm(Fault(effect="lost", probability=0.3, seed=1, **POST))
    commands = [command(id) for command in (off, on, off, on)]

    await asyncio.gather(*(two_replicas.ok(command, 90) for command in commands))

    overlapping = await two_replicas.db.pool.fetchval(
        """
        select count(*) from operations a join operations b on a.id < b.id
        where a.sent_at < b.updated_at and b.sent_at < a.updated_at
        """
    )
    assert overlapping == 0
