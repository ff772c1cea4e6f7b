"""A fleet of all kinds in which things change at random between syncs, and what is there in truth.

Everything follows from the seed. What is there is read from the provider's API by plain requests, not by our client.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from contracts.kinds import ResourceKind
from dev.digitalocean.control import Control
from dev.digitalocean.faults import Effect, Fault
from services.inventory.domain import Seen
from services.inventory.kinds import KINDS
from tests.inventory.changes import CHANGES, Json

LISTS: dict[ResourceKind, str] = {
    ResourceKind.VOLUME: "volumes",
    ResourceKind.SNAPSHOT: "snapshots",
    ResourceKind.DNS_ZONE: "domains",
    ResourceKind.RESERVED_IP: "reserved_ips",
    ResourceKind.LOAD_BALANCER: "load_balancers",
    ResourceKind.DATABASE: "databases",
    ResourceKind.KUBERNETES_CLUSTER: "kubernetes/clusters",
    ResourceKind.VPC: "vpcs",
    ResourceKind.FIREWALL: "firewalls",
    ResourceKind.APP: "apps",
    ResourceKind.CONTAINER_REGISTRY: "registries",
}
FAULTS: tuple[tuple[Effect, Json], ...] = (
    ("status", {"status": 503, "probability": 0.05}),
    ("status", {"status": 500, "html": True, "probability": 0.03}),
    ("burst", {"seconds": 0, "probability": 0.02}),
    ("edge_gateway", {"probability": 0.02}),
    ("reset", {"probability": 0.03}),
    ("half_body", {"probability": 0.02}),
    ("half_json", {"probability": 0.02}),
    ("omit", {"share": 0.02, "probability": 0.2}),
    ("omit", {"share": 0.3, "probability": 0.05}),
    ("short_page", {"rows": 2, "probability": 0.1}),
    ("total", {"rows": 3, "probability": 0.05}),
    ("no_links", {"probability": 0.05}),
    ("no_meta", {"probability": 0.05}),
    ("shuffle", {"probability": 0.1}),
    ("insert", {"rows": 1, "probability": 0.02}),
    ("remove", {"rows": 1, "probability": 0.005}),
)
PLACED = ("volumes", "domains", "buckets", "reserved_ips", "load_balancers", "databases", "kubernetes_clusters", "apps")
SETTLED = frozenset({"kubernetes_clusters", "registries"})
"""Of these, few are there: they change and move, but none goes."""


@dataclass
class Agitated:
    """The provider, and the hand that is busy in it."""

    provider: Control
    rng: random.Random
    projects: list[str]
    ids: dict[str, list[str]] = field(default_factory=dict)
    rows: dict[str, Json] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)

    async def look(self) -> None:
        """See what is there now: some comes and goes by faults."""
        for kind in KINDS:
            family = CHANGES[kind].family
            if family == "droplets":
                found = (await self.provider.truth()).droplets
                self.ids[family] = [str(row.id) for row in found if "k8s:worker" not in row.tags]
                continue
            things = await self.provider.things(family)
            self.ids[family] = [thing.id for thing in things]
            self.rows |= {f"{family}/{thing.id}": thing.row for thing in things}

    async def stir(self, changes: int) -> None:
        """So many changes: of fields, of projects, and things that go, come, and come again."""
        await self.look()
        families = [family for family, ids in self.ids.items() for _ in ids]
        for _ in range(changes):
            family = self.rng.choice(families)
            do = self.rng.choices((self._change, self._move, self._delete, self._recreate, self._add), (6, 2, 1, 1, 1))[
                0
            ]
            if self.ids[family]:
                await do(family, self.rng.choice(self.ids[family]))

    async def _change(self, family: str, id: str) -> None:
        kind = next(kind for kind, changes in CHANGES.items() if changes.family == family)
        changes = list(CHANGES[kind].meaningful.values())
        # A cluster's other region would be its workers' too. A backup's change is noticed with its droplet's next one.
        if not changes or family in ("kubernetes_clusters", "backups"):
            return
        change = self.rng.choice(changes)
        droplet = int(self.rng.choice(self.ids["droplets"]))
        row = self.rows.get(f"{family}/{id}", {})
        fields = change(row, droplet) if callable(change) else dict(change)
        if "name" in fields:
            fields["name"] = f"renamed-{self.rng.getrandbits(32):08x}"
        self.done["changed"] += 1
        if family == "droplets":
            tags = fields.pop("tags", None)
            await self.provider.change_droplet(int(id), **({"tags": tags} if tags else {"shown": fields}))
        else:
            await self.provider.change_thing(family, id, **fields)

    async def _move(self, family: str, id: str) -> None:
        project = self.rng.choice(self.projects)
        if family == "droplets":
            await self.provider.change_droplet(int(id), project_id=project)
        elif family in PLACED:
            await self.provider.change_thing(family, id, project_id=project)
        else:
            return
        self.done["moved"] += 1

    async def _delete(self, family: str, id: str) -> None:
        if family in SETTLED:
            return
        self.ids[family].remove(id)
        self.done["deleted"] += 1
        if family == "droplets":
            await self.provider.delete_droplet(int(id))
        else:
            await self.provider.delete_thing(family, id)

    async def _recreate(self, family: str, id: str) -> None:
        """Under the same name, which is the identity of some: the old one back, to us."""
        if family in ("domains", "buckets", "reserved_ips"):
            row = self.rows[f"{family}/{id}"]
            await self.provider.delete_thing(family, id)
            kept = {name: row[name] for name in ("name", "ip") if name in row}
            await self.provider.add_thing(family, **kept)
            self.done["recreated"] += 1

    async def _add(self, family: str, _id: str) -> None:
        self.done["added"] += 1
        if family == "droplets":
            await self.provider.add_droplets(1, name=f"new-{self.rng.getrandbits(32):08x}")
        elif family == "backups":
            await self.provider.add_thing(family, droplet_id=int(self.rng.choice(self.ids["droplets"])))
        elif family not in SETTLED:
            await self.provider.add_thing(family)

    async def arm(self) -> None:
        """Other faults than before, two or three of them."""
        await self.provider.disarm()
        for effect, fields in self.rng.sample(FAULTS, self.rng.choice((2, 3))):
            paths = "/v2/droplets" if effect in ("insert", "remove") else "/v2/*"
            await self.provider.arm(Fault(effect=effect, path=paths, seed=self.rng.getrandbits(30), **fields))
        if self.rng.random() < 0.2:  # one list is away for good, as far as this sync is concerned
            path = self.rng.choice(["droplets", "projects", *LISTS.values()])
            await self.provider.arm(Fault(effect="status", path=f"/v2/{path}", status=503))


async def truth(provider: Control, url: str, token: str) -> dict[ResourceKind, dict[str, Json]]:
    """All rows that the API shows, by kind and id, page by page; backups under their droplets, buckets by hand."""
    found: dict[ResourceKind, dict[str, Json]] = {}
    async with httpx.AsyncClient(
        base_url=f"{url}/v2/", headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False
    ) as http:
        plain, gpus = await _all(http, "droplets"), await _all(http, "droplets", type="gpus")
        found[ResourceKind.DROPLET] = {str(row["id"]): row for row in [*plain, *gpus]}
        for kind, path in LISTS.items():
            found[kind] = {str(row[KINDS[kind].identity]): row for row in await _all(http, path)}
    backups = await provider.things("backups")
    droplets = found[ResourceKind.DROPLET]
    found[ResourceKind.DROPLET_BACKUP] = {
        thing.id: {**thing.row, "droplet_id": str(thing.row["droplet_id"])}
        for thing in backups
        if str(thing.row["droplet_id"]) in droplets
    }
    found[ResourceKind.SPACES_BUCKET] = {thing.id: thing.row for thing in await provider.things("buckets")}
    return found


async def _all(http: httpx.AsyncClient, path: str, **query: str) -> list[Json]:
    rows: list[Json] = []
    page = 1
    while True:
        answer = (await http.get(path, params={"page": str(page), "per_page": "200", **query})).json()
        (key,) = [name for name in answer if name not in ("links", "meta")] or [""]
        rows += answer.get(key, [])
        if not answer.get("links", {}).get("pages", {}).get("next"):
            return rows
        page += 1


def told(kind: ResourceKind, row: Json) -> Mapping[str, Any]:
    """What the inventory is to have of a row."""
    seen = KINDS[kind].observe(KINDS[kind].cleaned(row))
    assert isinstance(seen, Seen), seen
    return {**seen.content(), "tags": list(seen.tags)}
