"""Comparing what is with what was asked for: all of it by the hour, and what has changed at once.

Whether a saga is changing a resource just now is known from its run, which may be heard of after what it did was seen.
So what has changed is compared only when all is known that was on the bus after the change was: a run is told of before
its first command is sent. (Where a saga began later than that, what it does was not seen yet.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

from contracts.drift import (
    DetectDrift,
    Drift,
    DriftChanged,
    DriftClosed,
    DriftDetected,
    DriftGathered,
    LookAtChanges,
    Surge,
    SurgeBegan,
)
from contracts.message import Event
from services.drift import finding_store, store, surge_store
from services.drift.domain import MANY, Finding, judge
from services.drift.outside import Outside
from services.drift.store import Row
from shared.db import Connection
from shared.jobs import JobRun
from shared.outcome import Meta, Outcome, Refused
from shared.steps import Said, transact

AT_ONCE = 2000


@dataclass(frozen=True)
class Compared:
    """How many specs were compared, and how many drifts that has opened, changed and closed."""

    specs: int = 0
    detected: int = 0
    changed: int = 0
    closed: int = 0

    def __add__(self, other: Compared) -> Compared:
        return Compared(
            self.specs + other.specs,
            self.detected + other.detected,
            self.changed + other.changed,
            self.closed + other.closed,
        )


async def look_at_changes(_: LookAtChanges, run: JobRun[Outside]) -> Outcome:
    """Compare what has changed since it was compared last."""
    snapshot = await _catch_up(run)
    ids = await transact(run, partial(_begin_look, snapshot))
    return Outcome(result=vars(await _compare(run, snapshot, ids)))


async def detect_drift(cmd: DetectDrift, run: JobRun[Outside]) -> Outcome:
    """Compare all specs, or one."""
    snapshot = await _catch_up(run)
    if cmd.resource_id is not None:
        await transact(run, partial(_check_asked, cmd.resource_id))
        compared = await _compare(run, snapshot, [cmd.resource_id])
    else:
        specs, ids = await transact(run, partial(_list_suspects, snapshot))
        compared = replace(await _compare(run, snapshot, ids), specs=specs)  # (the others are as they are to be)
    count = await transact(run, _count_open)
    return Outcome(result={"open": count, **vars(compared)})


async def _catch_up(run: JobRun[Outside]) -> str:
    """Wait until all is known that was on the bus when this was begun; gives which transactions were over then.

    A later attempt waits for the same: what comes without an end would else put it off without one.
    """
    begun = run.progress
    if begun is None:
        snapshot = await transact(run, _take_snapshot)
        begun = {"snapshot": snapshot, "ends": await run.resources.told.ends()}
        await transact(run, _nothing, progress=begun)
    await run.resources.told.wait(begun["ends"])
    known: str = begun["snapshot"]
    return known


async def _compare(run: JobRun[Outside], snapshot: str, ids: Sequence[UUID]) -> Compared:
    found = Compared()
    for at in range(0, len(ids), AT_ONCE):
        found += await transact(run, partial(compare, snapshot, ids[at : at + AT_ONCE]))
    return found


async def _nothing(conn: Connection, _: Meta) -> tuple[None, Said]:
    return None, ()


async def _take_snapshot(conn: Connection, _: Meta) -> tuple[str, Said]:
    return await store.take_snapshot(conn), ()


async def _begin_look(snapshot: str, conn: Connection, _: Meta) -> tuple[list[UUID], Said]:
    await store.begin_look(conn)
    return await finding_store.list_changed(conn, snapshot), ()


async def _list_suspects(snapshot: str, conn: Connection, _: Meta) -> tuple[tuple[int, list[UUID]], Said]:
    return await finding_store.list_suspects(conn, snapshot), ()


async def _check_asked(resource_id: UUID, conn: Connection, _: Meta) -> tuple[None, Said]:
    spec = (await store.lock_specs(conn, [resource_id])).get(resource_id)
    if spec is None or spec.retired_at is not None:
        raise Refused("no_spec", resource_id=str(resource_id))
    return None, ()


async def _count_open(conn: Connection, _: Meta) -> tuple[int, Said]:
    return await finding_store.count_open(conn), ()


async def compare(snapshot: str, resource_ids: Sequence[UUID], conn: Connection, meta: Meta) -> tuple[Compared, Said]:
    """One transaction: compare some resources with their specs, and open, change and close drifts by that."""
    settled = await finding_store.lock_settled(conn, snapshot, resource_ids)
    judged = judge(await finding_store.list_findings(conn, settled), await finding_store.list_open(conn, settled))
    said = await _open(conn, judged.new, meta) if judged.new else []
    detected = sum(isinstance(event, DriftDetected | DriftGathered) for event in said)
    if judged.changed:
        await finding_store.update_drifts(conn, judged.changed, meta.now)
        said += await changed(conn, judged.changed, "value")
    if judged.over:
        said += await close(conn, judged.over, meta)
    return Compared(len(settled), detected, len(judged.changed), len(judged.over)), said


async def _open(conn: Connection, new: Sequence[Finding], meta: Meta) -> list[Event]:
    """Open drifts; very many alike are parts of a surge, of which is told instead."""
    surges, said = await _surges(conn, new, meta)
    of_each = [surges.get((each.kind, each.field)) for each in new]
    made = await finding_store.insert_drifts(conn, new, of_each, meta.now)
    shown = await finding_store.list_shown(conn, list(made))
    told = [(DriftGathered if made[id] else DriftDetected)(drift=drift_of(row)) for id, row in shown.items()]
    return [*said, *told]


async def _surges(
    conn: Connection, new: Sequence[Finding], meta: Meta
) -> tuple[Mapping[tuple[str, str], UUID], list[Event]]:
    """The surges of which new findings are part, by kind and field; and what is to be told of those that begin."""
    surges: dict[tuple[str, str], UUID] = {}
    said: list[Event] = []
    for key, count in sorted(Counter((each.kind, each.field) for each in new).items()):  # few: kinds and fields
        found = await surge_store.find_open(conn, *key)
        if found is None and count + (before := await surge_store.count_lately(conn, *key, meta.now)) > MANY:
            example = next(each for each in new if (each.kind, each.field) == key)
            if begun := await surge_store.insert_surge(conn, example, count + before, meta.now):
                said.append(SurgeBegan(surge=surge_of(begun)))
                said += await changed(conn, await surge_store.gather(conn, begun["id"], *key, meta.now), "surge")
            found = await surge_store.find_open(conn, *key)
        if found is not None:
            surges[key] = found
    return surges, said


async def changed(conn: Connection, drift_ids: Iterable[UUID], what: str) -> list[Event]:
    """What is to be told of drifts that are others now."""
    shown = await finding_store.list_shown(conn, list(drift_ids))
    return [DriftChanged.model_validate({"drift": drift_of(row), "what": what}) for row in shown.values()]


async def closed(conn: Connection, reasons: Mapping[UUID, str | None]) -> list[Event]:
    """What is to be told of drifts that are over, by id with the reason."""
    shown = await finding_store.list_shown(conn, list(reasons))
    return [DriftClosed(drift=drift_of(row), reason=reasons[id]) for id, row in shown.items()]


async def close(conn: Connection, drift_ids: Sequence[UUID], meta: Meta) -> list[Event]:
    """Close drifts of which nothing is to be seen any more."""
    return await closed(conn, await finding_store.close_stale(conn, drift_ids, meta.now))


def drift_of(row: Row) -> Drift:
    """A drift as others get it."""
    return Drift.model_validate({name: row[name] for name in Drift.model_fields})


def surge_of(row: Row) -> Surge:
    """A surge as others get it."""
    return Surge.model_validate({name: row[name] for name in Surge.model_fields})
