"""Kinds that the provider lists nowhere by themselves: other walks tell of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from contracts.inventory import MeasureBucket
from services.inventory import store, sync_store
from services.inventory.steps import Walking
from shared.db import Connection
from shared.digitalocean import NotFound
from shared.ids import derived_id
from shared.outcome import Meta, Send
from shared.steps import Said

LISTED = "listed"
"""In a job's progress: what the projects' lists show of the kinds that have no list of their own, by kind."""

MEASURED_EVERY = timedelta(hours=23)
"""So long does a bucket's size stand: measuring lists all its objects, a thousand a request."""

_DROPLETS_AT_ONCE = 5000
_ROWS_AT_ONCE = 200

Row = dict[str, Any]


class Telling:
    """What two such walks have in common: they are complete where the walk is that tells, and nothing failed."""

    blank = False

    def __init__(self, walking: Walking) -> None:
        self._walking = walking
        self._ended = False
        self.noted = 0  # so many were seen without a row of theirs
        self.doubts: list[str] = []

    @property
    def complete(self) -> bool:
        return self._ended and not self.doubts


class Backups(Telling):
    """Backups are listed under their droplet, whose own row names them.

    Only droplets that name one which is not known are asked; all others that they name are seen by that.
    """

    async def __aiter__(self) -> AsyncGenerator[list[Row], None]:
        began_at = await self._walking.step(self._droplets_walk)
        if began_at is None:
            self.doubts.append("the droplets tell of their backups, and no complete walk of theirs precedes")
            return
        after = store.BEFORE_ALL
        while page := await self._walking.step(partial(self._see_known, began_at, after)):
            self.noted += sum(row["known"] for row in page if not row["unknown"])
            for droplet_id in [row["provider_id"] for row in page if row["unknown"]]:
                yield await self._read(droplet_id)
            after = page[-1]["id"]
        self._ended = True

    async def _droplets_walk(self, conn: Connection, meta: Meta) -> tuple[datetime | None, Said]:
        return await sync_store.find_complete_walk(conn, "droplet", meta.message_id), ()

    async def _see_known(
        self, began_at: datetime, after: UUID, conn: Connection, _: Meta
    ) -> tuple[list[store.Row], Said]:
        seen_at = self._walking.sync.began_at  # what is read of them later than that counts more
        return await sync_store.touch_backups(conn, began_at, seen_at, after=after, limit=_DROPLETS_AT_ONCE), ()

    async def _read(self, droplet_id: str) -> list[Row]:
        walk = self._walking.do.walk("/v2/droplets/{droplet_id}/backups", "backups", droplet_id=droplet_id)
        try:
            rows = [{**row, "droplet_id": droplet_id} async for page in walk for row in page]
        except NotFound:  # it went meanwhile; the next walk knows that
            return []
        self.doubts += walk.doubts
        return rows


class Buckets(Telling):
    """Buckets are listed by the projects, and by name alone: where they are and how large, measuring them tells."""

    async def __aiter__(self) -> AsyncGenerator[list[Row], None]:
        if not self._walking.done.get("project", {}).get("complete"):
            self.doubts.append("the projects tell of buckets, and no complete walk of theirs precedes")
        names = list(dict.fromkeys(self._walking.done.get(LISTED, {}).get("spaces_bucket", [])))
        for first in range(0, len(names), _ROWS_AT_ONCE):
            yield await self._walking.step(partial(self._measured, names[first : first + _ROWS_AT_ONCE]))
        self._ended = True

    async def _measured(self, names: Sequence[str], conn: Connection, meta: Meta) -> tuple[list[Row], Said]:
        """The buckets as they were last measured, and orders to measure those whose turn it is."""
        known = await store.list_measurements(conn, names)
        stale = meta.now - MEASURED_EVERY
        due = [name for name in names if name not in known or known[name]["tried_at"] < stale]
        orders = [Send(MeasureBucket(bucket=name), id=order_id(name, known.get(name), meta.now)) for name in due]
        rows = [bucket_row(name, known.get(name)) for name in names]
        return rows, orders if self._walking.run.resources.spaces else ()


def order_id(name: str, measured: Mapping[str, Any] | store.Row | None, now: datetime) -> UUID:
    """The id of the order to measure a bucket that was `measured` last so: one a day, until it is tried again."""
    tried_at = measured["tried_at"].isoformat() if measured else "never"
    return derived_id("measure-bucket", name, tried_at, now.date().isoformat())


def bucket_row(name: str, measured: store.Row | None) -> Row:
    """A bucket as a row, which the provider has none of."""
    return {"name": name} | (dict(measured) if measured else {})
