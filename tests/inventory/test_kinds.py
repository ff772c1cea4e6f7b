"""Every kind's declaration is complete, and true to what the provider has been recorded to answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from contracts.inventory import Parent
from contracts.kinds import REPORTED_KINDS, BillingKind, ResourceKind
from dev.digitalocean.families import FAMILIES
from services.inventory.domain import Seen
from services.inventory.kinds import KIND_OF_URN, KINDS, Kind, Listed, Row, Told, fingerprint
from services.inventory.kinds.compute import DROPLET
from services.inventory.kinds.network import LOAD_BALANCER
from services.inventory.kinds.storage import SNAPSHOT, VOLUME
from shared.digitalocean import DigitalOcean, TokenResolver, Walk
from tests.inventory.changes import CHANGES
from tests.inventory.recorded import RECORDED, SECRET


def observed(kind: Kind, row: Row) -> Seen:
    seen = kind.observe(kind.cleaned(row))
    assert isinstance(seen, Seen), seen
    return seen


def meaningful(kind: Kind, seen: Seen) -> set[str]:
    """The fields whose change is an event, as events name them."""
    columns = {name for name in ("name", "region", "state", "size_slug") if name == "name" or seen.content()[name]}
    tags = {"tags"} if kind.tagged else set()
    return columns | tags | {f"attrs.{name}" for name in seen.attrs if name not in kind.meaningless}


kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)


def test_every_kind_of_the_contract_is_declared() -> None:
    missing = set(ResourceKind) - KINDS.keys()
    assert not missing, f"declare {missing} in services/inventory/kinds/"
    assert all(name is kind.name for name, kind in KINDS.items())


@kinds
def test_nothing_that_a_kind_needs_is_missing(kind: Kind) -> None:
    """What to add for a new kind, one by one."""
    changes = "in tests/inventory/changes.py"
    assert kind.name in RECORDED, f"a recorded {kind.name} in tests/inventory/recorded.py"
    assert kind.name in CHANGES, f"what can change of a {kind.name}, {changes}"
    assert FAMILIES.named(CHANGES[kind.name].family), f"a family of {kind.name} in dev/digitalocean/"
    seen = observed(kind, RECORDED[kind.name])
    assert CHANGES[kind.name].fields() >= meaningful(kind, seen), f"a change of each meaningful field, {changes}"
    assert CHANGES[kind.name].meaningless or not CHANGES[kind.name].meaningful, (
        f"one that is nobody's business, {changes}"
    )
    assert isinstance(kind.source, Listed) or kind.source.after in {*KINDS, "project"}, "a walk that tells of it"
    assert kind.urn_types or seen.parent or not kind.tagged, "how it belongs to a project"


@kinds
def test_a_recorded_example_is_read_and_its_meaningless_parts_are_there(kind: Kind) -> None:
    seen = observed(kind, RECORDED[kind.name])
    assert seen.attrs.keys() >= kind.meaningless, "a meaningless part that is not kept is not needed"
    assert list(seen.tags) == sorted(seen.tags)
    assert (seen.provider_id, bool(seen.name)) == (kind.id_of(RECORDED[kind.name]), True)
    assert not seen.tags or kind.tagged


@kinds
def test_the_secrets_of_a_recorded_example_are_kept_nowhere(kind: Kind) -> None:
    recorded = RECORDED[kind.name]
    assert kind.secrets <= set(names(recorded)), "a recorded row that has all of the kind's secrets"
    assert (SECRET in json.dumps(recorded)) == bool(kind.secrets)
    clean = kind.cleaned(recorded)
    assert SECRET not in json.dumps(clean)
    assert SECRET not in json.dumps(observed(kind, recorded).content())


def names(value: Any) -> Iterator[str]:
    """All keys in a JSON value."""
    if isinstance(value, dict):
        yield from value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from names(inner)


@kinds
def test_a_row_without_anything_but_its_id_is_a_sentence_and_no_crash(kind: Kind) -> None:
    said = kind.observe({kind.identity: 1})
    assert isinstance(said, Seen) or "cannot be read" in said


@kinds
def test_what_cannot_be_read_is_not_quoted(kind: Kind) -> None:
    for name in RECORDED[kind.name]:
        if name != kind.identity:
            said = kind.observe(kind.cleaned({**RECORDED[kind.name], name: [{"secret-value": "secret-value"}]}))
            assert isinstance(said, Seen) or "secret-value" not in said


@kinds
def test_any_difference_between_rows_shows_in_their_fingerprints(kind: Kind) -> None:
    row = RECORDED[kind.name]
    changed = [{**row, name: "another"} for name in row]
    assert len({fingerprint(each) for each in (row, *changed)}) == 1 + len(changed)
    assert fingerprint(row) == fingerprint(dict(row))


@kinds
async def test_a_listed_kind_can_be_walked(kind: Kind) -> None:
    async with DigitalOcean(TokenResolver({}), "sync", base_url="http://127.0.0.1:1") as do:
        assert isinstance(kind.source, Told) or isinstance(kind.source.pages(do), Walk)


def test_no_two_kinds_share_a_name_in_urns() -> None:
    assert len(KIND_OF_URN) == sum(len(kind.urn_types) for kind in KINDS.values())


def test_each_billing_kind_is_fed_by_one_kind() -> None:
    fed = [feeds for kind in KINDS.values() for feeds in kind.feeds]
    assert sorted(fed) == sorted(set(BillingKind) - REPORTED_KINDS)


def test_a_droplet_without_a_public_network_or_an_image_slug() -> None:
    row = RECORDED[ResourceKind.DROPLET]
    seen = observed(DROPLET, row)
    assert (seen.provider_id, seen.region, seen.attrs["image"]) == ("3164444", "nyc3", "20.04 (LTS) x64")
    assert (seen.attrs["public_ipv4"], seen.attrs["private_ipv4"]) == (["192.241.165.154"], ["10.128.192.124"])
    new = observed(DROPLET, {**row, "status": "new", "networks": {"v4": [], "v6": []}})
    assert (new.attrs["public_ipv4"], new.attrs["public_ipv6"]) == ([], [])


def test_a_global_load_balancer_has_no_region() -> None:
    row = {**RECORDED[ResourceKind.LOAD_BALANCER], "region": None, "type": "GLOBAL", "ip": ""}
    seen = observed(LOAD_BALANCER, row)
    assert (seen.region, seen.attrs["ip"]) == (None, None)


def test_rules_in_another_order_are_the_same_rules() -> None:
    row = RECORDED[ResourceKind.LOAD_BALANCER]
    assert observed(LOAD_BALANCER, row) == observed(
        LOAD_BALANCER, {**row, "forwarding_rules": row["forwarding_rules"][::-1]}
    )


def test_what_a_cluster_made_says_so() -> None:
    cluster = Parent(kind=ResourceKind.KUBERNETES_CLUSTER, provider_id="bd5f5959-5e1e-4205-a714-a914373942af")
    assert observed(LOAD_BALANCER, RECORDED[ResourceKind.LOAD_BALANCER]).parent == cluster
    tags = ["k8s", "k8s:worker", f"k8s:{cluster.provider_id}"]
    assert observed(VOLUME, {**RECORDED[ResourceKind.VOLUME], "tags": tags}).parent == cluster
    assert observed(DROPLET, {**RECORDED[ResourceKind.DROPLET], "tags": tags}).parent == cluster
    assert observed(DROPLET, {**RECORDED[ResourceKind.DROPLET], "tags": ["k8s", "k8s:worker"]}).parent is None


def test_a_snapshot_knows_what_it_was_taken_of() -> None:
    row = RECORDED[ResourceKind.SNAPSHOT]
    assert observed(SNAPSHOT, row).parent == Parent(kind=ResourceKind.DROPLET, provider_id="200776916")
    of_volume = {**row, "resource_type": "volume", "resource_id": "506f78a4-e098-11e5-ad9f-000f53306ae1"}
    assert observed(SNAPSHOT, of_volume).parent == Parent(
        kind=ResourceKind.VOLUME, provider_id=of_volume["resource_id"]
    )


def test_leftovers_know_what_they_cost() -> None:
    assert observed(VOLUME, RECORDED[ResourceKind.VOLUME]).attrs["monthly_usd_cents"] == 100  # 10 GB at 0.10
    assert observed(SNAPSHOT, RECORDED[ResourceKind.SNAPSHOT]).attrs["monthly_usd_cents"] == 14  # 2.34 GB at 0.06
    assert observed(DROPLET, RECORDED[ResourceKind.DROPLET]).attrs["monthly_usd_cents"] == 500
