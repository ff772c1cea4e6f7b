"""`arcadia contracts`: what is promised to those who use the messages, exported and held to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import history
from cli.services import CHECKOUT
from contracts.compat import Problem, broken_schemas
from contracts.export import documents
from contracts.golden import broken_examples, edited_examples
from services.deployments import drawing

app = typer.Typer(help="What is promised to those who use the messages.", no_args_is_help=True)

_SCHEMAS = "contracts/schemas"
_EXAMPLES = "contracts/examples"


@app.command()
def export() -> None:
    """Write the JSON Schemas, the AsyncAPI document, the table of topics and the map of a deployment's states."""
    wanted = _documents()
    changed = _stale(CHECKOUT, wanted)
    for path in changed:
        file = CHECKOUT / path
        if path in wanted:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(wanted[path], encoding="utf-8")
        else:
            file.unlink()
    typer.echo("\n".join(changed) or "Nothing has changed.")


@app.command()
def check(
    against: Annotated[list[str] | None, typer.Option(help="One more commit to be compatible with.")] = None,
) -> None:
    """Fail on a stale export, a broken example, or a change that breaks who relies on an earlier commit.

    Earlier commits: the last and the one before it, the last release (a tag v*), where this branch left main, and
    those that BASE_COMMIT names.
    """
    exported, examples = _documents(), _texts(_EXAMPLES)
    problems = [_stale_problem(path) for path in _stale(CHECKOUT, exported)]
    problems += broken_examples(examples)
    schemas = {Path(path).name: text for path, text in exported.items() if path.startswith(f"{_SCHEMAS}/")}
    bases = history.bases(CHECKOUT, against or ())
    for base in bases:
        problems += broken_schemas(_parsed(base.files(_SCHEMAS)), _parsed(schemas))
        problems += edited_examples(base.files(_EXAMPLES), examples)
    if problems:
        typer.echo("\n".join(str(problem) for problem in dict.fromkeys(problems)), err=True)
        raise typer.Exit(1)
    compared = ", ".join(base.name for base in bases) or "nothing: there is no earlier commit here"
    typer.echo(f"contracts are fresh, examples hold, compatible with {compared}")


def _documents() -> dict[str, str]:
    """Every exported file's text, by its path."""
    return documents() | {"docs/states.md": drawing.page()}


def _stale(checkout: Path, wanted: dict[str, str]) -> list[str]:
    """Which exported files are missing, differ, or belong to no message any more."""
    there = {f"{_SCHEMAS}/{file.name}" for file in (checkout / _SCHEMAS).glob("*.json")}
    return sorted(path for path in there | set(wanted) if _text(checkout / path) != wanted.get(path))


def _stale_problem(path: str) -> Problem:
    return Problem(path, "is not what the code says", "Run `make contracts` and commit the result.")


def _parsed(texts: Mapping[str, str]) -> dict[str, Any]:
    """Schemas by message type, from their texts by file name."""
    return {name.removesuffix(".json"): json.loads(text) for name, text in texts.items()}


def _texts(directory: str) -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in (CHECKOUT / directory).glob("*.json")}


def _text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.exists() else None
