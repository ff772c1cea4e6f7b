"""What is, against what was asked for: found, followed, and over."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from contracts.drift import DetectDrift, DriftChanged, DriftClosed, DriftDetected, RetireSpec, SetRule, Severity
from contracts.inventory import Parent, ResourceUpdated
from contracts.kinds import ResourceKind
from contracts.sagas import SagaStatus
from services.drift import detection, store
from services.drift.domain import Spec
from shared.db import Database
from shared.ids import uuid7
from shared.outcome import Meta
from tests.drift.world import LONG_AGO, Drifting, droplet, left, resource

WEB = droplet()


async def test_only_the_field_that_differs_is_a_drift(drift: Drifting) -> None:
    await drift.tell(WEB)
    await drift.record(WEB, size_slug="s-2vcpu-2gb", region="syd1")
    assert await drift.drifts() == [("size_slug", "s-2vcpu-2gb", "s-1vcpu-1gb")]
    (told,) = await drift.told(DriftDetected)
    shown = told.data["drift"]
    assert (shown["name"], shown["severity"], shown["monthly_delta_cents"]) == ("web", "high", -1200)
    assert told.tenantid == "acme"


async def test_comparing_again_finds_nothing_new(drift: Drifting) -> None:
    await drift.tell(WEB)
    await drift.record(WEB, size_slug="s-2vcpu-2gb")
    assert await drift.detect() == {"specs": 1, "open": 1, "detected": 0, "changed": 0, "closed": 0}
    assert await drift.detect(WEB) == {"specs": 1, "open": 1, "detected": 0, "changed": 0, "closed": 0}
    assert len(await drift.told(DriftDetected)) == 1


async def test_a_column_comes_before_an_attr_of_the_same_name(drift: Drifting) -> None:
    await drift.tell(droplet(attrs={"region": "nyc3", "vcpus": 1, "image": None}))
    await drift.record(WEB, region="syd1", vcpus="2", gpu=None, disk_gb=25)
    assert await drift.drifts() == [("disk_gb", 25, None), ("vcpus", "2", 1)]
    await drift.record(WEB, gpu=None, vcpus=None)
    assert await drift.drifts() == [("vcpus", None, 1)]


async def test_tags_are_a_set_in_which_case_does_not_count(drift: Drifting) -> None:
    await drift.tell(droplet(tags=["Tenant:Acme", "web", f"op:{uuid7()}"]))
    await drift.record(WEB, tags=["web", "tenant:acme", "web", "op:another"], name="Web")
    assert await drift.drifts() == [("name", "Web", "web")]


async def test_a_change_is_found_at_once_and_over_when_it_is_undone(drift: Drifting) -> None:
    await drift.tell(droplet(tags=["a", "b"]))
    await drift.record(WEB, size_slug="s-1vcpu-1gb", tags=["b", "a"])
    await drift.tell(droplet(version=2, tags=["a", "b"], size_slug="s-2vcpu-2gb"))
    await drift.settled()
    assert await drift.drifts() == [
        ("size_slug", "s-1vcpu-1gb", "s-2vcpu-2gb"),
    ]
    await drift.tell(droplet(version=3, tags=["a"], size_slug="s-4vcpu-8gb"))
    await drift.settled()
    assert await drift.drifts() == [
        ("size_slug", "s-1vcpu-1gb", "s-4vcpu-8gb"),
        ("tags", ["b", "a"], ["a"]),
    ]
    await drift.tell(droplet(version=4, tags=["a", "b"]))
    await drift.settled()
    assert await drift.drifts() == []
    assert len(await drift.drifts("stale")) == 2
    told = await drift.told(DriftDetected, DriftChanged, DriftClosed)
    assert Counter(each.type.split(".")[2] for each in told) == {
        "drift-detected": 2, "drift-changed": 1, "drift-closed": 2,
    }  # fmt: skip
    assert [each.data["reason"] for each in told if "reason" in each.data] == ["matches", "matches"]


async def test_a_field_drifts_anew_after_it_was_over(drift: Drifting) -> None:
    await drift.tell(WEB)
    await drift.record(WEB, size_slug="s-1vcpu-1gb")
    for version in (2, 3, 4):
        await drift.tell(droplet(version=version, size_slug=["s-1vcpu-1gb", "s-2vcpu-2gb"][version % 2]))
        await drift.settled()
    assert (await drift.drifts(), await drift.drifts("stale")) == ([], [("size_slug", "s-1vcpu-1gb", "s-2vcpu-2gb")])
    await drift.tell(droplet(version=5, size_slug="s-2vcpu-2gb"))
    await drift.settled()
    assert (len(await drift.drifts()), len(await drift.drifts("stale"))) == (1, 1)


async def test_what_is_gone_is_one_drift_and_over_when_it_is_back(drift: Drifting) -> None:
    await drift.tell(WEB)
    await drift.record(WEB, size_slug="s-2vcpu-2gb", region="syd1")
    await drift.tell(droplet(version=2, deleted_at=datetime.now(UTC)))
    await drift.settled()
    assert await drift.drifts() == [("exists", True, False)]
    (row,) = await drift.fetch("select severity, monthly_delta_cents from shown where status = 'open'")
    assert tuple(row) == ("critical", -1800)
    closed = await drift.told(DriftClosed)
    assert [each.data["reason"] for each in closed] == ["gone"]
    await drift.tell(droplet(version=3, size_slug="s-2vcpu-2gb"))
    await drift.settled()
    assert await drift.drifts() == []


async def test_what_nothing_is_asked_of_does_not_drift(drift: Drifting) -> None:
    await drift.tell(WEB, droplet("other"))
    await drift.record(WEB, size_slug="s-2vcpu-2gb")
    assert (await drift.detect())["open"] == 1
    assert (await drift.ask(RetireSpec(resource_id=WEB.id))).status == "ok"
    assert await drift.drifts("stale") == [("size_slug", "s-2vcpu-2gb", "s-1vcpu-1gb")]
    assert (await drift.told(DriftClosed))[-1].data["reason"] == "not_asked_for"
    assert (await drift.detect())["open"] == 0
    for command in (RetireSpec(resource_id=WEB.id), DetectDrift(resource_id=WEB.id)):
        answered = await drift.ask(command)
        assert (answered.status, answered.code) == ("refused", "no_spec")


async def test_a_field_that_is_not_asked_for_any_more_is_over(drift: Drifting) -> None:
    await drift.tell(WEB)
    await drift.record(WEB, size_slug="s-2vcpu-2gb", region="fra1")
    await drift.record(WEB, region="fra1")
    assert (await drift.drifts(), await drift.drifts("stale")) == (
        [("region", "fra1", "syd1")],
        [("size_slug", "s-2vcpu-2gb", "s-1vcpu-1gb")],
    )


async def test_what_is_nobodys_is_unmanaged_with_all_that_was_taken_of_it(drift: Drifting) -> None:
    def taken_of(name: str) -> Parent:
        return Parent(kind=ResourceKind.DROPLET, provider_id=name)

    nobodys: dict[str, Any] = {"deployment_id": None, "size_slug": "s-2vcpu-2gb"}
    by_cluster = Parent(kind=ResourceKind.KUBERNETES_CLUSTER, provider_id="k8s")
    asked = droplet("asked", provider_id="asked", **nobodys)
    await drift.tell(
        droplet("linked", provider_id="linked"),
        asked,
        droplet("forgotten", provider_id="forgotten", tags=["op:team"], **nobodys),
        droplet("ours", tags=[f"op:{uuid7()}"], **nobodys),
        droplet("worker", parent=by_cluster, **nobodys),
        droplet("gone", deleted_at=LONG_AGO, **nobodys),
        *(
            resource(ResourceKind.SNAPSHOT, f"of-{name}", parent=taken_of(name), deployment_id=None,
                     attrs={"monthly_usd_cents": 60})
            for name in ("linked", "asked", "forgotten", "gone")
        ),
    )  # fmt: skip
    await drift.record(asked, size_slug="s-2vcpu-2gb")
    rows = await drift.fetch("select name, monthly_usd_cents from v1_all_unmanaged order by name")
    assert [tuple(row) for row in rows] == [("forgotten", 1800), ("of-forgotten", 60), ("of-gone", 60)]


async def test_a_rule_ignores_a_field_of_a_kind_until_it_is_taken_back(drift: Drifting) -> None:
    zone = resource(ResourceKind.DNS_ZONE, "shop.example")
    await drift.tell(WEB, zone)
    await drift.record(WEB, name="shop")
    await drift.record(zone, name="other.example")
    rule = SetRule(kind=ResourceKind.DROPLET, field="name", severity=Severity.LOW, ignore=True)
    assert (await drift.ask(rule)).status == "ok"
    await drift.settled()
    assert await drift.drifts() == [("name", "other.example", "shop.example")]
    assert (await drift.told(DriftClosed))[-1].data["reason"] == "ignored"
    await drift.detect()
    assert len(await drift.drifts()) == 1
    assert (await drift.ask(rule.model_copy(update={"ignore": False, "severity": Severity.CRITICAL}))).status == "ok"
    await drift.settled()
    severities = await drift.fetch("select kind, severity from shown where status = 'open' order by 1")
    assert [tuple(row) for row in severities] == [("dns_zone", "low"), ("droplet", "critical")]


async def test_a_spec_that_is_heard_of_before_its_resource_is_compared_when_that_is(drift: Drifting) -> None:
    await drift.tell_run(drift.run(SagaStatus.COMPLETED, left=[left(WEB, {"region": "fra1"})]))
    await drift.settled()
    assert await drift.drifts() == []
    await drift.tell(WEB)
    await drift.settled()
    assert await drift.drifts() == [("region", "fra1", "syd1")]


async def test_an_old_event_of_a_resource_changes_nothing(drift: Drifting) -> None:
    await drift.tell(droplet(version=3))
    await drift.record(WEB, size_slug="s-1vcpu-1gb")
    await drift.put(ResourceUpdated(resource=droplet(version=2, size_slug="s-2vcpu-2gb")))
    await drift.tell(droplet("other"))
    await drift.settled()
    assert await drift.drifts() == []


async def test_what_changed_after_a_look_began_is_another_looks(drift: Drifting) -> None:
    """It may be the work of a saga of which this look has not waited to hear."""
    await drift.tell(WEB)
    await drift.record(WEB, size_slug="s-1vcpu-1gb")
    async with drift.held_up("asked"):
        snapshot = await drift.value("select pg_current_snapshot()::text")
        await drift.tell(droplet(version=2, size_slug="s-4vcpu-8gb"))
        async with drift.db.transaction() as conn:
            found, _ = await detection.compare(snapshot, [WEB.id], conn, Meta(uuid7(), datetime.now(UTC)))
        assert found.detected == 0
        assert await drift.value("select changed_xid is not null from cloud_provisioned")
    await drift.settled()
    assert len(await drift.drifts()) == 1


async def test_twenty_that_compare_at_once_open_one_drift(drift: Drifting) -> None:
    await drift.tell(WEB)
    async with drift.db.transaction() as conn:
        spec = Spec(WEB.id, {"size_slug": "s-4vcpu-8gb"}, 1, None, None, LONG_AGO, LONG_AGO, {}, 0, None)
        await store.upsert_specs(conn, [spec])
        await conn.execute("update cloud_provisioned set changed_xid = null")  # nobody else is to look
    snapshot = await drift.value("select pg_current_snapshot()::text")
    crowd = await Database.of_service(drift.settings.model_copy(update={"database_pool_size": 20}), "drift")
    ready = asyncio.Barrier(20)

    async def compare() -> int:
        async with crowd.transaction() as conn:
            await conn.execute("select")
            await ready.wait()
            found, said = await detection.compare(snapshot, [WEB.id], conn, Meta(uuid7(), datetime.now(UTC)))
            assert len(said) == found.detected
            return found.detected

    try:
        found = await asyncio.gather(*(compare() for _ in range(20)))
    finally:
        await crowd.close()
    assert sorted(found) == [0] * 19 + [1]
    assert await drift.drifts() == [("size_slug", "s-4vcpu-8gb", "s-1vcpu-1gb")]


async def test_the_database_keeps_a_second_open_drift_of_a_field_out(drift: Drifting) -> None:
    await drift.tell(WEB)
    await drift.record(WEB, size_slug="s-2vcpu-2gb")

    async def insert_another() -> None:
        await drift.fetch(
            """
            insert into cloud_drift (resource_id, kind, field, detected_at, changed_at, spec_version)
            values ($1, 'droplet', 'size_slug', now(), now(), 1)
            """,
            WEB.id,
        )

    with pytest.raises(asyncpg.UniqueViolationError, match="cloud_drift_open"):
        await insert_another()
    await drift.fetch("update cloud_drift set status = 'stale', closed_at = now()")
    await insert_another()
