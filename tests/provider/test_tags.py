"""Tags: those that were asked for, no others, and afterwards exactly what was there again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from contracts.provider import RetagDroplet, operation_tag
from dev.digitalocean.faults import Fault
from dev.digitalocean.running import RunningStandIn
from shared.ids import uuid7
from tests.provider.test_actions import rename
from tests.provider.world import Provisioning, create, process, undo, within

TAGGED = "/v2/tags/*/resources"

BEFORE: list[list[str]] = [[], ["web"], ["acme", "web"], ["env:test", "Web", "db"]]
WANTED = ["web", "env:prod"]


async def droplet(provisioning: Provisioning, *tags: str) -> int:
    (made,) = await provisioning.provider.add_droplets(1, tags=list(tags))
    return made.id


async def tags(provisioning: Provisioning, id: int) -> list[str]:
    """The tags that a droplet has, whatever reads show."""
    return sorted(*(each.tags for each in await provisioning.droplets() if each.id == id))


async def writes(provisioning: Provisioning) -> list[tuple[str, str]]:
    """What was asked for, in this order."""
    entries = (await provisioning.provider.requests("/v2/tags")).requests
    return [(entry.method, entry.path.removeprefix("/v2/tags")) for entry in entries]


async def done(provisioning: Provisioning) -> int:
    """How often a tag was put on or taken off."""
    return sum([(await provisioning.asked(method, "/v2/tags"))[204] for method in ("POST", "DELETE")])


def retag(id: int, *tags: str) -> RetagDroplet:
    return RetagDroplet(operation_id=uuid7(), droplet_id=id, tags=list(tags))


@pytest.mark.parametrize("lag", [0, pytest.param(40, marks=pytest.mark.long)])
@pytest.mark.parametrize("before", BEFORE)
async def test_whatever_tags_there_were_become_those_and_are_put_back(
    provisioning: Provisioning, before: list[str], lag: float
) -> None:
    await provisioning.provider.set(effect_lag=lag)
    id, other = await droplet(provisioning, *before), await droplet(provisioning, "db", "acme")
    command = retag(id, *WANTED)

    assert await provisioning.ok(command) == {"droplet_id": id, "was": sorted(before)}
    assert {tag.lower() for tag in await tags(provisioning, id)} == set(WANTED)
    assert await done(provisioning) == len({tag.lower() for tag in before} ^ set(WANTED))

    assert await provisioning.ok(undo(command.operation_id)) == {"undone": [f"droplet:{id}"]}
    assert await tags(provisioning, id) == sorted(before)
    assert await tags(provisioning, other) == ["acme", "db"]
    assert await provisioning.status(command.operation_id) == ("cancelled", True)


async def test_tags_are_put_on_before_others_are_taken_off_and_made_only_where_they_are_new(
    provisioning: Provisioning,
) -> None:
    id, _ = await droplet(provisioning, "a", "b"), await droplet(provisioning, "c")

    await provisioning.ok(retag(id, "b", "c", "d"))

    assert await writes(provisioning) == [
        ("POST", "/c/resources"),
        ("POST", "/d/resources"),  # the provider does not know it
        ("POST", ""),
        ("POST", "/d/resources"),
        ("DELETE", "/a/resources"),
    ]


async def test_tags_that_are_so_already_in_whatever_case_are_left_alone(provisioning: Provisioning) -> None:
    id = await droplet(provisioning, "Prod", "web")
    command = retag(id, "WEB", "prod")

    assert await provisioning.ok(command) == {"droplet_id": id, "was": ["Prod", "web"]}

    assert await writes(provisioning) == []
    assert await provisioning.ok(undo(command.operation_id)) == {"undone": []}


async def test_a_tag_is_spelled_as_whoever_made_it_did(provisioning: Provisioning) -> None:
    id, _ = await droplet(provisioning), await droplet(provisioning, "Prod")
    command = retag(id, "PROD")

    await provisioning.ok(command)
    assert await tags(provisioning, id) == ["Prod"]

    await provisioning.ok(undo(command.operation_id))
    assert await tags(provisioning, id) == []


async def test_tags_of_operations_stay_whatever_is_asked_for(provisioning: Provisioning) -> None:
    creating = create(tags=["acme"])
    id = (await provisioning.ok(creating))["droplet_id"]
    own = operation_tag(creating.operation_id)

    await provisioning.ok(retag(id, "web", operation_tag(uuid7())))

    assert await tags(provisioning, id) == [own, "web"]


LOST: list[dict[str, Any]] = [
    {"effect": "lost", "method": "POST", "path": "/v2/tags"},
    {"effect": "reset", "method": "POST", "path": "/v2/tags"},
    {"effect": "lost", "method": "POST", "path": TAGGED},
    {"effect": "late", "method": "POST", "path": TAGGED, "after": 1},
    {"effect": "reset", "method": "POST", "path": TAGGED, "after": 1},
    {"effect": "lost", "method": "DELETE", "path": TAGGED, "after": 1},
    {"effect": "late", "method": "DELETE", "path": TAGGED},
    {"effect": "reset", "method": "DELETE", "path": TAGGED, "after": 1},
]


@pytest.mark.parametrize(
    "fault", [*LOST[3:6:2], *(pytest.param(each, marks=pytest.mark.long) for each in (*LOST[:3], LOST[4], *LOST[6:]))]
)
async def test_a_write_whose_answer_is_lost_is_neither_lost_nor_done_by_halves(
    provisioning: Provisioning, fault: dict[str, Any]
) -> None:
    id = await droplet(provisioning, "a", "b", "keep")
    await provisioning.provider.arm(Fault(seconds=50, count=1, **fault))
    command = retag(id, "keep", "new")

    assert (await provisioning.ok(command, 60))["was"] == ["a", "b", "keep"]

    assert await tags(provisioning, id) == ["keep", "new"]
    await provisioning.ok(undo(command.operation_id))
    await provisioning.provider.advance(600)  # nothing is to come
    assert await tags(provisioning, id) == ["a", "b", "keep"]


async def test_a_write_whose_effect_shows_by_and_by_is_not_sent_again(provisioning: Provisioning) -> None:
    await provisioning.provider.set(effect_lag=20)
    id, _ = await droplet(provisioning, "a"), await droplet(provisioning, "b")
    for method in ("POST", "DELETE"):
        await provisioning.provider.arm(Fault(effect="lost", count=1, method=method, path=TAGGED))

    command = retag(id, "b")

    await provisioning.ok(command)

    assert await writes(provisioning) == [("POST", "/b/resources"), ("DELETE", "/a/resources")]
    row = await provisioning.operation(command.operation_id)
    assert row["updated_at"] < row["unsure_until"]  # it was not waited for longer than until it showed


@pytest.mark.parametrize("effect", ["late", *(pytest.param(each, marks=pytest.mark.long) for each in ("slow", "hang"))])
@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_a_retagging_that_is_cancelled_half_way_leaves_what_was_there(
    provisioning: Provisioning, method: str, effect: Any
) -> None:
    id, _ = await droplet(provisioning, "a", "b"), await droplet(provisioning, "c", "d")
    seconds = 60 if effect == "late" else 1.5
    await provisioning.provider.arm(Fault(effect=effect, seconds=seconds, method=method, path=TAGGED, after=1, count=1))
    command = retag(id, "c", "d")
    (retagging,) = await provisioning.send(command)
    async with asyncio.timeout(30):
        while [asked for asked, _ in await writes(provisioning)].count(method) < 2:
            await asyncio.sleep(0.02)

    assert await provisioning.ok(undo(command.operation_id), 60) == {"undone": [f"droplet:{id}"]}

    assert (await provisioning.outcome(retagging)).code == "operation_cancelled"
    assert await tags(provisioning, id) == ["a", "b"]
    await provisioning.provider.advance(600)  # nothing is to come
    assert await tags(provisioning, id) == ["a", "b"]


async def test_a_retagging_that_comes_after_its_undoing_is_refused(provisioning: Provisioning) -> None:
    id = await droplet(provisioning, "a")
    command = retag(id, "b")
    await provisioning.ok(undo(command.operation_id))

    assert await provisioning.refused(command) == "operation_cancelled"
    assert await tags(provisioning, id) == ["a"]


async def test_what_is_refused_half_way_leaves_everything_as_it_was(provisioning: Provisioning) -> None:
    id = await droplet(provisioning, "a", "b")
    await provisioning.provider.set(tags_per_resource=3)
    command = retag(id, "c", "d")

    assert await provisioning.refused(command) == "provider_refused"

    assert await tags(provisioning, id) == ["a", "b"]
    assert await provisioning.status(command.operation_id) == ("refused", False)
    await provisioning.provider.set(tags_per_resource=0)
    await provisioning.ok(command)  # whoever asks next has it tried anew
    assert await tags(provisioning, id) == ["c", "d"]


async def test_a_token_that_is_not_let_in_is_a_refusal_at_first_and_waited_out_half_way(
    provisioning: Provisioning,
) -> None:
    id, denied = await droplet(provisioning, "a"), {"effect": "status", "status": 403, "count": 1}
    await droplet(provisioning, "b")
    await provisioning.provider.arm(Fault(method="POST", path=TAGGED, **denied))
    assert await provisioning.refused(retag(id, "b")) == "provider_denied_access"
    await provisioning.provider.arm(Fault(method="POST", path="/v2/tags", **denied))
    assert await provisioning.refused(retag(id, "new")) == "provider_denied_access"
    assert await tags(provisioning, id) == ["a"]

    await provisioning.provider.arm(Fault(effect="lost", method="POST", path=TAGGED, count=1))
    await provisioning.provider.arm(Fault(method="DELETE", path=TAGGED, **denied))
    await provisioning.ok(retag(id, "b"))

    assert await tags(provisioning, id) == ["b"]


async def test_what_reads_do_not_show_yet_counts_all_the_same(provisioning: Provisioning) -> None:
    await provisioning.provider.set(effect_lag=40)
    id = await droplet(provisioning, "a")
    first, second = retag(id, "b"), retag(id, "c")

    await provisioning.ok(first)
    assert (await provisioning.ok(second))["was"] == ["b"]

    assert await tags(provisioning, id) == ["c"]
    await provisioning.ok(undo(second.operation_id))
    assert await tags(provisioning, id) == ["b"]


async def test_a_droplet_that_is_not_there_is_not_found(provisioning: Provisioning) -> None:
    assert await provisioning.refused(retag(7, "web")) == "droplet_not_found"


async def test_a_droplet_that_goes_half_way_is_not_found_and_nothing_is_left_to_undo(
    provisioning: Provisioning,
) -> None:
    id, _ = await droplet(provisioning, "a"), await droplet(provisioning, "b")
    await provisioning.provider.arm(Fault(effect="lost", method="POST", path=TAGGED, count=1))
    command = retag(id, "b")
    (retagging,) = await provisioning.send(command)
    await provisioning.until_asked("POST", "/v2/tags")
    await provisioning.provider.delete_droplet(id)

    assert (await provisioning.outcome(retagging)).code == "droplet_not_found"

    assert await provisioning.ok(undo(command.operation_id)) == {"undone": []}


@pytest.mark.parametrize("path", [TAGGED, "/v2/tags"])
async def test_what_could_not_be_sent_in_time_is_not_sent(provisioning: Provisioning, path: str) -> None:
    id = await droplet(provisioning, "a")
    await provisioning.provider.arm(Fault(effect="burst", seconds=1, path=path, method="POST"))

    assert await provisioning.refused(retag(id, "b"), expires=within(2)) == "expired"
    assert await tags(provisioning, id) == ["a"]


async def test_commands_to_one_droplet_follow_one_another_at_two_replicas(two_replicas: Provisioning) -> None:
    await two_replicas.provider.set(effect_lag=10)
    id = await droplet(two_replicas, "a")
    await two_replicas.provider.arm(Fault(effect="lost", probability=0.3, seed=2, path=TAGGED))
    commands = [retag(id, f"only-{n}") for n in range(4)]

    await asyncio.gather(*(two_replicas.ok(command, 120) for command in [*commands, rename(id)]))

    assert len(await tags(two_replicas, id)) == 1
    overlapping = await two_replicas.db.pool.fetchval(
        """
        select count(*) from operations a join operations b on a.id < b.id
        where a.sent_at < b.updated_at and b.sent_at < a.updated_at
        """
    )
    assert overlapping == 0


async def test_a_killed_workers_retagging_is_finished_and_still_knows_what_was_before(
    no_replica: Provisioning, stand_in: RunningStandIn, tmp_path: Path
) -> None:
    id = await droplet(no_replica, "a", "b")
    await no_replica.provider.arm(Fault(effect="slow", seconds=2, method="DELETE", path=TAGGED, after=1, count=1))
    command = retag(id, "c")
    with process(no_replica.settings, stand_in.token, tmp_path / "first.log") as victim:
        (retagging,) = await no_replica.send(command)
        await no_replica.until_asked("DELETE", "/v2/tags", times=2)
        victim.kill()
        victim.wait()

    with process(no_replica.settings, stand_in.token, tmp_path / "second.log"):
        assert (await no_replica.outcome(retagging, 60)).status == "ok"
        assert await tags(no_replica, id) == ["c"]
        await no_replica.ok(undo(command.operation_id))

    assert await tags(no_replica, id) == ["a", "b"]
