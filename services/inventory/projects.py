"""Mirrors the provider's projects, and which resources are in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Literal, TypeAlias
from uuid import UUID

import structlog

from contracts.inventory import Project, ProjectDeleted, ProjectDiscovered, ProjectEvent, ProjectUpdated
from contracts.kinds import ResourceKind
from services.inventory import attribution, project_store
from services.inventory.domain import urn_parts
from services.inventory.history import changed
from services.inventory.kinds import KIND_OF_URN, KINDS, Told
from services.inventory.project_store import Row
from services.inventory.provider import Provider
from services.inventory.steps import Walking
from services.inventory.sync_store import Sync
from services.inventory.told import LISTED
from services.inventory.walks import DOUBTS_KEPT, ahead, finish, in_order, walking
from shared.db import Connection
from shared.digitalocean import DigitalOcean, Forbidden, NotFound, OutcomeUnknown, ProviderError, Refused
from shared.jobs import JobRun
from shared.outcome import Meta
from shared.steps import Said

log = structlog.get_logger(__name__)

KIND = "project"
"""What the projects are called in `syncs` and in a sync's numbers."""

MEMBERS = "members"
"""In a job's progress: what the lists of the projects have shown so far (`Members`)."""

INTERNAL_PROJECT = "skyai-internal"
"""The project of the platform itself. It is made where there is none of this name."""

MAY_LAG_FOR = timedelta(minutes=10)
"""So long after a creation was asked for, the call may be under way, and lists and ids may not show what it made: until
then it is neither asked for again nor held to be gone."""

_MIRRORED = ("name", "description", "environment", "is_default")

MEMBERS_AT_ONCE = 2000

LISTS_AT_ONCE = 3
"""So many projects' lists are read at the same time."""

Member: TypeAlias = tuple[ResourceKind, str]
"""What a project lists: a kind and the provider's id."""

Ensured = Literal["there", "created", "unknown", "waiting", "refused"]


@dataclass
class Members:
    """What the projects' lists have shown.

    `until`: the last project walked, in the order of the provider's ids. `listed`: the resources of those kinds that
    have no list of their own.
    """

    until: str = ""
    moved: int = 0
    doubts: list[str] = field(default_factory=list)
    listed: dict[str, list[str]] = field(default_factory=dict)


async def walk_projects(run: JobRun[Provider], done: dict[str, Any]) -> dict[str, Any]:
    """Mirror all projects and what is in them; gives the numbers. `done` is the job's progress, and is carried on."""
    counts: Counter[str] = Counter(seen=0, discovered=0, updated=0, deleted=0)
    ids: dict[str, UUID] = {}
    async with walking(run, KIND, done) as walk:
        listed = walk.do.projects()
        async with aclosing(aiter(listed)) as pages:
            async for rows in pages:
                known, happened = await walk.step(partial(_take_page, rows, walk.sync))
                ids |= known
                counts.update(happened, seen=len(rows))
        ensured: Ensured | None = None
        if listed.complete:
            counts["deleted"] = await _delete_vanished(walk)
            ensured = await _ensure_internal_project(walk)
        members = await _walk_members(walk, ids, done)
        doubts = [*listed.doubts, *members.doubts]
        numbers = {**counts, "moved": members.moved, "complete": not doubts, "internal_project": ensured}
        status = "incomplete" if doubts else "complete"
        done[LISTED] = members.listed
        await finish(walk, status, numbers=numbers, doubts=doubts)
    return numbers


async def _take_page(
    rows: Sequence[dict[str, Any]], sync: Sync, conn: Connection, meta: Meta
) -> tuple[tuple[dict[str, UUID], Counter[str]], Said]:
    """Store projects as they were seen; gives their ids by the provider's, and how often each thing happened."""
    seen = [_seen(row) for row in rows]
    known = await project_store.list_by_provider_id(conn, [each["provider_id"] for each in seen])
    for each in seen:
        each["step"] = 1 if _differs(known.get(each["provider_id"]), each) else 0
    stored = await project_store.upsert_seen(conn, seen, max(meta.now, sync.began_at))
    news = [each["provider_id"] for each in seen if each["step"]]
    events = [_event(known.get(id), stored[id]) for id in news]
    happened = Counter("updated" if id in known else "discovered" for id in news)
    return ({id: row["id"] for id, row in stored.items()}, happened), events


