"""Whatever was or may yet be created is gone when its undoing is answered, however the two cross."""

from __future__ import annotations

import asyncio
from pathlib import Path

from contracts.provider import DestroyDroplet, operation_tag
from dev.digitalocean.faults import Fault
from dev.digitalocean.running import RunningStandIn
from shared.ids import uuid7
from tests.provider.world import PATIENCE, Provisioning, create, process, undo

POST = {"method": "POST", "path": "/v2/droplets"}


async def test_a_create_that_comes_after_its_undoing_is_refused(provisioning: Provisioning) -> None:
    command = create()

    assert await provisioning.ok(undo(command.operation_id)) == {"undone": []}
    assert await provisioning.refused(command) == "operation_cancelled"

    assert await provisioning.status(command.operation_id) == ("cancelled", True)
    assert (await provisioning.asked("POST")).total() == 0


async def test_what_was_created_is_gone_when_its_undoing_is_answered(provisioning: Provisioning) -> None:
    await provisioning.provider.set(delete_lag=30)
    command = create()
    made = (await provisioning.ok(command))["droplet_id"]

    result = await provisioning.ok(undo(command.operation_id))

    assert result == {"undone": [f"droplet:{made}"]}
    assert await provisioning.droplets() == []
    assert (await provisioning.asked("DELETE", f"/v2/droplets/{made}"))[404] == 1
    assert await provisioning.status(command.operation_id) == ("cancelled", True)
    assert await provisioning.refused(command) == "operation_cancelled"


async def test_undoing_twice_gives_the_same_answer(provisioning: Provisioning) -> None:
    command = create()
    await provisioning.ok(command)
    undoing = undo(command.operation_id)

    first, second, by_another = [await provisioning.ok(each) for each in (undoing, undoing, undo(command.operation_id))]

    assert first == second
    assert by_another == {"undone": []}


async def test_a_create_under_way_is_undone_when_its_answer_comes(provisioning: Provisioning) -> None:
    await provisioning.provider.arm(Fault(effect="slow", seconds=1.5, **POST))
    command = create()
    (creating,) = await provisioning.send(command)
    await provisioning.until_asked("POST")

    await provisioning.ok(undo(command.operation_id))
    outcome = await provisioning.outcome(creating)

    assert (outcome.status, outcome.code) == ("refused", "operation_cancelled")
    assert await provisioning.droplets() == []
    assert await provisioning.status(command.operation_id) == ("cancelled", True)


async def test_an_answer_that_comes_when_the_undoing_is_long_over_is_destroyed_all_the_same(
    provisioning: Provisioning,
) -> None:
    """A worker that was frozen while it sent: the undoing could not wait for it."""
    await provisioning.provider.set(delete_lag=20)
    await provisioning.provider.arm(Fault(effect="slow", seconds=1.5, **POST))
    command = create()
    (creating,) = await provisioning.send(command)
    await provisioning.until_asked("POST")
    await provisioning.db.pool.execute("update operations set status = 'cancelled', undone = true")

    outcome = await provisioning.outcome(creating)

    assert (outcome.status, outcome.code) == ("refused", "operation_cancelled")
    assert await provisioning.droplets() == []
    assert await provisioning.status(command.operation_id) == ("cancelled", True)
    told = [each.data["operation"]["undone"] for each in await provisioning.told(command.operation_id, "cancelled")]
    assert told[-1] is False  # for as long as it was there


async def test_a_create_that_hangs_for_good_is_undone_when_that_is_certain(provisioning: Provisioning) -> None:
    await provisioning.provider.arm(Fault(effect="hang", seconds=PATIENCE.call_s + 1, count=1, **POST))
    command = create()
    (creating,) = await provisioning.send(command)
    await provisioning.until_asked("POST")

    assert await provisioning.ok(undo(command.operation_id)) == {"undone": []}

    row = await provisioning.operation(command.operation_id)
    assert row["updated_at"] >= row["unsure_until"]
    assert (await provisioning.outcome(creating)).code == "operation_cancelled"
    assert await provisioning.droplets() == []
    assert (await provisioning.asked("POST")).total() == 1


async def test_what_a_lost_answer_made_is_found_late_and_destroyed(provisioning: Provisioning) -> None:
    await provisioning.provider.set(list_lag=30, tag_lag=30)
    await provisioning.provider.arm(Fault(effect="lost", count=1, **POST))
    command = create()
    await provisioning.send(command)
    await provisioning.until_asked("POST")

    result = await provisioning.ok(undo(command.operation_id))

    assert len(result["undone"]) == 1
    assert await provisioning.droplets() == []


