"""Messages in, messages out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import structlog

from contracts.drift import Drift, DriftChanged, DriftEvent
from contracts.inventory import (
    ClassifyProject,
    DecideHeldSync,
    LinkResource,
    MeasureBucket,
    ProjectClassified,
    RegisterResource,
    Resource,
    SyncInventory,
    UnlinkResource,
)
from contracts.kinds import ResourceKind
from contracts.message import Event
from services.inventory import (
    attribution,
    attribution_store,
    history,
    project_store,
    projects,
    store,
    sync_store,
    walks,
)
from services.inventory.attribution import Relinked
from services.inventory.domain import Link, Measured, SpacesAway, SpacesRefused, link_at, with_link
from services.inventory.history import changed
from services.inventory.intake import take_in
from services.inventory.kinds import KINDS
from services.inventory.provider import Provider, worth_waiting_for
from services.inventory.round import Round, walks_of
from services.inventory.told import MEASURED_EVERY, bucket_row
from shared.db import Connection
from shared.digitalocean import NotFound
from shared.jobs import JobRun, PutOff
from shared.outcome import Meta, Outcome, Received, Refused
from shared.patience import patience
from shared.service import Work
from shared.steps import Said, transact

log = structlog.get_logger(__name__)

RETENANTED_AT_ONCE = 500


async def sync_inventory(cmd: SyncInventory, run: JobRun[Provider]) -> Outcome:
    """Walk the projects and every kind, or one kind; answers with the numbers of each walk.

    Where one walk fails for the provider's sake, the others are done all the same, unless the provider is away
    altogether. The job is put off for that, but not beyond the command's `expires` (by then the next sync is due): then
    the answer says which walk failed, and why. Walks that an earlier attempt finished are not walked again.
    """
    wanted, attempt = walks_of(cmd.kind), Round(run)
    with patience("sync"):
        await attempt.walk_all(wanted)
        if waited_for := worth_waiting_for(attempt.failures.values(), run.meta.expires):
            raise waited_for
    for name, failure in attempt.failures.items():
        log.error("a kind was not synced: see the provider's status, the token's scopes", kind=name, error=str(failure))
        attempt.done[name] = {"complete": False, "error": str(failure)}
    return Outcome(result={name: attempt.done[name] for name, _ in wanted})


async def register_resource(cmd: RegisterResource, run: JobRun[Provider]) -> Work:
    """Read one resource at the provider and take it in."""
    kind = KINDS[cmd.kind]
    if kind.read is None:
        raise Refused("not_registered_alone", kind=kind.name, remedy="sync the kind")
    if cmd.provider_id in {".", ".."}:
        raise Refused("not_found_at_provider", kind=kind.name, provider_id=cmd.provider_id)
    read_at = datetime.now(UTC)
    with patience("sync"):
        try:
            row = await kind.read(run.resources.do, cmd.provider_id)
        except NotFound:
            raise Refused("not_found_at_provider", kind=kind.name, provider_id=cmd.provider_id) from None

    async def register(conn: Connection, meta: Meta) -> Outcome:
        await store.take_turn(conn)
        taken = await take_in(conn, kind, [row], read_at, meta)
        if taken.doubts:
            raise ValueError(taken.doubts[0])
        rows = await store.list_by_provider_id(conn, kind.name, [kind.id_of(row)])
        (state,) = await history.states_of(conn, list(rows.values()), meta.now)
        return _answer("resource", state, taken.events)

    return register


async def measure_bucket(cmd: MeasureBucket, run: JobRun[Provider]) -> Outcome | Work:
    """List what is in a bucket, and take its size in. One that cannot be listed keeps the size it had, if any."""
    spaces, began_at = run.resources.spaces, datetime.now(UTC)
    if spaces is None:
        raise Refused("no_spaces_keys", remedy="set SPACES_ACCESS_KEY_ID and SPACES_SECRET_ACCESS_KEY")
    before = await transact(run, partial(_last_measured, cmd.bucket))
    if before and before["tried_at"] > began_at - MEASURED_EVERY / 2:  # orders may have queued up
        return Outcome(result={"bucket": cmd.bucket, "measured_already": True})
    try:
        found: Measured | SpacesRefused = await spaces.measure(cmd.bucket, before["region"] if before else None)
    except SpacesAway as error:
        raise PutOff(str(error)) from error
    except SpacesRefused as error:
        log.warning("a bucket could not be measured: its size stays as it was", bucket=cmd.bucket, error=str(error))
        found = error
    return partial(_take_measurement, cmd.bucket, found, began_at)


async def _last_measured(bucket: str, conn: Connection, _: Meta) -> tuple[store.Row | None, Said]:
    return (await store.list_measurements(conn, [bucket])).get(bucket), ()


async def _take_measurement(
    bucket: str, found: Measured | SpacesRefused, began_at: datetime, conn: Connection, meta: Meta
) -> Outcome:
    """Write a measurement down, and on the bucket where the inventory has it."""
    await store.take_turn(conn)
    if isinstance(found, SpacesRefused):
        await store.upsert_failed_measurement(conn, bucket, str(found), began_at)
        return Outcome(result={"bucket": bucket, "error": str(found)})
    row = await store.upsert_measurement(conn, bucket, found, began_at)
    result, kind = {"bucket": bucket, **asdict(found)}, KINDS[ResourceKind.SPACES_BUCKET]
    known = (await store.list_by_provider_id(conn, kind.name, [bucket])).get(bucket)
    if known is None or known["deleted_at"]:  # that a bucket answers does not put it into a project
        return Outcome(result=result)
    taken = await take_in(conn, kind, [bucket_row(bucket, row)], meta.now, meta)
    return Outcome(result=result, events=taken.events)


async def link_resource(cmd: LinkResource, conn: Connection, meta: Meta) -> Outcome:
    """Attribute a resource to a deployment from a time on (in UTC, where it has no offset), until its next link."""
    tenant_id = cmd.tenant_id or await store.find_deployment_tenant(conn, cmd.deployment_id)
    return await _attribute(conn, meta, cmd.resource_id, Link(_since(cmd, meta), cmd.deployment_id, tenant_id))


async def unlink_resource(cmd: UnlinkResource, conn: Connection, meta: Meta) -> Outcome:
    """End a resource's attribution. One that is attributed to nobody stays so, and that is no error."""
    return await _attribute(conn, meta, cmd.resource_id, Link(_since(cmd, meta), None))


