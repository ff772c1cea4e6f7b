"""What others tell: resources as they were seen, and sagas that change them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from contracts.drift import SpecRecorded, SpecRetired
from contracts.inventory import Resource, ResourceEvent
from contracts.message import Event, Reply
from contracts.sagas import UNFINISHED, SagaEvent, SagaRun, SagaStatus
from services.drift import detection, finding_store, store
from services.drift.domain import Said, Spec, with_said
from services.drift.specs import spec_of
from shared.db import Connection
from shared.outcome import Meta, Outcome, Received


async def on_resource(events: Sequence[Received[ResourceEvent]], conn: Connection) -> None:
    """Keep what is told of resources; where something is asked of one, it is compared soon."""
    newest: dict[UUID, Resource] = {}
    for event in events:
        told = event.message.resource
        if told.id not in newest or newest[told.id].version < told.version:
            newest[told.id] = told
    await store.project_resources(conn, list(newest.values()))


async def on_run(events: Sequence[Received[SagaEvent]], conn: Connection) -> Outcome | None:
    """Keep which resources sagas change; what they leave of them is what is asked for from then on."""
    newest: dict[UUID, SagaRun] = {}
    for event in events:
        told = event.message.run
        changes = told.deployment_id or told.resource_ids or told.left
        if changes and (told.id not in newest or newest[told.id].version < told.version):
            newest[told.id] = told
    news = await store.project_runs(conn, list(newest.values())) if newest else set()
    runs = [newest[id] for id in sorted(news)]
    if not runs:
        return None
    return Outcome(events=await _heed(conn, runs, events[0].meta))


async def _heed(conn: Connection, runs: Sequence[SagaRun], meta: Meta) -> list[Event]:
    """What follows from runs that are others now: for specs first, then for the drifts that they are to revert."""
    said = [
        Said(left.resource_id, left.spec, run.finished_at, run.id, left.version or 0)
        for run in runs
        if run.status is SagaStatus.COMPLETED and run.finished_at
        for left in run.left
    ]
    touched = await store.list_touched(conn, [run.id for run in runs])
    await store.begin_specs(conn, {each.resource_id for each in said if each.fields != {}}, meta.now)
    known = await store.lock_specs(conn, sorted({*(each.resource_id for each in said), *touched}))
    events = await _record(conn, known, said, meta)
    events += await _end_reverts(conn, runs, meta.now)
    await store.mark_changed(conn, touched)
    return events


async def _record(conn: Connection, known: dict[UUID, Spec], said: Sequence[Said], meta: Meta) -> list[Event]:
    before = dict(known)
    for each in sorted(said, key=lambda each: each.at):
        if each.resource_id in known:  # (of a revert: of what nothing is asked any more, nothing is said)
            known[each.resource_id] = with_said(known[each.resource_id], each)
    changed = [spec for id, spec in known.items() if spec != before[id]]
    if not changed:
        return []
    await store.upsert_specs(conn, changed)
    told = [spec for spec in changed if spec.version != before[spec.resource_id].version]
    events: list[Event] = [(SpecRetired if spec.retired_at else SpecRecorded)(spec=spec_of(spec)) for spec in told]
    if retired := [spec.resource_id for spec in told if spec.retired_at]:
        events += await detection.close(conn, await finding_store.list_open_ids(conn, retired), meta)
    return events


async def _end_reverts(conn: Connection, runs: Sequence[SagaRun], now: datetime) -> list[Event]:
    """What becomes of the drifts that runs are to revert."""
    done = [run.id for run in runs if run.status is SagaStatus.COMPLETED]
    under_way = [run.id for run in runs if run.status in UNFINISHED]
    failed = {
        run.id: {"code": str(run.status), **(run.error or {})}
        for run in runs
        if run.status in {SagaStatus.FAILED, SagaStatus.ROLLED_BACK}
    }
    events: list[Event] = []
    if done:
        reverted = await finding_store.mark_reverted(conn, done, now)
        events += await detection.closed(conn, dict.fromkeys(reverted))
    if under_way:
        again = await finding_store.mark_reverting_again(conn, under_way, now)
        events += await detection.changed(conn, again, "reverting")
    if failed:
        reopened = await finding_store.mark_reopened(conn, failed, now)
        events += await detection.changed(conn, reopened, "reopened")
    return events


async def on_reply(reply: Reply, conn: Connection, meta: Meta) -> Outcome | None:
    """Where a saga was not begun that was to revert a drift, the drift is open as before."""
    if reply.status not in {"refused", "failed"}:
        return None
    error = {"code": reply.code, **(reply.detail or {})}
    reopened = await finding_store.mark_reopened(conn, {reply.correlation_id: error}, meta.now)
    return Outcome(events=await detection.changed(conn, reopened, "reopened"))
