"""The billing service: its table of handlers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from contracts.billing import AssignCostLine, DiscoverInvoices, IngestInvoice, PollBalance, PushInvoice
from contracts.catalog import AddonEvent, PlanEvent, ResourcePriceEvent
from contracts.deployments import DeploymentEvent
from contracts.inventory import ResourceEvent
from contracts.metering import UsageEvent
from contracts.quotes import PreviewQuote, SetFxRate
from contracts.subscriptions import SubscriptionEvent
from services.billing import handlers, metrics, terms, upkeep
from services.billing.assignment import assign_cost_line
from services.billing.discovery import discover_invoices
from services.billing.ingest import ingest_invoice
from services.billing.preview import preview_quote
from services.billing.provider import Outside, access
from services.billing.push import push_invoice
from services.billing.quotes import requote
from services.billing.rates import set_fx_rate
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

service.on(SetFxRate)(set_fx_rate)
service.on(PreviewQuote)(preview_quote)
service.on_batch(PlanEvent)(terms.on_plan)
service.on_batch(AddonEvent)(terms.on_addon)
service.on(ResourcePriceEvent)(terms.on_resource_price)
service.on_batch(SubscriptionEvent)(terms.on_subscription)
service.on_batch(UsageEvent)(terms.on_usage)
for _ in range(2):  # while one waits for the database, the other computes
    service.every(timedelta(seconds=0.5))(requote)

service.every(timedelta(minutes=1))(metrics.tell_invoices)
service.every(timedelta(minutes=10))(upkeep.drop_old_snapshots)
service.every(timedelta(minutes=10))(upkeep.drop_old_lines)
service.every(timedelta(minutes=10))(upkeep.drop_old_quotes)
service.republisher(upkeep.republish_balances)
service.republisher(upkeep.republish_invoices)
service.republisher(upkeep.republish_quotes)
service.republisher(upkeep.republish_fx_rates)
