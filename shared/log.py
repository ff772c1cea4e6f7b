"""Logs: structlog, JSON lines in production, readable in a terminal. One canonical line per message."""

from __future__ import annotations

import logging
import sys

import structlog

from shared.config import Settings

# Without the values of local variables: they may be secrets.
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


def configure(settings: Settings, **bound: str) -> None:
    """Set the process's logging up; `bound` stands on every line."""
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if settings.log_format == "json":
        processors += [_TRACEBACKS, structlog.processors.JSONRenderer()]
    else:
        plain = structlog.dev.plain_traceback
        processors.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**bound)
    _quiet_libraries()


def _quiet_libraries() -> None:
    """Libraries log through the standard library: warnings and worse, in their own words, to the same stream."""
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s", force=True
    )
    # aiokafka tells of every reconnection at ERROR while a broker restarts; the runtime says it once, with its remedy.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.getLogger("asyncpg.pool").setLevel(logging.CRITICAL)  # the same, with a traceback, while a database does
