"""The kinds of resources, one declaration each: adding a kind is adding one to these files, and its name here."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.kinds import ResourceKind
from services.inventory.kinds.compute import APP, DATABASE, DROPLET, KUBERNETES_CLUSTER
from services.inventory.kinds.kind import Cadence, Kind, Listed, Pages, Row, Told, fingerprint
from services.inventory.kinds.network import DNS_ZONE, FIREWALL, LOAD_BALANCER, RESERVED_IP, VPC
from services.inventory.kinds.storage import CONTAINER_REGISTRY, DROPLET_BACKUP, SNAPSHOT, SPACES_BUCKET, VOLUME

__all__ = [
    "KINDS",
    "KIND_OF_URN",
    "Cadence",
    "Kind",
    "Listed",
    "Pages",
    "Row",
    "Told",
    "fingerprint",
    "in_order_of_cost",
]

# What makes others comes before those: so that they are discovered as whose they are.
KINDS: dict[ResourceKind, Kind] = {
    kind.name: kind
    for kind in (
        KUBERNETES_CLUSTER,
        DROPLET,
        DROPLET_BACKUP,
        VOLUME,
        SNAPSHOT,
        DNS_ZONE,
        RESERVED_IP,
        LOAD_BALANCER,
        DATABASE,
        VPC,
        FIREWALL,
        APP,
        CONTAINER_REGISTRY,
        SPACES_BUCKET,
    )
}

KIND_OF_URN: dict[str, ResourceKind] = {urn: kind.name for kind in KINDS.values() for urn in kind.urn_types}


def in_order_of_cost() -> Sequence[Kind]:
    """All kinds, the quick ones first."""
    return sorted(KINDS.values(), key=lambda kind: kind.cadence)
