"""A service in the inventory's place that answers commands at will, so that the write path is tested by itself."""

from __future__ import annotations

from contracts.inventory import LinkResource, SyncInventory, UnlinkResource
from shared.db import Connection
from shared.outcome import Meta, Outcome, Refused
from shared.service import Service

EFFECTS = """
    create table inventory.effects (command_id uuid not null, type text not null);
    grant select, insert on inventory.effects to inventory;
"""
"""A row each time a command takes effect. Without a unique key: one that takes effect twice must show."""

answering: Service[None] = Service("inventory")
# DecideHeldSync and ClassifyProject have no handler here: such a command is given up at once, and its caller told.


@answering.on(LinkResource, SyncInventory)
async def take_effect(cmd: LinkResource | SyncInventory, conn: Connection, meta: Meta) -> Outcome:
    """Take effect, and say by which command."""
    await conn.execute("insert into effects values ($1, $2)", meta.message_id, cmd.TYPE)
    return Outcome(result={"command": str(meta.message_id), "actor": meta.actor, "tenant": meta.tenant_id})


@answering.on(UnlinkResource)
async def refuse(cmd: UnlinkResource, conn: Connection, meta: Meta) -> Outcome:
    """Refuse, as the inventory does with an id that it does not know."""
    raise Refused("not_found", resource_id=str(cmd.resource_id))
