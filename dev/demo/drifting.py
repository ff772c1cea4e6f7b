"""The story's last part: what somebody changes by hand is found, priced, and brought back or accepted."""

from __future__ import annotations

import asyncio
from typing import Any

from dev.demo.building import followed
from dev.demo.screen import Screen
from dev.demo.stage import Caller, DemoFailed, Stage

_DRIFT = "/api/v1/drift"
_LONGEST_S = 30


async def find_and_decide(stage: Stage, screen: Screen, operator: Caller) -> None:
    """A size is brought back by a saga, a tag is accepted; and what is nobody's is added up."""
    wiki = next(each for each in (await operator.get("/api/v1/deployments"))["deployments"] if each["slug"] == "wiki")
    (droplet,) = await stage.provider.droplets(f"deployment:{wiki['id']}")
    await stage.provider.change_droplet(droplet.id, size="s-4vcpu-8gb", tags=[*droplet.tags, "watched"])
    screen.step(f"by hand, {droplet.name} is resized from {droplet.size} to s-4vcpu-8gb, and tagged `watched`")
    await operator.do("POST", "/api/v1/inventory/sync", {"kind": "droplet"})
    screen.step("the next sync sees it")
    found = {each["field"]: each for each in await _inbox(operator, 2)}
    screen.table(
        ["drift", "asked for", "is", "severity", "USD a month"],
        [
            [each["field"], _shown(each["desired"]), _shown(each["live"]), each["severity"], _dollars(each)]
            for each in found.values()
        ],
    )
    await operator.do("POST", f"{_DRIFT}/{found['tags']['id']}/accept")
    screen.step("an operator accepts the tag: from now on it is asked for")
    begun = await operator.do("POST", f"{_DRIFT}/{found['size_slug']['id']}/revert")
    screen.step("and has the size brought back, by a saga:")
    await followed(screen, operator, begun["drift"]["revert_saga_id"])
    await _inbox(operator, 0)
    (now,) = await stage.provider.droplets(f"deployment:{wiki['id']}")
    screen.step(f"{now.name} is {now.size} and {now.status} again; the inbox is empty")
    nobodys = await operator.get(f"{_DRIFT}/unmanaged", kind="droplet")
    screen.fact(
        f"Looked at again: {(await operator.do('POST', f'{_DRIFT}/detect'))['open']} drifts. Beside it, "
        f"{nobodys['count']} droplets that nobody asked for, and no deployment has, cost "
        f"{nobodys['monthly_usd_cents'] / 100:,.2f} USD a month: `GET {_DRIFT}/unmanaged`."
    )


async def _inbox(operator: Caller, count: int) -> list[dict[str, Any]]:
    """The drifts that are open, once there are so many."""
    for _ in range(int(_LONGEST_S / 0.1)):
        found: list[dict[str, Any]] = (await operator.get(_DRIFT))["drift"]
        if len(found) == count:
            return found
        await asyncio.sleep(0.1)
    raise DemoFailed(f"there are {len(found)} drifts after {_LONGEST_S} s, not {count}: see {_DRIFT}")


def _shown(value: Any) -> str:
    """A value in a few words: of tags, those that people have given."""
    if not isinstance(value, list):
        return str(value)
    plain = [each for each in value if ":" not in each]
    return " + ".join([f"{len(value) - len(plain)} of ours", *plain])


def _dollars(drift: dict[str, Any]) -> str:
    cents = drift["monthly_delta_cents"]
    return "" if cents is None else f"{cents / 100:+,.2f}"
