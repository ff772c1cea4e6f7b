"""The kinds of resources at the provider, and of usage. How a kind is listed is the inventory service's knowledge."""

from __future__ import annotations

from enum import StrEnum


class ResourceKind(StrEnum):
    """A kind of `cloud_resources`. Stored and sent as its value."""

    DROPLET = "droplet"
    VOLUME = "volume"
    SNAPSHOT = "snapshot"
    DROPLET_BACKUP = "droplet_backup"
    DNS_ZONE = "dns_zone"
    SPACES_BUCKET = "spaces_bucket"
    RESERVED_IP = "reserved_ip"
    LOAD_BALANCER = "load_balancer"
    DATABASE = "database"
    KUBERNETES_CLUSTER = "kubernetes_cluster"
    VPC = "vpc"
    FIREWALL = "firewall"
    APP = "app"
    CONTAINER_REGISTRY = "container_registry"


class BillingKind(StrEnum):
    """What usage is counted in, and plans are priced by. Stored and sent as its value."""

    DROPLET_HOURS = "droplet_hours"
    SPACES_GB_MONTH = "spaces_gb_month"
    SNAPSHOT_GB_MONTH = "snapshot_gb_month"
    BACKUP_GB_MONTH = "backup_gb_month"
    DNS_ZONES = "dns_zones"
    BANDWIDTH_GB = "bandwidth_gb"
    LLM_TOKENS = "llm_tokens"


REPORTED_KINDS = frozenset({BillingKind.BANDWIDTH_GB, BillingKind.LLM_TOKENS})
"""Those that no resource shows: whoever serves them reports their use."""


UNTOLD: dict[ResourceKind, frozenset[str]] = {
    # An image's slug goes when the provider retires it; a plan's price is the catalog's; the ids of backups and
    # snapshots, and the window, move by themselves (and are resources of their own).
    ResourceKind.DROPLET: frozenset({"image", "monthly_usd_cents", "backup_ids", "snapshot_ids", "next_backup_window"}),
    ResourceKind.VOLUME: frozenset({"monthly_usd_cents"}),
    ResourceKind.SNAPSHOT: frozenset({"monthly_usd_cents"}),
    ResourceKind.DROPLET_BACKUP: frozenset(),
    ResourceKind.DNS_ZONE: frozenset(),
    ResourceKind.SPACES_BUCKET: frozenset({"measured_at", "measuring_failed"}),
    ResourceKind.RESERVED_IP: frozenset({"locked", "monthly_usd_cents"}),
    ResourceKind.LOAD_BALANCER: frozenset({"monthly_usd_cents"}),
    # Patches come by themselves.
    ResourceKind.DATABASE: frozenset({"semantic_version", "version_end_of_life"}),
    ResourceKind.KUBERNETES_CLUSTER: frozenset({"status_message"}),
    ResourceKind.VPC: frozenset(),
    ResourceKind.FIREWALL: frozenset({"pending_changes"}),
    # Each release of the tenant's code is a deployment of its own.
    ResourceKind.APP: frozenset({"active_deployment_id", "last_deployment_at"}),
    ResourceKind.CONTAINER_REGISTRY: frozenset({"storage_bytes", "monthly_usd_cents"}),
}
"""The parts of a resource's attrs that are kept fresh without a word: their change means nothing to anybody."""
