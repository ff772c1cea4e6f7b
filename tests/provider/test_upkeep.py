"""What the ledger forgets, and what never."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from services.provider.upkeep import KEPT, forget_what_is_long_over
from shared.ids import uuid7
from tests.provider.world import Provisioning

NOW = datetime(2026, 11, 1, tzinfo=UTC)
LONG_AGO = NOW - KEPT - timedelta(days=1)

FORGOTTEN = [("pending", "create-droplet"), ("refused", "create-droplet"), ("cancelled", "create-droplet"),
             ("done", "upsert-dns-record")]  # fmt: skip
KEPT_FOR_GOOD = [("sent", "create-droplet"), ("done", "create-droplet")]


async def test_what_is_over_or_never_began_is_forgotten_and_no_droplet(no_replica: Provisioning) -> None:
    for age, rows in ((LONG_AGO, FORGOTTEN + KEPT_FOR_GOOD), (NOW, FORGOTTEN)):
        for status, kind in rows:
            await insert(no_replica, status, kind, age)

    async with no_replica.db.transaction() as conn:
        outcome = await forget_what_is_long_over(conn, NOW)

    assert outcome
    assert len(outcome.events) == len(FORGOTTEN)
    left = await no_replica.db.pool.fetch("select status, kind from operations where updated_at < $1", NOW)
    assert sorted(map(tuple, left)) == sorted(KEPT_FOR_GOOD)


async def test_what_is_to_be_forgotten_is_found_by_an_index(no_replica: Provisioning) -> None:
    async with no_replica.db.transaction() as conn:
        await conn.execute("set local enable_seqscan = off")
        plan = await conn.fetch(
            """
            explain select id from operations
            where updated_at < $1
              and (status in ('pending', 'refused') or status = 'cancelled' and undone
                or status = 'done' and kind <> 'create-droplet')
            order by updated_at limit 1
            """,
            NOW,
        )
    assert any("operations_deletable" in row[0] for row in plan)


async def insert(provisioning: Provisioning, status: str, kind: str, at: datetime) -> None:
    await provisioning.db.pool.execute(
        """
        insert into operations (id, kind, status, request, result, error, undone, created_at, updated_at, version)
        values ($1, $2, $3, '{}', case when $3 = 'done' then '{}'::jsonb end, case when $3 = 'refused' then 'no' end,
          $3 = 'cancelled', $4, $4, 1)
        """,
        uuid7(),
        kind,
        status,
        at,
    )