async def test_a_create_that_takes_effect_only_after_its_undoing_began_is_undone(provisioning: Provisioning) -> None:
    await provisioning.provider.arm(Fault(effect="late", seconds=90, count=1, **POST))
    command = create()
    await provisioning.send(command)
    await provisioning.until_asked("POST")

    result = await provisioning.ok(undo(command.operation_id))

    assert len(result["undone"]) == 1
    assert await provisioning.droplets() == []


async def test_that_a_young_droplet_is_unknown_is_not_taken_for_its_end(provisioning: Provisioning) -> None:
    await provisioning.provider.set(read_lag=40, list_lag=40)
    command = create()
    made = (await provisioning.ok(command))["droplet_id"]

    result = await provisioning.ok(undo(command.operation_id))

    assert result == {"undone": [f"droplet:{made}"]}
    assert await provisioning.droplets() == []


async def test_destroying_a_young_droplet_waits_until_it_is_known(provisioning: Provisioning) -> None:
    await provisioning.provider.set(read_lag=40)
    made = (await provisioning.ok(create()))["droplet_id"]

    await provisioning.ok(DestroyDroplet(operation_id=uuid7(), droplet_id=made))

    assert await provisioning.droplets() == []


async def test_a_droplet_on_which_an_event_runs_is_destroyed_after_it(provisioning: Provisioning) -> None:
    command = create()
    made = (await provisioning.ok(command))["droplet_id"]  # its create is still under way
    busy = Fault(effect="status", status=422, message="Droplet already has a pending event.", count=2,
                 method="DELETE", path=f"/v2/droplets/{made}")  # fmt: skip
    await provisioning.provider.arm(busy)

    await provisioning.ok(undo(command.operation_id))

    assert await provisioning.droplets() == []


async def test_a_destruction_that_comes_to_nothing_is_asked_for_again(provisioning: Provisioning) -> None:
    await provisioning.provider.set(delete_lag=10)
    command = create()
    await provisioning.ok(command)
    failing = Fault(effect="action_errors", method="DELETE", path="/v2/droplets/*", count=1)
    await provisioning.provider.arm(failing)
    await provisioning.ok(undo(command.operation_id))
    assert await provisioning.droplets() == []

    (other,) = await provisioning.provider.add_droplets(1)
    await provisioning.provider.arm(failing)
    await provisioning.ok(DestroyDroplet(operation_id=uuid7(), droplet_id=other.id))
    assert await provisioning.droplets() == []


async def test_an_undoing_outlasts_an_outage(provisioning: Provisioning) -> None:
    command = create()
    await provisioning.ok(command)
    await provisioning.provider.arm(Fault(effect="status", status=503, path="/v2/droplets*", count=4))
    await provisioning.provider.arm(Fault(effect="lost", method="DELETE", path="/v2/droplets/*", count=1))

    await provisioning.ok(undo(command.operation_id))

    assert await provisioning.droplets() == []


async def test_all_that_carries_the_operations_tag_is_destroyed(provisioning: Provisioning) -> None:
    command = create()
    made = (await provisioning.ok(command))["droplet_id"]
    (twin,) = await provisioning.provider.add_droplets(1, tags=[operation_tag(command.operation_id)])
    (other,) = await provisioning.provider.add_droplets(1, tags=[operation_tag(uuid7()), "web"])

    result = await provisioning.ok(undo(command.operation_id))

    assert result == {"undone": [f"droplet:{made}", f"droplet:{twin.id}"]}
    assert [droplet.id for droplet in await provisioning.droplets()] == [other.id]


async def test_a_refused_create_leaves_nothing_to_undo(provisioning: Provisioning) -> None:
    command = create(image="no-such-image")
    await provisioning.refused(command)

    assert await provisioning.ok(undo(command.operation_id)) == {"undone": []}

    assert await provisioning.status(command.operation_id) == ("refused", True)
    assert await provisioning.refused(command) == "provider_refused"  # and is not tried anew
    assert (await provisioning.asked("POST")).total() == 1


async def test_what_is_destroyed_stays_so(provisioning: Provisioning) -> None:
    (droplet,) = await provisioning.provider.add_droplets(1)
    command = DestroyDroplet(operation_id=uuid7(), droplet_id=droplet.id)
    assert await provisioning.ok(command) == {"droplet_id": droplet.id}
    undoing = undo(command.operation_id)

    assert await provisioning.refused(undoing) == "cannot_be_undone"
    assert await provisioning.refused(undoing) == "cannot_be_undone"

    assert await provisioning.status(command.operation_id) == ("done", False)


