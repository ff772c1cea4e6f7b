"""An invoice as others get it."""

from __future__ import annotations

from contracts.billing import Invoice
from services.billing.invoice_store import Row


def state_of(row: Row) -> Invoice:
    """An invoice as its events tell it."""
    fields = {name: row[name] for name in Invoice.model_fields}
    reconciliation = fields["reconciliation"]
    return Invoice.model_validate(fields | {"reconciliation": reconciliation and reconciliation["status"]})
