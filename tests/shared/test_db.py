"""The pool: whose turn it is."""

from __future__ import annotations

import asyncio
from pathlib import Path

from shared.config import Settings
from shared.db import Database
from shared.migrate import migrate

_WAITING = 40


async def test_who_waits_for_a_connection_is_not_overtaken(settings: Settings, tmp_path: Path) -> None:
    await migrate(settings, {"probe": tmp_path})
    database = await Database.open(settings.role_url("probe"), "probe", size=2)
    granted = 0
    waits = []

    async def ask_again_and_again() -> None:
        nonlocal granted
        for _ in range(25):
            before = granted
            async with database.connection() as conn:
                waits.append(granted - before)
                granted += 1
                await conn.execute("select 1")

    try:
        await asyncio.gather(*[ask_again_and_again() for _ in range(_WAITING)])
    finally:
        await database.close()
    assert len(waits) == _WAITING * 25
    assert max(waits) <= _WAITING
