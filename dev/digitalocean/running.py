"""A stand-in in a process of its own, for as long as a `with` block."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.digitalocean.control import Control
from dev.digitalocean.server import READY
from dev.digitalocean.settings import Settings

ROOT = Path(__file__).parents[2]
TOKEN = "dop_v1_of_the_stand_in"


@dataclass(frozen=True)
class RunningStandIn:
    """Where it listens, its process id, and a token that it takes."""

    url: str
    pid: int
    token: str = TOKEN

    def control(self) -> Control:
        """A client for its control routes, to be used in an `async with`."""
        return Control(self.url)


@contextmanager
def running_stand_in(**settings: Any) -> Iterator[RunningStandIn]:
    """Start the stand-in with these settings on a free loopback port, and end it with the block.

    It ends with this process too, however that ends: its standard input closes then.
    """
    command = [sys.executable, "-m", "dev.digitalocean", "--until-stdin-closes", *options(Settings(**settings))]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield RunningStandIn(_url(process), process.pid)
        finally:
            process.terminate()


def options(settings: Settings) -> list[str]:
    """The command's options for the settings that are not the default."""
    return [
        option
        for name, value in settings.model_dump(mode="json", exclude_defaults=True).items()
        for option in _option(f"--{name.replace('_', '-')}", value)
    ]


def _option(name: str, value: object) -> list[str]:
    if isinstance(value, bool):
        return [name if value else f"--no-{name.removeprefix('--')}"]
    if isinstance(value, list):
        return [f"{name}={one}" for one in value]
    return [f"{name}={value}"]


def _url(process: subprocess.Popen[str]) -> str:
    """The address, which is the first line that the process writes."""
    line = process.stdout.readline() if process.stdout else ""
    if not line.startswith(READY):
        raise RuntimeError(f"the stand-in did not start (exit code {process.wait()}); its reason is above")
    return line.removeprefix(READY).strip()
