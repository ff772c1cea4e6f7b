"""`arcadia dead-letters`: messages that were given up on, and an operator's decision about them."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import typer
from rich.console import Console

from cli import settings
from cli.errors import Failed
from cli.lines import printable, short_topic, short_type
from cli.operators import rows, schemas, sight, who
from cli.tables import plain_table, print_whole

if TYPE_CHECKING:
    from shared.db import Connection

app = typer.Typer(help="Messages that were given up on.", no_args_is_help=True)
console = Console(highlight=False, soft_wrap=True)

Row = dict[str, Any]
Status = Literal["dead", "held", "discarded", "all"]
Decide = Callable[["Connection", Sequence[UUID], str], Awaitable[list[UUID]]]

Ids = Annotated[list[str] | None, typer.Argument(help="Ids, or beginnings of ids.", show_default=False)]
OfService = Annotated[str | None, typer.Option("--service", "-s", help="Only this service's.")]
OfType = Annotated[str | None, typer.Option("--type", help="Only types that contain this.")]
All = Annotated[bool, typer.Option("--all", help="All that --service and --type leave, instead of ids.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@dataclass(frozen=True)
class Choice:
    """Which dead letters are meant: these ids, or all that a service and a type leave."""

    ids: Sequence[str] = ()
    all: bool = False
    service: str | None = None
    type: str | None = None

    def of(self, found: Sequence[Row]) -> list[Row]:
        """The rows that are meant. Raises `Failed` where nothing is, or an id is not there or not clear."""
        fitting = [row for row in found if self._fits(row)]
        if self.all == bool(self.ids):
            raise Failed("which ones?\n  Give ids from `arcadia dead-letters list`, or --all.")
        return fitting if self.all else [_only(id, fitting) for id in self.ids]

    def _fits(self, row: Row) -> bool:
        return self.service in (None, row["service"]) and (self.type is None or self.type in (row["type"] or ""))


@app.command("list")
def list_(
    *,
    service: OfService = None,
    type: OfType = None,
    status: Annotated[Status, typer.Option(help="`held` ones are still tried.")] = "dead",
) -> None:
    """List them, oldest first."""
    chosen = Choice(all=True, service=service, type=type).of(asyncio.run(_everything()))
    found = [row for row in chosen if status in ("all", row["status"])]
    if not found:
        console.print("none" if status == "all" else f"none that are {status}")
        return
    table = plain_table("id", "service", "when", "status", "reason", "message", "tenant", "tries", "detail")
    for row in found:
        table.add_row(*(printable(cell) for cell in _cells(row)))
    print_whole(table)


@app.command()
def show(id: Annotated[str, typer.Argument(help="An id, or its beginning.")]) -> None:
    """Show one whole, with the message as it came."""
    (row,) = Choice([id]).of(asyncio.run(_everything()))
    for name, value in row.items():
        if value is not None:
            console.print(f"{name:<14} {printable(str(value))}", markup=False)
    console.print(_readable(asyncio.run(_raw(row))), markup=False)


@app.command()
def replay(
    *, ids: Ids = None, all: All = False, service: OfService = None, type: OfType = None, yes: Yes = False
) -> None:
    """Let messages be handled again, by the service that gave up on them and no other. Mend the cause first."""
    from shared import dead_letters

    count = _decide(Choice(ids or (), all, service, type), dead_letters.replay, "Replay", yes)
    console.print(f"{count} on their way; what fails again comes back: arcadia dead-letters list")


@app.command()
def discard(
    *, ids: Ids = None, all: All = False, service: OfService = None, type: OfType = None, yes: Yes = False
) -> None:
    """Decide that messages are not to be handled. They stay on record."""
    from shared import dead_letters

    count = _decide(Choice(ids or (), all, service, type), dead_letters.discard, "Discard", yes)
    console.print(f"{count} discarded; still to be seen: arcadia dead-letters list --status discarded")


def _decide(choice: Choice, decide: Decide, verb: str, yes: bool) -> int:
    """Decide about the chosen ones that are dead; gives how many those were."""
    chosen = [row for row in choice.of(asyncio.run(_everything())) if row["status"] == "dead"]
    if not chosen:
        raise Failed("none of these waits for a decision\n  See: arcadia dead-letters list --status all")
    if not yes and len(chosen) > 1:
        typer.confirm(f"{verb} {len(chosen)} messages?", abort=True)
    return asyncio.run(_record(chosen, decide))


async def _record(chosen: Sequence[Row], decide: Decide) -> int:
    """Write the decision, each service's as that service's own role."""
    from shared.db import Database

    by_service: dict[str, list[UUID]] = defaultdict(list)
    for row in chosen:
        by_service[row["service"]].append(row["id"])
    decided = 0
    for service, ids in by_service.items():
        database = await Database.of_service(settings.load(), service)
        try:
            async with database.transaction() as conn:
                decided += len(await decide(conn, ids, who()))
        finally:
            await database.close()
    return decided


async def _everything() -> list[Row]:
    """All services' dead letters, oldest first."""
    async with sight(settings.load()) as conn:
        found = [
            {"service": schema, **row}
            for schema in await schemas(conn)
            for row in await rows(conn, schema, "v1_all_dead_letters")
        ]
    return sorted(found, key=lambda row: row["received_at"])


async def _raw(row: Row) -> bytes:
    """The record's value, which no published view shows."""
    from shared import dead_letters
    from shared.db import Database

    database = await Database.of_service(settings.load(), row["service"])
    try:
        async with database.connection() as conn:
            return await dead_letters.get_raw(conn, row["id"])
    finally:
        await database.close()


def _only(beginning: str, found: Sequence[Row]) -> Row:
    fitting = [row for row in found if str(row["id"]).startswith(beginning.lower())]
    if len(fitting) != 1:
        how_many = f"{len(fitting)} dead letters begin" if fitting else "no dead letter begins"
        raise Failed(f"{how_many} with {beginning!r}\n  See: arcadia dead-letters list --status all")
    return fitting[0]


def _cells(row: Row) -> list[str]:
    when = row["given_up_at"] or row["received_at"]
    message = short_type(row["type"]) if row["type"] else f"a record of {short_topic(row['topic'])}"
    return [
        str(row["id"]),
        row["service"],
        f"{when.astimezone():%Y-%m-%d %H:%M:%S}",
        row["status"],
        row["reason"] or "-",
        message,
        row["tenant_id"] or "-",
        str(row["attempts"]),
        row["detail"] or "",
    ]


def _readable(raw: bytes) -> str:
    """The message as indented JSON where it is JSON; else as it came, with what cannot be printed escaped."""
    try:
        return json.dumps(json.loads(raw), indent=2, ensure_ascii=True)
    except ValueError:
        return printable(raw.decode(errors="backslashreplace"))
