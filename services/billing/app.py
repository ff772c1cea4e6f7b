"""The billing service: its table of handlers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from contracts.billing import AssignCostLine, DiscoverInvoices, IngestInvoice, PollBalance, PushInvoice
from contracts.deployments import DeploymentEvent
from contracts.inventory import ResourceEvent
from services.billing import handlers, metrics, upkeep
from services.billing.assignment import assign_cost_line
from services.billing.discovery import discover_invoices
from services.billing.ingest import ingest_invoice
from services.billing.provider import Outside, access
from services.billing.push import push_invoice
from shared.patience import leased
from shared.service import Service

MIGRATIONS = Path(__file__).parent / "migrations"

# Nothing is written at the provider, and finance knows an invoice again: whoever takes a job over does it again.
LEASE = timedelta(seconds=60)

service: Service[Outside] = Service("billing", resources=access, leased=leased)

service.job(PollBalance, lease=LEASE)(handlers.poll_balance)
service.job(DiscoverInvoices, lease=LEASE)(discover_invoices)
service.job(IngestInvoice, lease=LEASE, concurrency=2)(ingest_invoice)
service.job(PushInvoice, lease=LEASE, concurrency=2)(push_invoice)
service.on(AssignCostLine)(assign_cost_line)

service.on_batch(ResourceEvent)(handlers.on_resource)
service.on_batch(DeploymentEvent)(handlers.on_deployment)

service.every(timedelta(minutes=1))(metrics.tell_invoices)
service.every(timedelta(minutes=10))(upkeep.drop_old_snapshots)
service.every(timedelta(minutes=10))(upkeep.drop_old_lines)
service.republisher(upkeep.republish_balances)
service.republisher(upkeep.republish_invoices)
