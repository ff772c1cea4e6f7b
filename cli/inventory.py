"""`arcadia inventory`: what exists at the provider, for a person."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.text import Text

from cli import settings
from cli.errors import Failed
from cli.lines import printable, said
from cli.operators import sight
from cli.tables import plain_table, print_whole

if TYPE_CHECKING:
    from shared.db import Connection

app = typer.Typer(help="What exists at the provider.", no_args_is_help=True)
console = Console(highlight=False, soft_wrap=True)

Row = dict[str, Any]

_LIST = """
    select * from inventory.v1_all_resources
    where ($1::text is null or kind = $1) and ($2::text is null or region = $2)
      and case when $3 = 'deleted' then deleted_at is not null
               else deleted_at is null and ($3::text is null or state = $3) end
      and ($4::text is null or tenant_id = $4) and ($5::text is null or $5 = any (tags))
      and ($6::text is null or position(lower($6) in lower(name)) > 0 or provider_id = $6)
    order by kind, name, id limit $7 + 1
    """
_FIND = """
    select * from inventory.v1_all_resources
    where starts_with(id::text, $1) or provider_id = $1 or name = $1
    order by deleted_at is not null, kind, name, id limit 20
    """
_EVENTS = "select * from inventory.v1_all_resource_events where resource_id = $1 order by id desc limit $2"
_LINKS = "select * from inventory.v1_all_resource_links where resource_id = $1 order by effective_from"
_ORPHANS = "select * from inventory.v1_all_orphans order by monthly_usd_cents desc nulls last, id"


@app.command("list")
def list_(
    *,
    kind: Annotated[str | None, typer.Option("--kind", "-k", help="Only this kind, `droplet` say.")] = None,
    region: Annotated[str | None, typer.Option("--region", "-r")] = None,
    state: Annotated[str | None, typer.Option("--state", help="As the provider says; or `deleted`.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", "-t")] = None,
    tag: Annotated[str | None, typer.Option("--tag")] = None,
    q: Annotated[str | None, typer.Argument(help="Part of the name, or the provider's id.", show_default=False)] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1)] = 200,
) -> None:
    """List resources by kind and name; what is gone is left out unless --state deleted."""
    found = asyncio.run(_fetch(_LIST, kind, region, state, tenant, tag, q, limit))
    if not found:
        console.print("none")
        return
    now = datetime.now(UTC)
    table = plain_table("kind", "name", "region", "state", "size", "tenant", "seen", "id")
    for row in found[:limit]:
        table.add_row(
            row["kind"],
            Text(printable(row["name"]), "bold"),
            row["region"] or "-",
            _state(row),
            _size(row),
            printable(row["tenant_id"] or "-"),
            ago(row["last_seen_at"], now),
            Text(str(row["id"]), "dim"),
        )
    print_whole(table)
    if len(found) > limit:
        console.print(f"... and more: --limit {limit * 5}, or a filter (arcadia inventory list --help)", style="yellow")


@app.command()
def show(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="An id or its beginning, the provider's id, or a name.")],
    events: Annotated[int, typer.Option(help="So many of the newest events.", min=0)] = 20,
) -> None:
    """Show one resource with what is special to its kind, whose it was when, and what happened to it."""
    row, links, past = asyncio.run(_one(wanted, events))
    shown = {name: value for name, value in row.items() if name != "attrs" and value not in (None, [])}
    lines = [f"{name:<20} {said(value)}" for name, value in shown.items()]
    lines += [f"  {name:<18} {said(value)}" for name, value in sorted(row["attrs"].items())]
    lines += [_link(link) for link in links]
    if row["deployment_id"] and not links:
        parent = json.loads(row["parent"])["provider_id"]
        lines.append(f"{'linked':<20} with its parent: arcadia inventory show {parent}")
    lines += [_event(event) for event in past]
    for line in lines:
        console.print(printable(line), markup=False)


def _link(link: Row) -> str:
    until = said(link["effective_until"]) if link["effective_until"] else "now"
    return f"{'linked':<20} {link['deployment_id'] or 'to nobody'} {said(link['effective_from'])} - {until}"


def _event(event: Row) -> str:
    changes = ", ".join(f"{n} {said(c['old'])} → {said(c['new'])}" for n, c in event["changes"].items())
    why = " ".join(part for part in (changes, event["reason"] and f"({event['reason']})") if part)
    return f"{said(event['occurred_at'])}  {event['event_type']:<10} {event['actor'] or '-'}  {why}"


@app.command()
def orphans() -> None:
    """List what nobody owns and still costs, the dearest first."""
    found = asyncio.run(_fetch(_ORPHANS))
    table = plain_table("kind", "name", "region", "tenant", "USD a month", "why", "id")
    table.columns[4].justify = "right"
    for row in found:
        table.add_row(
            row["kind"],
            Text(printable(row["name"]), "bold"),
            row["region"] or "-",
            printable(row["tenant_id"] or "-"),
            dollars(row["monthly_usd_cents"]),
            row["reason"],
            Text(str(row["id"]), "dim"),
        )
    if found:
        print_whole(table)
    unpriced = sum(row["monthly_usd_cents"] is None for row in found)
    beside = f", and {unpriced} whose price is not known" if unpriced else ""
    total = sum(row["monthly_usd_cents"] or 0 for row in found)
    console.print(f"{len(found)} of them, {dollars(total)} USD a month{beside}")


async def _fetch(query: str, *arguments: Any) -> list[Row]:
    async with sight(settings.load()) as conn:
        return [dict(row) for row in await conn.fetch(query, *arguments)]


async def _one(wanted: str, events: int) -> tuple[Row, list[Row], list[Row]]:
    """The resource that is meant, its links and its newest events. Raises `Failed` where none or several are."""
    async with sight(settings.load()) as conn:
        row = _only(wanted, [dict(row) for row in await conn.fetch(_FIND, wanted)])
        return row, await _rows(conn, _LINKS, row["id"]), await _rows(conn, _EVENTS, row["id"], events)


async def _rows(conn: Connection, query: str, id: UUID, *more: int) -> list[Row]:
    return [dict(row) for row in await conn.fetch(query, id, *more)]


def _only(wanted: str, found: Sequence[Row]) -> Row:
    if not found:
        raise Failed(f"there is no resource {wanted!r}\n  Look for it: arcadia inventory list {wanted}")
    live = [row for row in found if row["deleted_at"] is None]
    if len(found) > 1 and len(live) != 1:
        which = "\n".join(f"  {row['id']}  {row['kind']} {printable(row['name'])}" for row in found)
        raise Failed(f"{wanted!r} is several: name one by its id\n{which}")
    return live[0] if len(live) == 1 else found[0]


def _state(row: Row) -> Text:
    if row["deleted_at"]:
        return Text("deleted", "red")
    if row["stale_strike_count"]:
        return Text(f"missing ({row['stale_strike_count']} of 3)", "yellow")
    return Text(row["state"] or "-")


def _size(row: Row) -> str:
    """A plan, or gigabytes; `?` where the size is unknown."""
    if "size_gb" not in row["attrs"]:
        return str(row["size_slug"] or "-")
    size = row["attrs"]["size_gb"]
    return "? GB" if size is None else f"{size:,.4g} GB"


def dollars(cents: int | None) -> str:
    """An amount of US dollars; `?` where it is not known."""
    return "?" if cents is None else f"{cents // 100:,}.{cents % 100:02}"


def ago(moment: datetime, now: datetime) -> str:
    """How long ago something was, in its largest unit."""
    seconds = max(0, int((now - moment).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
