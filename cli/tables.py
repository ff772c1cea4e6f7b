"""How the commands' tables look."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def plain_table(*columns: str) -> Table:
    """A table without lines, each row of it one line."""
    made = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, no_wrap=True)
    return made


def print_whole(shown: Table) -> None:
    """Print a table, wider than the terminal if need be: nothing is cut, ids and errors are there to be copied."""
    console = Console(highlight=False)
    whole = console.measure(shown, options=console.options.update(max_width=10_000)).maximum
    Console(highlight=False, width=max(whole, console.width)).print(shown)
