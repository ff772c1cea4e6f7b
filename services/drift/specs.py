"""What resources are to be, as operators say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from contracts.drift import EXISTS, RecordSpec, ResourceSpec, RetireSpec, SpecRecorded, SpecRepublished, SpecRetired
from contracts.kinds import UNTOLD, ResourceKind
from contracts.message import Event
from services.drift import detection, finding_store, store
from services.drift.domain import Json, Spec
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
    told, events = await retire(conn, spec, meta)
    return Outcome(result={"spec": told.model_dump(mode="json")}, events=events)


async def retire(conn: Connection, spec: Spec, meta: Meta) -> tuple[ResourceSpec, list[Event]]:
    """Ask nothing of a resource any more, whose spec is locked. Its drifts are over."""
    spec = replace(spec, version=spec.version + 1, saga_id=None, actor=meta.actor, retired_at=meta.now)
    await store.upsert_specs(conn, [spec])
    over = await finding_store.list_open_ids(conn, [spec.resource_id])
    told = spec_of(spec)
    return told, [SpecRetired(spec=told), *await detection.close(conn, over, meta)]


async def adopt(conn: Connection, spec: Spec, values: Json, meta: Meta) -> list[Event]:
    """Have the values that were seen be what is asked for, of a spec that is locked."""
    if values.get(EXISTS) is False:
        return (await retire(conn, spec, meta))[1]
    return await record(conn, [accepted(spec, values, meta.actor, meta.now)])


async def record(conn: Connection, changed: Sequence[Spec]) -> list[Event]:
    """Write specs that were locked."""
    await store.upsert_specs(conn, changed)
    return [SpecRecorded(spec=spec_of(spec)) for spec in changed]


def accepted(spec: Spec, values: Json, actor: str | None, now: datetime) -> Spec:
    """A spec that says from now on what was seen."""
    return replace(
        spec,
        fields={**spec.fields, **values},
        version=spec.version + 1,
        saga_id=None,
        actor=actor,
        recorded_at=now,
        said={**spec.said, **dict.fromkeys(values, now)},
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
