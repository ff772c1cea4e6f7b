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
