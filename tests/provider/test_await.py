"""Waiting for a droplet: until it is up with its address, or certainly never will be."""

from __future__ import annotations

import pytest

from contracts.provider import AwaitDroplet
from dev.digitalocean.faults import Fault
from shared.ids import uuid7
from tests.provider.world import PATIENCE, Provisioning, create, within


@pytest.mark.parametrize("ipv6", [False, True])
async def test_a_droplet_is_awaited_until_it_has_its_public_address(provisioning: Provisioning, ipv6: bool) -> None:
    await provisioning.provider.set(networks_lag=20, read_lag=5)
    made = (await provisioning.ok(create(ipv6=ipv6)))["droplet_id"]

    result = await provisioning.ok(AwaitDroplet(operation_id=uuid7(), droplet_id=made))

    assert result["droplet_id"] == made
    assert result["ipv4"].startswith("198.18.")
    assert (result["ipv6"] is not None) is ipv6


async def test_an_address_that_is_none_is_not_given(provisioning: Provisioning) -> None:
    (droplet,) = await provisioning.provider.add_droplets(1)
    for address in ("<nil>", "", None):
        v4 = [{"ip_address": address, "type": "public"}, {"ip_address": "10.0.0.9", "type": "private"}]
        await provisioning.provider.change_droplet(droplet.id, shown={"networks": {"v4": v4, "v6": []}})
        awaiting = AwaitDroplet(operation_id=uuid7(), droplet_id=droplet.id)
        assert await provisioning.refused(awaiting, expires=within(1.5)) == "droplet_not_ready"


async def test_a_droplet_that_could_not_be_placed_has_vanished(provisioning: Provisioning) -> None:
    await provisioning.provider.arm(Fault(effect="placement_fails", method="POST", path="/v2/droplets"))
    made = (await provisioning.ok(create()))["droplet_id"]

    assert await provisioning.refused(AwaitDroplet(operation_id=uuid7(), droplet_id=made)) == "droplet_vanished"


async def test_a_droplet_that_vanished_before_it_was_looked_for_is_known_by_its_action(
    provisioning: Provisioning,
) -> None:
    await provisioning.provider.arm(Fault(effect="placement_fails", method="POST", path="/v2/droplets"))
    made = (await provisioning.ok(create()))["droplet_id"]
    await provisioning.provider.advance(60)

    assert await provisioning.refused(AwaitDroplet(operation_id=uuid7(), droplet_id=made)) == "droplet_vanished"

    assert (await provisioning.asked("GET", f"/v2/droplets/{made}")).total() == 1


async def test_a_droplet_that_was_never_known_has_vanished_after_a_while(provisioning: Provisioning) -> None:
    assert await provisioning.refused(AwaitDroplet(operation_id=uuid7(), droplet_id=7)) == "droplet_vanished"

    asked = [entry.at for entry in (await provisioning.provider.requests("/v2/droplets/7")).requests]
    assert asked[-1] - asked[0] > PATIENCE.vanished_s


async def test_a_droplet_that_is_unknown_for_a_moment_has_not_vanished(provisioning: Provisioning) -> None:
    made = (await provisioning.ok(create()))["droplet_id"]
    path = f"/v2/droplets/{made}"
    await provisioning.provider.arm(Fault(effect="status", status=404, method="GET", path=path, after=1, count=1))
    await provisioning.provider.change_droplet(made, shown={"status": "new"})
    (id,) = await provisioning.send(AwaitDroplet(operation_id=uuid7(), droplet_id=made))
    await provisioning.until_asked("GET", path, times=2)

    await provisioning.provider.change_droplet(made, shown={})

    assert (await provisioning.outcome(id)).status == "ok"


async def test_a_droplet_that_goes_while_it_is_awaited_has_vanished(provisioning: Provisioning) -> None:
    await provisioning.provider.set(create_seconds=10_000)
    made = (await provisioning.ok(create()))["droplet_id"]
    (id,) = await provisioning.send(AwaitDroplet(operation_id=uuid7(), droplet_id=made))
    await provisioning.until_asked("GET", f"/v2/droplets/{made}")

    await provisioning.provider.delete_droplet(made)

    assert (await provisioning.outcome(id)).code == "droplet_vanished"


async def test_a_droplet_that_does_not_come_up_in_time_is_not_ready(provisioning: Provisioning) -> None:
    await provisioning.provider.set(create_seconds=10_000)
    made = (await provisioning.ok(create()))["droplet_id"]

    outcome = await provisioning.ask(AwaitDroplet(operation_id=uuid7(), droplet_id=made), expires=within(2))

    assert (outcome.code, (outcome.detail or {})["status"]) == ("droplet_not_ready", "new")


async def test_waiting_outlasts_an_outage(provisioning: Provisioning) -> None:
    made = (await provisioning.ok(create()))["droplet_id"]
    await provisioning.provider.arm(Fault(effect="status", status=500, path=f"/v2/droplets/{made}", count=3))
    await provisioning.provider.arm(Fault(effect="burst", seconds=1, path=f"/v2/droplets/{made}", count=1))

    assert (await provisioning.ok(AwaitDroplet(operation_id=uuid7(), droplet_id=made)))["ipv4"]
