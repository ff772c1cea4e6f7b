"""`arcadia status`: how everything is, on one screen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli import services, settings
from cli.errors import explained
from cli.operators import rows, schemas, sight
from cli.tables import plain_table

if TYPE_CHECKING:
    from shared.config import Settings

_BROKER_S = 5.0
_OUTBOX_OLD_S = 60.0
_SEEN_WITHIN_S = 20.0  # a process says every 5 s that it is there

_FAILED_SAGAS = """
    select count(*) from sagas.v1_all_sagas where status = 'failed' and saga #>> '{error,written_off}' is null
    """

_UNWELL = {"failing": "yellow", "stale": "yellow", "held": "red", "never": "dim"}

Row = dict[str, Any]


@dataclass
class Picture:
    """What was found: a row per service, and what services publish about themselves."""

    services: dict[str, Row] = field(default_factory=dict)
    without_schema: list[str] = field(default_factory=list)
    coverage: list[Row] = field(default_factory=list)
    held: list[Row] = field(default_factory=list)
    slots: list[Row] = field(default_factory=list)
    failed_sagas: int = 0
    broker: str | None = None
    """What is wrong with the broker."""


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again every two seconds, until Ctrl-C.")] = False,
) -> None:
    """Show every service's processes, outbox, jobs, dead letters and lag, and how fresh the inventory is.

    Exit code 1 where something needs an operator.
    """
    console = Console()
    try:
        while True:
            picture = asyncio.run(look(settings.load()))
            if watch:
                console.clear()
            for part in draw(picture, datetime.now(UTC)):
                console.print(part)
            if not watch:
                raise typer.Exit(1 if worries(picture) else 0)
            asyncio.run(asyncio.sleep(2))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


async def look(chosen: Settings) -> Picture:
    """Read what the services publish about themselves."""
    picture = Picture(broker=await _broker_trouble(chosen))
    async with sight(chosen) as conn:
        for schema in await schemas(conn):
            (health,) = await rows(conn, schema, "v1_all_health")
            alive = [process for process in health["processes"] if _seen_lately(process)]
            picture.services[schema] = {**health, "processes": alive}
        picture.without_schema = [name for name in services.names() if name not in picture.services]
        picture.coverage = await rows(conn, "inventory", "v1_all_coverage")
        picture.held = await rows(conn, "inventory", "v1_all_held_syncs")
        picture.slots = await rows(conn, "scheduler", "v1_all_slots")
        if "sagas" in picture.services:
            picture.failed_sagas = await conn.fetchval(_FAILED_SAGAS)
    return picture


def _seen_lately(process: Row) -> bool:
    seen = datetime.fromisoformat(process["seen_at"])
    return (datetime.now(UTC) - seen).total_seconds() < _SEEN_WITHIN_S


def worries(picture: Picture) -> list[str]:
    """What needs an operator, in words."""
    found = [f"Kafka: {picture.broker}"] if picture.broker else []
    found += [f"{name} has no schema in this database: arcadia migrate" for name in picture.without_schema]
    for name, row in picture.services.items():
        if not row["processes"]:
            found.append(f"{name} is not running: arcadia run {name}")
        if any(process["report"].get("stopped") for process in row["processes"]):
            found.append(f"{name} has stopped, because too many messages fail: arcadia dead-letters list")
        if (row["outbox_age_s"] or 0) > _OUTBOX_OLD_S:
            found.append(f"{name} does not publish: its oldest message waits for {_ago(row['outbox_age_s'])}")
        if row["dead"]:
            found.append(f"{name} gave up on {row['dead']} messages: arcadia dead-letters list --service {name}")
    found += [
        f"a sync of {held['kind']} is held, {held['missing']} of {held['known']} were missing"
        for held in _open(picture)
    ]
    if picture.failed_sagas:
        found.append(f"{picture.failed_sagas} sagas have failed and wait for you: arcadia sagas list --status failed")
    return [*found, *map(_trouble, (kind for kind in picture.coverage if kind["status"] in ("failing", "stale")))]


def _trouble(kind: Row) -> str:
    if kind["status"] == "stale":
        return f"no complete walk of {kind['kind']} for two hours: is the scheduler running?"
    return f"the last walk of {kind['kind']} was {kind['last_status']}: {kind['doubts'][0] if kind['doubts'] else '-'}"


def draw(picture: Picture, now: datetime) -> list[Table | Text]:
    """The screen."""
    parts: list[Table | Text] = [_services(picture), _relays(picture)]
    if picture.coverage:
        parts.append(_inventory(picture, now))
    if picture.slots:
        parts.append(_schedule(picture, now))
    found = worries(picture)
    parts.append(Text("\n".join(f"! {worry}" for worry in found), "yellow") if found else Text("all is well", "green"))
    return parts


def _services(picture: Picture) -> Table:
    table = plain_table("service", "up", "memory", "outbox", "oldest", "queued", "running", "held", "dead", "lag")
    for name, row in picture.services.items():
        reports = [process["report"] for process in row["processes"]]
        table.add_row(
            Text(name, "bold"),
            str(len(reports)) if reports else Text("none", "red"),
            f"{max((report.get('memory_mb') or 0 for report in reports), default=0)} MB" if reports else "-",
            str(row["outbox_depth"]),
            _ago(row["outbox_age_s"]),
            str(row["jobs_queued"]),
            str(row["jobs_running"]),
            _alarming(row["held"]),
            _alarming(row["dead"]),
            str(sum(report.get("lag") or 0 for report in reports)) if reports else "?",
        )
    return table


def _relays(picture: Picture) -> Table:
    """Which processes publish the outboxes."""
    led: dict[str, list[str]] = {}
    for name, row in picture.services.items():
        led.setdefault(_leader(row["processes"]), []).append(name)
    table = plain_table("relay", "publishes for")
    table.columns[-1].no_wrap = False
    for leader, names in led.items():
        table.add_row(Text(leader, "bold"), ", ".join(names))
    return table


def _leader(processes: Sequence[Row]) -> str:
    """The process that publishes, by host and pid: the latest to say so, where one has died and another followed."""
    leading = [process for process in processes if process["report"].get("relay")]
    latest = max(leading, key=lambda process: str(process["seen_at"]), default=None)
    return f"{latest['host']}:{latest['pid']}" if latest else "nobody"


def _inventory(picture: Picture, now: datetime) -> Table:
    """How fresh what is known of each kind is."""
    table = plain_table("inventory", "resources", "status", "complete", "last walk", "result")
    for kind in sorted(picture.coverage, key=lambda kind: str(kind["kind"])):
        table.add_row(
            Text(kind["kind"], "bold"),
            str(kind["resources"]),
            Text(kind["status"], _UNWELL.get(kind["status"], "")),
            _before(kind["complete_at"], now) if kind["complete_at"] else Text("never", "yellow"),
            _before(kind["last_started_at"], now) if kind["last_started_at"] else "-",
            kind["last_status"] or "-",
        )
    return table


def _schedule(picture: Picture, now: datetime) -> Table:
    table = plain_table("schedule", "cron", "last", "next")
    for slot in sorted(picture.slots, key=lambda slot: slot["next_at"]):
        due = slot["next_at"]
        table.add_row(
            Text(slot["name"], "bold"),
            slot["cron"],
            _before(slot["fired_at"], now) if slot["fired_at"] else "never",
            f"in {_ago((due - now).total_seconds())}" if due > now else Text("due", "yellow"),
        )
    return table


def _open(picture: Picture) -> Sequence[Row]:
    return [held for held in picture.held if held["status"] == "open"]


def _alarming(count: int) -> Text:
    return Text(str(count), "red" if count else "")


def _before(moment: datetime, now: datetime) -> str:
    return f"{_ago((now - moment).total_seconds())} ago"


def _ago(seconds: float | None) -> str:
    """A duration as a person says it."""
    if seconds is None:
        return "-"
    left = timedelta(seconds=round(float(seconds)))
    if left.days:
        return f"{left.days} d {left.seconds // 3600} h"
    minutes, rest = divmod(left.seconds, 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{rest} s"


async def _broker_trouble(chosen: Settings) -> str | None:
    """Why the broker does not answer; None where it does."""
    from shared.bus import ensure_topics

    try:
        async with asyncio.timeout(_BROKER_S):
            await ensure_topics(chosen, [])
    except Exception as error:
        words = explained(error)
        if words is None:
            raise
        return words.splitlines()[0]
    return None
