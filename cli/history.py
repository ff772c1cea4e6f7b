"""The repository's past, for the checks that nothing is changed which others already rely on."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
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
        archive = _git(self.checkout, "archive", "--format=tar", self.id, f"{directory}/")
        if archive is None:
            return {}
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            found = {Path(entry.name).name: tar.extractfile(entry) for entry in tar if entry.isfile()}
            return {name: file.read().decode() for name, file in found.items() if file}


def bases(checkout: Path, wanted: Sequence[str] = ()) -> list[Commit]:
    """The commits with which the working tree must be compatible, each once; none outside a repository.

    `wanted`, and those that the variable BASE_COMMIT names (in CI: what was there before the push), come beside the
    usual ones. Raises `Failed` where one of them is not known here, or git cannot read the repository.
    """
    _readable(checkout)
    named = [*wanted, *os.environ.get("BASE_COMMIT", "").split()]
    found: dict[str, Commit] = {}
    for name in [*named, *_usual(checkout)]:
        id = _line(checkout, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if id:
            found.setdefault(id, Commit(checkout, name, id))
        elif name in named:
            raise Failed(f"the commit {name!r} is not known here\n  Fetch it, or name another.")
    return list(found.values())


def _readable(checkout: Path) -> None:
    """A check must not pass because git refuses (a checkout that belongs to another user, say) or is missing."""
    if (checkout / ".git").exists() and _git(checkout, "rev-parse", "--git-dir") is None:
        raise Failed(f"git cannot read {checkout}\n  See what it says: git -C {checkout} status")


def _usual(checkout: Path) -> list[str]:
    """What may be in use: the last commits, the last release, and what this branch began with."""
    release = _line(checkout, "describe", "--tags", "--abbrev=0", "--match", "v*")
    fork = next((id for main in _MAIN if (id := _line(checkout, "merge-base", "HEAD", main))), None)
    return ["HEAD", "HEAD~1", *(name for name in (release, fork) if name)]


def _line(checkout: Path, *arguments: str) -> str | None:
    said = _git(checkout, *arguments)
    return said.decode().strip() if said else None


def _git(checkout: Path, *arguments: str) -> bytes | None:
    """What git says; None where it fails, as it does outside a repository or without one commit."""
    try:
        command = ["git", "-C", str(checkout), *arguments]
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - all words of it are ours
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
