"""Stops a stack whose starter died: a process that waits for the end of the pipe to its starter.

    python -m dev.stack.warden NAME ROOT [--ephemeral]

The kernel closes the pipe however the starter ends, so this holds for SIGKILL as well. It is the same on Linux
and macOS, and unlike a parent-death signal it can end PostgreSQL in an orderly way and is not tied to a thread.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dev.stack.stack import Stack


def main(name: str, root: str, *options: str) -> None:
    """Wait for the pipe's end; a word written into it means that the servers are to be left running."""
    word = sys.stdin.buffer.read()
    stack = Stack(name, root=Path(root), ephemeral="--ephemeral" in options)
    if word or not any(server.running for server in stack.recorded().values()):
        return
    print(f"stack {name}: what started it is gone; stopping it", file=sys.stderr)  # noqa: T201
    stack.stop_all()


if __name__ == "__main__":
    main(*sys.argv[1:])
