"""What runs: droplets, Kubernetes clusters, databases, apps."""

from __future__ import annotations

from contracts.kinds import BillingKind, ResourceKind
from services.inventory.domain import Seen
from services.inventory.kinds.kind import Cadence, Kind, Listed, Row, cents, cluster_of, listed, single


def _kubernetes_cluster(row: Row) -> Seen:
    status = row.get("status") or {}
    return Seen(
        provider_id=row["id"],
        name=row["name"],
        region=row["region"],
        state=status.get("state"),
        tags=sorted(row.get("tags") or []),
        attrs={
            "version": row["version"],
            "node_pools": sorted((_node_pool(pool) for pool in row["node_pools"]), key=lambda pool: str(pool["id"])),
            "ha": bool(row.get("ha")),
            "auto_upgrade": bool(row.get("auto_upgrade")),
            "surge_upgrade": bool(row.get("surge_upgrade")),
            "maintenance_policy": _policy(row.get("maintenance_policy")),
            "vpc_uuid": row.get("vpc_uuid"),
            "cluster_subnet": row.get("cluster_subnet"),
            "service_subnet": row.get("service_subnet"),
            "endpoint": row.get("endpoint"),
            "created_at": row.get("created_at"),
            "status_message": status.get("message"),
        },
    )


def _node_pool(pool: Row) -> Row:
    """A pool without its nodes: they are droplets, and listed among those."""
    return {
        "id": pool["id"],
        "name": pool["name"],
        "size": pool["size"],
        "count": pool["count"],
        "auto_scale": bool(pool.get("auto_scale")),
        "min_nodes": pool.get("min_nodes"),
        "max_nodes": pool.get("max_nodes"),
    }


def _policy(policy: Row | None) -> Row | None:
    return {"day": policy.get("day"), "start_time": policy.get("start_time")} if policy else None


KUBERNETES_CLUSTER = Kind(
    name=ResourceKind.KUBERNETES_CLUSTER,
    cadence=Cadence.FAST,
    source=listed("/v2/kubernetes/clusters", "kubernetes_clusters"),
    read=single("/v2/kubernetes/clusters/{id}", "kubernetes_cluster"),
    identity="id",
    seen=_kubernetes_cluster,
    urn_types=("kubernetes",),
    tagged=True,
    secrets=frozenset({"kubeconfig", "client_key_data", "client_certificate_data", "token"}),
    has_parts=True,
)


def _droplet(row: Row) -> Seen:
    # By `get`: what the provider does not promise, and what means nothing: for that, no droplet is to be unreadable.
    price = row["size"].get("price_monthly")
    return Seen(
        provider_id=str(row["id"]),
        name=row["name"],
        region=row["region"]["slug"],
        state=row["status"],
        size_slug=row["size_slug"],
        tags=sorted(row["tags"]),
        parent=cluster_of(row["tags"]),
        attrs={
            "vcpus": row["vcpus"],
            "memory_mb": row["memory"],
            "disk_gb": row["disk"],
            "gpu": row.get("gpu_info"),
            "image_id": row["image"]["id"],
            "image": row["image"].get("slug") or row["image"].get("name"),
            "vpc_uuid": row.get("vpc_uuid"),
            "public_ipv4": _addresses(row, "v4", "public"),
            "private_ipv4": _addresses(row, "v4", "private"),
            "public_ipv6": _addresses(row, "v6", "public"),
            "features": sorted(row["features"]),
            "volume_ids": sorted(row["volume_ids"]),
            "created_at": row["created_at"],
            "monthly_usd_cents": cents(price) if price is not None else None,
            "backup_ids": row.get("backup_ids"),
            "snapshot_ids": row.get("snapshot_ids"),
            "next_backup_window": row.get("next_backup_window"),
        },
    )


def _addresses(row: Row, family: str, type_: str) -> list[str]:
    """Addresses by type, in a fixed order: the provider's order is not (private comes first, often)."""
    return sorted([entry["ip_address"] for entry in row["networks"][family] if entry["type"] == type_])


DROPLET = Kind(
    name=ResourceKind.DROPLET,
    cadence=Cadence.FAST,
    source=Listed(lambda do: do.droplets()),
    read=single("/v2/droplets/{id}", "droplet"),
    identity="id",
    seen=_droplet,
    urn_types=("droplet",),
    tagged=True,
    feeds=(BillingKind.DROPLET_HOURS,),
)


def _database(row: Row) -> Seen:
    window = row.get("maintenance_window") or {}
    return Seen(
        provider_id=row["id"],
        name=row["name"],
        region=row["region"],
        state=row["status"],
        size_slug=row["size"],
        tags=sorted(row.get("tags") or []),
        attrs={
            "engine": row["engine"],
            "version": row.get("version"),
            "num_nodes": row["num_nodes"],
            "storage_mb": row.get("storage_size_mib"),
            "vpc_uuid": row.get("private_network_uuid"),
            "db_names": sorted(row.get("db_names") or []),
            "trusted_sources": sorted(f"{rule['type']}:{rule['value']}" for rule in row.get("rules") or []),
            "maintenance_window": {"day": window.get("day"), "hour": window.get("hour")},
            "created_at": row.get("created_at"),
            "semantic_version": row.get("semantic_version"),
            "version_end_of_life": row.get("version_end_of_life"),
        },
    )


DATABASE = Kind(
    name=ResourceKind.DATABASE,
    cadence=Cadence.FULL,
    source=listed("/v2/databases", "databases", paginated=False),
    read=single("/v2/databases/{id}", "database"),
    identity="id",
    seen=_database,
    urn_types=("dbaas",),
    tagged=True,
    # The list carries live passwords, also inside URIs.
    secrets=frozenset(
        {
            "connection",
            "private_connection",
            "standby_connection",
            "standby_private_connection",
            "schema_registry_connection",
            "ui_connection",
            "users",
            "metrics_endpoints",
        }
    ),
)


def _app(row: Row) -> Seen:
    spec, region, active = row["spec"], row.get("region") or {}, row.get("active_deployment") or {}
    return Seen(
        provider_id=row["id"],
        name=spec["name"],
        region=region.get("slug") or spec.get("region"),
        state=(active.get("phase") or "").lower() or None,
        size_slug=row.get("tier_slug"),
        attrs={
            "components": [part for type_ in _COMPONENTS for part in _components(type_, spec.get(type_) or [])],
            "domains": sorted(domain["domain"] for domain in spec.get("domains") or []),
            "live_domain": row.get("live_domain"),
            "vpc_uuid": (row.get("vpc") or {}).get("id"),
            "created_at": row.get("created_at"),
            "active_deployment_id": active.get("id"),
            "last_deployment_at": row.get("last_deployment_created_at"),
        },
    )


_COMPONENTS = ("services", "static_sites", "jobs", "workers", "functions", "databases")


def _components(type_: str, parts: list[Row]) -> list[Row]:
    """The parts of an app, by name: what runs, how large, and how many of it."""
    found = [
        {
            "type": type_,
            "name": part["name"],
            "size": part.get("instance_size_slug"),
            "count": part.get("instance_count"),
        }
        for part in parts
    ]
    return sorted(found, key=lambda part: str(part["name"]))


APP = Kind(
    name=ResourceKind.APP,
    cadence=Cadence.FULL,
    source=listed("/v2/apps", "apps"),
    read=single("/v2/apps/{id}", "app"),
    identity="id",
    seen=_app,
    urn_types=("app",),
    tagged=False,
    secrets=frozenset({"envs", "registry_credentials", "log_destinations"}),
)
