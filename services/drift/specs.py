"""What resources are to be, as operators say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from contracts.drift import EXISTS, RecordSpec, ResourceSpec, RetireSpec, SpecRecorded, SpecRepublished, SpecRetired
from contracts.kinds import UNTOLD, ResourceKind
from contracts.message import Event
from services.drift import detection, finding_store, store
from services.drift.domain import Spec
from shared.db import Connection
from shared.outcome import Meta, Outcome, Refused

_PAGE = 500


async def record_spec(cmd: RecordSpec, conn: Connection, meta: Meta) -> Outcome:
    """Say what a resource is to be, whatever was said before."""
    kind = await store.find_kind(conn, cmd.resource_id)
    if kind is None:
        raise Refused("not_found", resource_id=str(cmd.resource_id))
    if never := sorted(cmd.spec.keys() & UNTOLD[ResourceKind(kind)]):
        raise Refused("never_told", fields=never, message=f"Nobody is told when these change: {', '.join(never)}.")
    await store.begin_specs(conn, [cmd.resource_id], meta.now)
    before = (await store.lock_specs(conn, [cmd.resource_id]))[cmd.resource_id]
    spec = Spec(
        resource_id=cmd.resource_id,
        fields=cmd.spec,
        version=before.version + 1,
        saga_id=None,
        actor=meta.actor,
        recorded_at=meta.now,
        replaced_at=meta.now,
        said={},
        seen_version=before.seen_version,
        retired_at=None,
    )
    await store.upsert_specs(conn, [spec])
    told = spec_of(spec)
    return Outcome(result={"spec": told.model_dump(mode="json")}, events=[SpecRecorded(spec=told)])


async def retire_spec(cmd: RetireSpec, conn: Connection, meta: Meta) -> Outcome:
    """Ask nothing of a resource any more."""
    spec = (await store.lock_specs(conn, [cmd.resource_id])).get(cmd.resource_id)
    if spec is None or spec.retired_at is not None:
        raise Refused("no_spec", resource_id=str(cmd.resource_id))
    events = await retire(conn, [spec], meta)
    told = next(event.spec for event in events if isinstance(event, SpecRetired))
    return Outcome(result={"spec": told.model_dump(mode="json")}, events=events)


async def retire(conn: Connection, locked: Sequence[Spec], meta: Meta) -> list[Event]:
    """Ask nothing of resources any more, whose specs are locked. Their drifts are over."""
    retired = [
        replace(spec, version=spec.version + 1, saga_id=None, actor=meta.actor, retired_at=meta.now) for spec in locked
    ]
    await store.upsert_specs(conn, retired)
    over = await finding_store.list_open_ids(conn, [spec.resource_id for spec in retired])
    return [*(SpecRetired(spec=spec_of(spec)) for spec in retired), *await detection.close(conn, over, meta)]


async def adopt(conn: Connection, seen: Sequence[tuple[Spec, str, Any]], meta: Meta) -> list[Event]:
    """Have what was seen of fields be what is asked for, each of another spec, all locked. Of what is gone: nothing."""
    gone = [spec for spec, field, _ in seen if field == EXISTS]
    adopted = [_with_seen(spec, field, live, meta) for spec, field, live in seen if field != EXISTS]
    await store.upsert_specs(conn, adopted)
    return [*(await retire(conn, gone, meta)), *(SpecRecorded(spec=spec_of(spec)) for spec in adopted)]


def _with_seen(spec: Spec, field: str, live: Any, meta: Meta) -> Spec:
    return replace(
        spec,
        fields={**spec.fields, field: live},
        version=spec.version + 1,
        saga_id=None,
        actor=meta.actor,
        recorded_at=meta.now,
        said={**spec.said, field: meta.now},
    )


def spec_of(spec: Spec) -> ResourceSpec:
    """A spec as others get it."""
    return ResourceSpec(
        resource_id=spec.resource_id,
        spec=dict(spec.fields),
        spec_version=spec.version,
        saga_id=spec.saga_id,
        actor=spec.actor,
        recorded_at=spec.recorded_at,
        retired_at=spec.retired_at,
    )


async def republish_specs(conn: Connection) -> AsyncIterator[Sequence[Event]]:
    """Every spec, in pages."""
    after = UUID(int=0)
    while page := await store.list_specs_after(conn, after, _PAGE):
        yield [SpecRepublished(spec=spec_of(spec)) for spec in page]
        after = page[-1].resource_id
