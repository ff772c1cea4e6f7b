"""What went wrong, for a person: one or two lines instead of a traceback."""

from __future__ import annotations

from pydantic import ValidationError


class Failed(Exception):
    """A command cannot do what it was asked. The message says what happened, to what, and what to do."""


def explained(error: BaseException) -> str | None:
    """The words for an expected failure; None for a bug, whose traceback is wanted."""
    if isinstance(error, Failed):
        return str(error)
    if isinstance(error, ValidationError) and error.title == "Settings":
        return _settings(error)
    for kinds, words in (*_of_servers(), *_of_services(), *_of_local_stack()):
        if isinstance(error, kinds):
            return words.format(error=str(error) or type(error).__name__)
    return None


def _of_servers() -> list[tuple[tuple[type[BaseException], ...], str]]:
    """Errors of the database and the broker, each with its words; the first that fits counts."""
    # Only a command that failed needs these: `arcadia --help` stays quick.
    import asyncpg

    from shared.bus import NoSuchTopic
    from shared.db import OUTAGES
    from shared.migrate import MigrationFailed
    from shared.publisher import PUBLISH_ERRORS

    refused = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)
    unmigrated = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InsufficientPrivilegeError)
    return [
        ((MigrationFailed,), "a migration was refused, {error}\n  Its schema is as the migration before left it."),
        (refused, "PostgreSQL refuses: {error}\n  Is DATABASE_URL right, and has `arcadia migrate` been run there?"),
        (unmigrated, "the database is not as this version expects it: {error}\n  Run `arcadia migrate`."),
        (
            OUTAGES,
            "PostgreSQL or Kafka does not answer: {error}\n  Are DATABASE_URL and KAFKA_BOOTSTRAP_SERVERS right?",
        ),
        (
            (NoSuchTopic,),
            "none of these topics exists yet\n  Services create them when they start: arcadia up, or arcadia run.",
        ),
        (PUBLISH_ERRORS, "Kafka does not answer: {error}\n  Is KAFKA_BOOTSTRAP_SERVERS right?"),
    ]


def _of_services() -> list[tuple[tuple[type[BaseException], ...], str]]:
    from services.gateway.auth import Misconfigured

    return [((Misconfigured,), "{error}")]


def _of_local_stack() -> list[tuple[tuple[type[BaseException], ...], str]]:
    try:
        from dev.stack import StackError
    except ImportError:  # the image for production has no local stack
        return []
    return [((StackError,), "{error}")]


def _settings(error: ValidationError) -> str:
    lines = ["the settings make no sense:"]
    for wrong in error.errors(include_url=False, include_input=False):
        name = ".".join(map(str, wrong["loc"])).upper()
        lines.append(f"  {name} {'is not set' if wrong['type'] == 'missing' else wrong['msg']}")
    return "\n".join([*lines, "Set them in the environment, or start a local stack: arcadia stack start"])
