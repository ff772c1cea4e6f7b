"""`arcadia contracts`, on a repository of its own: what is stale or breaks an earlier commit fails, in words."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
RESOURCES = "contracts/inventory.py"


@dataclass(frozen=True)
class Repository:
    """A copy of what the contracts' gate looks at, with a history."""

    root: Path

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

    def arcadia(self, *arguments: str, **variables: str) -> tuple[int, str]:
        """The exit code, and all that was said."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            cwd=self.root,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(self.root), **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which all is well."""
    made = Repository(tmp_path_factory.mktemp("pristine") / "repository")
    for directory in ("cli", "contracts", "shared"):
        shutil.copytree(CHECKOUT / directory, made.root / directory, ignore=shutil.ignore_patterns("__pycache__"))
    (made.root / "docs").mkdir()
    made.arcadia("contracts", "export")
    made.git("init", "--quiet", "--initial-branch=main")
    made.commit("first")
    return made.root


@pytest.fixture(scope="module")
def broken(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, but `name` was taken out of a resource, consistently and not yet committed."""
    made = Repository(tmp_path_factory.mktemp("broken") / "repository")
    shutil.copytree(pristine, made.root)
    made.edit(RESOURCES, "    provider_id: str\n    name: str\n    region", "    provider_id: str\n    region")
    for example in (made.root / "contracts/examples").glob("*.resource-*.json"):
        example.write_text(example.read_text().replace('      "name": "web-1.acme.example",\n', ""))
    made.arcadia("contracts", "export")
    return made.root


@pytest.fixture
def repository(pristine: Path, tmp_path: Path) -> Repository:
    """A repository of this test's own."""
    return Repository(shutil.copytree(pristine, tmp_path / "repository"))


@pytest.fixture
def breaking(broken: Path, tmp_path: Path) -> Repository:
    """A repository of this test's own, with the break."""
    return Repository(shutil.copytree(broken, tmp_path / "repository"))


def test_what_is_fresh_and_compatible_passes(repository: Repository) -> None:
    code, said = repository.arcadia("contracts", "check")

    assert code == 0, said
    assert "compatible with HEAD" in said


def test_a_stale_export_fails_until_it_is_exported_again(repository: Repository) -> None:
    schemas = repository.root / "contracts/schemas"
    repository.edit(
        RESOURCES,
        "    kind: ResourceKind | None = None\n",
        "    kind: ResourceKind | None = None\n    pages: int = 1\n",
    )
    (repository.root / "contracts/asyncapi.json").unlink()
    (schemas / "arcadia.inventory.gone.v1.json").write_text("{}")
    repository.edit("docs/topics.md", "resource id", "resource's id")

    code, said = repository.arcadia("contracts", "check")
    assert code == 1
    for path in (
        "contracts/schemas/arcadia.inventory.sync-inventory.v1.json",
        "contracts/asyncapi.json",
        "contracts/schemas/arcadia.inventory.gone.v1.json",
        "docs/topics.md",
    ):
        stale = f"{path}: is not what the code says\n    Run `make contracts` and commit the result."
        assert stale in said

    repository.arcadia("contracts", "export")
    assert repository.arcadia("contracts", "check")[0] == 0


def test_a_change_that_breaks_a_consumer_fails_although_all_is_consistent(breaking: Repository) -> None:
    code, said = breaking.arcadia("contracts", "check")

    assert code == 1
    assert "arcadia.inventory.resource-linked.v1: data.resource.name is gone: who reads it finds nothing" in said
    assert "Leave v1 as it was; declare arcadia.inventory.resource-linked.v2 beside it" in said
    assert "contracts/examples/arcadia.inventory.resource-linked.v1.json: was edited" in said
    assert "contracts/schemas" not in said


def test_committing_the_break_does_not_hide_it(breaking: Repository) -> None:
    breaking.commit("Break it")

    code, said = breaking.arcadia("contracts", "check")

    assert code == 1
    assert "data.resource.name is gone" in said


@pytest.mark.parametrize("hiding", ["release", "branch", "named", "in CI"])
def test_more_commits_do_not_hide_it_from_what_others_rely_on(breaking: Repository, hiding: str) -> None:
    if hiding == "release":
        breaking.git("tag", "v1.0.0")
    if hiding == "branch":
        breaking.git("switch", "--quiet", "--create", "topic")
    breaking.commit("Break it")
    breaking.commit("One more")
    breaking.commit("And another")

    named = ["--against", "HEAD~3"] if hiding == "named" else []
    code, said = breaking.arcadia("contracts", "check", *named, BASE_COMMIT="HEAD~3" if hiding == "in CI" else "")

    assert code == 1
    assert "data.resource.name is gone" in said


def test_a_commit_that_is_not_there_is_not_taken_for_a_compatible_one(repository: Repository) -> None:
    code, said = repository.arcadia("contracts", "check", "--against", "v9")

    assert (code, said) == (1, "error: the commit 'v9' is not known here\n  Fetch it, or name another.\n")


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
