"""What the inventory does by itself: keeping to its retentions, and telling everything again when asked.

a resource or project that is gone  is on the bus for 90 days, then its key gets a tombstone; its row stays, as
                                    history, for cost lines that come late
cloud_resource_events               three years
syncs, held_syncs                   90 days
bucket_measurements                 90 days after the last attempt
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from contracts.inventory import PROJECTS, RESOURCES, ProjectRepublished, ResourceRepublished
from contracts.message import Event
from services.inventory import history, project_store, projects, store, sync_store
from shared.db import Connection
from shared.outcome import Outcome, Tombstone

ON_THE_BUS = timedelta(days=90)
EVENTS_KEPT = timedelta(days=3 * 365)
SYNCS_KEPT = timedelta(days=90)
MEASUREMENTS_KEPT = timedelta(days=90)

PAGE = 500


async def forget_what_is_long_gone(conn: Connection, now: datetime) -> Outcome | None:
    """Let the bus forget resources and projects that were deleted long ago."""
    await store.take_turn(conn)
    resources = await store.forget_deleted(conn, now - ON_THE_BUS, PAGE, now)
    gone = await project_store.forget_deleted(conn, now - ON_THE_BUS, PAGE, now)
    tombstones = [Tombstone(RESOURCES, str(id)) for id in resources] + [Tombstone(PROJECTS, str(id)) for id in gone]
    return Outcome(events=tombstones) if tombstones else None


async def drop_old_history(conn: Connection, now: datetime) -> Outcome | None:
    """Drop what is past its retention."""
    dropped = await store.delete_old_events(conn, now - EVENTS_KEPT, PAGE)
    dropped += await sync_store.delete_old_syncs(conn, now - SYNCS_KEPT, PAGE)
    dropped += await store.delete_old_measurements(conn, now - MEASUREMENTS_KEPT, PAGE)
    return Outcome() if dropped else None


async def republish_projects(conn: Connection) -> AsyncIterator[Sequence[Event]]:
    """Every project's state, in pages. Nobody changes one between its being read and its being in the outbox."""
    after = store.BEFORE_ALL
    while rows := await _in_turn(conn, project_store.list_projects_after, after):
        yield [ProjectRepublished(project=projects.state_of(row)) for row in rows]
        after = rows[-1]["id"]


async def republish_resources(conn: Connection) -> AsyncIterator[Sequence[Event]]:
    """Every resource's state, in pages. Nobody changes one between its being read and its being in the outbox."""
    after = store.BEFORE_ALL
    while rows := await _in_turn(conn, store.list_resources_after, after):
        states = await history.states_of(conn, rows, datetime.now(UTC))
        yield [ResourceRepublished(resource=state) for state in states]
        after = rows[-1]["id"]


async def _in_turn(
    conn: Connection, read: Callable[[Connection, UUID, int], Awaitable[list[store.Row]]], after: UUID
) -> list[store.Row]:
    await store.take_turn(conn)
    return await read(conn, after, PAGE)