def _seen(row: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a project. Its `purpose` is left to the operator: the provider's is a phrase from a menu."""
    return {
        "provider_id": row["id"],
        "name": row["name"],
        "description": row.get("description") or "",
        "environment": row.get("environment") or None,
        "is_default": bool(row.get("is_default")),
    }


def _differs(known: Row | None, seen: Mapping[str, Any]) -> bool:
    return known is None or known["deleted_at"] is not None or any(known[name] != seen[name] for name in _MIRRORED)


def _event(before: Row | None, after: Row) -> ProjectEvent:
    if before is None:
        return ProjectDiscovered(project=state_of(after))
    fields = {name: (before[name], after[name]) for name in (*_MIRRORED, "deleted_at")}
    return ProjectUpdated(project=state_of(after), changes=changed(**fields))


def state_of(row: Row) -> Project:
    """The project of a row as others get it."""
    return Project.model_validate(dict(row))


async def _delete_vanished(walk: Walking) -> int:
    """Tombstone projects that a complete walk did not show, once the provider knows them by their id no more."""

    began_at = walk.sync.began_at

    async def unseen(conn: Connection, _: Meta) -> tuple[list[Row], Said]:
        return await project_store.list_unseen(conn, began_at, began_at - MAY_LAG_FOR), ()

    deleted = 0
    for row in await walk.step(unseen):
        try:
            await walk.do.get("/v2/projects/{project_id}", project_id=row["provider_id"])
        except NotFound:
            deleted += await walk.step(partial(_delete, row["id"], walk.sync))
    return deleted


async def _delete(project_id: UUID, sync: Sync, conn: Connection, meta: Meta) -> tuple[int, Said]:
    row = await project_store.mark_deleted(conn, project_id, sync.began_at, meta.now)
    return (1, [ProjectDeleted(project=state_of(row))]) if row else (0, ())


async def _walk_members(walk: Walking, ids: Mapping[str, UUID], done: dict[str, Any]) -> Members:
    """Note which resources the projects list, and why some may not have been seen.

    There may be many projects, each with a list of its own: where the job was put off amid them, it goes on from there.
    """
    so_far = done.setdefault(MEMBERS, asdict(Members()))
    async with aclosing(_member_batches(walk, ids, so_far)) as batches, aclosing(ahead(batches)) as read_ahead:
        async for members, until in read_ahead:
            if members:
                so_far["moved"] += await walk.step(partial(_take_members, members))
            so_far["until"] = until
    return Members(**done.pop(MEMBERS))


async def _member_batches(
    walk: Walking, ids: Mapping[str, UUID], so_far: dict[str, Any]
) -> AsyncGenerator[tuple[dict[Member, UUID], str], None]:
    """What the projects list, those of several projects at a go, and the last project that is in it whole."""
    until, batch = so_far["until"], dict[Member, UUID]()
    left = sorted(id for id in ids if id > until)
    lists = in_order((_list_of(walk.do, id) for id in left), LISTS_AT_ONCE)
    try:
        async with aclosing(lists):
            async for provider_id, members, doubts in lists:
                so_far["doubts"] = [*so_far["doubts"], *doubts][:DOUBTS_KEPT]
                for kind, id in members:
                    if isinstance(KINDS[kind].source, Told):
                        so_far["listed"].setdefault(kind, []).append(id)
                for member in members:
                    if len(batch) >= MEMBERS_AT_ONCE:
                        yield batch, until
                        batch = {}
                    batch[member] = ids[provider_id]
                until = provider_id
    except ProviderError:
        yield batch, until
        raise
    yield batch, until


async def _list_of(do: DigitalOcean, project: str) -> tuple[str, list[Member], list[str]]:
    """A project, what it lists, and the doubts of its walk."""
    walk, members = do.project_resources(project), list[Member]()
    try:
        async for rows in walk:
            members += [member for row in rows if (member := _member(row["urn"]))]
    except NotFound as error:
        log.info("a project went while it was walked", answer=str(error))
    return project, members, walk.doubts


def _member(urn: str) -> Member | None:
    """The kind and the provider's id in a URN; None where it is of no kind that the inventory keeps."""
    parts = urn_parts(urn)
    kind = KIND_OF_URN.get(parts[0]) if parts else None
    return (kind, parts[1]) if parts and kind else None


async def _take_members(members: Mapping[Member, UUID], conn: Connection, meta: Meta) -> tuple[int, Said]:
    """Note which project lists each, the last one that did. What has moved goes to its project's tenant."""
    new = await project_store.upsert_members(conn, [(*member, project) for member, project in members.items()])
    moved = await project_store.list_members(conn, new) if new else []
    events = await attribution.settle(conn, moved, "listed in another project at the provider", meta)
    return len(events), events


async def _ensure_internal_project(walk: Walking) -> Ensured:
    """Create the platform's own project where a complete walk showed none.

    That it is to be created is written down before the provider is asked: so where the process dies meanwhile, or the
    answer is lost, a later walk looks for it first, and there is no second one.
    """

    async def claim(conn: Connection, meta: Meta) -> tuple[Ensured | None, Said]:
        if await project_store.find_live_by_name(conn, INTERNAL_PROJECT):
            return "there", ()
        ours = await project_store.claim_creation(conn, INTERNAL_PROJECT, meta.now - MAY_LAG_FOR, meta.now)
        return None if ours else "waiting", ()

    if found := await walk.step(claim):
        return found
    try:
        body = await walk.do.create_project(
            INTERNAL_PROJECT,
            purpose="Operational / Developer tooling",
            environment="Production",
            description="What the platform itself runs on.",
        )
    except OutcomeUnknown as error:
        log.warning("the internal project may have been created; the next sync looks", error=str(error))
        return "unknown"
    except (Forbidden, Refused) as error:
        log.error(f"create the project {INTERNAL_PROJECT} at the provider: our token may not", error=str(error))
        return "refused"
    await walk.step(partial(_take_page, [body], walk.sync))
    return "created"
