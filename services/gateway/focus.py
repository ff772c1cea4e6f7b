"""Cost lines as FOCUS 1.2 has them: the FinOps Open Cost and Usage Specification, dataset Cost and Usage.

All columns that it calls mandatory or recommended, and of the conditional ones those that a provider's invoice can
fill. The billed costs of an invoice add up to what is to be paid: credits that are no lines of its file are rows.

What it wants and an invoice does not tell: list unit prices, SKUs and regions (those columns are left out; a price made
up of amount and hours would be none that anybody can look up, for months are capped and seconds are billed); the id and
name of the account, which is called by its provider's name; a resource's name at the time of the charge, for which
stands the name that it has now.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import NamedTuple

from contracts.times import midnight
from services.gateway import billing_store, exports
from services.gateway.billing_store import Lines, Row
from services.gateway.store import Views

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


async def read(views: Views, period: date) -> AsyncIterator[bytes]:
    """A month's file, a page at a time. Raises `exports.Replaced`."""
    async for part in exports.read(views, Lines(period), COLUMNS, row_of):
        yield part
    if credits := await billing_store.list_outside_credits(views, period):
        yield exports.encoded([_credit_of(row) for row in credits])


def row_of(line: Row) -> Sequence[object]:
    """A cost line as a row of the dataset; None is null."""
    service = _service_of(line)
    quantity, unit = _quantity(line, service.charge)
    used = service.charge == "Usage"
    named = line["resource_provider_id"] and f"{line['resource_kind']}:{line['resource_provider_id']}"
    start, end = _bounds(line["period"])
    return _row(
        _of_invoice(line, service)
        | {
            "ChargeDescription": line["description"] or line["product"] or None,
            "ChargePeriodStart": _utc(line["starts_at"] or start),
            "ChargePeriodEnd": _utc(line["ends_at"] or end),
            "ConsumedQuantity": quantity if used else None,
            "ConsumedUnit": unit if used else None,
            "PricingQuantity": quantity,
            "PricingUnit": unit,
            "ResourceId": named,
            "ResourceName": line["resource_name"] if named else None,
            "ResourceType": line["resource_kind"] if named else None,
            "x_DeploymentId": line["assigned_deployment_id"],
            "x_GroupDescription": line["group_description"] or None,
            "x_InvoiceLine": line["line"],
            "x_MatchedBy": line["matched_by"],
            "x_Product": line["product"] or None,
            "x_ProjectName": line["project_name"] or None,
        }
    )


def _credit_of(credit: Row) -> Sequence[object]:
    """What an invoice's summary credits beside its lines."""
    start, end = _bounds(credit["period"])
    return _row(
        _of_invoice(credit, _SERVICES["Credits"])
        | {
            "ChargeDescription": "Credits and adjustments",
            "ChargePeriodStart": _utc(start),
            "ChargePeriodEnd": _utc(end),
        }
    )


def _of_invoice(row: Row, service: _Service) -> dict[str, object]:
    """What all charges have."""
    cost = f"{Decimal(row['amount_cents']) / 100:.2f}"
    provider = _PROVIDERS.get(row["provider"], row["provider"])
    start, end = _bounds(row["period"])
    return {
        **dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), cost),
        **dict.fromkeys(("InvoiceIssuerName", "ProviderName", "PublisherName"), provider),
        "BillingAccountId": row["provider"],  # there is one
        "BillingCurrency": row["currency"],
        "BillingPeriodStart": _utc(start),
        "BillingPeriodEnd": _utc(end),
        "ChargeCategory": service.charge,
        "ChargeFrequency": _FREQUENCIES.get(service.charge, "One-Time"),
        "InvoiceId": row["invoice_uuid"],
        "ServiceCategory": service.category,
        "ServiceName": service.name,
        "ServiceSubcategory": service.subcategory,
    }


def _row(fields: Mapping[str, object]) -> Sequence[object]:
    """The fields in the order of the columns; those that are not there are null."""
    if unknown := fields.keys() - {*COLUMNS}:
        raise LookupError(f"no columns of the dataset: {', '.join(sorted(unknown))}")
    return [fields.get(name) for name in COLUMNS]


def _service_of(line: Row) -> _Service:
    product = line["product"]
    known = _SERVICES.get(product)
    if known is None and product.startswith("Managed Databases"):
        known = _SERVICES["Database Clusters"]
    refund = line["amount_cents"] < 0 and line["hours"] is None
    return known or _Service(product or "DigitalOcean", *_OTHER, "Adjustment" if refund else "Usage")


def _quantity(line: Row, charge: str) -> tuple[str | None, str | None]:
    """How much was charged for, and in what: hours where the file has some, else the line itself is the unit."""
    if charge in {"Tax", "Credit", "Adjustment"}:
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
    start = midnight(period)
    return start, start.replace(year=period.year + period.month // 12, month=period.month % 12 + 1)


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
