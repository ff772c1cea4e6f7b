"""A stand-in's process: its options, its socket and its end, and the `with` block that it can run beside."""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from pydantic import BaseModel, ValidationError

from dev.connection import BreakableProtocol

ROOT = Path(__file__).parents[1]
_READY = "listening on "

S = TypeVar("S", bound=BaseModel)


def serve(
    module: str, about: str, kind: type[S], app: Callable[[S], Any], arguments: Sequence[str] | None = None
) -> None:
    """Serve the application of these settings, each of which is an option of the command `python -m MODULE`.

    Until SIGTERM, SIGINT, or, with `--until-stdin-closes`, until whoever started it is gone.
    """
    parser = _parser(module, about, kind)
    options = vars(parser.parse_args(arguments))
    host, port, watched = options.pop("host"), options.pop("port"), options.pop("until_stdin_closes")
    try:
        settings = kind.model_validate({name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        parser.error(str(error))
    with socket.create_server((host, port), backlog=512) as listener:
        server = uvicorn.Server(
            uvicorn.Config(
                app(settings),
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
        sys.stdout.write(f"{_READY}http://{host}:{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        server.run(sockets=[listener])


@contextmanager
def running(module: str, settings: BaseModel) -> Iterator[tuple[str, int]]:
    """Start a stand-in with these settings on a free loopback port, and end it with the block.

    Gives its address and its process id. It ends with this process too, however that ends: its standard input
    closes then.
    """
    command = [sys.executable, "-m", module, "--until-stdin-closes", *_options(settings)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield _url(process), process.pid
        finally:
            process.terminate()


def _parser(module: str, about: str, kind: type[BaseModel]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one, which is printed")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when the standard input does")
    for name, field in kind.model_fields.items():
        help = f"{field.description} (default: {field.default})"
        parser.add_argument(f"--{name.replace('_', '-')}", **_declared(field.default), help=help.replace("%", "%%"))
    return parser


def _declared(default: object) -> dict[str, Any]:
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


def _options(settings: BaseModel) -> list[str]:
    """The command's options for the settings that are not the default."""
    return [
        option
        for name, value in settings.model_dump(mode="json", exclude_defaults=True).items()
        for option in _given(f"--{name.replace('_', '-')}", value)
    ]


def _given(name: str, value: object) -> list[str]:
    if isinstance(value, bool):
        return [name if value else f"--no-{name.removeprefix('--')}"]
    if isinstance(value, list):
        return [f"{name}={one}" for one in value]
    return [f"{name}={value}"]


def _url(process: subprocess.Popen[str]) -> str:
    """The address, which is the first line that the process writes."""
    line = process.stdout.readline() if process.stdout else ""
    if not line.startswith(_READY):
        raise RuntimeError(f"the stand-in did not start (exit code {process.wait()}); its reason is above")
    return line.removeprefix(_READY).strip()
