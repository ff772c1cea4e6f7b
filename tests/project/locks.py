"""Reading pyproject.toml and the lock files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

RUNTIME = "requirements.lock"
DEVELOPMENT = "requirements-dev.lock"
PEERS = "requirements-bench.lock"
PROJECT: dict[str, Any] = tomllib.loads(Path("pyproject.toml").read_text())


def pins(lock: str) -> list[str]:
    """The entries of a lock, each with its hashes."""
    return re.split(r"\n(?=\S)", Path(lock).read_text().strip())


def pinned(lock: str) -> dict[str, str]:
    """The packages in a lock, with their versions."""
    found = (re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", pin) for pin in pins(lock))
    return {canonicalize_name(match[1]): match[2] for match in found if match}