def _since(cmd: LinkResource | UnlinkResource, meta: Meta) -> datetime:
    since = cmd.effective_from or meta.now
    since = since.astimezone(UTC) if since.tzinfo else since.replace(tzinfo=UTC)
    if since > meta.now:
        raise Refused("effective_from_in_future", effective_from=since.isoformat(), now=meta.now.isoformat())
    return since


async def _attribute(conn: Connection, meta: Meta, resource_id: UUID, link: Link) -> Outcome:
    await store.take_turn(conn)
    row = await store.find_resource(conn, resource_id)
    if row is None:
        raise Refused("not_found", resource_id=str(resource_id))
    links = await store.list_own_links(conn, resource_id)
    ends = link.deployment_id is None
    if not (links and ends) and await attribution_store.is_part(conn, resource_id):
        raise Refused("attributed_with_its_parent", resource_id=str(resource_id), parent=history.parent_of(row))
    if row["deleted_at"] is not None and link.since >= row["deleted_at"] and not ends:
        raise Refused("resource_deleted", resource_id=str(resource_id), deleted_at=row["deleted_at"].isoformat())
    before = link_at(links, link.since) or Link(link.since, None)
    if before.owner == link.owner:
        (state,) = await history.states_of(conn, [row], meta.now)
        return _answer("resource", state)
    links = with_link(links, link)
    await store.upsert_link(conn, resource_id, link, meta.actor, meta.now)
    await store.delete_other_links(conn, resource_id, [each.since for each in links])
    events = await attribution.attribute_to(conn, resource_id, Relinked(links, link, before), meta)
    (own,) = [event for event in events if event.resource.id == resource_id]
    return _answer("resource", own.resource, events)


