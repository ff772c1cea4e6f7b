"""The outbox: what the relay takes from it at once, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared import outbox
from shared.config import Settings
from shared.db import Database
from shared.ids import uuid7
from shared.migrate import migrate
from shared.outbox import Row


@pytest.mark.parametrize(
    ("limit_bytes", "taken"), [(1, "a"), (30, "a"), (31, "ab"), (61, "abc"), (90, "abc"), (91, "abcd")]
)
async def test_a_tombstone_does_not_overtake_what_stands_before_it(
    settings: Settings, tmp_path: Path, limit_bytes: int, taken: str
) -> None:
    await migrate(settings, {"probe": tmp_path})
    database = await Database.of_service(settings, "probe")
    payloads = {"a": b"x" * 30, "b": b"x" * 30, "c": b"x" * 30, "d": None}
    async with database.transaction() as conn:
        await outbox.insert(conn, [Row(uuid7(), "topic", key, "type", value) for key, value in payloads.items()])
        found = await outbox.oldest(conn, 100, limit_bytes)
    await database.close()
    assert "".join(key for _, _, key, _ in found) == taken
