"""Sizes, regions and images: what the provider offers. Their JSON is made once, for it is part of every droplet."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from dev.digitalocean.http import Json

HOURS_CHARGED = 672  # a month's price is reached after 28 days


@dataclass(frozen=True, slots=True)
class Gpu:
    """The accelerator of a GPU size."""

    count: int
    model: str
    vram_gib: int

    def body(self) -> Json:
        return {"count": self.count, "model": self.model, "vram": {"amount": self.vram_gib, "unit": "gib"}}


@dataclass(frozen=True, slots=True)
class Size:
    """A plan; memory in MB, disk in GB."""

    slug: str
    vcpus: int
    memory: int
    disk: int
    regions: tuple[str, ...]
    gpu: Gpu | None
    json: bytes


@dataclass(frozen=True, slots=True)
class Region:
    """A data centre."""

    slug: str
    name: str
    available: bool
    json: bytes


@dataclass(frozen=True, slots=True)
class Image:
    """A base image; `min_disk` in GB."""

    id: int
    slug: str
    distribution: str
    min_disk: int
    json: bytes


_REGIONS = {
    "nyc1": "New York 1", "nyc2": "New York 2", "nyc3": "New York 3", "ams3": "Amsterdam 3", "sfo2": "San Francisco 2",
    "sfo3": "San Francisco 3", "sgp1": "Singapore 1", "lon1": "London 1", "fra1": "Frankfurt 1", "tor1": "Toronto 1",
    "blr1": "Bangalore 1", "syd1": "Sydney 1", "atl1": "Atlanta 1",
}  # fmt: skip
_CLOSED = frozenset({"nyc2"})
_EVERYWHERE = tuple(slug for slug in _REGIONS if slug not in {"nyc2", "atl1"})
_WITH_GPUS = ("nyc2", "tor1", "atl1")

# Slug, processors, memory in MB, disk in GB, transfer in TB, dollars a month, description.
_SizeRow = tuple[str, int, int, int, float, float, str]
_SIZES: tuple[_SizeRow, ...] = (
    ("s-1vcpu-512mb-10gb", 1, 512, 10, 0.5, 4.0, "Basic"),
    ("s-1vcpu-1gb", 1, 1024, 25, 1.0, 6.0, "Basic"),
    ("s-1vcpu-2gb", 1, 2048, 50, 2.0, 12.0, "Basic"),
    ("s-2vcpu-2gb", 2, 2048, 60, 3.0, 18.0, "Basic"),
    ("s-2vcpu-4gb", 2, 4096, 80, 4.0, 24.0, "Basic"),
    ("s-4vcpu-8gb", 4, 8192, 160, 5.0, 48.0, "Basic"),
    ("s-8vcpu-16gb", 8, 16384, 320, 6.0, 96.0, "Basic"),
    ("c-2", 2, 4096, 25, 4.0, 42.0, "CPU-Optimized"),
    ("c-4", 4, 8192, 50, 5.0, 84.0, "CPU-Optimized"),
    ("g-2vcpu-8gb", 2, 8192, 25, 4.0, 63.0, "General Purpose"),
    ("g-4vcpu-16gb", 4, 16384, 50, 5.0, 126.0, "General Purpose"),
    ("m-2vcpu-16gb", 2, 16384, 50, 4.0, 84.0, "Memory-Optimized"),
    ("m-4vcpu-32gb", 4, 32768, 100, 6.0, 168.0, "Memory-Optimized"),
    ("so-2vcpu-16gb", 2, 16384, 300, 4.0, 131.0, "Storage-Optimized"),
)
_GPU_SIZES: tuple[tuple[_SizeRow, Gpu], ...] = (
    (
        ("gpu-4000adax1-20gb", 8, 32768, 500, 10.0, 565.44, "RTX 4000 Ada GPU"),
        Gpu(1, "nvidia_rtx_4000_ada", 20),
    ),
    (("gpu-h100x1-80gb", 20, 245760, 720, 15.0, 2522.16, "H100 GPU"), Gpu(1, "nvidia_h100", 80)),
)
_IMAGES = (
    (155133621, "ubuntu-24-04-x64", "Ubuntu", "24.04 (LTS) x64", 7),
    (129211873, "ubuntu-22-04-x64", "Ubuntu", "22.04 (LTS) x64", 7),
    (136910243, "debian-12-x64", "Debian", "12 x64", 7),
    (141712013, "fedora-40-x64", "Fedora", "40 x64", 9),
    (139212312, "rockylinux-9-x64", "Rocky Linux", "9 x64", 10),
    (163546902, "gpu-h100x1-base", "Ubuntu", "NVIDIA AI/ML Ready", 60),
)


def disk_info(gigabytes: int) -> list[Json]:
    """A disk as sizes and droplets describe it."""
    return [{"type": "local", "size": {"amount": gigabytes, "unit": "gib"}}]


def _single(number: float) -> float:
    """The number after a stay in a 32-bit float: the provider's prices read like 0.00743999984115362."""
    narrowed: float = struct.unpack("f", struct.pack("f", number))[0]
    return narrowed


def _size(row: _SizeRow, gpu: Gpu | None = None) -> Size:
    slug, vcpus, memory, disk, transfer, price, description = row
    regions = _WITH_GPUS if gpu else _EVERYWHERE
    body: Json = {
        "slug": slug, "memory": memory, "vcpus": vcpus, "disk": disk, "transfer": transfer, "price_monthly": price,
        "price_hourly": _single(price / HOURS_CHARGED), "regions": regions, "available": True,
        "description": description, "disk_info": disk_info(disk),
    }  # fmt: skip
    if gpu:
        body["gpu_info"] = gpu.body()
    return Size(slug, vcpus, memory, disk, regions, gpu, orjson.dumps(body))


def _region(slug: str, name: str, sizes: Iterable[Size]) -> Region:
    features = ["backups", "ipv6", "metadata", "install_agent", "storage", "image_transfer"]
    offered = [size.slug for size in sizes if slug in size.regions]
    available = slug not in _CLOSED
    body = {"name": name, "slug": slug, "features": features, "available": available, "sizes": offered}
    return Region(slug, name, available, orjson.dumps(body))


def _image(id: int, slug: str, distribution: str, name: str, min_disk: int) -> Image:
    body = {
        "id": id, "name": name, "distribution": distribution, "slug": slug, "public": True, "regions": list(_REGIONS),
        "created_at": "2026-03-04T20:02:51Z", "type": "base", "min_disk_size": min_disk, "size_gigabytes": 2.36,
        "description": f"{distribution} {name}", "tags": [], "status": "available", "error_message": "",
    }  # fmt: skip
    return Image(id, slug, distribution, min_disk, orjson.dumps(body))


_ALL_SIZES = (*(_size(row) for row in _SIZES), *(_size(row, gpu) for row, gpu in _GPU_SIZES))
SIZES: dict[str, Size] = {size.slug: size for size in _ALL_SIZES}
REGIONS: dict[str, Region] = {slug: _region(slug, name, SIZES.values()) for slug, name in _REGIONS.items()}
IMAGES: dict[str, Image] = {row[1]: _image(*row) for row in _IMAGES}
IMAGES_BY_ID: dict[int, Image] = {image.id: image for image in IMAGES.values()}
