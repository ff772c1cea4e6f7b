"""What is known of a stack between two commands: `.stack/<name>/state.json`, readable by its owner only."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dev.stack.process import Process, StackError


@dataclass(frozen=True)
class Recorded:
    """One server: its port stays the same over restarts; without a process it was stopped.

    `kind` tells the Kafkas apart. `url` is for people and holds the password.
    """

    kind: str
    port: int
    url: str
    process: Process | None

    @property
    def running(self) -> bool:
        """False as well when the process died unseen, or its pid belongs to another one by now."""
        return self.process is not None and self.process.alive()


def read(path: Path) -> dict[str, Recorded]:
    """The servers by name; empty when there is no such stack. Raises StackError on a file nobody can read."""
    if not path.exists():
        return {}
    try:
        servers = json.loads(path.read_text())["servers"]
        return {name: _recorded(entry) for name, entry in servers.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise StackError(f"{path} is damaged ({error}); end its processes by hand, then remove the file") from error


def write(path: Path, servers: Mapping[str, Recorded]) -> None:
    """Replace the file, so that a reader sees the old state or the new one."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump({"servers": {name: asdict(one) for name, one in servers.items()}}, file, indent=2)
    fresh.rename(path)


def _recorded(entry: dict[str, object]) -> Recorded:
    process = entry["process"]
    fields = {**entry, "process": Process(**process) if isinstance(process, dict) else None}
    return Recorded(**fields)  # type: ignore[arg-type]  # a wrong field is the TypeError that `read` reports
