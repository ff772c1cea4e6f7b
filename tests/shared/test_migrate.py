"""What `arcadia migrate` asks of its administrator."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from dev.stack import Stack
from shared.db import Database
from shared.migrate import migrate
from tests.conftest import settings_for
from tests.ledger.services import MIGRATIONS


async def test_an_administrator_who_may_create_roles_is_enough(tmp_path: Path) -> None:
    # Servers of its own: on those of the session, the roles belong to a superuser already.
    with Stack("migrate", root=tmp_path, kafka="mock", postgres_fsync=False, ephemeral=True) as stack:
        superuser = await asyncpg.connect(stack.database_url)
        await superuser.execute("create role lead login createrole password 'lead'")
        await superuser.execute("create database platform owner lead")
        await superuser.close()
        parts = urlsplit(stack.database_url)
        address = parts._replace(netloc=f"lead:lead@{parts.hostname}:{parts.port}", path="/platform")
        settings = settings_for(stack, urlunsplit(address))
        for _ in range(2):
            await migrate(settings, MIGRATIONS)
        database = await Database.of_service(settings, "ledger")
        assert await database.pool.fetchval("select count(*) from accounts") == 0
        await database.close()
