"""Whose a resource is. The rule is the view `attributions`; this brings what it says into the rows, and tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from contracts.inventory import Change, ResourceEvent
from contracts.kinds import ResourceKind
from services.inventory import attribution_store, history
from services.inventory.domain import Happening, Link
from services.inventory.history import Happened, changed
from services.inventory.kinds import KINDS
from services.inventory.store import Row
from shared.db import Connection
from shared.outcome import Meta

_SERVING = [kind.name for kind in KINDS.values() if kind.serves_droplets]


async def settle(conn: Connection, resource_ids: Sequence[UUID], reason: str, meta: Meta) -> list[ResourceEvent]:
    """Attribute resources as the rule says, and what goes with them; gives an event for each that it changed."""
    rows = await attribution_store.settle(conn, resource_ids, step=1)
    happened = [_attributed(row, reason) for row in rows if row["forgotten_at"] is None]
    events = await history.record(conn, happened, meta)
    return [*events, *await follow(conn, [row["id"] for row in rows], meta)]


async def follow(conn: Connection, parents: Sequence[UUID], meta: Meta) -> list[ResourceEvent]:
    """Let the children of resources go with them, and theirs: a snapshot of a cluster's volume too."""
    if not parents:
        return []
    children = await attribution_store.list_unsettled_children(conn, parents)
    return await settle(conn, children, "goes with its parent", meta) if children else []


async def forsake(conn: Connection, gone: Sequence[Row], meta: Meta) -> list[ResourceEvent]:
    """Let what was part of resources that are gone be parts no more; gives the events of those that it changes."""
    ids = [row["id"] for row in gone]
    await attribution_store.keep_part_times(conn, ids, meta.now)
    return await follow(conn, ids, meta)


async def take_parts(conn: Connection, rows: Sequence[Row], meta: Meta) -> list[ResourceEvent]:
    """After news of these resources, give what serves a cluster's droplets alone to the cluster.

    Not all that DOKS makes has its tag, and its droplets may be known later than what serves them.
    """
    droplet_ids = [row["provider_id"] for row in rows if row["part"] and row["kind"] == ResourceKind.DROPLET]
    if not droplet_ids:
        return []
    adopted = await attribution_store.adopt(conn, _SERVING, droplet_ids)
    await attribution_store.keep_part_times(conn, [row["id"] for row in adopted], meta.now)
    happened = [Happened(row, Happening.UPDATED, changed(parent=(None, history.parent_of(row)))) for row in adopted]
    events = await history.record(conn, happened, meta)
    return [*events, *await settle(conn, [row["id"] for row in adopted], "goes with its parent", meta)]


@dataclass(frozen=True)
class Relinked:
    """The links of a resource with a `new` one among them; `before` held at its time until now."""

    links: Sequence[Link]
    new: Link
    before: Link


async def attribute_to(conn: Connection, resource_id: UUID, relinked: Relinked, meta: Meta) -> list[ResourceEvent]:
    """Give a resource, its parts, and what goes with those, to whom its links say; gives their events.

    The parts are told of also where it only changes their past, and what was part of it then: their state has the
    intervals.
    """
    link, before = relinked.new, relinked.before
    parts = await attribution_store.list_parts(conn, resource_id, link.since)
    settled = await attribution_store.settle(conn, [resource_id], step=0)
    settled += await attribution_store.settle(conn, list(parts), step=0)  # by what that has made of the whole
    tenants = {row["id"]: (row["old_tenant_id"], row["tenant_id"]) for row in settled}
    happening = Happening.UNLINKED if link.deployment_id is None else Happening.LINKED
    happened, validity = [], _validity(relinked)
    for row in await attribution_store.step_up(conn, [resource_id, *parts]):
        if parts.get(row["id"], True):
            tenant = tenants.get(row["id"], (row["tenant_id"], row["tenant_id"]))
            changes = changed(deployment_id=(before.deployment_id, link.deployment_id), tenant_id=tenant)
            happened.append(Happened(row, happening, changes, validity))
        else:  # its past alone
            happened.append(Happened(row, Happening.UPDATED, {}, f"was part of what is {happening} {validity}"))
    events = await history.record(conn, happened, meta)
    return [*events, *await follow(conn, [resource_id, *parts], meta)]


def _validity(relinked: Relinked) -> str:
    link = relinked.new
    following = next((later for later in relinked.links if later.since > link.since), None)
    return f"from {link.since.isoformat()}" + (f" until {following.since.isoformat()}" if following else "")


def _attributed(row: Row, reason: str) -> Happened:
    """What it means that a resource is somebody else's now."""
    changes = changed_owner(row)
    if "deployment_id" not in changes:
        return Happened(row, Happening.UPDATED, changes, reason)
    return Happened(row, Happening.LINKED if row["deployment_id"] else Happening.UNLINKED, changes, reason)


def changed_owner(row: Row) -> dict[str, Change]:
    """Whose a settled resource was, and is."""
    names = ("project_id", "deployment_id", "tenant_id")
    return changed(**{name: (row[f"old_{name}"], row[name]) for name in names})
