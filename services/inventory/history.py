"""What happened to a resource is written into its history and told on the bus, in the same transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from contracts.inventory import (
    Change,
    PowerInterval,
    Resource,
    ResourceDeleted,
    ResourceDiscovered,
    ResourceEvent,
    ResourceLinked,
    ResourceRestored,
    ResourceTagged,
    ResourceUnlinked,
    ResourceUpdated,
    SizeInterval,
)
from contracts.times import previous_month
from services.inventory import store
from services.inventory.domain import Happening, Link, Moment, Period, intervals, periods
from services.inventory.store import Row
from shared.db import Connection
from shared.outcome import Meta

EVENTS: Mapping[Happening, type[ResourceEvent]] = {
    Happening.DISCOVERED: ResourceDiscovered,
    Happening.UPDATED: ResourceUpdated,
    Happening.TAGGED: ResourceTagged,
    Happening.RESTORED: ResourceRestored,
    Happening.DELETED: ResourceDeleted,
    Happening.LINKED: ResourceLinked,
    Happening.UNLINKED: ResourceUnlinked,
}


@dataclass(frozen=True)
class Happened:
    """What happened to a resource; `row` is how it is after it."""

    row: Row
    happening: Happening
    changes: Mapping[str, Change] = field(default_factory=dict)
    reason: str | None = None


async def record(conn: Connection, happened: Sequence[Happened], meta: Meta) -> list[ResourceEvent]:
    """Append to the history; gives the events to be sent."""
    if not happened:
        return []
    await store.insert_resource_events(
        conn, [(h.row, h.happening, h.changes, h.reason) for h in happened], meta.actor, meta.now
    )
    states = await states_of(conn, [h.row for h in happened], meta.now)
    return [
        EVENTS[h.happening](resource=state, changes=dict(h.changes), reason=h.reason)
        for h, state in zip(happened, states, strict=True)
    ]


async def states_of(conn: Connection, rows: Sequence[Row], now: datetime) -> list[Resource]:
    """The resources of these rows as others get them."""
    ids, since = [row["id"] for row in rows], previous_month(now)
    links = await store.list_links(conn, ids)
    past = await store.list_past(conn, ids, since)
    return [_state(row, links.get(row["id"], ()), past.get(row["id"], ()), since) for row in rows]


def _state(row: Row, links: Sequence[Link], past: Sequence[Moment], since: datetime) -> Resource:
    def told(field: str, value: object) -> list[Period]:
        return periods(past, field, value, row["deleted_at"] is None, max(since, row["first_seen_at"]))

    power = [
        PowerInterval(state=each.value, since=each.since, until=each.until) for each in told("state", row["state"])
    ]
    if "size_gb" in row["attrs"]:
        sizes = [
            SizeInterval(size_slug=None, size_gb=each.value, since=each.since, until=each.until)
            for each in told("attrs.size_gb", row["attrs"]["size_gb"])
        ]
    else:
        sizes = [
            SizeInterval(size_slug=each.value, since=each.since, until=each.until)
            for each in told("size_slug", row["size_slug"])
        ]
    told_beside = {"links": intervals(links, since), "power": power, "sizes": sizes, "parent": parent_of(row)}
    return Resource.model_validate({**row, **told_beside})


def parent_of(row: Row | Mapping[str, Any]) -> dict[str, str] | None:
    """The parent in a row, as others get it."""
    if row["parent_kind"] is None:
        return None
    return {"kind": row["parent_kind"], "provider_id": row["parent_provider_id"]}


def changed(**fields: tuple[object, object]) -> dict[str, Change]:
    """The changes among fields given as (old, new)."""
    return {name: Change(old=_plain(old), new=_plain(new)) for name, (old, new) in fields.items() if old != new}


def _plain(value: object) -> object:
    return str(value) if isinstance(value, UUID) else value
