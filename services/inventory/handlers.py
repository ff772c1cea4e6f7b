"""Messages in, messages out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

import structlog

from contracts.inventory import (
    ClassifyProject,
    DecideHeldSync,
    LinkResource,
    ProjectClassified,
    RegisterResource,
    Resource,
    SyncInventory,
    UnlinkResource,
)
from contracts.kinds import ResourceKind
from contracts.message import Event
from services.inventory import history, project_store, projects, store, sync_store, walks
from services.inventory.domain import Happening, Link, link_at, with_link
from services.inventory.history import Happened, changed
from services.inventory.intake import take_in
from services.inventory.kinds import KINDS, Kind, in_order_of_cost
from services.inventory.provider import Provider, patience, worth_waiting_for
from services.inventory.steps import transact
from shared.db import Connection
from shared.digitalocean import MissingToken, NotFound, ProviderError, Unauthorized
from shared.jobs import JobRun
from shared.outcome import Meta, Outcome, Refused

log = structlog.get_logger(__name__)

Walk: TypeAlias = Callable[[JobRun[Provider], dict[str, Any]], Awaitable[dict[str, Any]]]
"""One of a sync's walks: gives its numbers. It adds to the job's progress, which has those of the walks done before."""

RETENANTED_AT_ONCE = 500


async def sync_inventory(cmd: SyncInventory, run: JobRun[Provider]) -> Outcome:
    """Walk the projects and every kind, or one kind; answers with the numbers of each walk.

    Where one walk fails for the provider's sake, the others are done all the same. The job is put off for that one, but
    not beyond the command's `expires` (by then the next sync is due): then the answer says which walk failed, and why.
    Walks that an earlier attempt finished are not walked again.
    """
    done: dict[str, Any] = dict(run.progress or {})
    failures: dict[str, ProviderError] = {}
    with patience():
        for name, walk in _walks(cmd):
            if name in done:
                continue
            try:
                done[name] = await walk(run, done)
            except (MissingToken, Unauthorized):
                raise  # no other walk would fare better
            except ProviderError as error:
                failures[name] = error
            except walks.Superseded:
                done[name] = {"complete": False, "superseded": True}
        if waited_for := worth_waiting_for(failures.values(), run.meta.expires):
            raise waited_for
    for name, failure in failures.items():
        log.error("a kind was not synced: see the provider's status, the token's scopes", kind=name, error=str(failure))
        done[name] = {"complete": False, "error": str(failure)}
    return Outcome(result={name: done[name] for name, _ in _walks(cmd)})


def _walks(cmd: SyncInventory) -> Iterator[tuple[str, Walk]]:
    """The walks that a command asks for: projects first, so that what is discovered is discovered in its project."""
    if cmd.kind is None:
        yield projects.KIND, projects.walk_projects
    for kind in in_order_of_cost() if cmd.kind is None else [_declared(cmd.kind)]:
        yield str(kind.name), partial(walks.walk_kind, kind)


def _declared(name: ResourceKind) -> Kind:
    """The declaration of a kind. Refuses one that the contract names and `KINDS` does not have yet."""
    if name not in KINDS:
        raise Refused("kind_not_supported", kind=name, supported=list(KINDS))
    return KINDS[name]


async def register_resource(cmd: RegisterResource, run: JobRun[Provider]) -> Outcome:
    """Read one resource at the provider and take it in."""
    kind = _declared(cmd.kind)
    if cmd.provider_id in {".", ".."}:
        raise Refused("not_found_at_provider", kind=kind.name, provider_id=cmd.provider_id)
    with patience():
        try:
            row = await kind.read(run.resources.do, cmd.provider_id)
        except NotFound:
            raise Refused("not_found_at_provider", kind=kind.name, provider_id=cmd.provider_id) from None

    async def register(conn: Connection, meta: Meta) -> tuple[Resource, Sequence[Event]]:
        await store.take_turn(conn)
        taken = await take_in(conn, kind, [row], meta.now, meta)
        if taken.doubts:
            raise ValueError(taken.doubts[0])
        rows = await store.list_by_provider_id(conn, kind.name, [kind.identity(row)])
        (state,) = await history.states_of(conn, list(rows.values()), meta.now)
        return state, taken.events

    return _answer("resource", await transact(run, register))


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
    if row["deleted_at"] is not None and link.since >= row["deleted_at"]:
        raise Refused("resource_deleted", resource_id=str(resource_id), deleted_at=row["deleted_at"].isoformat())
    links = (await store.list_links(conn, [resource_id])).get(resource_id, [])
    before = link_at(links, link.since) or Link(link.since, None)
    if before.owner == link.owner:
        (state,) = await history.states_of(conn, [row], meta.now)
        return _answer("resource", state)
    links = with_link(links, link)
    await store.upsert_link(conn, resource_id, link, meta.actor, meta.now)
    await store.delete_other_links(conn, resource_id, [each.since for each in links])
    after = await store.attribute_resource(conn, resource_id, links[-1])
    changes = changed(
        deployment_id=(before.deployment_id, link.deployment_id),
        tenant_id=(row["tenant_id"], after["tenant_id"]),
    )
    happening = Happening.UNLINKED if link.deployment_id is None else Happening.LINKED
    (event,) = await history.record(conn, [Happened(after, happening, changes, _validity(links, link))], meta)
    return _answer("resource", event.resource, [event])


def _validity(links: Sequence[Link], link: Link) -> str:
    following = next((later for later in links if later.since > link.since), None)
    return f"from {link.since.isoformat()}" + (f" until {following.since.isoformat()}" if following else "")


async def classify_project(cmd: ClassifyProject, run: JobRun[Provider]) -> Outcome:
    """Say whose a project is and what it is for; its resources follow, page by page: they may be many."""
    project = await transact(run, partial(_classify, cmd))
    resources = 0
    while page := await transact(run, partial(_retenant_page, cmd.project_id)):
        resources += page
    return Outcome(result={"project": project.model_dump(mode="json"), "resources_changed": resources})


async def _classify(cmd: ClassifyProject, conn: Connection, meta: Meta) -> tuple[Any, Sequence[Event]]:
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


async def _retenant_page(project_id: UUID, conn: Connection, meta: Meta) -> tuple[int, Sequence[Event]]:
    await store.take_turn(conn)
    rows = await project_store.retenant_resources(conn, project_id, RETENANTED_AT_ONCE)
    happened = [
        Happened(
            row,
            Happening.UPDATED,
            changed(tenant_id=(row["old_tenant_id"], row["tenant_id"])),
            "its project was classified",
        )
        for row in rows
        if row["forgotten_at"] is None
    ]
    return len(rows), await history.record(conn, happened, meta)


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
) -> tuple[dict[str, Any], Sequence[Event]]:
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
