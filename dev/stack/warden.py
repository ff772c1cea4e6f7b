"""Stops a stack whose starter died: a process that waits for the end of the pipe to its starter.

    python -m dev.stack.warden NAME ROOT [--ephemeral] SERVER...

The kernel closes the pipe however the starter ends, so this holds for SIGKILL as well. It is the same on Linux
and macOS, and unlike a parent-death signal it can end PostgreSQL in an orderly way and is not tied to a thread.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dev.stack.stack import Stack


def main() -> None:
    """Wait for the pipe's end, then stop the named servers; a word in the pipe means that nothing is to be done."""
    parser = argparse.ArgumentParser(prog="python -m dev.stack.warden")
    parser.add_argument("name")
    parser.add_argument("root", type=Path)
    parser.add_argument("--ephemeral", action="store_true")
    parser.add_argument("servers", nargs="+")
    given = parser.parse_args()
    if sys.stdin.buffer.read():
        return
    print(f"stack {given.name}: what started it is gone; stopping it", file=sys.stderr)
    Stack(given.name, root=given.root, ephemeral=given.ephemeral).stop_all(given.servers)


if __name__ == "__main__":
    main()
