"""The locks: fresh, complete, by hash, and without the address of any index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.project.locks import DEVELOPMENT, PEERS, PROJECT, RUNTIME, pinned, pins

WANTED = {
    RUNTIME: PROJECT["project"]["dependencies"],
    DEVELOPMENT: [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]],
    PEERS: PROJECT["dependency-groups"]["bench"],
}


@pytest.mark.parametrize("lock", WANTED)
def test_a_lock_has_what_pyproject_asks_for(lock: str) -> None:
    versions = pinned(lock)
    for requirement in map(Requirement, WANTED[lock]):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{lock} lacks {requirement}: make lock"
        assert requirement.specifier.contains(version, prereleases=True), f"{lock} has {version}: make lock"


@pytest.mark.parametrize("lock", WANTED)
def test_a_lock_pins_everything_by_hash_and_names_no_index(lock: str) -> None:
    for pin in pins(lock):
        assert re.match(r"[A-Za-z0-9._-]+==\S+", pin), pin
        assert "--hash=sha256:" in pin, pin
    assert not re.search(r"https?://|--index|--find-links|--extra-index|file:", Path(lock).read_text())


def test_tests_run_on_what_production_runs_on() -> None:
    development = pinned(DEVELOPMENT)

    assert {name: development.get(name) for name in pinned(RUNTIME)} == pinned(RUNTIME)


def test_the_interpreter_is_the_same_everywhere() -> None:
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")

    assert PROJECT["tool"]["mypy"]["python_version"] == oldest
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    assert f"--python-version {oldest}" in Path("Makefile").read_text()
    assert set(re.findall(r"^FROM python:(\d+\.\d+)", Path("Dockerfile").read_text(), flags=re.MULTILINE)) == {oldest}
