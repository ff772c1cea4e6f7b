"""The account, and what the provider offers: sizes and regions."""

from __future__ import annotations

import orjson

from dev.digitalocean.catalog import REGIONS, SIZES
from dev.digitalocean.family import Family
from dev.digitalocean.http import Answer, Request, Route, answer
from dev.digitalocean.paging import page
from dev.digitalocean.state import World


def _get_account(world: World, request: Request) -> Answer:
    account = {
        "droplet_limit": world.settings.droplet_limit,
        "floating_ip_limit": 5,
        "email": "ops@arcadia.example",
        "name": "Arcadia Operations",
        "uuid": world.account_uuid,
        "email_verified": True,
        "status": "active",
        "status_message": "",
        "team": {"uuid": world.owner_uuid, "name": "Arcadia"},
    }
    return answer({"account": account})


def _list_sizes(_world: World, request: Request) -> Answer:
    return page(request, "sizes", list(SIZES.values()), lambda size: orjson.Fragment(size.json))


def _list_regions(_world: World, request: Request) -> Answer:
    return page(request, "regions", list(REGIONS.values()), lambda region: orjson.Fragment(region.json))


FAMILY = Family(
    name="account",
    routes=(
        Route("GET", "/v2/account", _get_account),
        Route("GET", "/v2/sizes", _list_sizes),
        Route("GET", "/v2/regions", _list_regions),
    ),
)
