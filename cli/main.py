"""The `arcadia` command: one file per group of commands, gathered here."""

from __future__ import annotations

import logging
import sys

import typer

from cli import (
    contracts,
    dead_letters,
    development,
    inventory,
    orphans,
    republish,
    running,
    sagas,
    seeding,
    stack,
    status,
    tail,
)
from cli.errors import explained

app = typer.Typer(
    name="arcadia",
    help="The control plane of Arcadia Cloud.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
operators = (tail.tail, status.status, republish.republish, seeding.seed_catalog, orphans.sweep_orphans)
for command in (running.up, running.run, running.migrate, *operators):
    app.command()(command)
app.add_typer(inventory.app, name="inventory")
app.add_typer(sagas.app, name="sagas")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(contracts.app, name="contracts")
app.add_typer(stack.app, name="stack")
for command in (development.token, development.demo):
    app.command()(command)


def main() -> None:
    """Run the command of `sys.argv`. Exit codes: 0 well, 1 failed, 2 misused."""
    # aiokafka logs each failed attempt by itself; what comes of it is said once, below.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        app()
    except Exception as error:
        words = explained(error)
        if words is None:
            raise
        typer.echo(f"error: {words}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
