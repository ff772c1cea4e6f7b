"""What is kept: volumes, snapshots, backups, buckets, registries.

Prices are DigitalOcean's of November 2026 (its price pages for volumes and snapshots): they tell what a leftover costs,
and bill nobody.
"""

from __future__ import annotations

from contracts.inventory import Parent
from contracts.kinds import BillingKind, ResourceKind
from services.inventory.domain import Seen
from services.inventory.kinds.kind import Cadence, Kind, Listed, Row, Told, cents, cluster_of, listed, single
from services.inventory.told import Backups, Buckets

VOLUME_USD_A_GB = 0.10
SNAPSHOT_USD_A_GB = 0.06


def _volume(row: Row) -> Seen:
    droplets, tags = [str(id) for id in row["droplet_ids"] or []], row.get("tags") or []
    return Seen(
        provider_id=row["id"],
        name=row["name"],
        region=row["region"]["slug"],
        state="attached" if droplets else "detached",
        tags=sorted(tags),
        parent=cluster_of(tags),
        attrs={
            "size_gb": row["size_gigabytes"],
            "droplet_ids": sorted(droplets),
            "description": row.get("description") or "",
            "filesystem_type": row.get("filesystem_type") or "",
            "filesystem_label": row.get("filesystem_label") or "",
            "created_at": row.get("created_at"),
            "monthly_usd_cents": cents(VOLUME_USD_A_GB, row["size_gigabytes"]),
        },
    )


VOLUME = Kind(
    name=ResourceKind.VOLUME,
    cadence=Cadence.FULL,
    source=listed("/v2/volumes", "volumes"),
    read=single("/v2/volumes/{id}", "volume"),
    identity="id",
    seen=_volume,
    urn_types=("volume",),
    tagged=True,
    serves_droplets=True,
)


def _snapshot(row: Row) -> Seen:
    return Seen(
        provider_id=row["id"],
        name=row["name"],
        region=min(row["regions"], default=None),
        tags=sorted(row.get("tags") or []),
        parent=Parent(kind=row["resource_type"], provider_id=row["resource_id"]),
        attrs={
            "size_gb": row["size_gigabytes"],
            "min_disk_gb": row["min_disk_size"],
            "regions": sorted(row["regions"]),
            "created_at": row["created_at"],
            "monthly_usd_cents": cents(SNAPSHOT_USD_A_GB, row["size_gigabytes"]),
        },
    )


SNAPSHOT = Kind(
    name=ResourceKind.SNAPSHOT,
    cadence=Cadence.FULL,
    source=listed("/v2/snapshots", "snapshots"),
    read=single("/v2/snapshots/{id}", "snapshot"),
    identity="id",
    seen=_snapshot,
    urn_types=(),
    tagged=True,
    feeds=(BillingKind.SNAPSHOT_GB_MONTH,),
    taken_of=(ResourceKind.DROPLET, ResourceKind.VOLUME),
)


def _droplet_backup(row: Row) -> Seen:
    """`droplet_id` is ours: the provider lists backups under their droplet, and does not say it again."""
    return Seen(
        provider_id=str(row["id"]),
        name=row["name"],
        region=min(row["regions"], default=None),
        parent=Parent(kind=ResourceKind.DROPLET, provider_id=row["droplet_id"]),
        attrs={
            "size_gb": row["size_gigabytes"],
            "min_disk_gb": row["min_disk_size"],
            "regions": sorted(row["regions"]),
            "created_at": row["created_at"],
        },
    )


DROPLET_BACKUP = Kind(
    name=ResourceKind.DROPLET_BACKUP,
    cadence=Cadence.SLOW,
    source=Told(ResourceKind.DROPLET, Backups),
    read=None,
    identity="id",
    seen=_droplet_backup,
    urn_types=(),
    tagged=False,
    feeds=(BillingKind.BACKUP_GB_MONTH,),
    taken_of=(ResourceKind.DROPLET,),
)


def _spaces_bucket(row: Row) -> Seen:
    """The row is ours: a name from the projects' lists, and what the last measurement of the bucket found."""
    size, measured_at = row.get("size_bytes"), row.get("measured_at")
    return Seen(
        provider_id=row["name"],
        name=row["name"],
        region=row.get("region"),
        attrs={
            "size_bytes": size,
            "size_gb": size / 2**30 if size is not None else None,
            "objects": row.get("objects"),
            "size_unknown": size is None,
            "measured_at": measured_at.isoformat() if measured_at else None,
            "measuring_failed": row.get("error"),
        },
    )


SPACES_BUCKET = Kind(
    name=ResourceKind.SPACES_BUCKET,
    cadence=Cadence.SLOW,
    source=Told("project", Buckets),
    read=None,
    identity="name",
    seen=_spaces_bucket,
    urn_types=("space",),
    tagged=False,
    feeds=(BillingKind.SPACES_GB_MONTH,),
)


def _container_registry(row: Row) -> Seen:
    tier = (row.get("subscription") or {}).get("tier") or {}
    price = tier.get("monthly_price_in_cents")
    return Seen(
        provider_id=row["name"],
        name=row["name"],
        region=row.get("region"),
        size_slug=tier.get("slug"),
        attrs={
            "created_at": row.get("created_at"),
            "storage_bytes": row.get("storage_usage_bytes"),
            "monthly_usd_cents": price,
        },
    )


CONTAINER_REGISTRY = Kind(
    name=ResourceKind.CONTAINER_REGISTRY,
    cadence=Cadence.FULL,
    source=Listed(lambda do: do.registries()),
    read=lambda do, id: do.registry(id),
    identity="name",
    seen=_container_registry,
    urn_types=(),
    tagged=False,
)
