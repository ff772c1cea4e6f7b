"""A service in the inventory's place that answers commands at will, so that the write path is tested by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from contracts.billing import AssignCostLine, DiscoverInvoices, IngestInvoice, PollBalance, PushInvoice
from contracts.inventory import ClassifyProject, DecideHeldSync, LinkResource, SyncInventory, UnlinkResource
from contracts.metering import MeterDay, MeterDays, RecordUsage, SetMeteringConfig
from contracts.provider import SweepOrphans
from contracts.quotes import PreviewQuote, SetFxRate
from shared.db import Connection
from shared.outcome import Meta, Outcome, Refused
from shared.service import Service

EFFECTS = """
    create table inventory.effects (command_id uuid not null, type text not null);
    grant select, insert on inventory.effects to inventory;
"""
"""A row each time a command takes effect. Without a unique key: one that takes effect twice must show."""

_EXAMPLES = Path(__file__).parents[2] / "contracts" / "examples"

answering: Service[None] = Service("inventory")
sweeping: Service[None] = Service("provider")
charging: Service[None] = Service("billing")
metering: Service[None] = Service("metering")
forgetful: Service[None] = Service("inventory")
"""One that knows a single command: the others it gives up at once, and tells whoever waits."""


@answering.on(LinkResource, SyncInventory)
async def take_effect(cmd: LinkResource | SyncInventory, conn: Connection, meta: Meta) -> Outcome:
    """Take effect, and say by which command."""
    await conn.execute("insert into effects values ($1, $2)", meta.message_id, cmd.TYPE)
    told = {"command": str(meta.message_id), "actor": meta.actor, "tenant": meta.tenant_id}
    return Outcome(result=told | _example("resource"))


@answering.on(UnlinkResource)
async def refuse(cmd: UnlinkResource, conn: Connection, meta: Meta) -> Outcome:
    """Refuse, as the inventory does with an id that it does not know."""
    raise Refused("not_found", resource_id=str(cmd.resource_id))


@answering.on(ClassifyProject)
async def classify(cmd: ClassifyProject, conn: Connection, meta: Meta) -> Outcome:
    """Answer with a project."""
    return Outcome(result=_example("project") | {"resources_changed": 0})


@answering.on(DecideHeldSync)
async def decide(cmd: DecideHeldSync, conn: Connection, meta: Meta) -> Outcome:
    """Answer with the decision."""
    status = "approved" if cmd.approve else "rejected"
    held = {"id": str(cmd.held_sync_id), "kind": "droplet", "missing": 1, "status": status}
    return Outcome(result={"held_sync": held, "struck": 0, "deleted": 0})


@sweeping.on(SweepOrphans)
async def sweep(cmd: SweepOrphans, conn: Connection, meta: Meta) -> Outcome:
    """Find nothing."""
    return Outcome(result={"orphans": [], "complete": True})


@charging.on(PollBalance)
async def poll(cmd: PollBalance, conn: Connection, meta: Meta) -> Outcome:
    """Answer with a balance."""
    return Outcome(result=_example("balance", "billing"))


@charging.on(DiscoverInvoices)
async def discover(cmd: DiscoverInvoices, conn: Connection, meta: Meta) -> Outcome:
    """Find nothing."""
    counts = ("invoices", "discovered", "changed", "unreadable", "ingesting", "pushing")
    return Outcome(result=dict.fromkeys(counts, 0))


@charging.on(IngestInvoice, PushInvoice, AssignCostLine)
async def know_none(cmd: IngestInvoice | PushInvoice | AssignCostLine, conn: Connection, meta: Meta) -> Outcome:
    """Refuse, as billing does with an invoice that it does not know."""
    raise Refused("not_found", invoice_id=str(cmd.invoice_id))


@charging.on(PreviewQuote)
async def know_nobody(cmd: PreviewQuote, conn: Connection, meta: Meta) -> Outcome:
    """Refuse, as billing does where nothing is subscribed to."""
    raise Refused("subscription_not_found", deployment_id=str(cmd.deployment_id))


@charging.on(SetFxRate)
async def believe(cmd: SetFxRate, conn: Connection, meta: Meta) -> Outcome:
    """Answer with a rate."""
    return Outcome(result=_example("fx-rate", "billing"))


@metering.on(MeterDays)
async def begin(cmd: MeterDays, conn: Connection, meta: Meta) -> Outcome:
    """Count the days."""
    return Outcome(result={"days": (cmd.until - cmd.since).days})


@metering.on(MeterDay)
async def observe(cmd: MeterDay, conn: Connection, meta: Meta) -> Outcome:
    """Find nothing."""
    counts = dict.fromkeys(("observations", "added", "corrected", "withdrawn", "unmeasured"), 0)
    return Outcome(result={"day": cmd.day.isoformat(), **counts})


@metering.on(SetMeteringConfig)
async def forbid(cmd: SetMeteringConfig, conn: Connection, meta: Meta) -> Outcome:
    """Refuse, as metering does of a day that it has metered."""
    raise Refused("day_metered", day="2026-05-10")


@metering.on(RecordUsage)
async def count(cmd: RecordUsage, conn: Connection, meta: Meta) -> Outcome:
    """Count everything, and say by which command."""
    return Outcome(result={"accepted": len(cmd.reports), "duplicates": 0, "rejected": []})


@forgetful.on(SyncInventory)
async def do_nothing(cmd: SyncInventory, conn: Connection, meta: Meta) -> None:
    """Do nothing."""


def _example(noun: str, service: str = "inventory") -> dict[str, Any]:
    """The state in the golden example of an event."""
    example = json.loads((_EXAMPLES / f"arcadia.{service}.{noun}-republished.v1.json").read_text())
    name = noun.replace("-", "_")
    return {name: example["data"][name]}
