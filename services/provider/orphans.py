"""Looking for what operations left at the provider and do not have: a worker frozen just before it sent, say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import structlog

from contracts.money import whole_cents
from contracts.provider import SweepOrphans
from services.provider import domain, store
from services.provider.access import Provider, asking
from services.provider.droplets import is_destroyed, keep_progress
from shared.db import Connection
from shared.jobs import JobRun
from shared.outcome import Meta, Outcome, Refused
from shared.steps import Said, transact

log = structlog.get_logger(__name__)


@dataclass
class Orphan:
    """A droplet that nobody has, and what it costs in a month; `error`: why it could not be destroyed."""

    droplet_id: int
    name: str
    operation_id: str
    reason: str
    since: str
    monthly_cents: int | None
    destroyed: bool = False
    error: str | None = None


async def sweep_orphans(cmd: SweepOrphans, run: JobRun[Provider]) -> Outcome:
    """Compare the droplets that operations are said to have made with the ledger. Tells of each that nobody has."""
    provider = run.resources
    walk, tagged = provider.do.droplets(), []
    with asking(provider):
        async for page in walk:
            tagged += [(row, id) for row in page if (id := domain.operation_of(row.get("tags") or ()))]
    orphans = await _orphans_among(tagged, run)
    if cmd.destroy:
        orphans = await _destroy(orphans, run)
    _warn([orphan for orphan in orphans if not orphan.destroyed])
    return Outcome(result={"orphans": [asdict(orphan) for orphan in orphans], "complete": walk.complete})


async def _destroy(orphans: Sequence[Orphan], run: JobRun[Provider]) -> list[Orphan]:
    """Destroy what this ledger knows to be nobody's. Gives all, also those that an earlier attempt has destroyed."""
    destroyed = {row["droplet_id"]: Orphan(**row) for row in (run.progress or {}).get("destroyed", ())}
    left = [orphan for orphan in orphans if orphan.droplet_id not in destroyed]
    for orphan in left:
        if orphan.reason == domain.UNKNOWN_OPERATION:
            continue
        try:
            orphan.destroyed = await is_destroyed(run.resources, orphan.droplet_id, until_gone=False, patient=asking)
            orphan.error = None if orphan.destroyed else "an event is running on it"
        except Refused as refusal:  # of this one; the others may go
            orphan.error = f"{refusal.code}: {refusal.detail['reason']}"
        if orphan.destroyed:
            destroyed[orphan.droplet_id] = orphan
            await keep_progress(run, {"destroyed": [asdict(each) for each in destroyed.values()]})
    return [*destroyed.values(), *(orphan for orphan in left if not orphan.destroyed)]


def _warn(left: Sequence[Orphan]) -> None:
    if left:
        log.warning(
            "droplets that nobody has",
            droplets=[orphan.droplet_id for orphan in left],
            monthly_cents=sum(orphan.monthly_cents or 0 for orphan in left),
            remedy="POST /api/v1/provider/sweep-orphans with destroy, or destroy them at the provider",
        )


async def _orphans_among(tagged: Sequence[tuple[dict[str, Any], UUID]], run: JobRun[Provider]) -> list[Orphan]:
    operations = await _operations([id for _, id in tagged], run)
    before = run.meta.now - timedelta(seconds=run.resources.patience.orphan_s)
    orphans = []
    for row, id in tagged:
        born = datetime.fromisoformat(row["created_at"])
        if reason := domain.why_orphan(row["id"], born, operations.get(id), before):
            orphans.append(_orphan(row, id, reason))
    return orphans


async def _operations(ids: Sequence[UUID], run: JobRun[Provider]) -> dict[UUID, domain.Known]:
    async def known(conn: Connection, _: Meta) -> tuple[dict[UUID, domain.Known], Said]:
        rows = await store.list_operations(conn, ids)
        return {id: _known(row) for id, row in rows.items()}, ()

    return await transact(run, known)


def _known(row: store.Row) -> domain.Known:
    droplet_id = (row["result"] or {}).get("droplet_id")
    return domain.Known(row["status"], row["undone"], droplet_id, row["updated_at"])


def _orphan(row: dict[str, Any], operation_id: UUID, reason: str) -> Orphan:
    monthly = (row.get("size") or {}).get("price_monthly")
    cents = None if monthly is None else whole_cents(Decimal(str(monthly)) * 100)
    return Orphan(row["id"], row["name"], str(operation_id), reason, row["created_at"], cents)
