"""What operators' commands share: who they are to the records, and their sight of all services' schemas."""

from __future__ import annotations

import getpass
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from cli import services

if TYPE_CHECKING:
    from shared.config import Settings
    from shared.db import Connection


def who() -> str:
    """Who decides, for the record: user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


@asynccontextmanager
async def sight(settings: Settings) -> AsyncIterator[Connection]:
    """A connection that may read all published views `v1_all_*`, and no table."""
    from shared.db import Database
    from shared.migrate import OPERATOR_ROLE

    database = await Database.of_service(settings, "gateway", role=OPERATOR_ROLE)
    try:
        async with database.connection() as conn:
            yield conn
    finally:
        await database.close()


async def schemas(conn: Connection) -> list[str]:
    """The services that have a schema in this database."""
    there = await conn.fetch("select nspname from pg_namespace where nspname = any($1::text[])", services.names())
    return sorted(row["nspname"] for row in there)


async def rows(conn: Connection, schema: str, view: str) -> list[dict[str, Any]]:
    """All rows of a service's published view; none where it has no such view."""
    if await conn.fetchval("select to_regclass($1)", f"{schema}.{view}") is None:
        return []
    return [dict(row) for row in await conn.fetch(f'select * from "{schema}"."{view}"')]
