"""Every kind's declaration is complete, and true to what the provider has been recorded to answer."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.kinds import ResourceKind
from services.inventory.domain import Seen
from services.inventory.kinds import DROPLET, KIND_OF_URN, KINDS, Kind, fingerprint
from shared.digitalocean import DigitalOcean, TokenResolver, Walk

# Shapes and values as the provider's API reference and recorded traffic show them, not as our stand-in makes them.
RECORDED: dict[ResourceKind, dict[str, Any]] = {
    ResourceKind.DROPLET: {
        "id": 3164444,
        "name": "example.com",
        "memory": 1024,
        "vcpus": 1,
        "disk": 25,
        "locked": False,
        "status": "active",
        "kernel": None,
        "created_at": "2020-07-21T18:37:44Z",
        "features": ["virtio", "private_networking", "backups", "ipv6"],
        "backup_ids": [53893572],
        "next_backup_window": {"start": "2020-07-30T00:00:00Z", "end": "2020-07-30T23:00:00Z"},
        "snapshot_ids": [67512819],
        "volume_ids": [],
        "image": {"id": 63663980, "name": "20.04 (LTS) x64", "slug": None, "public": True, "status": "retired"},
        "size": {"slug": "s-1vcpu-1gb", "price_monthly": 5.0, "price_hourly": 0.00743999984115362},
        "size_slug": "s-1vcpu-1gb",
        "region": {"name": "New York 3", "slug": "nyc3", "available": True},
        "networks": {
            "v4": [
                {"ip_address": "10.128.192.124", "netmask": "255.255.0.0", "gateway": "<nil>", "type": "private"},
                {
                    "ip_address": "192.241.165.154",
                    "netmask": "255.255.255.0",
                    "gateway": "192.241.165.1",
                    "type": "public",
                },
            ],
            "v6": [],
        },
        "tags": ["web", "env:prod"],
        "vpc_uuid": "760e09ef-dc84-11e8-981e-3cfdfeaae000",
    },
}


def observed(kind: Kind, row: dict[str, Any]) -> Seen:
    seen = kind.observe(row)
    assert isinstance(seen, Seen), seen
    return seen


kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)


@kinds
def test_a_kind_has_a_recorded_example(kind: Kind) -> None:
    assert kind.name in RECORDED, f"add a recorded {kind.name} to RECORDED"


@kinds
def test_a_recorded_example_is_read_and_its_meaningless_parts_are_there(kind: Kind) -> None:
    seen = observed(kind, RECORDED[kind.name])
    assert seen.attrs.keys() >= kind.meaningless, "a meaningless part that is not kept is not needed"
    assert list(seen.tags) == sorted(seen.tags)
    assert (seen.provider_id, bool(seen.name)) == (kind.identity(RECORDED[kind.name]), True)


@kinds
def test_a_row_without_anything_but_its_id_is_a_sentence_and_no_crash(kind: Kind) -> None:
    assert "cannot be read" in str(kind.observe({"id": 1}))


@kinds
def test_any_difference_between_rows_shows_in_their_fingerprints(kind: Kind) -> None:
    row = RECORDED[kind.name]
    changed = [{**row, name: "another"} for name in row]
    assert len({fingerprint(each) for each in (row, *changed)}) == 1 + len(changed)
    assert fingerprint(row) == fingerprint(dict(row))


@kinds
async def test_a_kind_can_be_walked(kind: Kind) -> None:
    async with DigitalOcean(TokenResolver({}), "sync", base_url="http://127.0.0.1:1") as do:
        assert isinstance(kind.walk(do), Walk)


def test_no_two_kinds_share_a_name_in_urns() -> None:
    assert len(KIND_OF_URN) == sum(len(kind.urn_types) for kind in KINDS.values())
    assert all(name is kind.name for name, kind in KINDS.items())


def test_a_droplet_without_a_public_network_or_an_image_slug() -> None:
    row = RECORDED[ResourceKind.DROPLET]
    seen = observed(DROPLET, row)
    assert (seen.provider_id, seen.region, seen.attrs["image"]) == ("3164444", "nyc3", "20.04 (LTS) x64")
    assert (seen.attrs["public_ipv4"], seen.attrs["private_ipv4"]) == (["192.241.165.154"], ["10.128.192.124"])
    new = observed(DROPLET, {**row, "status": "new", "networks": {"v4": [], "v6": []}})
    assert (new.attrs["public_ipv4"], new.attrs["public_ipv6"]) == ([], [])
