"""`arcadia stack`: PostgreSQL, Kafka and the stand-ins on this machine, without Docker."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli import settings
from cli.errors import Failed

if TYPE_CHECKING:
    from dev.stack import Stack

app = typer.Typer(help="PostgreSQL, Kafka and the stand-ins on this machine, without Docker.")
console = Console(stderr=True, soft_wrap=True, highlight=False)

Name = Annotated[str, typer.Option("--name", help="Stacks of different names run side by side.")]


@app.callback(invoke_without_command=True)
def stack(context: typer.Context, name: Name = settings.STACK) -> None:
    """Start what is missing, print the addresses, and stop at Ctrl-C what was started."""
    if context.invoked_subcommand:
        return
    with _stack(name) as running:
        _print(running)
        console.print("Ctrl-C stops it.")
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.default_int_handler)
        try:
            signal.pause()
        except KeyboardInterrupt:
            console.print("stopping")


@app.command()
def start(name: Name = settings.STACK) -> None:
    """Start what is missing and leave it running. `export $(arcadia stack start)` takes the addresses over."""
    running = _stack(name)
    running.start()
    running.leave()
    _print(running)


@app.command()
def stop(name: Name = settings.STACK) -> None:
    """Stop what runs, whoever started it. The data stay."""
    _stack(name).stop_all()
    console.print("stopped")


@app.command()
def status(name: Name = settings.STACK) -> None:
    """Print the addresses of what runs; exit code 1 where nothing does."""
    found = _stack(name)
    if not found.attach():
        raise Failed(f"the stack {name!r} is not running\n  Start it: arcadia stack start --name {name}")
    _print(found)


def _stack(name: str) -> Stack:
    try:
        from dev.stack import Stack
        from dev.stack.stand_in import STAND_INS
    except ImportError as error:
        raise Failed(f"the local stack is not installed here ({error})\n  It comes with `make setup`.") from None
    return Stack(name, stand_ins=tuple(STAND_INS), say=console.print)


def _print(running: Stack) -> None:
    for name, value in running.settings.items():
        typer.echo(f"{name}={value}")
