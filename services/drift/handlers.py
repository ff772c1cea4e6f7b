"""What operators decide about drifts, and about how drift is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from contracts.drift import (
    REPLIES,
    AcceptDrift,
    AcceptSurge,
    Drift,
    OpenDriftCommand,
    RemoveRule,
    RevertDrift,
    SetRule,
    SnoozeDrift,
)
from contracts.message import Event
from contracts.sagas import StartSaga
from services.drift import detection, finding_store, specs, store, surge_store
from services.drift.domain import Spec, why_not_revertible
from services.drift.outside import Outside
from services.drift.store import Row
from shared.db import Connection
from shared.ids import uuid7
from shared.jobs import JobRun
from shared.outcome import Meta, Outcome, Refused, Send
from shared.steps import Said, transact

_ACCEPTED_AT_ONCE = 500


async def accept_drift(cmd: AcceptDrift, conn: Connection, meta: Meta) -> Outcome:
    """Have what the drift shows be what is asked for."""
    spec, drift = await _locked(cmd, conn)
    _check_unchanged(drift, cmd.version)
    _check_not_reverting(drift)
    return await _answer(conn, drift["id"], await _accept(conn, {spec.resource_id: spec}, [drift], None, meta))


async def _accept(
    conn: Connection, known: Mapping[UUID, Spec], drifts: Sequence[Row], detail: dict[str, Any] | None, meta: Meta
) -> list[Event]:
    """Accept drifts, each of another resource; their specs are locked."""
    ids = [drift["id"] for drift in drifts]
    await finding_store.mark_accepted(conn, ids, meta.now)
    await finding_store.note(conn, ids, "accepted", detail, meta.actor)
    said: list[Event] = await detection.closed(conn, dict.fromkeys(ids))
    seen = [(known[drift["resource_id"]], drift["field"], drift["live"]) for drift in drifts]
    return [*said, *await specs.adopt(conn, seen, meta)]


async def accept_surge(cmd: AcceptSurge, run: JobRun[Outside]) -> Outcome:
    """Accept a surge's drifts, some at a time."""
    result = {"accepted": 0} | (run.progress or {})

    async def accept_some(conn: Connection, meta: Meta) -> tuple[bool, Said]:
        count, said = await _accept_some(cmd.surge_id, conn, meta)
        result["accepted"] += count or 0
        return count is not None, said

    while await transact(run, accept_some, progress=lambda: result):
        pass
    return Outcome(result=result)


async def _accept_some(surge_id: UUID, conn: Connection, meta: Meta) -> tuple[int | None, Said]:
    """Accept some; None where there are none left."""
    if not await surge_store.is_there(conn, surge_id):
        raise Refused("not_found", surge_id=str(surge_id))
    drifts, were_there = await surge_store.lock_open_of(conn, surge_id, _ACCEPTED_AT_ONCE)
    if not drifts:
        return (0 if were_there else None), ()
    known = await store.lock_specs(conn, [drift["resource_id"] for drift in drifts])
    return len(drifts), await _accept(conn, known, drifts, {"surge_id": str(surge_id)}, meta)


async def revert_drift(cmd: RevertDrift, conn: Connection, meta: Meta) -> Outcome:
    """Have a saga bring the resource back."""
    spec, drift = await _locked(cmd, conn)
    _check_unchanged(drift, cmd.version)
    _check_not_reverting(drift)
    desired = spec.fields.get(drift["field"])
    if reason := why_not_revertible(drift["kind"], drift["field"], desired):
        raise Refused("not_revertible", field=drift["field"], reason=reason)
    if busy := await store.find_busy(conn, drift["resource_id"]):
        raise Refused("resource_busy", resource_id=str(drift["resource_id"]), saga_id=str(busy))
    saga_id = uuid7()
    await finding_store.mark_reverting(conn, drift["id"], saga_id)
    await finding_store.note(conn, [drift["id"]], "reverting", {"saga_id": str(saga_id)}, meta.actor)
    shown = (await finding_store.list_shown(conn, [drift["id"]]))[drift["id"]]
    start = StartSaga(
        saga_id=saga_id,
        kind="revert_drift",
        inputs=_inputs(shown, desired),
        deployment_id=shown["deployment_id"],
        tenant_id=shown["tenant_id"],
    )
    answer = await _answer(conn, drift["id"], await detection.changed(conn, [drift["id"]], "reverting"))
    return Outcome(
        result=answer.result,
        events=answer.events,
        commands=[Send(start, reply_to=REPLIES, correlation_id=saga_id)],
    )


