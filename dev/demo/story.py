"""The story: a fleet is mirrored and changes, everybody sees what is theirs; plans are sold, deployments are built."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.text import Text

from cli.tail import Wanted, messages
from dev.demo import building, costs, drifting, earning, selling
from dev.demo.screen import Screen
from dev.demo.stage import Caller, Stage
from dev.digitalocean.control import Truth

DROPLETS = 300
OTHERS = 60  # of all other kinds, for each hundred droplets
TENANTS = {"acme": "tenant-acme", "globex": "tenant-globex"}
"""Two of the tenants, and the provider's projects that hold what is theirs."""


async def tell(stage: Stage, screen: Screen) -> None:
    """All chapters in their order."""
    await stage.provider.reset(droplets=DROPLETS, others=OTHERS, seed=42, rate_hour=0, rate_minute=0)
    async with stage.caller("platform", "ops@arcadia.example", operator=True) as operator:
        for title, what, chapter in CHAPTERS:
            screen.chapter(title, what)
            await chapter(stage, screen, operator)


async def mirror_the_fleet(stage: Stage, screen: Screen, operator: Caller) -> None:
    """The first sync discovers everything; projects are given to tenants."""
    _show_sync(screen, await operator.do("POST", "/api/v1/inventory/sync"), all_kinds=True)
    projects = (await operator.get("/api/v1/projects"))["projects"]
    for tenant, name in TENANTS.items():
        (project,) = [project for project in projects if project["name"] == name]
        await operator.do("PATCH", f"/api/v1/projects/{project['id']}", {"tenant_id": tenant, "purpose": "apps"})
    resources = (await operator.get("/api/v1/inventory"))["resources"]
    owned = Counter(resource["tenant_id"] for resource in resources)
    screen.table(["tenant", "resources"], [[tenant or "(nobody yet)", count] for tenant, count in owned.most_common()])
    screen.fact(
        "A resource belongs to its project's tenant: classifying a project moved all that is in it, with its snapshots "
        "and backups, and told so."
    )


async def sync_again(stage: Stage, screen: Screen, operator: Caller) -> None:
    """Nothing changed, so nothing is said."""
    _show_sync(screen, await operator.do("POST", "/api/v1/inventory/sync"))
    screen.fact("An unchanged fleet writes no event: what you see on the bus is what happened.")


async def change_by_hand(stage: Stage, screen: Screen, operator: Caller) -> None:
    """Somebody is busy in the provider's console; the next sync finds out."""
    truth = await stage.provider.truth()
    began = datetime.now(UTC)
    await _by_hand(stage, screen, truth)
    _show_sync(screen, await operator.do("POST", "/api/v1/inventory/sync"))
    screen.lines(await _said_since(stage, began))
    screen.fact(
        "One missing walk is a strike, not a deletion: three complete walks, 30 minutes apart, make a tombstone."
    )


async def _by_hand(stage: Stage, screen: Screen, truth: Truth) -> None:
    provider = stage.provider
    acme = [droplet for droplet in truth.droplets if _project_name(truth, droplet.project_id) == TENANTS["acme"]]
    acme_id = next(project.id for project in truth.projects if project.name == TENANTS["acme"])
    globex_id = next(project.id for project in truth.projects if project.name == TENANTS["globex"])
    resized, renamed, moved, gone = acme[:4]
    await provider.change_droplet(resized.id, size="s-8vcpu-16gb")
    screen.step(f"{resized.name} is resized from {resized.size} to s-8vcpu-16gb")
    await provider.change_droplet(renamed.id, name=f"{renamed.name}-old", tags=[*renamed.tags, "retired"])
    screen.step(f"{renamed.name} is renamed and tagged")
    await provider.change_droplet(moved.id, project_id=globex_id)
    screen.step(f"{moved.name} is moved from acme's project to globex's")
    volume = next(thing for thing in await provider.things("volumes") if thing.project_id == acme_id)
    await provider.change_thing("volumes", volume.id, size_gigabytes=500)
    screen.step(f"the volume {volume.row['name']} grows from {volume.row['size_gigabytes']} to 500 GB")
    await provider.delete_droplet(gone.id)
    screen.step(f"{gone.name} is destroyed; its volumes and snapshots stay, and cost")
    (born,) = await provider.add_droplets(1, name="web-by-hand", project_id=globex_id)
    screen.step(f"{born.name} is created in globex's project")


def _project_name(truth: Truth, id: str) -> str:
    return next(project.name for project in truth.projects if project.id == id)


async def ask_as_everybody(stage: Stage, screen: Screen, operator: Caller) -> None:
    """The same question, three callers."""
    everything = (await operator.get("/api/v1/inventory"))["resources"]
    rows: list[list[Any]] = [["operator", len(everything), "-", "-"]]
    for tenant, other in zip(TENANTS, reversed(TENANTS), strict=True):
        async with stage.caller(tenant, f"dev@{tenant}.example") as caller:
            mine = await caller.get("/api/v1/inventory")
            foreign = next(resource["id"] for resource in everything if resource["tenant_id"] == other)
            sync = (await caller.client.post("/api/v1/inventory/sync")).status_code
            rows.append([tenant, mine["count"], await caller.status(f"/api/v1/inventory/{foreign}"), sync])
    screen.table(["caller", "GET /inventory: rows", "GET one of the other's", "POST /inventory/sync"], rows)
    screen.fact("The tenants' database role can read views that hold only their rows: no route can forget the filter.")


