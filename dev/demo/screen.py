"""How the demo looks in a terminal, and in a log without one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_WIDTH_OF_A_LOG = 120


class Screen:
    """Headings, steps and tables, with the seconds since the beginning."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        if not self.console.is_terminal:
            self.console.width = _WIDTH_OF_A_LOG
        self._started = time.monotonic()

    def chapter(self, title: str, what: str) -> None:
        """A new chapter, and in a sentence what will be seen."""
        self.console.print()
        self.console.rule(f"[bold]{escape(title)}[/]", align="left", style="cyan")
        self.console.print(f"[dim]{escape(what)}[/]")

    def step(self, text: str) -> None:
        """Something that was done."""
        elapsed = time.monotonic() - self._started
        self.console.print(f"[dim]{elapsed:5.1f} s[/] [green]>[/] {escape(text)}")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A small table; numbers stand to the right."""
        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        rows = [list(row) for row in rows]
        for position, name in enumerate(columns):
            numeric = all(isinstance(row[position], int | float) for row in rows)
            table.add_column(name, justify="right" if numeric else "left")
        for row in rows:
            table.add_row(*(escape("-" if cell is None else str(cell)) for cell in row))
        self.console.print(table)

    def lines(self, lines: Iterable[object]) -> None:
        """Ready-made lines, such as those of `arcadia tail`."""
        for line in lines:
            self.console.print(line, soft_wrap=True)

    def fact(self, text: str) -> None:
        """What should be seen in what was just shown."""
        self.console.print(f"[yellow]{escape(text)}[/]")
