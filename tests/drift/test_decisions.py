"""What operators decide about drifts."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.drift import (
    AcceptDrift,
    DriftChanged,
    DriftClosed,
    RecordSpec,
    RevertDrift,
    SnoozeDrift,
    SpecRecorded,
    SpecRetired,
)
from contracts.kinds import ResourceKind
from contracts.message import Reply
from contracts.sagas import COMMANDS, SagaStatus, StartSaga
from services.drift import upkeep
from shared.ids import uuid7
from tests.drift.world import SHOP, Drifting, droplet, left, resource
from tests.sending import told_on

WEB = droplet(provider_id="4711")
RESIZED = droplet(version=2, provider_id="4711", size_slug="s-4vcpu-8gb")


async def resized(drift: Drifting) -> Any:
    """A droplet that somebody has given another size; gives the drift's id."""
    await drift.tell(WEB)
    await drift.record(WEB, size_slug="s-1vcpu-1gb", region="syd1")
    await drift.tell(RESIZED)
    await drift.settled()
    return await drift.the_drift("size_slug")


async def test_what_is_accepted_is_what_is_asked_for(drift: Drifting) -> None:
    id = await resized(drift)
    answered = await drift.ask(AcceptDrift(drift_id=id))
    assert answered.result is not None
    assert (answered.result["drift"]["status"], answered.result["drift"]["live"]) == ("accepted", "s-4vcpu-8gb")
    assert (await drift.detect())["open"] == 0
    spec = await drift.value("select spec from cloud_provisioned")
    assert spec == {"size_slug": "s-4vcpu-8gb", "region": "syd1"}
    assert [each.data["spec"]["spec_version"] for each in await drift.told(SpecRecorded)] == [1, 2]
    history = await drift.fetch("select what, actor from cloud_drift_events order by position")
    assert [tuple(row) for row in history] == [("detected", None), ("accepted", "olga@example.com")]
    again = await drift.ask(AcceptDrift(drift_id=id))
    assert (again.status, again.code) == ("refused", "not_open")


async def test_that_a_resource_is_gone_is_accepted_by_asking_nothing_of_it_any_more(drift: Drifting) -> None:
    await resized(drift)
    await drift.tell(droplet(version=3, deleted_at=datetime.now(UTC)))
    await drift.settled()
    assert (await drift.ask(AcceptDrift(drift_id=await drift.the_drift("exists")))).status == "ok"
    assert await drift.drifts() == []
    assert len(await drift.told(SpecRetired)) == 1
    await drift.tell(droplet(version=4))  # it is back: nobody has asked for it
    assert (await drift.detect())["open"] == 0


async def test_a_value_that_came_after_the_one_that_was_accepted_drifts_anew(drift: Drifting) -> None:
    id = await resized(drift)
    await drift.put_resource_and(droplet(version=3, size_slug="s-2vcpu-2gb"), AcceptDrift(drift_id=id))
    await drift.settled()
    accepted = await drift.drifts("accepted")
    spec = await drift.value("select spec ->> 'size_slug' from cloud_provisioned")
    assert [live for _, _, live in accepted] == [spec]
    assert await drift.drifts() == ([] if spec == "s-2vcpu-2gb" else [("size_slug", spec, "s-2vcpu-2gb")])


async def test_who_says_what_was_seen_accepts_nothing_else(drift: Drifting) -> None:
    id = await resized(drift)
    seen = await drift.value("select version from cloud_drift")
    await drift.tell(droplet(version=3, size_slug="s-2vcpu-2gb"))
    await drift.settled()
    for command in (AcceptDrift(drift_id=id, version=seen), RevertDrift(drift_id=id, version=seen)):
        answered = await drift.ask(command)
        assert (answered.code, (answered.detail or {})["live"]) == ("drift_changed", "s-2vcpu-2gb")
    assert (await drift.ask(AcceptDrift(drift_id=id, version=seen + 1))).status == "ok"


