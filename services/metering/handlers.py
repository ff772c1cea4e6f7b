"""Messages in, messages out: what others tell, and what operators say of metering."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, timedelta
from uuid import UUID

from contracts.deployments import DeploymentEvent
from contracts.inventory import ResourceEvent
from contracts.kinds import REPORTED_KINDS
from contracts.metering import (
    Granularity,
    MeterDay,
    MeterDays,
    MeteringConfig,
    MeteringConfigSet,
    SetMeteringConfig,
)
from contracts.times import previous_month
from services.metering import store
from services.metering.domain import KINDS, Segment, difference, segments_of, with_told
from shared.db import Connection
from shared.outcome import Meta, Outcome, Received, Refused, Send


async def on_resource(events: Sequence[Received[ResourceEvent]], conn: Connection) -> None:
    """Keep whose resources are and were; days that are metered and seem otherwise now, are metered again."""
    told: dict[UUID, list[Received[ResourceEvent]]] = {}
    for event in sorted(events, key=lambda each: each.message.resource.version):
        if event.message.resource.kind in KINDS:
            told.setdefault(event.message.resource.id, []).append(event)
    if not told:
        return
    news = await store.project_resources(conn, [each[-1].message.resource for each in told.values()])
    known = await store.list_segments(conn, list(news))
    changed: dict[UUID, tuple[str, Sequence[Segment]]] = {}
    spans = []
    for id, version in news.items():
        before = after = known.get(id, [])
        for event in told[id]:
            # Each: a newer one may tell of a month less.
            if (resource := event.message.resource).version > version:
                begin = previous_month(event.meta.sent_at or event.meta.now)
                after = with_told(after, segments_of(resource, begin), begin)
        if span := difference(before, after):
            changed[id] = (KINDS[told[id][-1].message.resource.kind], after)
            spans.append(span)
    if changed:
        await store.replace_segments(conn, changed)
        await store.mark_dirty(conn, spans)


async def on_deployment(events: Sequence[Received[DeploymentEvent]], conn: Connection) -> None:
    """Keep what is told of deployments: their usage is told with their tenant."""
    await store.project_deployments(conn, [event.message.deployment for event in events])


async def meter_days(cmd: MeterDays, conn: Connection, meta: Meta) -> Outcome:
    """Have days metered, each by a command of its own: they need not wait for one another."""
    if cmd.until > (today := meta.now.astimezone(UTC).date()):
        raise Refused("day_not_over", day=today.isoformat())
    days = [cmd.since + timedelta(days=n) for n in range((cmd.until - cmd.since).days)]
    return Outcome(result={"days": len(days)}, commands=[Send(MeterDay(day=day)) for day in days])


async def set_metering_config(cmd: SetMeteringConfig, conn: Connection, meta: Meta) -> Outcome:
    """Say how finely a kind is observed from a day on."""
    day = cmd.effective_from or meta.now.astimezone(UTC).date()
    if cmd.resource_kind in REPORTED_KINDS and cmd.granularity != Granularity.DAILY:
        raise Refused("kind_is_reported", resource_kind=cmd.resource_kind)
    if await store.is_metered_from(conn, day):
        raise Refused("day_metered", day=day.isoformat())
    row, is_new = await store.insert_config(conn, cmd, day, meta)
    told = config_of(row)
    shown = told.model_dump(mode="json", exclude={"actor", "set_at", "version"})
    return Outcome(result={"config": shown}, events=[MeteringConfigSet(metering_config=told)] if is_new else [])


def config_of(row: store.Row) -> MeteringConfig:
    """What was said of a kind, as others get it."""
    return MeteringConfig.model_validate({name: row[name] for name in MeteringConfig.model_fields})


async def on_metering_config(event: MeteringConfigSet, conn: Connection, meta: Meta) -> None:
    """Know again what operators said, where this service was rebuilt."""
    await store.project_config(conn, event.metering_config)
