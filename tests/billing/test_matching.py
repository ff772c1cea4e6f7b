"""Which resource a line means, by the names that files of real accounts have."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.billing import Unmatched
from contracts.kinds import ResourceKind
from services.billing.matching import PRODUCTS, Candidate, Items, Match, Matcher, product_of
from services.billing.statement import Batch
from shared.ids import derived_id

APRIL, MAY, MID = b"2026-04-01 00:00:00 +0000", b"2026-05-01 00:00:00 +0000", b"2026-04-15 00:00:00 +0000"

Span = tuple[bytes | None, bytes | None]


def there(kind: ResourceKind, name: str, provider_id: str = "", *, deleted: bool = False) -> Candidate:
    return Candidate(kind, provider_id or name, name, derived_id("resource", kind, provider_id or name), deleted)


def matched(
    lines: Sequence[tuple[str, str, str]], candidates: Sequence[Candidate] = (), items: Items | None = None
) -> list[Match]:
    """The matches of lines (product, group, description), each of the whole of April."""
    products, groups, descriptions = ([text.encode() for text in column] for column in zip(*lines, strict=True))
    count = len(lines)
    batch: Batch[Any] = Batch(1, products, groups, descriptions, [APRIL] * count, [MAY] * count, [0] * count, [])
    return Matcher(candidates, items or Items()).match(batch)


@pytest.mark.parametrize(
    ("product", "group", "description", "kind", "name"),
    [
        ("Droplets", "", "web-01 (s-2vcpu-4gb)", "droplet", "web-01"),
        ("Droplets", "", "WEB-01 (s-2vcpu-4gb)", "droplet", "Web-01"),
        ("Volumes", "", "ÄPFEL-Über (sfo2) 100GB", "volume", "äpfel-über"),
        ("Load Balancers", "", "7 (nyc3)", "load_balancer", "7"),
        ("Droplet Backups", "", "web-01 (Weekly Backup Services)", "droplet", "web-01"),
        ("Droplet Snapshots", "", "of (the) old (fra1) 10.15GB Droplet Snapshot", "snapshot", "of (the) old"),
        ("Volume Snapshots", "", "data-weekly (nyc3) 12.00GB", "snapshot", "data-weekly"),
        ("Volumes", "", "volume-sfo2-01 (sfo2) 100GB", "volume", "volume-sfo2-01"),
        ("Floating IPs", "", "Unused Floating IP - 1.1.1.1", "reserved_ip", "1.1.1.1"),
        ("Load Balancers", "", "lb (nyc3)", "load_balancer", "lb"),
        ("Kubernetes Clusters", "k8s", "3 nodes - 4 GB / 2 vCPU / 80 GB SSD", "kubernetes_cluster", "k8s"),
        ("Database Clusters", "", "pg (1 node, db-s-1vcpu-1gb)", "database", "pg"),
        ("Database Clusters", "pg", "1 node", "database", "pg"),
        ("Managed Databases: PostgreSQL", "pg", "1 node", "database", "pg"),
        ("App Platform", "", "shop", "app", "shop"),
    ],
)  # fmt: skip
def test_a_name_is_taken_out_of_a_description(product: str, group: str, description: str, kind: str, name: str) -> None:
    bearer = there(ResourceKind(kind), name)
    others = [there(each, name) for each in ResourceKind if each != kind]
    (match,) = matched([(product, group, description)], [bearer, *others])
    assert (match.resource_id, match.matched_by, match.unmatched) == (bearer.id, "name", None)
    (alone,) = matched([(product, group, description)], others)
    assert (alone.resource_id, alone.unmatched) == (None, Unmatched.UNKNOWN_RESOURCE)


def test_each_line_means_its_own_in_any_order_of_products_and_cases() -> None:
    kinds = {"Droplets": ResourceKind.DROPLET, "Volumes": ResourceKind.VOLUME}
    lines = [(product, "", name) for name in ("a", "B", "É", "é", "gone", "A") for product in ("Volumes", "Droplets")]
    bearers = {(kind, name): there(kind, name) for kind in kinds.values() for name in ("a", "b", "é")}
    for some in (lines, lines[::2], sorted(lines), lines[:2], lines[2:4]):
        expected = [bearers.get((kinds[product], name.lower())) for product, _, name in some]
        found = matched(some, list(bearers.values()))
        assert [each.resource_id for each in found] == [each and each.id for each in expected]


@pytest.mark.parametrize(
    ("product", "description", "reason"),
    [
        ("Taxes", "GST (10%)", Unmatched.TAX),
        ("Credits", "Service credit", Unmatched.CREDIT),
        ("Spaces Subscription", "Spaces ($5/mo 250GiB storage & 1TiB bandwidth)", Unmatched.ACCOUNT_LEVEL),
        ("Bandwidth", "Additional outbound transfer", Unmatched.ACCOUNT_LEVEL),
        ("Quantum Computers", "q-01", Unmatched.UNKNOWN_PRODUCT),
        ("", "", Unmatched.UNKNOWN_PRODUCT),
    ],
)
def test_what_means_no_single_resource_says_why(product: str, description: str, reason: Unmatched) -> None:
    bearers = [there(kind, description) for kind in ResourceKind]
    (match,) = matched([(product, "", description)], bearers)
    assert (match.resource_id, match.matched_by, match.unmatched) == (None, None, reason)


def test_what_is_there_goes_before_what_is_gone_and_two_of_a_name_are_not_told_apart() -> None:
    gone, new = there(ResourceKind.DROPLET, "web", "1", deleted=True), there(ResourceKind.DROPLET, "web", "2")
    line = [("Droplets", "", "web (1gb)")]
    for candidates, expected in (
        ([gone, new], (new.id, "name", None)),
        ([gone], (gone.id, "name", Unmatched.DELETED_RESOURCE)),
        ([new, there(ResourceKind.DROPLET, "web", "3")], (None, None, Unmatched.AMBIGUOUS_NAME)),
        ([gone, there(ResourceKind.DROPLET, "web", "3", deleted=True)], (None, None, Unmatched.AMBIGUOUS_NAME)),
    ):
        (match,) = matched(line, candidates)
        assert (match.resource_id, match.matched_by, match.unmatched) == expected


def test_items_tell_apart_what_followed_one_another_under_one_name() -> None:
    first, second = there(ResourceKind.DROPLET, "web", "1"), there(ResourceKind.DROPLET, "web", "2")
    items = Items()
    april, mid, may = ("2026-04-01T00:00:00Z", "2026-04-15T00:00:00Z", "2026-05-01T00:00:00Z")
    told = {"product": "Droplets", "description": "web (1gb)", "amount": "1.00"}
    items.add(told | {"resource_id": "1", "start_time": april, "end_time": mid})
    items.add(told | {"resource_id": "2", "start_time": mid, "end_time": may})
    batch: Batch[Any] = Batch(
        1, [b"Droplets"] * 3, [b""] * 3, [b"web (1gb)"] * 3, [APRIL, MID, APRIL], [MID, MAY, MAY], [0] * 3, []
    )
    matches = Matcher([first, second], items).match(batch)
    assert [(each.resource_id, each.matched_by) for each in matches] == [
        (first.id, "id"), (second.id, "id"), (None, None),
    ]  # fmt: skip
    assert matches[2].unmatched == Unmatched.AMBIGUOUS_NAME
    assert (items.count, items.cents) == (2, 200)


SPANS = st.sampled_from([(None, None), (APRIL, MID), (MID, MAY), (APRIL, MAY), (APRIL, None)])
ITEMS = st.lists(st.tuples(st.sampled_from(["1", "2", "3"]), SPANS), max_size=6)


@given(ITEMS, st.integers(1, 40), ITEMS, SPANS)
def test_an_item_means_a_line_if_no_other_of_its_name_can(
    first: list[tuple[str, Span]], times: int, then: list[tuple[str, Span]], asked: Span
) -> None:
    """However many times, and in whatever order, items tell it."""
    items, told = Items(), [*first * times, *then]
    for id, (start, end) in told:
        spelt = {"start_time": (start or b"").decode(), "end_time": (end or b"").decode()}
        items.add({"product": "Droplets", "description": "web (1gb)", "resource_id": id, **spelt})
    ids = {id for id, _ in told}
    if len(ids) > 1:
        ids = {id for id, span in told if span == asked}
    line = [b"Droplets"], [b""], [b"web (1gb)"], [asked[0] or b""], [asked[1] or b""], [0]
    (match,) = Matcher([], items).match(Batch[Any](1, *line, []))
    assert match.provider_resource_id == (ids.pop() if len(ids) == 1 else None)
    assert match.unmatched == (
        Unmatched.UNKNOWN_RESOURCE if match.provider_resource_id or not told else Unmatched.AMBIGUOUS_NAME
    )


def test_very_many_of_one_name_take_no_longer_each() -> None:
    items, count, noon = Items(), 20_000, datetime(2026, 4, 1, 12, tzinfo=UTC)
    times = [(noon + timedelta(minutes=n)).isoformat() for n in range(count + 1)]
    for n in range(count):
        told = {"product": "Droplets", "description": "runner (1gb)", "resource_id": n + 1}
        items.add(told | {"start_time": times[n], "end_time": times[n + 1]})
    starts, ends = [text.encode() for text in times[:-1]], [text.encode() for text in times[1:]]
    batch: Batch[Any] = Batch(
        1, [b"Droplets"] * count, [b""] * count, [b"runner (1gb)"] * count, starts, ends, [0] * count, []
    )
    began = time.process_time()
    matches = Matcher([], items).match(batch)
    assert time.process_time() - began < 5  # tenths of a second; where each looks at all, a minute
    assert [match.provider_resource_id for match in matches] == [str(n + 1) for n in range(count)]


def test_an_id_that_cannot_be_stored_is_none() -> None:
    with pytest.raises(ValueError, match="is no id"):
        Items().add({"product": "Droplets", "description": "web", "resource_id": "a\x00b"})


def test_two_of_one_name_and_time_are_not_told_apart_though_one_alone_is_there() -> None:
    items = Items()
    for id in ("1", "2"):
        items.add({"product": "Volumes", "description": "web (nyc3) 1GB", "amount": "1.00", "resource_uuid": id})
    (match,) = matched([("Volumes", "", "web (nyc3) 1GB")], [there(ResourceKind.VOLUME, "web", "2")], items)
    assert (match.resource_id, match.unmatched) == (None, Unmatched.AMBIGUOUS_NAME)


def test_an_item_is_known_by_its_group_too_and_by_the_end_of_its_last_day() -> None:
    items, cluster = Items(), there(ResourceKind.KUBERNETES_CLUSTER, "called-otherwise", "u")
    told = {"product": "Kubernetes Clusters", "description": "3 nodes"}
    items.add(told | {"group_description": "k8s", "resource_uuid": "u"})
    items.add(told | {"group_description": "other", "resource_uuid": "v"})
    (match,) = matched([("Kubernetes Clusters", "k8s", "3 nodes")], [cluster], items)
    assert (match.resource_id, match.matched_by) == (cluster.id, "id")

    items, first, second = Items(), there(ResourceKind.DROPLET, "web", "1"), there(ResourceKind.DROPLET, "web", "2")
    for id, end in (("1", "2026-04-30T23:59:59Z"), ("2", "2026-04-15T00:00:00Z")):
        items.add({"product": "Droplets", "description": "web (1gb)", "resource_id": id,
                   "start_time": "2026-04-01T00:00:00Z", "end_time": end})  # fmt: skip
    (match,) = matched([("Droplets", "", "web (1gb)")], [first, second], items)
    assert match.resource_id == first.id


def test_an_item_of_what_means_no_single_resource_changes_nothing() -> None:
    items = Items()
    items.add({"product": "Spaces", "description": "x", "resource_id": "7"})
    (match,) = matched([("Spaces", "", "x")], [], items)
    assert (match.provider_resource_id, match.unmatched) == (None, Unmatched.ACCOUNT_LEVEL)


def test_an_id_may_be_a_uuid() -> None:
    items, volume = Items(), there(ResourceKind.VOLUME, "data", "506f78a4")
    items.add({"product": "Volumes", "description": "called-otherwise (nyc3) 1GB", "resource_uuid": "506f78a4"})
    (match,) = matched([("Volumes", "", "called-otherwise (nyc3) 1GB")], [volume], items)
    assert (match.resource_id, match.matched_by) == (volume.id, "id")


def test_an_item_may_lack_anything() -> None:
    items = Items()
    for item in ({}, {"resource_id": ""}, {"resource_uuid": "a"}, {"resource_id": None, "amount": "0.10"}):
        items.add(item)
    assert (items.count, items.cents) == (4, 10)
    with pytest.raises(ValueError, match="no amount"):
        items.add({"amount": "much"})


def test_every_product_without_a_resource_has_a_reason_of_its_own() -> None:
    for name, product in PRODUCTS.items():
        assert (product.of is None) is (product.otherwise != Unmatched.UNKNOWN_RESOURCE), name
    assert product_of("Managed Databases") is product_of("Managed Databases: MySQL")
