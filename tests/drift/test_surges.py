"""Very many drifts alike are one thing to look at."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from contracts.drift import (
    AcceptSurge,
    DriftChanged,
    DriftDetected,
    DriftGathered,
    RevertDrift,
    SurgeBegan,
    SurgeEnded,
    SurgeGrew,
)
from contracts.inventory import Resource
from contracts.sagas import SagaStatus
from services.drift import metrics, upkeep
from services.drift.domain import MANY
from shared.ids import uuid7
from tests.drift.world import Drifting, droplet, left

FLEET = range(60)


async def provisioned(drift: Drifting, numbers: range = FLEET) -> None:
    """A fleet, as it was asked for."""
    await drift.tell(*(droplet(f"web-{n}") for n in numbers))
    lefts = [left(droplet(f"web-{n}"), {"name": f"web-{n}", "region": "syd1"}) for n in numbers]
    await drift.tell_run(drift.run(SagaStatus.COMPLETED, left=lefts))
    await drift.settled()


async def renamed(drift: Drifting, numbers: range, version: int = 2) -> None:
    await drift.tell(*(other(n, version) for n in numbers))
    await drift.settled()


def other(n: int, version: int, **fields: Any) -> Resource:
    """A droplet of the fleet, of another name."""
    return droplet(f"web-{n}", version, **fields).model_copy(update={"name": f"renamed-{n}-{version}"})


async def test_half_of_a_fleet_that_drifts_at_once_is_told_of_once(drift: Drifting) -> None:
    await provisioned(drift)
    async with drift.held_up("asked"):  # so that nothing is compared before all is known
        await drift.tell(*(other(n, 2) for n in range(30)))
    await drift.settled()
    (began,) = await drift.told(SurgeBegan)
    surge = began.data["surge"]
    assert (surge["kind"], surge["field"], surge["drifts"], surge["specs"]) == ("droplet", "name", 30, 60)
    assert surge["example"]["desired"].startswith("web-")
    assert not await drift.told(DriftDetected)
    assert len(await drift.told(DriftGathered)) == 30
    # What drifts otherwise is still found, and told of.
    await drift.tell(other(1, 3, region="fra1"), droplet("web-59", 3, region="fra1"))
    await drift.settled()
    assert {each.data["drift"]["field"] for each in await drift.told(DriftDetected)} == {"region"}
    assert len(await drift.drifts()) == 32
    async with drift.db.connection() as conn:
        await metrics.tell_open(conn, datetime.now(UTC))
    assert metrics.OPEN.labels("low")._value.get() == 0
    assert metrics.OPEN.labels("critical")._value.get() == 2
    assert metrics.SURGES._value.get() == 1


async def test_those_told_of_one_by_one_are_part_of_it_when_they_are_many(drift: Drifting) -> None:
    await provisioned(drift)
    await renamed(drift, range(MANY))
    assert len(await drift.told(DriftDetected)) == MANY
    assert not await drift.told(SurgeBegan)
    await renamed(drift, range(MANY, MANY + 1))
    (began,) = await drift.told(SurgeBegan)
    assert began.data["surge"]["drifts"] == MANY + 1
    assert len(await drift.told(DriftDetected)) == MANY
    assert [each.data["what"] for each in await drift.told(DriftChanged)] == ["surge"] * MANY
    assert await drift.value("select count(*) from cloud_drift where surge_id is null") == 0


async def test_a_surge_grows_and_ends_with_its_drifts(drift: Drifting) -> None:
    await provisioned(drift)
    await renamed(drift, range(30))
    await renamed(drift, range(30, 40))
    async with drift.db.transaction() as conn:
        await upkeep.recount_surges(conn, datetime.now(UTC))
    assert await drift.value("select drifts from surges where ended_at is null") == 40
    await drift.tell(*(droplet(f"web-{n}", 3) for n in range(40)))
    await drift.settled()
    await drift.until("not exists (select from surges where ended_at is null)")
    assert len(await drift.told(SurgeEnded)) == 1
    await renamed(drift, range(2), version=4)
    assert len(await drift.told(DriftDetected)) == 2
    assert len(await drift.told(SurgeBegan)) == 1


async def test_what_drifts_an_hour_later_is_told_of_by_itself_though_a_surge_is_still_open(drift: Drifting) -> None:
    await provisioned(drift)
    await renamed(drift, range(30))
    await drift.fetch("update cloud_drift set detected_at = detected_at - interval '61 minutes'")
    async with drift.db.transaction() as conn:
        await upkeep.recount_surges(conn, datetime.now(UTC))
    await renamed(drift, range(30, 32))
    assert len(await drift.told(DriftDetected)) == 2
    assert await drift.value("select count(*) from cloud_drift where surge_id is not null") == 30
    assert await drift.value("select count(*) from surges where ended_at is not null") == 1


async def test_a_surge_is_accepted_as_a_whole(drift: Drifting) -> None:
    await provisioned(drift)
    await renamed(drift, range(40))
    id = await drift.value("select id from surges")
    drift_id = await drift.value("select id from cloud_drift limit 1")
    assert (await drift.ask(RevertDrift(drift_id=drift_id))).status == "ok"
    answered = await drift.ask(AcceptSurge(surge_id=id))
    assert answered.result == {"accepted": 39}
    await drift.settled()
    assert (await drift.detect())["open"] == 1
    names = await drift.fetch("select spec ->> 'name' as name from cloud_provisioned where spec_version = 2")
    assert {row["name"] for row in names} <= {f"renamed-{n}-2" for n in range(40)}
    assert len(names) == 39
    assert (await drift.ask(AcceptSurge(surge_id=id))).result == {"accepted": 0}
    assert (await drift.ask(AcceptSurge(surge_id=uuid7()))).code == "not_found"


async def test_of_a_surge_of_what_is_gone_nothing_is_asked_any_more(drift: Drifting) -> None:
    await provisioned(drift)
    gone = [droplet(f"web-{n}", 2, deleted_at=datetime.now(UTC)) for n in range(30)]
    await drift.tell(*gone)
    await drift.settled()
    id = await drift.value("select id from surges")
    assert (await drift.ask(AcceptSurge(surge_id=id))).result == {"accepted": 30}
    assert (await drift.detect())["specs"] == 30
    assert not await drift.told(SurgeGrew)