async def test_a_revert_is_a_saga_and_over_with_it(drift: Drifting) -> None:
    id = await resized(drift)
    answered = await drift.ask(RevertDrift(drift_id=id))
    assert answered.result is not None
    saga_id = answered.result["drift"]["revert_saga_id"]
    (start,) = await told_on_commands(drift)
    assert start.data["inputs"] == {
        "drift_id": str(id),
        "droplet": {"droplet_id": 4711, "resource_id": str(WEB.id)},
        "deployment_id": str(SHOP),
        "size_slug": "s-1vcpu-1gb",
    }
    assert (start.data["saga_id"], start.data["deployment_id"], start.actor) == (saga_id, str(SHOP), drift.CALLER)
    for command in (AcceptDrift(drift_id=id), RevertDrift(drift_id=id)):
        assert (await drift.ask(command)).code == "being_reverted"
    run = drift.run(SagaStatus.RUNNING, id=saga_id, kind="revert_drift", deployment_id=SHOP)
    await drift.tell_run(run)
    await drift.tell(droplet(version=3, state="off", size_slug="s-1vcpu-1gb"))
    await drift.settled()
    assert await drift.drifts() == [("size_slug", "s-1vcpu-1gb", "s-4vcpu-8gb")]  # it is the saga's for so long
    await drift.tell_run(drift.run(SagaStatus.COMPLETED, run, left=[left(WEB, {}, 4)]))
    assert await drift.drifts("reverted") == [("size_slug", "s-1vcpu-1gb", "s-4vcpu-8gb")]
    await drift.settled()
    await drift.tell(droplet(version=4))
    await drift.settled()
    assert await drift.drifts() == []
    assert [each.data["what"] for each in await drift.told(DriftChanged)] == ["reverting"]
    assert len(await drift.told(DriftClosed)) == 1


async def test_what_is_said_while_a_saga_reverts_is_what_is_asked_for(drift: Drifting) -> None:
    id = await resized(drift)
    saga_id = ((await drift.ask(RevertDrift(drift_id=id))).result or {})["drift"]["revert_saga_id"]
    run = drift.run(SagaStatus.RUNNING, id=saga_id, deployment_id=SHOP)
    await drift.tell_run(run)
    assert (await drift.ask(RecordSpec(resource_id=WEB.id, spec={"size_slug": "s-2vcpu-2gb"}))).status == "ok"
    await drift.tell_run(drift.run(SagaStatus.COMPLETED, run, left=[left(WEB, {}, 3)]))
    await drift.tell(droplet(version=3, provider_id="4711"))
    await drift.settled()
    assert await drift.value("select spec from cloud_provisioned") == {"size_slug": "s-2vcpu-2gb"}
    assert await drift.drifts() == [("size_slug", "s-2vcpu-2gb", "s-1vcpu-1gb")]


@pytest.mark.parametrize("status", [SagaStatus.ROLLED_BACK, SagaStatus.FAILED])
async def test_a_revert_that_fails_opens_the_drift_again_with_the_reason(drift: Drifting, status: SagaStatus) -> None:
    id = await resized(drift)
    saga_id = ((await drift.ask(RevertDrift(drift_id=id))).result or {})["drift"]["revert_saga_id"]
    run = drift.run(SagaStatus.RUNNING, id=saga_id, deployment_id=SHOP)
    await drift.tell_run(run)
    ended = drift.run(status, run, error={"reason": "step_failed:resize", "compensate_from_idx": 1})
    await drift.tell_run(ended)
    await drift.tell_run(drift.run(status, ended))  # (as when it is written off)
    (shown,) = await drift.fetch("select status, is_reverting, revert_error from shown")
    error = {"code": str(status), "reason": "step_failed:resize", "compensate_from_idx": 1}
    assert tuple(shown) == ("open", False, error)
    told = [each for each in await drift.told(DriftChanged) if each.subject == str(id)]
    assert [each.data["what"] for each in told] == ["reverting", "reopened"]
    await drift.settled()
    assert await drift.drifts() == [("size_slug", "s-1vcpu-1gb", "s-4vcpu-8gb")]
    assert (await drift.ask(RevertDrift(drift_id=id))).status == "ok"


async def test_a_failed_revert_that_goes_on_after_all_reverts_its_drift(drift: Drifting) -> None:
    id = await resized(drift)
    saga_id = ((await drift.ask(RevertDrift(drift_id=id))).result or {})["drift"]["revert_saga_id"]
    run = drift.run(SagaStatus.FAILED, id=saga_id, deployment_id=SHOP, error={"reason": "step_unknown:resize"})
    await drift.tell_run(run)
    again = drift.run(SagaStatus.RUNNING, run, error=None)
    await drift.tell_run(again)
    assert (await drift.ask(AcceptDrift(drift_id=id))).code == "being_reverted"
    await drift.tell_run(drift.run(SagaStatus.COMPLETED, again))
    assert len(await drift.drifts("reverted")) == 1


async def test_where_no_saga_can_begin_the_drift_is_open_as_before(drift: Drifting) -> None:
    id = await resized(drift)
    saga_id = ((await drift.ask(RevertDrift(drift_id=id))).result or {})["drift"]["revert_saga_id"]
    await drift.reply(
        Reply(
            command_id=uuid7(),
            command_type=StartSaga.TYPE,
            correlation_id=saga_id,
            status="refused",
            code="deployment_busy",
            detail={"saga_id": "another"},
        )
    )
    await drift.until("exists (select from cloud_drift where not is_reverting)")
    assert await drift.value("select revert_error from cloud_drift") == {
        "code": "deployment_busy", "saga_id": "another",
    }  # fmt: skip
    assert (await drift.ask(AcceptDrift(drift_id=id))).status == "ok"


