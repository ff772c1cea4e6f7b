"""`arcadia sweep-orphans`: what sagas left at the provider and nobody has."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.asking import ask
from cli.inventory import dollars
from cli.lines import printable
from cli.tables import plain_table, print_whole
from contracts.provider import SweepOrphans

console = Console(highlight=False, soft_wrap=True)

_ANSWER_S = 300.0


def sweep_orphans(
    destroy: Annotated[
        bool, typer.Option("--destroy", help="Destroy what the ledger knows to be undone, or made twice.")
    ] = False,
) -> None:
    """Look for droplets that sagas left at the provider and nobody has. What is younger than an hour is left alone."""
    report = asyncio.run(
        ask("provider", SweepOrphans(destroy=destroy), seconds=_ANSWER_S, see="arcadia dead-letters list")
    )
    _say(report)


def _say(report: Mapping[str, Any]) -> None:
    found = report["orphans"]
    if found:
        print_whole(_drawn(found))
    left = [orphan for orphan in found if not orphan["destroyed"]]
    total = dollars(sum(orphan["monthly_cents"] or 0 for orphan in left))
    console.print(f"{len(found)} of them, {len(found) - len(left)} destroyed; what is left costs {total} USD a month")
    if not report["complete"]:
        console.print("the provider's list changed while it was read: run it again", style="yellow")


def _drawn(orphans: Sequence[Mapping[str, Any]]) -> Table:
    table = plain_table("droplet", "name", "since", "USD a month", "why", "operation", "")
    table.columns[3].justify = "right"
    for orphan in orphans:
        table.add_row(
            str(orphan["droplet_id"]),
            Text(printable(orphan["name"]), "bold"),
            orphan["since"],
            dollars(orphan["monthly_cents"]),
            orphan["reason"],
            orphan["operation_id"],
            Text("destroyed", "yellow") if orphan["destroyed"] else Text(printable(orphan["error"] or ""), "red"),
        )
    return table
