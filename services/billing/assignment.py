"""What operators say of lines, which goes before any match and outlasts ingests."""

from __future__ import annotations

from contracts.billing import AssignCostLine, Assignment, CostLineAssigned
from services.billing import invoice_store, line_store, store
from services.billing.invoice_store import state_of
from shared.db import Connection
from shared.outcome import Meta, Outcome, Refused


async def assign_cost_line(cmd: AssignCostLine, conn: Connection, meta: Meta) -> Outcome:
    """Say what a line means, or take back what was said."""
    invoice = await invoice_store.lock_idle_invoice(conn, cmd.invoice_id)
    if invoice is None and await invoice_store.find_invoice(conn, cmd.invoice_id):
        raise Refused("invoice_busy", message="Its lines are being replaced, or sent to finance; try again.")
    if invoice is None:
        raise Refused("not_found", invoice_id=str(cmd.invoice_id))
    if cmd.ingests is not None and cmd.ingests != invoice["ingests"]:
        raise Refused("line_replaced", ingests=invoice["ingests"], message="The lines were replaced; look again.")
    found = await line_store.find_line(conn, cmd.invoice_id, cmd.line)
    if found is None:
        raise Refused("not_found", invoice_id=str(cmd.invoice_id), line=cmd.line)
    await _check_meant(conn, cmd)
    await line_store.end_assignment(conn, cmd.invoice_id, cmd.line, meta.now)
    if cmd.resource_id or cmd.deployment_id:
        await line_store.insert_assignment(conn, cmd, found, meta)
    row = await invoice_store.mark_assigned(conn, cmd.invoice_id, await line_store.count_assigned(conn, cmd.invoice_id))
    said = {name: getattr(cmd, name) for name in Assignment.model_fields}
    event = CostLineAssigned(invoice=state_of(row), assignment=Assignment(**said))
    result = {"invoice": event.invoice.model_dump(mode="json"), "assignment": event.assignment.model_dump(mode="json")}
    return Outcome(result=result, events=[event])


async def _check_meant(conn: Connection, cmd: AssignCostLine) -> None:
    """What is named must be known here."""
    if cmd.resource_id and not await store.resource_exists(conn, cmd.resource_id):
        raise Refused("not_found", resource_id=str(cmd.resource_id))
    if cmd.deployment_id and not await store.deployment_exists(conn, cmd.deployment_id):
        raise Refused("not_found", deployment_id=str(cmd.deployment_id))
