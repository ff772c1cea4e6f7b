"""What connects: zones, addresses, load balancers, VPCs, firewalls.

Prices are DigitalOcean's of November 2026: they tell what a leftover costs, and bill nobody.
"""

from __future__ import annotations

from typing import Any

import orjson

from contracts.kinds import BillingKind, ResourceKind
from services.inventory.domain import Seen
from services.inventory.kinds.kind import Cadence, Kind, Row, cents, cluster_of, listed, single

UNASSIGNED_IP_USD = 5
LOAD_BALANCER_NODE_USD = 12


def _in_order(entries: list[Row] | None) -> list[Row]:
    """Rules in an order of ours: the provider promises none."""
    return sorted(entries or [], key=lambda entry: orjson.dumps(entry, option=orjson.OPT_SORT_KEYS))


def _ids(values: list[Any] | None) -> list[str]:
    return sorted(str(value) for value in values or [])


def _dns_zone(row: Row) -> Seen:
    # The records are in `zone_file` too; whoever points them somewhere (the provider service) reads them one by one.
    return Seen(provider_id=row["name"], name=row["name"], attrs={"ttl": row.get("ttl")})


DNS_ZONE = Kind(
    name=ResourceKind.DNS_ZONE,
    cadence=Cadence.FULL,
    source=listed("/v2/domains", "domains", identity="name"),
    read=single("/v2/domains/{id}", "domain"),
    identity="name",
    seen=_dns_zone,
    urn_types=("domain",),
    tagged=False,
    feeds=(BillingKind.DNS_ZONES,),
)


def _reserved_ip(row: Row) -> Seen:
    droplet = row["droplet"]
    return Seen(
        provider_id=row["ip"],
        name=row["ip"],
        region=row["region"]["slug"],
        state="assigned" if droplet else "unassigned",
        attrs={
            "droplet_id": str(droplet["id"]) if droplet else None,
            "locked": bool(row.get("locked")),
            "monthly_usd_cents": 0 if droplet else cents(UNASSIGNED_IP_USD),
        },
    )


RESERVED_IP = Kind(
    name=ResourceKind.RESERVED_IP,
    cadence=Cadence.FULL,
    source=listed("/v2/reserved_ips", "reserved_ips", identity="ip"),
    read=single("/v2/reserved_ips/{id}", "reserved_ip"),
    identity="ip",
    seen=_reserved_ip,
    urn_types=("floatingip", "reservedip"),  # the projects still say `floatingip`
    tagged=False,
)


def _load_balancer(row: Row) -> Seen:
    region, tags = row.get("region") or {}, row.get("tags") or []
    nodes = row.get("size_unit") or 1
    return Seen(
        provider_id=row["id"],
        name=row["name"],
        region=region.get("slug"),  # a global one has none
        state=row["status"],
        size_slug=row.get("size"),
        tags=sorted(tags),
        parent=cluster_of([*tags, row.get("tag") or ""]),
        attrs={
            "ip": row.get("ip") or None,
            "type": row.get("type"),
            "network": row.get("network"),
            "size_unit": nodes,
            "algorithm": row.get("algorithm"),
            "forwarding_rules": _in_order(row["forwarding_rules"]),
            "health_check": row.get("health_check"),
            "sticky_sessions": row.get("sticky_sessions"),
            "redirect_http_to_https": bool(row.get("redirect_http_to_https")),
            "enable_proxy_protocol": bool(row.get("enable_proxy_protocol")),
            "firewall": row.get("firewall"),
            "vpc_uuid": row.get("vpc_uuid"),
            "droplet_ids": _ids(row.get("droplet_ids")),
            "target_tag": row.get("tag") or None,
            "created_at": row.get("created_at"),
            "monthly_usd_cents": cents(LOAD_BALANCER_NODE_USD, nodes),
        },
    )


LOAD_BALANCER = Kind(
    name=ResourceKind.LOAD_BALANCER,
    cadence=Cadence.FULL,
    source=listed("/v2/load_balancers", "load_balancers"),
    read=single("/v2/load_balancers/{id}", "load_balancer"),
    identity="id",
    seen=_load_balancer,
    urn_types=("loadbalancer",),
    # The reference says that load balancers have no tags; DOKS tags those that it makes all the same.
    tagged=True,
    serves_droplets=True,
)


def _vpc(row: Row) -> Seen:
    return Seen(
        provider_id=row["id"],
        name=row["name"],
        region=row["region"],
        attrs={
            "ip_range": row["ip_range"],
            "description": row.get("description") or "",
            "default": bool(row.get("default")),
            "created_at": row.get("created_at"),
        },
    )


VPC = Kind(
    name=ResourceKind.VPC,
    cadence=Cadence.FULL,
    source=listed("/v2/vpcs", "vpcs"),
    read=single("/v2/vpcs/{id}", "vpc"),
    identity="id",
    seen=_vpc,
    urn_types=("vpc",),
    tagged=False,
)


def _firewall(row: Row) -> Seen:
    return Seen(
        provider_id=row["id"],
        name=row["name"],
        state=row["status"],
        parent=cluster_of(row.get("tags") or []),  # DOKS makes firewalls that target its own tag
        attrs={
            "inbound_rules": _in_order(row.get("inbound_rules")),
            "outbound_rules": _in_order(row.get("outbound_rules")),
            "droplet_ids": _ids(row.get("droplet_ids")),
            "target_tags": sorted(row.get("tags") or []),
            "created_at": row.get("created_at"),
            "pending_changes": len(row.get("pending_changes") or []),
        },
    )


FIREWALL = Kind(
    name=ResourceKind.FIREWALL,
    cadence=Cadence.FULL,
    source=listed("/v2/firewalls", "firewalls"),
    read=single("/v2/firewalls/{id}", "firewall"),
    identity="id",
    seen=_firewall,
    urn_types=("firewall",),
    tagged=False,  # its `tags` are its targets
    serves_droplets=True,
)
