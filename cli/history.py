"""The repository's past, for the checks that nothing is changed which others already rely on."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.errors import Failed

_MAIN = ("origin/main", "main")


@dataclass(frozen=True)
class Commit:
    """An earlier state of the repository. `name` is what a person calls it."""

    checkout: Path
    name: str
    id: str

    def files(self, directory: str) -> dict[str, str]:
        """The texts of a directory's files at that commit, by name; empty where it did not exist."""
        listing = _git(self.checkout, "ls-tree", "--name-only", self.id, f"{directory}/") or ""
        return {Path(path).name: _git(self.checkout, "show", f"{self.id}:{path}") or "" for path in listing.split()}


def bases(checkout: Path, wanted: Sequence[str] = ()) -> list[Commit]:
    """The commits with which the working tree must be compatible, each once; none outside a repository.

    `wanted`: those and no others. Raises `Failed` where one is not known here, or git cannot read the repository.
    """
    _readable(checkout)
    found: dict[str, Commit] = {}
    for name in wanted or _usual(checkout):
        id = _git(checkout, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if id:
            found.setdefault(id.strip(), Commit(checkout, name, id.strip()))
        elif wanted:
            raise Failed(f"the commit {name!r} is not known here\n  Fetch it, or name another with --against.")
    return list(found.values())


def _readable(checkout: Path) -> None:
    """A check must not pass because git refuses (a checkout that belongs to another user, say) or is missing."""
    if (checkout / ".git").exists() and _git(checkout, "rev-parse", "--git-dir") is None:
        raise Failed(f"git cannot read {checkout}\n  See what it says: git -C {checkout} status")


def _usual(checkout: Path) -> list[str]:
    """What may be in use: the last commits, the last release, and what this branch began with."""
    release = _git(checkout, "describe", "--tags", "--abbrev=0", "--match", "v*")
    fork = next((id for main in _MAIN if (id := _git(checkout, "merge-base", "HEAD", main))), None)
    return ["HEAD", "HEAD~1", *(name.strip() for name in (release, fork) if name)]


def _git(checkout: Path, *arguments: str) -> str | None:
    """What git says; None where it fails, as it does outside a repository or without one commit."""
    try:
        done = subprocess.run(  # noqa: S603
            ["git", "-C", str(checkout), *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
