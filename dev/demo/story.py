"""The story: a fleet is mirrored, things change at the provider, and everybody sees what is theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.text import Text

from cli.tail import Wanted, messages
from dev.demo.screen import Screen
from dev.demo.stage import Caller, Stage
from dev.digitalocean.control import Truth

FLEET = 300
TENANTS = {"acme": "tenant-acme", "globex": "tenant-globex"}
"""Two of the tenants, and the provider's projects that hold what is theirs."""


async def tell(stage: Stage, screen: Screen) -> None:
    """All chapters in their order."""
    await stage.provider.reset(droplets=FLEET, seed=42)
    async with stage.caller("platform", "ops@arcadia.example", operator=True) as operator:
        for title, what, chapter in CHAPTERS:
            screen.chapter(title, what)
            await chapter(stage, screen, operator)


async def mirror_the_fleet(stage: Stage, screen: Screen, operator: Caller) -> None:
    """The first sync discovers everything; projects are given to tenants."""
    _show_sync(screen, await operator.do("POST", "/api/v1/inventory/sync"))
    projects = (await operator.get("/api/v1/projects"))["projects"]
    for tenant, name in TENANTS.items():
        (project,) = [project for project in projects if project["name"] == name]
        await operator.do("PATCH", f"/api/v1/projects/{project['id']}", {"tenant_id": tenant, "purpose": "apps"})
    resources = (await operator.get("/api/v1/inventory"))["resources"]
    owned = Counter(resource["tenant_id"] for resource in resources)
    screen.table(["tenant", "droplets"], [[tenant or "(nobody yet)", count] for tenant, count in owned.most_common()])
    screen.fact(
        "A resource belongs to its project's tenant: classifying a project moved all that is in it, with events."
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
    globex_id = next(project.id for project in truth.projects if project.name == TENANTS["globex"])
    resized, renamed, moved, gone = acme[:4]
    await provider.change_droplet(resized.id, size="s-8vcpu-16gb")
    screen.step(f"{resized.name} is resized from {resized.size} to s-8vcpu-16gb")
    await provider.change_droplet(renamed.id, name=f"{renamed.name}-old", tags=[*renamed.tags, "retired"])
    screen.step(f"{renamed.name} is renamed and tagged")
    await provider.change_droplet(moved.id, project_id=globex_id)
    screen.step(f"{moved.name} is moved from acme's project to globex's")
    await provider.delete_droplet(gone.id)
    screen.step(f"{gone.name} is destroyed")
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
    screen.table(["caller", "GET /inventory: rows", "GET the other's droplet", "POST /inventory/sync"], rows)
    screen.fact("The tenants' database role can read views that hold only their rows: no route can forget the filter.")


async def tail_the_bus(stage: Stage, screen: Screen, operator: Caller) -> None:
    """What an operator sees with `arcadia tail`."""
    lines = await _said_since(stage, datetime.now(UTC) - timedelta(hours=1))
    screen.lines(lines[-12:])
    screen.fact(f"{len(lines)} messages so far: commands, events with the full state, replies. Plain CloudEvents JSON.")


def _show_sync(screen: Screen, numbers: dict[str, Any]) -> None:
    columns = ["seen", "discovered", "updated", "restored", "struck", "deleted"]
    rows = [[kind, *(found.get(column, 0) for column in columns)] for kind, found in numbers.items()]
    screen.table(["synced", *columns], rows)


async def _said_since(stage: Stage, since: datetime) -> list[Text]:
    """The bus since then, a line per message, oldest first."""
    runs = messages(stage.settings, Wanted(), int(since.timestamp() * 1000), follow=False)
    seen = [each async for run in runs for each in run if each.at >= since]
    return [each.line() for each in sorted(seen, key=lambda each: each.at)]


Chapter = Callable[[Stage, Screen, Caller], Awaitable[None]]

CHAPTERS: tuple[tuple[str, str, Chapter], ...] = (
    (
        "1. A fleet is mirrored",
        f"{FLEET} droplets at the provider become {FLEET} rows and as many `discovered` events.",
        mirror_the_fleet,
    ),
    ("2. Again", "A second sync finds everything as it was.", sync_again),
    ("3. Changes by hand", "Somebody resizes, renames, moves, destroys and creates at the provider.", change_by_hand),
    ("4. Everybody asks", "The operator and two tenants ask the gateway.", ask_as_everybody),
    ("5. On the bus", "The last messages of all topics, as `arcadia tail` shows them.", tail_the_bus),
)
