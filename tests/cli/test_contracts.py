"""`arcadia contracts`, on a repository of its own: what is stale or breaks an earlier commit fails, in words."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
RESOURCES = "contracts/inventory.py"


class Repository:
    """A copy of what the contracts' gate looks at, with a history."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for directory in ("cli", "contracts", "shared"):
            shutil.copytree(CHECKOUT / directory, root / directory, ignore=shutil.ignore_patterns("__pycache__"))
        (root / "docs").mkdir()
        self.arcadia("contracts", "export")
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("first")

    def git(self, *arguments: str) -> None:
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], cwd=self.root, check=True, capture_output=True)

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text()
        assert old in text
        (self.root / path).write_text(text.replace(old, new))

    def remove_a_field(self) -> None:
        """Take `name` out of a resource, and be consistent about it."""
        self.edit(RESOURCES, "    provider_id: str\n    name: str\n    region", "    provider_id: str\n    region")
        for example in (self.root / "contracts/examples").glob("*.resource-*.json"):
            text = example.read_text()
            example.write_text(text.replace('      "name": "web-1.acme.example",\n', ""))
        self.arcadia("contracts", "export")

    def arcadia(self, *arguments: str) -> tuple[int, str]:
        """The exit code, and all that was said."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            cwd=self.root,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(self.root)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pristine") / "repository"
    root.mkdir()
    Repository(root)
    return root


@pytest.fixture
def repository(pristine: Path, tmp_path: Path) -> Repository:
    shutil.copytree(pristine, tmp_path / "repository")
    found = object.__new__(Repository)
    found.root = tmp_path / "repository"
    return found


def test_what_is_fresh_and_compatible_passes(repository: Repository) -> None:
    code, said = repository.arcadia("contracts", "check")

    assert code == 0, said
    assert "compatible with HEAD" in said


STALE: dict[str, Callable[[Repository], object]] = {
    "contracts/schemas/arcadia.inventory.sync-inventory.v1.json": lambda r: r.edit(
        RESOURCES,
        "    kind: ResourceKind | None = None\n",
        "    kind: ResourceKind | None = None\n    pages: int = 1\n",
    ),
    "contracts/asyncapi.json": lambda r: (r.root / "contracts/asyncapi.json").unlink(),
    "docs/topics.md": lambda r: r.edit("docs/topics.md", "resource id", "resource's id"),
    "contracts/schemas/arcadia.inventory.gone.v1.json": lambda r: (
        r.root / "contracts/schemas/arcadia.inventory.gone.v1.json"
    ).write_text("{}"),
}


@pytest.mark.parametrize("path", STALE)
def test_a_stale_export_fails_until_it_is_exported_again(repository: Repository, path: str) -> None:
    STALE[path](repository)

    code, said = repository.arcadia("contracts", "check")
    assert code == 1
    assert f"{path}: is not what the classes in contracts/ say\n    Run `make contracts` and commit the result." in said

    repository.arcadia("contracts", "export")
    assert repository.arcadia("contracts", "check")[0] == 0


def test_a_change_that_breaks_a_consumer_fails_although_all_is_consistent(repository: Repository) -> None:
    repository.remove_a_field()

    code, said = repository.arcadia("contracts", "check")

    assert code == 1
    assert "arcadia.inventory.resource-linked.v1: data.resource.name is gone: who reads it finds nothing" in said
    assert "Leave v1 as it was; declare arcadia.inventory.resource-linked.v2 beside it" in said
    assert "contracts/examples/arcadia.inventory.resource-linked.v1.json: was edited" in said
    assert "contracts/schemas" not in said


def test_committing_the_break_does_not_hide_it(repository: Repository) -> None:
    repository.remove_a_field()
    repository.commit("Break it")

    code, said = repository.arcadia("contracts", "check")

    assert code == 1
    assert "data.resource.name is gone" in said


@pytest.mark.parametrize("hiding", ["release", "branch", "named"])
def test_more_commits_hide_it_neither_from_a_release_nor_a_branch_nor_a_named_commit(
    repository: Repository, hiding: str
) -> None:
    if hiding == "release":
        repository.git("tag", "v1.0.0")
    if hiding == "branch":
        repository.git("switch", "--quiet", "--create", "topic")
    repository.remove_a_field()
    repository.commit("Break it")
    repository.commit("One more")
    repository.commit("And another")

    code, said = repository.arcadia("contracts", "check", *(["--against", "HEAD~3"] if hiding == "named" else []))

    assert code == 1
    assert "data.resource.name is gone" in said


def test_a_commit_that_is_not_there_is_not_taken_for_a_compatible_one(repository: Repository) -> None:
    code, said = repository.arcadia("contracts", "check", "--against", "v9")

    assert (code, said) == (
        1,
        "error: the commit 'v9' is not known here\n  Fetch it, or name another with --against.\n",
    )


def test_a_repository_that_git_cannot_read_fails(repository: Repository) -> None:
    shutil.rmtree(repository.root / ".git/objects")

    code, said = repository.arcadia("contracts", "check")

    assert code == 1
    assert "git cannot read" in said


def test_without_any_history_that_is_said(repository: Repository) -> None:
    shutil.rmtree(repository.root / ".git")

    code, said = repository.arcadia("contracts", "check")

    assert code == 0
    assert "nothing: there is no earlier commit here" in said
