"""Cost lines as FOCUS 1.2 has them: the FinOps Open Cost and Usage Specification, dataset Cost and Usage.

All columns that it calls mandatory or recommended, and of the conditional ones those that a provider's invoice can
fill. It cannot fill some that the specification wants of a provider with list prices and regions: no list unit price,
no SKU and no region is on an invoice, and a price made up of amount and hours would be none that anybody can look up
(months are capped, seconds are billed). Those columns are left out; the costs are the billed cost in all four.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import NamedTuple

from services.gateway.billing_store import Row

_PROVIDERS = {"digitalocean": "DigitalOcean"}


class _Service(NamedTuple):
    """What a product is in the words of the specification. A service's name has one category."""

    name: str
    category: str
    subcategory: str
    charge: str = "Usage"


_BACKUPS = ("Storage", "Backup Storage")
_NETWORK = ("Networking", "Network Infrastructure")
_OTHER = ("Other", "Other (Other)")

_SERVICES: dict[str, _Service] = {
    "Droplets": _Service("Droplets", "Compute", "Virtual Machines"),
    "GPU Droplets": _Service("GPU Droplets", "Compute", "Virtual Machines"),
    "Droplet Backups": _Service("Droplet Backups", *_BACKUPS),
    "Backups": _Service("Droplet Backups", *_BACKUPS),
    "Droplet Snapshots": _Service("Droplet Snapshots", *_BACKUPS),
    "Volume Snapshots": _Service("Volume Snapshots", *_BACKUPS),
    "Snapshots": _Service("Snapshots", *_BACKUPS),
    "Volumes": _Service("Volumes", "Storage", "Block Storage"),
    "Floating IPs": _Service("Reserved IPs", *_NETWORK),
    "Reserved IPs": _Service("Reserved IPs", *_NETWORK),
    "Load Balancers": _Service("Load Balancers", "Networking", "Application Networking"),
    "Kubernetes Clusters": _Service("Kubernetes", "Compute", "Containers"),
    "Database Clusters": _Service("Managed Databases", "Databases", "Other (Databases)"),
    "App Platform": _Service("App Platform", "Web", "Application Platforms"),
    "Spaces Subscription": _Service("Spaces", "Storage", "Object Storage", "Purchase"),
    "Spaces": _Service("Spaces", "Storage", "Object Storage"),
    "Container Registry Subscription": _Service("Container Registry", "Compute", "Containers", "Purchase"),
    "Container Registry": _Service("Container Registry", "Compute", "Containers"),
    "Bandwidth": _Service("Bandwidth", "Networking", "Network Connectivity"),
    "Uptime Health Check": _Service("Uptime", "Management and Governance", "Observability"),
    "Credits": _Service("Credits", *_OTHER, "Credit"),
    "Taxes": _Service("Taxes", *_OTHER, "Tax"),
}
_FREQUENCIES = {"Usage": "Usage-Based", "Purchase": "Recurring"}

COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceId",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "Tags",
    "x_DeploymentId",
    "x_GroupDescription",
    "x_InvoiceLine",
    "x_MatchedBy",
    "x_Product",
    "x_ProjectName",
)


def row_of(line: Row) -> Sequence[object]:
    """A cost line as a row of the dataset; None is null."""
    service = _service_of(line)
    cost = f"{Decimal(line['amount_cents']) / 100:.2f}"
    provider = _PROVIDERS.get(line["provider"], line["provider"])
    quantity, unit = _quantity(line, service.charge)
    consumed = (quantity, unit) if service.charge == "Usage" else (None, None)
    named = line["resource_provider_id"] and f"{line['resource_kind']}:{line['resource_provider_id']}"
    start, end = _bounds(line["period"])
    fields = {
        **dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), cost),
        **dict.fromkeys(("InvoiceIssuerName", "ProviderName", "PublisherName"), provider),
        "BillingAccountId": line["provider"],  # there is one
        "BillingCurrency": line["currency"],
        "BillingPeriodStart": _utc(start),
        "BillingPeriodEnd": _utc(end),
        "ChargeCategory": service.charge,
        "ChargeDescription": line["description"] or line["product"] or None,
        "ChargeFrequency": _FREQUENCIES.get(service.charge, "One-Time"),
        "ChargePeriodStart": _utc(line["starts_at"] or start),
        "ChargePeriodEnd": _utc(line["ends_at"] or end),
        "ConsumedQuantity": consumed[0],
        "ConsumedUnit": consumed[1],
        "InvoiceId": line["invoice_uuid"],
        "PricingQuantity": quantity,
        "PricingUnit": unit,
        "ResourceId": named,
        "ResourceName": line["resource_name"] if named else None,
        "ResourceType": line["resource_kind"] if named else None,
        "ServiceCategory": service.category,
        "ServiceName": service.name,
        "ServiceSubcategory": service.subcategory,
        "x_DeploymentId": line["assigned_deployment_id"],
        "x_GroupDescription": line["group_description"] or None,
        "x_InvoiceLine": line["line"],
        "x_MatchedBy": line["matched_by"],
        "x_Product": line["product"] or None,
        "x_ProjectName": line["project_name"] or None,
    }
    return [fields.get(name) for name in COLUMNS]


def _service_of(line: Row) -> _Service:
    product = line["product"]
    known = _SERVICES.get(product)
    if known is None and product.startswith("Managed Databases"):
        known = _SERVICES["Database Clusters"]
    return known or _Service(product or "DigitalOcean", *_OTHER)


def _quantity(line: Row, charge: str) -> tuple[str | None, str | None]:
    """How much was charged for, and in what: hours where the file has some, else the line itself is the unit."""
    if charge in {"Tax", "Credit"}:
        return None, None
    if charge == "Purchase":
        return "1.0", "Months"
    if line["hours"] is None:
        return "1.0", "Units"
    hours = Decimal(line["hours"])
    return f"{hours:f}" if "." in f"{hours:f}" else f"{hours:f}.0", (
        "Units" if line["kind"] == "droplet_backup" else "Hours"  # of backups the file counts the backups
    )


def _bounds(period: date) -> tuple[datetime, datetime]:
    start = datetime.combine(period, time(), UTC)
    return start, start.replace(year=period.year + period.month // 12, month=period.month % 12 + 1)


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