async def find_leftovers(stage: Stage, screen: Screen, operator: Caller) -> None:
    """What nobody owns and still costs; and how fresh all that is known is."""
    found = await operator.get("/api/v1/inventory/orphans")
    dearest = sorted(found["orphans"], key=lambda orphan: -(orphan["monthly_usd_cents"] or 0))
    rows = [[o["kind"], o["name"], o["tenant_id"], o["reason"], _dollars(o["monthly_usd_cents"])] for o in dearest]
    screen.table(["kind", "name", "tenant", "why", "USD a month"], rows[:6])
    health = await operator.get("/api/v1/inventory/health")
    fresh = sum(kind["status"] == "fresh" for kind in health["kinds"])
    screen.fact(
        f"{len(rows)} leftovers cost {_dollars(found['monthly_usd_cents'])} USD a month. {fresh} of {health['count']} "
        "kinds are fresh: each says when a walk last saw everything."
    )


def _dollars(cents: int | None) -> str:
    return "?" if cents is None else f"{cents / 100:,.2f}"


async def tail_the_bus(stage: Stage, screen: Screen, operator: Caller) -> None:
    """What an operator sees with `arcadia tail`."""
    lines = await _said_since(stage, datetime.now(UTC) - timedelta(hours=1))
    screen.lines(lines[-12:])
    screen.fact(f"{len(lines)} messages so far: commands, events with the full state, replies. Plain CloudEvents JSON.")


def _show_sync(screen: Screen, numbers: dict[str, Any], *, all_kinds: bool = False) -> None:
    """What a sync found, by kind; those of which there is nothing to say are added up in the last line."""
    columns = ["seen", "discovered", "updated", "restored", "struck", "deleted"]
    counts = {kind: [found.get(column, 0) for column in columns] for kind, found in numbers.items()}
    shown = {kind: row for kind, row in counts.items() if all_kinds or any(row[1:])}
    total = [sum(row) for row in zip(*counts.values(), strict=True)]
    screen.table(["synced", *columns], [[kind, *row] for kind, row in [*shown.items(), ("all of them", total)]])


async def _said_since(stage: Stage, since: datetime) -> list[Text]:
    """The bus since then, a line per message, oldest first."""
    runs = messages(stage.settings, Wanted(), int(since.timestamp() * 1000), follow=False)
    seen = [each async for run in runs for each in run if each.at >= since]
    return [each.line() for each in sorted(seen, key=lambda each: each.at)]


Chapter = Callable[[Stage, Screen, Caller], Awaitable[None]]

CHAPTERS: tuple[tuple[str, str, Chapter], ...] = (
    (
        "1. A fleet is mirrored",
        f"{DROPLETS} droplets and all that belongs to them become rows, each with a `discovered` event.",
        mirror_the_fleet,
    ),
    ("2. Again", "A second sync finds everything as it was.", sync_again),
    ("3. Changes by hand", "Somebody resizes, renames, moves, destroys and creates at the provider.", change_by_hand),
    ("4. Everybody asks", "The operator and two tenants ask the gateway.", ask_as_everybody),
    ("5. Leftovers", "Volumes and addresses without a droplet, snapshots of what is gone.", find_leftovers),
    ("6. A tenant subscribes", "Acme looks at the plans, creates a deployment and subscribes it.", selling.subscribe),
    (
        "7. The price is raised",
        "A plan gets a dearer version; who subscribed keeps the old.",
        selling.raise_the_price,
    ),
    ("8. A quiet month", "A deployment goes from state to state, where the map allows it.", selling.pause),
    (
        "9. A deployment is built",
        "A droplet, a name, an entry in the inventory: seven steps, each told as it happens.",
        building.build,
    ),
    (
        "10. One that fails",
        "The last step but one is refused, so those before it are undone, one by one.",
        building.undo,
    ),
    (
        "11. What was used",
        "Two droplets and a snapshot are metered for ten days; traffic and tokens are reported, each event once.",
        earning.meter,
    ),
    (
        "12. What is owed",
        "The month's quote, line by line: what is included, what is beyond, and how each figure came about.",
        earning.quote,
    ),
    (
        "13. The bills of years",
        "Every invoice since 2014 is read line by line, matched to what is there, and passed on to finance.",
        costs.take_in,
    ),
    (
        "14. Where a month went",
        "April 2026: which lines mean what, why the others do not, and whether it all adds up.",
        costs.explain,
    ),
    (
        "15. What is left",
        "What deployments earn against what they cost, in one currency; and what nobody bears.",
        earning.margin,
    ),
    (
        "16. A hand at the provider",
        "Somebody resizes the droplet of `wiki`, and tags it: neither was asked for.",
        drifting.find_and_decide,
    ),
    ("17. On the bus", "The last messages of all topics, as `arcadia tail` shows them.", tail_the_bus),
)
