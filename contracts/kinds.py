"""The kinds of resources that exist at the provider. How each is listed is the inventory service's knowledge."""

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
