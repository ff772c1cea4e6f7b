"""The process: options, a socket, and an end that comes with the starter's."""

import argparse
import os
import socket
import sys
import threading
from collections.abc import Sequence
from typing import Any

import uvicorn
from pydantic import ValidationError

from dev.digitalocean.app import StandIn
from dev.digitalocean.connection import BreakableProtocol
from dev.digitalocean.settings import Settings

READY = "listening on "


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM, SIGINT, or, with `--until-stdin-closes`, until whoever started it is gone."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    host, port, watched = options.pop("host"), options.pop("port"), options.pop("until_stdin_closes")
    try:
        settings = Settings.model_validate({name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        parser.error(str(error))
    with socket.create_server((host, port), backlog=512) as listener:
        server = uvicorn.Server(
            uvicorn.Config(
                StandIn(settings),
                http=BreakableProtocol,
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        if watched:
            threading.Thread(target=_stop_at_end_of_input, args=(server,), daemon=True).start()
        # The socket takes connections from here on, so who reads this may connect at once.
        sys.stdout.write(f"{READY}http://{host}:{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        server.run(sockets=[listener])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dev.digitalocean", description="A stand-in for DigitalOcean's API."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one, which is printed")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when the standard input does")
    for name, field in Settings.model_fields.items():
        help = f"{field.description} (default: {field.default})"
        parser.add_argument(f"--{name.replace('_', '-')}", **_option(field.default), help=help.replace("%", "%%"))
    return parser


def _option(default: object) -> dict[str, Any]:
    if isinstance(default, bool):
        return {"action": argparse.BooleanOptionalAction, "default": None}
    if isinstance(default, tuple):
        return {"action": "append"}
    return {"metavar": type(default).__name__}


def _stop_at_end_of_input(server: uvicorn.Server) -> None:
    # Not sys.stdin.read(): at exit the interpreter would wait for the lock that it holds.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    server.should_exit = True