async def on_drift(events: Sequence[Received[DriftEvent]], conn: Connection) -> None:
    """Keep in a resource's history that it is not as it was asked for, and each other value that it has then.

    Nothing is told of that: it has not changed. (Any event tells that it was detected: the first may be compacted.)
    """
    rows = []
    for event in events:
        message, drift = event.message, event.message.drift
        change = {"resource_id": str(drift.resource_id), "changes": {drift.field: _wish(drift)}}
        rows.append(change | {"id": str(drift.id), "occurred_at": drift.detected_at.isoformat()})
        if isinstance(message, DriftChanged) and message.what == "value":
            rows.append(change | {"id": str(event.meta.message_id), "occurred_at": drift.changed_at.isoformat()})
    await store.insert_drifts(conn, rows)


def _wish(drift: Drift) -> dict[str, Any]:
    return {"old": drift.desired, "new": drift.live}


async def classify_project(cmd: ClassifyProject, run: JobRun[Provider]) -> Outcome:
    """Say whose a project is and what it is for; its resources follow, page by page: they may be many."""
    project = await transact(run, partial(_classify, cmd))
    resources, last = 0, store.BEFORE_ALL
    while page := await transact(run, partial(_retenant_page, cmd.project_id, last)):
        last, told = page
        resources += told
    return Outcome(result={"project": project.model_dump(mode="json"), "resources_changed": resources})


async def _classify(cmd: ClassifyProject, conn: Connection, meta: Meta) -> tuple[Any, Said]:
    await store.take_turn(conn)
    before = await project_store.find_project(conn, cmd.project_id)
    if before is None:
        raise Refused("not_found", project_id=str(cmd.project_id))
    wanted = {name: getattr(cmd, name) if name in cmd.fields else before[name] for name in ("tenant_id", "purpose")}
    changes = changed(**{name: (before[name], value) for name, value in wanted.items()})
    if not changes:
        return projects.state_of(before), ()
    state = projects.state_of(await project_store.classify(conn, cmd.project_id, **wanted))
    return state, [ProjectClassified(project=state, changes=changes)]


async def _retenant_page(
    project_id: UUID, after: UUID, conn: Connection, meta: Meta
) -> tuple[tuple[UUID, int] | None, Said]:
    """Let some of a project's resources, and what goes with them, follow it. Gives the last id, and how many did."""
    await store.take_turn(conn)
    ids = await attribution_store.list_unsettled_of_project(conn, project_id, after, RETENANTED_AT_ONCE)
    events = await attribution.settle(conn, ids, "its project was classified", meta)
    return (ids[-1], len(events)) if ids else None, events


async def decide_held_sync(cmd: DecideHeldSync, run: JobRun[Provider]) -> Outcome:
    """Decide a held sync.

    Approved: those still unseen get the strike that was held back, and are not counted as a riddle any more, so that
    later walks may go on striking them. Rejected: nothing; a later walk that sees the same is held again.
    """
    held = await transact(run, partial(_decide, cmd, run.progress), progress={"decided": True})
    struck = deleted = 0
    if cmd.approve:
        struck = await walks.strike_approved(run, cmd.held_sync_id)
        deleted = await walks.delete_struck_out(run, held["kind"])
    return Outcome(result={"held_sync": held, "struck": struck, "deleted": deleted})


async def _decide(
    cmd: DecideHeldSync, progress: Mapping[str, Any] | None, conn: Connection, meta: Meta
) -> tuple[dict[str, Any], Said]:
    await store.take_turn(conn)
    row = await sync_store.lock_held_sync(conn, cmd.held_sync_id)
    if row is None:
        raise Refused("not_found", held_sync_id=str(cmd.held_sync_id))
    decided_by_an_earlier_attempt = bool(progress)
    if row["status"] != "open" and not decided_by_an_earlier_attempt:
        raise Refused("already_decided", decision=row["status"])
    status = "approved" if cmd.approve else "rejected"
    if not decided_by_an_earlier_attempt:
        await sync_store.mark_decided(conn, row["id"], status, meta.actor, meta.now)
    return {"id": str(row["id"]), "kind": row["kind"], "missing": row["missing"], "status": status}, ()


def _answer(name: str, state: Resource, events: Sequence[Event] = ()) -> Outcome:
    return Outcome(result={name: state.model_dump(mode="json")}, events=events)