def _inputs(shown: Row, desired: Any) -> dict[str, Any]:
    deployment_id = shown["deployment_id"]
    return {
        "drift_id": str(shown["id"]),
        "droplet": {"droplet_id": int(shown["provider_id"]), "resource_id": str(shown["resource_id"])},
        "deployment_id": deployment_id and str(deployment_id),
        shown["field"]: desired,
    }


async def snooze_drift(cmd: SnoozeDrift, conn: Connection, meta: Meta) -> Outcome:
    """Leave a drift out of the inbox until a time."""
    if cmd.until is not None and cmd.until <= meta.now:
        raise Refused("until_is_past", until=cmd.until.isoformat(), now=meta.now.isoformat())
    _, drift = await _locked(cmd, conn)
    what = "woken" if cmd.until is None else "snoozed"
    await finding_store.mark_snoozed(conn, drift["id"], cmd.until)
    detail = {"until": cmd.until.isoformat()} if cmd.until else None
    await finding_store.note(conn, [drift["id"]], what, detail, meta.actor)
    return await _answer(conn, drift["id"], await detection.changed(conn, [drift["id"]], what))


async def set_rule(cmd: SetRule, conn: Connection, meta: Meta) -> Outcome:
    """Say how drift in a field is taken; it is compared by that at once."""
    row = await store.upsert_rule(conn, cmd.model_dump(mode="json"), meta.actor, meta.now)
    await store.mark_ruled(conn, cmd.kind, cmd.field)
    return Outcome(result={"rule": {**row, "set_at": row["set_at"].isoformat()}})


async def remove_rule(cmd: RemoveRule, conn: Connection, _: Meta) -> Outcome:
    """Take a rule back."""
    if not await store.delete_rule(conn, cmd.kind, cmd.field):
        raise Refused("not_found", kind=cmd.kind, field=cmd.field)
    await store.mark_ruled(conn, cmd.kind, cmd.field)
    return Outcome(result={"removed": True})


async def _locked(cmd: OpenDriftCommand, conn: Connection) -> tuple[Spec, Row]:
    """A drift that is open, and its resource's spec. Raises `Refused`."""
    resource_id = await finding_store.find_resource_of(conn, cmd.drift_id)
    if resource_id is None:
        raise Refused("not_found", drift_id=str(cmd.drift_id))
    spec = (await store.lock_specs(conn, [resource_id]))[resource_id]
    drift = await finding_store.lock_drift(conn, cmd.drift_id)
    if drift["status"] != "open":
        raise Refused("not_open", drift_id=str(cmd.drift_id), status=drift["status"])
    return spec, drift


def _check_unchanged(drift: Row, version: int | None) -> None:
    if version is not None and drift["version"] != version:
        raise Refused("drift_changed", version=drift["version"], live=drift["live"])


def _check_not_reverting(drift: Row) -> None:
    if drift["is_reverting"]:
        raise Refused("being_reverted", saga_id=str(drift["revert_saga_id"]))


async def _answer(conn: Connection, drift_id: UUID, events: list[Event]) -> Outcome:
    shown: Drift = detection.drift_of((await finding_store.list_shown(conn, [drift_id]))[drift_id])
    return Outcome(result={"drift": shown.model_dump(mode="json")}, events=events)
