"""The kinds of resources, one declaration each: adding a kind is adding an entry to `KINDS`."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

import orjson

from contracts.kinds import ResourceKind
from services.inventory.domain import Seen
from shared.digitalocean import DigitalOcean, Walk, redact

Row = dict[str, Any]


class Cadence(IntEnum):
    """How much a kind's walk costs. A sync of everything takes the quick ones first."""

    FAST = 1
    FULL = 2
    SLOW = 3


@dataclass(frozen=True)
class Kind:
    """Where a kind is listed, and what of it is kept.

    `walk` shows all there are; `read` gives one by its id, and raises `NotFound`. `identity` is the id in a row. `seen`
    takes from a row what is kept; where something that it needs is not there, it raises KeyError, TypeError, ValueError
    or AttributeError. `meaningless` are the parts of attrs that are kept fresh without an event. `urn_types` are the
    kind's names in the projects' lists.
    """

    name: ResourceKind
    cadence: Cadence
    walk: Callable[[DigitalOcean], Walk]
    read: Callable[[DigitalOcean, str], Awaitable[Row]]
    identity: Callable[[Row], str]
    seen: Callable[[Row], Seen]
    meaningless: frozenset[str]
    urn_types: tuple[str, ...]

    def observe(self, row: Row) -> Seen | str:
        """What is kept of a row, without secrets; a sentence where it cannot be read."""
        try:
            seen = self.seen(row)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return f"{self.name} {self.identity(row)} cannot be read: {type(error).__name__} {error}"
        return replace(seen, attrs=redact(seen.attrs))


def fingerprint(row: Row) -> bytes:
    """A digest of a row: while it is the same, and this code, nothing has changed that anybody could see."""
    return hashlib.blake2b(_EDITION + orjson.dumps(row), digest_size=16).digest()


_EDITION = hashlib.blake2b(
    b"".join(Path(file).read_bytes() for file in (__file__, inspect.getfile(redact))), digest_size=16
).digest()


async def _read_droplet(do: DigitalOcean, provider_id: str) -> Row:
    body = await do.get("/v2/droplets/{droplet_id}", droplet_id=provider_id)
    return dict(body["droplet"])


def _droplet(row: Row) -> Seen:
    # By `get`: what the provider does not promise, and what means nothing: for that, no droplet is to be unreadable.
    return Seen(
        provider_id=str(row["id"]),
        name=row["name"],
        region=row["region"]["slug"],
        state=row["status"],
        size_slug=row["size_slug"],
        tags=sorted(row["tags"]),
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
            "price_monthly": row["size"].get("price_monthly"),
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
    walk=lambda do: do.droplets(),
    read=_read_droplet,
    identity=lambda row: str(row["id"]),
    seen=_droplet,
    # An image's slug goes when the provider retires it; a plan's price is the catalog's; the ids of backups and
    # snapshots, and the window, move by themselves (and are resources of their own).
    meaningless=frozenset({"image", "price_monthly", "backup_ids", "snapshot_ids", "next_backup_window"}),
    urn_types=("droplet",),
)

KINDS: dict[ResourceKind, Kind] = {kind.name: kind for kind in (DROPLET,)}

KIND_OF_URN: dict[str, ResourceKind] = {urn: kind.name for kind in KINDS.values() for urn in kind.urn_types}


def in_order_of_cost() -> Sequence[Kind]:
    """All kinds, the quick ones first."""
    return sorted(KINDS.values(), key=lambda kind: kind.cadence)
