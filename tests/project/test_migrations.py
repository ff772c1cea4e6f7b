"""Migrations: what has landed never changes, forward only, in one order with the runtime's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli import history, services
from shared.migrate import RUNTIME_MIGRATIONS

CHECKOUT = Path.cwd()
DIRECTORIES = [RUNTIME_MIGRATIONS, *services.migrations().values()]
FILES = sorted(file for directory in DIRECTORIES for file in directory.glob("*"))


@pytest.mark.parametrize("commit", history.bases(CHECKOUT), ids=lambda commit: commit.name)
def test_what_has_landed_is_not_changed(commit: history.Commit) -> None:
    for directory in DIRECTORIES:
        landed = commit.files(str(directory.relative_to(CHECKOUT)))
        for name, text in landed.items():
            file = directory / name
            assert file.exists(), f"{name} was removed: databases have it; add a migration that undoes it"
            assert file.read_text() == text, f"{name} was changed: databases have it as it was; add another migration"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_migration_goes_forward_only(file: Path) -> None:
    up, separator, down = file.read_text().partition("\n-- migrate:down")

    assert re.fullmatch(r"\d{14}_[a-z0-9_]+\.sql", file.name)
    assert up.startswith("-- migrate:up")
    assert separator
    assert not down.strip()


@pytest.mark.parametrize("directory", services.migrations().values(), ids=lambda directory: directory.parent.name)
def test_a_services_migrations_come_after_the_runtimes(directory: Path) -> None:
    runtime, own = (
        [file.name[:14] for file in sorted(place.glob("*.sql"))] for place in (RUNTIME_MIGRATIONS, directory)
    )

    assert own
    assert len({*runtime, *own}) == len(runtime) + len(own)
    assert min(own) > min(runtime)


@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda directory: directory.parent.name)
def test_tables_are_named_without_their_schema(directory: Path) -> None:
    for file in directory.glob("*.sql"):
        created = re.findall(r"create (?:table|view)(?: if not exists)? (\S+)", file.read_text())
        assert not [name for name in created if "." in name], file
