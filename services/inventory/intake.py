"""The one way by which what was seen at the provider is stored: a few statements for a page of any length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from contracts.inventory import ResourceEvent
from services.inventory import attribution, attribution_store, history, kinds, store
from services.inventory.attribution import changed_owner
from services.inventory.domain import Happening, Known, Seen, Verdict, judge
from services.inventory.history import Happened, changed, parent_of
from services.inventory.kinds import KINDS, Kind
from shared.db import Connection
from shared.outcome import Meta


@dataclass(frozen=True)
class Taken:
    """What came of taking rows in: the events to be sent, how often each thing happened, and what could not be read."""

    events: Sequence[ResourceEvent] = ()
    counts: Counter[str] = field(default_factory=Counter)
    doubts: Sequence[str] = ()


async def take_in(conn: Connection, kind: Kind, rows: Sequence[kinds.Row], seen_at: datetime, meta: Meta) -> Taken:
    """Store resources as the provider shows them, each once, in the caller's turn. `seen_at`: when that was asked for.

    A row that cannot be read does not hide the others. One that was seen later meanwhile stays as it was seen then.
    """
    by_id = {kind.id_of(row): kind.cleaned(row) for row in rows}
    prints = {id: kinds.fingerprint(row) for id, row in by_id.items()}
    unchanged = await store.touch_unchanged(conn, kind.name, list(prints), list(prints.values()), seen_at)
    observed = {id: kind.observe(row) for id, row in by_id.items() if id not in unchanged}
    seen = {id: each for id, each in observed.items() if isinstance(each, Seen)}
    doubts = [each for each in observed.values() if isinstance(each, str)]
    if not seen:
        return Taken(doubts=doubts)
    happened = await _store(conn, kind, seen, prints, seen_at)
    events = await history.record(conn, happened, meta)
    changed_rows = [each.row for each in happened]
    events += await attribution.take_parts(conn, changed_rows, meta)
    events += await attribution.follow(conn, [row["id"] for row in changed_rows], meta)
    return Taken(events, Counter(each.happening.value for each in happened), doubts)


async def _store(
    conn: Connection, kind: Kind, seen: Mapping[str, Seen], prints: Mapping[str, bytes], seen_at: datetime
) -> list[Happened]:
    known = await store.list_by_provider_id(conn, kind.name, list(seen))
    seen = {id: each for id, each in seen.items() if id not in known or known[id]["last_seen_at"] <= seen_at}
    if not seen:
        return []
    verdicts = {id: judge(_known(known.get(id)), each, kind.meaningless) for id, each in seen.items()}
    columns = [_columns(each, prints[id], verdicts[id]) for id, each in seen.items()]
    rows = await store.upsert_seen(conn, kind.name, columns, seen_at)
    told = {id: row for id, row in rows.items() if verdicts[id].happening or _has_another_parent(row)}
    moved = [row["id"] for row in told.values() if kind.has_parts or _has_another_parent(row)]
    if moved:
        await attribution_store.keep_part_times(conn, moved, seen_at)
    owned = await attribution_store.settle(conn, [row["id"] for row in told.values()], step=0)
    settled = {row["id"]: row for row in owned}
    return [_happened(verdicts[id], row, settled.get(row["id"])) for id, row in told.items()]


def _has_another_parent(row: store.Row) -> bool:
    before = (row["old_parent_kind"], row["old_parent_provider_id"])
    return before != (row["parent_kind"], row["parent_provider_id"])


def _happened(verdict: Verdict, row: store.Row, settled: store.Row | None) -> Happened:
    """What happened to a resource; a new one had no owner and no parent to be changed."""
    if verdict.happening is Happening.DISCOVERED:
        return Happened(settled or row, Happening.DISCOVERED)
    changes = {**verdict.changes}
    if _has_another_parent(row):
        before = {"parent_kind": row["old_parent_kind"], "parent_provider_id": row["old_parent_provider_id"]}
        changes |= changed(parent=(parent_of(before), parent_of(row)))
    if settled:
        changes |= changed_owner(settled)
    happening = verdict.happening or Happening.UPDATED
    if happening is Happening.TAGGED and changes.keys() != {"tags"}:
        happening = Happening.UPDATED
    return Happened(settled or row, happening, changes)


_CONTENT = ("name", "attrs", "region", "state", "size_slug", "tags")


def _known(row: store.Row | None) -> Known | None:
    if row is None:
        return None
    seen = Seen(**{name: row[name] for name in ("provider_id", *_CONTENT)})
    return Known(seen, deleted=row["deleted_at"] is not None)


def _columns(seen: Seen, digest: bytes, verdict: Verdict) -> Mapping[str, Any]:
    parent = seen.parent
    return {
        "provider_id": seen.provider_id,
        **seen.content(),
        "fingerprint": digest.hex(),
        "parent_kind": parent and parent.kind,
        "parent_provider_id": parent and parent.provider_id,
        "part": parent is not None and KINDS[parent.kind].has_parts,
        "step": 0 if verdict.happening is None else 1,
    }