async def test_a_destroy_that_comes_after_its_undoing_does_nothing(provisioning: Provisioning) -> None:
    (droplet,) = await provisioning.provider.add_droplets(1)
    command = DestroyDroplet(operation_id=uuid7(), droplet_id=droplet.id)
    await provisioning.ok(undo(command.operation_id))

    assert await provisioning.refused(command) == "operation_cancelled"
    assert len(await provisioning.droplets()) == 1


async def test_a_droplet_that_is_gone_already_is_destroyed(provisioning: Provisioning) -> None:
    assert await provisioning.ok(DestroyDroplet(operation_id=uuid7(), droplet_id=7)) == {"droplet_id": 7}


async def test_the_outcome_of_a_destroy_may_be_lost(provisioning: Provisioning) -> None:
    (droplet,) = await provisioning.provider.add_droplets(1)
    await provisioning.provider.arm(Fault(effect="lost", method="DELETE", path="/v2/droplets/*", count=1))

    await provisioning.ok(DestroyDroplet(operation_id=uuid7(), droplet_id=droplet.id))

    assert await provisioning.droplets() == []


async def test_a_destroy_whose_answer_is_lost_is_never_refused(
    provisioning: Provisioning, stand_in: RunningStandIn
) -> None:
    (droplet,) = await provisioning.provider.add_droplets(1)
    await provisioning.provider.arm(Fault(effect="slow", seconds=PATIENCE.call_s + 1, method="DELETE", count=1))
    (id,) = await provisioning.send(DestroyDroplet(operation_id=uuid7(), droplet_id=droplet.id))
    await provisioning.until_asked("DELETE", f"/v2/droplets/{droplet.id}")
    await provisioning.provider.set(refused_tokens=[stand_in.token])
    await provisioning.until("select finished_at is not null or error like '%denied%' from jobs where id = $1", id)

    await provisioning.provider.set(refused_tokens=[])

    assert (await provisioning.outcome(id)).status == "ok"


async def test_a_destroy_that_is_not_let_in_is_refused(provisioning: Provisioning, stand_in: RunningStandIn) -> None:
    (droplet,) = await provisioning.provider.add_droplets(1)
    await provisioning.provider.set(read_only_tokens=[stand_in.token])

    code = await provisioning.refused(DestroyDroplet(operation_id=uuid7(), droplet_id=droplet.id))

    assert code == "provider_denied_access"


async def test_an_undoing_cannot_be_undone(provisioning: Provisioning) -> None:
    undoing = undo(uuid7())
    await provisioning.ok(undoing)

    assert await provisioning.refused(undo(undoing.operation_id)) == "cannot_be_undone"


async def test_creates_and_undoings_in_any_order_at_two_replicas_leave_nothing(two_replicas: Provisioning) -> None:
    await two_replicas.provider.set(list_lag=20, tag_lag=20, delete_lag=20)
    for effect in ("lost", "slow"):
        await two_replicas.provider.arm(Fault(effect=effect, probability=0.3, seed=7, **POST))
    commands = [create() for _ in range(8)]
    crossing = [each for command in commands for each in (command, undo(command.operation_id), command)]

    outcomes = await asyncio.gather(*(two_replicas.ask(each, 90) for each in crossing))

    assert {outcome.status for outcome in outcomes[1::3]} == {"ok"}
    assert await two_replicas.droplets() == []
    for command in commands:
        assert await two_replicas.status(command.operation_id) == ("cancelled", True)


async def test_an_undoing_goes_on_where_a_killed_worker_left_it(
    no_replica: Provisioning, stand_in: RunningStandIn, tmp_path: Path
) -> None:
    await no_replica.provider.set(delete_lag=100)
    command = create()
    with process(no_replica.settings, stand_in.token, tmp_path / "first.log") as victim:
        made = (await no_replica.ok(command))["droplet_id"]
        (undoing,) = await no_replica.send(undo(command.operation_id))
        await no_replica.until_asked("DELETE", f"/v2/droplets/{made}")
        victim.kill()
        victim.wait()

    with process(no_replica.settings, stand_in.token, tmp_path / "second.log"):
        outcome = await no_replica.outcome(undoing, 60)

    assert outcome.result == {"undone": [f"droplet:{made}"]}
    assert await no_replica.droplets() == []