async def test_a_resource_that_a_saga_changes_is_left_to_it(drift: Drifting) -> None:
    id = await resized(drift)
    run = drift.run(SagaStatus.RUNNING, resource_ids=[WEB.id])
    await drift.tell_run(run)
    answered = await drift.ask(RevertDrift(drift_id=id))
    assert (answered.code, (answered.detail or {})["saga_id"]) == ("resource_busy", str(run.id))


async def test_of_accepting_and_reverting_at_once_one_happens(drift: Drifting) -> None:
    id = await resized(drift)
    ids = await drift.send(AcceptDrift(drift_id=id), RevertDrift(drift_id=id), AcceptDrift(drift_id=id))
    outcomes = await asyncio.gather(*(drift.outcome(each) for each in ids))
    assert [each.status for each in outcomes].count("ok") == 1
    assert {each.code for each in outcomes if each.status == "refused"} <= {"not_open", "being_reverted"}


@pytest.mark.parametrize(
    ("kind", "spec", "word"),
    [
        (ResourceKind.DROPLET, {"region": "fra1"}, "region cannot be changed"),
        (ResourceKind.DROPLET, {"vcpus": 3}, "vcpus cannot be changed"),
        (ResourceKind.DROPLET, {"size_slug": None}, "cannot be given this size_slug: null"),
        (ResourceKind.DROPLET, {"tags": "a"}, 'cannot be given this tags: "a"'),
        (ResourceKind.DROPLET, {"state": "archive"}, 'cannot be given this state: "archive"'),
        (ResourceKind.VOLUME, {"name": "other"}, "Sagas change droplets alone"),
    ],
)
async def test_what_no_saga_can_bring_back_is_refused_with_the_reason(
    drift: Drifting, kind: ResourceKind, spec: dict[str, Any], word: str
) -> None:
    it = resource(kind, "it", size_slug="s-1vcpu-1gb", state="active")
    await drift.tell(it)
    await drift.record(it, **spec)
    answered = await drift.ask(RevertDrift(drift_id=await drift.the_drift(*spec)))
    assert answered.code == "not_revertible"
    assert word in (answered.detail or {})["reason"]


async def test_what_is_snoozed_is_back_in_its_time_or_with_another_value(drift: Drifting) -> None:
    id = await resized(drift)
    until = datetime.now(UTC) + timedelta(hours=1)
    answered = await drift.ask(SnoozeDrift(drift_id=id, until=until))
    assert (answered.result or {})["drift"]["snoozed_until"] == until.isoformat().replace("+00:00", "Z")
    await drift.detect()
    assert await drift.value("select snoozed_until from cloud_drift") == until
    async with drift.db.transaction() as conn:
        assert await upkeep.wake(conn, until - timedelta(seconds=1)) is None
        assert await upkeep.wake(conn, until) is not None
    assert (await drift.ask(SnoozeDrift(drift_id=id, until=until))).status == "ok"
    await drift.tell(droplet(version=3, size_slug="s-2vcpu-2gb"))
    await drift.settled()
    assert await drift.value("select snoozed_until from cloud_drift") is None
    past = await drift.ask(SnoozeDrift(drift_id=id, until=datetime.now(UTC)))
    assert past.code == "until_is_past"
    assert (await drift.ask(SnoozeDrift(drift_id=id, until=None))).status == "ok"


async def test_of_what_nobody_is_told_nothing_can_be_asked(drift: Drifting) -> None:
    await drift.tell(WEB)
    answered = await drift.ask(RecordSpec(resource_id=WEB.id, spec={"image": "ubuntu-24-04-x64", "region": "syd1"}))
    assert (answered.code, (answered.detail or {})["fields"]) == ("never_told", ["image"])
    assert not await drift.fetch("select from cloud_provisioned")


async def test_of_a_resource_that_nobody_knows_nothing_can_be_asked(drift: Drifting) -> None:
    for command in (RecordSpec(resource_id=uuid7(), spec={"name": "x"}), AcceptDrift(drift_id=uuid7())):
        assert (await drift.ask(command)).code == "not_found"


async def told_on_commands(drift: Drifting) -> list[Any]:
    """The sagas that were to be begun."""
    assert StartSaga.TOPIC == COMMANDS
    await drift.until("not exists (select from outbox)")
    return await told_on(drift.settings, drift.began_at, StartSaga)
