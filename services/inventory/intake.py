"""The one way by which what was seen at the provider is stored: a few statements for a page of any length."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from contracts.inventory import ResourceEvent
from services.inventory import history, store
from services.inventory.domain import Known, Seen, Verdict, judge
from services.inventory.history import Happened
from services.inventory.kinds import Kind
from services.inventory.store import Row
from shared.db import Connection
from shared.digitalocean import redact
from shared.outcome import Meta


async def take_in(
    conn: Connection, kind: Kind, seen: Sequence[Seen], seen_at: datetime, meta: Meta
) -> tuple[list[ResourceEvent], Counter[str]]:
    """Store resources as they were seen, each once; gives the events to be sent, and how often each thing happened."""
    await store.take_turn(conn)
    prints = {each.provider_id: fingerprint(each) for each in seen}
    unchanged = await store.touch_unchanged(conn, kind.name, list(prints), list(prints.values()), seen_at)
    rest = {each.provider_id: each for each in seen if each.provider_id not in unchanged}
    if not rest:
        return [], Counter()
    known = await store.list_by_provider_id(conn, kind.name, list(rest))
    clean = {id: replace(each, attrs=redact(each.attrs)) for id, each in rest.items()}
    verdicts = {id: judge(_known(known.get(id)), each, kind.meaningless) for id, each in clean.items()}
    columns = [_columns(each, prints[id], verdicts[id]) for id, each in clean.items()]
    rows = await store.upsert_seen(conn, kind.name, columns, seen_at)
    happened = [
        Happened(rows[id], verdict.happening, verdict.changes)
        for id, verdict in verdicts.items()
        if verdict.happening is not None
    ]
    return await history.record(conn, happened, meta), Counter(h.happening.value for h in happened)


def fingerprint(seen: Seen) -> bytes:
    """A digest of all that is kept of a resource: while it is the same, no further look is needed.

    It is made before secrets are taken out, which costs more than all the rest.
    """
    content = orjson.dumps(seen.content(), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(content, digest_size=16).digest()


def _known(row: Row | None) -> Known | None:
    if row is None:
        return None
    seen = Seen(
        row["provider_id"], row["name"], row["region"], row["state"], row["size_slug"], row["tags"], row["attrs"]
    )
    return Known(seen, deleted=row["deleted_at"] is not None)


def _columns(seen: Seen, digest: bytes, verdict: Verdict) -> Mapping[str, Any]:
    step = 0 if verdict.happening is None else 1
    return {"provider_id": seen.provider_id, **seen.content(), "fingerprint": digest.hex(), "step": step}
