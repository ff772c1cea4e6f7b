"""The families that the stand-in knows. A new one is a module and an entry here."""

from dev.digitalocean import (
    account,
    actions,
    billing,
    domains,
    droplet_actions,
    droplet_by_hand,
    droplet_create,
    droplets,
    network,
    platforms,
    projects,
    records,
    storage,
    tags,
)
from dev.digitalocean.family import Families, Family

DROPLETS = Family(
    name="droplets",
    routes=(*droplets.ROUTES, *droplet_create.ROUTES, *droplet_actions.ROUTES),
    urn="droplet",
    resource_type="droplet",
    find=droplets.find,
    by_hand=droplet_by_hand.BY_HAND,
)

FAMILIES = Families(
    (
        DROPLETS,
        *storage.FAMILIES,
        domains.FAMILY,
        records.FAMILY,
        *network.FAMILIES,
        *platforms.FAMILIES,
        actions.FAMILY,
        projects.FAMILY,
        tags.FAMILY,
        account.FAMILY,
        billing.FAMILY,
    )
)
