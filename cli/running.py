"""`arcadia run`, `arcadia up` and `arcadia migrate`: services at work."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli import services, settings

if TYPE_CHECKING:
    from shared.config import Settings

console = Console(stderr=True, soft_wrap=True, highlight=False)

Names = Annotated[list[str], typer.Argument(help="Names of services.", show_default=False)]


def run(names: Names) -> None:
    """Run one or more services in this process, until SIGTERM or Ctrl-C."""
    _serve(services.chosen(names), settings.load())


def migrate() -> None:
    """Bring schemas, roles and tables of all services up to date. Repeatable."""
    from shared.migrate import migrate as bring_up_to_date

    asyncio.run(bring_up_to_date(settings.load(), services.migrations()))
    console.print(f"up to date: {', '.join(services.names())}")


def up() -> None:
    """Run everything in this process; servers that no variable names are started on this machine.

    DATABASE_URL, KAFKA_BOOTSTRAP_SERVERS, DO_API_URL and FINANCE_URL name servers that are there already.
    """
    with ExitStack() as stack:
        _start_missing(stack)
        _accept_development_tokens()
        os.environ.setdefault("LOG_FORMAT", "console")
        migrate()
        console.print("In another terminal: arcadia status | arcadia tail | arcadia token --operator", style="bold")
        _serve(services.names(), settings.load())


def _start_missing(stack: ExitStack) -> None:
    """Start the servers that are not named in the environment, and name them there."""
    from dev.stack import Stack
    from dev.stack.stand_in import STAND_INS

    wanted = {kind.setting: name for name, kind in STAND_INS.items()}
    unnamed = missing(wanted)
    if not unnamed:
        return
    console.print(f"Not set: {', '.join(unnamed)}. Starting them on this machine; Ctrl-C stops them.")
    stand_ins = [wanted[name] for name in unnamed if name in wanted]
    if stand_ins:
        console.print(f"Stand-ins serve for: {', '.join(stand_ins)}. Nothing is asked of the real ones.")
    local = stack.enter_context(Stack(settings.STACK, stand_ins=stand_ins, say=console.print))
    if "KAFKA_BOOTSTRAP_SERVERS" in unnamed:
        unnamed.append("KAFKA_MOCK")
    os.environ.update({name: value for name, value in local.settings.items() if name in unnamed})


def missing(stood_in_for: Iterable[str]) -> list[str]:
    """The servers to start, by their variables. Where the provider is one, what belongs to a real one is forgotten.

    Where it is not, nobody stands in for finance: what is really to be paid would be taken for passed on.
    """
    if settings.unnamed(["DO_API_URL"]):
        _forget_tokens()
        settings.set_finance_aside()
    else:
        stood_in_for = [name for name in stood_in_for if name != "FINANCE_URL"]
    return settings.unnamed(["DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", *stood_in_for])


def _forget_tokens() -> None:
    """Give the stand-in a token that is nobody's, and keep real ones out of its journal; its buckets are nowhere."""
    from dev.digitalocean.app import TOKEN_PREFIX

    for name in list(os.environ):
        if (name.startswith("DO_") and name.endswith("_TOKEN")) or name.startswith("SPACES_"):
            del os.environ[name]
    os.environ["DO_API_TOKEN"] = f"{TOKEN_PREFIX}stand_in"


def _accept_development_tokens() -> None:
    """Without any way to verify a token the gateway would not start."""
    if os.environ.get("JWT_SECRETS") or os.environ.get("JWT_KEYS_FILE"):
        return
    from dev.tokens import DEVELOPMENT_SECRET

    console.print("JWT_SECRETS is not set. The gateway accepts tokens of `arcadia token`, which anybody can mint.")
    os.environ["JWT_SECRETS"] = json.dumps([DEVELOPMENT_SECRET])


def _serve(names: Sequence[str], chosen: Settings) -> None:
    """Run services until a signal."""
    import uvloop

    from shared import log, process, telemetry

    log.configure(chosen)
    telemetry.start_tracing(chosen, "+".join(names))
    uvloop.run(process.run([], chosen, [services.part(name, chosen) for name in names]))
