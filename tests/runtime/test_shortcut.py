"""The shortcut: a lone message is published without a look into the outbox, and never out of turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from shared import outbox
from shared.db import Database
from shared.outbox import Row, Stored, Written
from shared.relay import Relay
from shared.shortcut import Shortcut
from tests.runtime.probe import POKES, Probe
from tests.runtime.test_relay import relaying, sent

_ROW: Stored = (1, POKES, "key", b"1")
_LATER: Stored = (2, POKES, "key", b"2")


def _written(*rows: Stored, before: Sequence[Stored] | None = ()) -> Written:
    return Written(list(rows), None if before is None else [position for position, *_ in before], time.monotonic())


def _looked() -> Shortcut:
    shortcut = Shortcut()
    with shortcut.looking():
        pass
    return shortcut


def test_what_is_alone_since_the_last_look_is_known() -> None:
    shortcut = _looked()
    assert shortcut.take() == []
    shortcut.offer(_written(_LATER))
    shortcut.offer(_written(_ROW))
    assert shortcut.take() == [_ROW, _LATER]
    assert shortcut.take() == []


def test_before_the_first_look_nothing_is_known() -> None:
    shortcut = Shortcut()
    shortcut.offer(_written(_ROW))
    assert shortcut.take() is None


@pytest.mark.parametrize("before", [[_ROW], None], ids=["one", "many"])
def test_beside_what_is_not_known_a_message_waits_for_the_look(before: Sequence[Stored] | None) -> None:
    shortcut = _looked()
    shortcut.offer(_written(_LATER, before=before))
    assert shortcut.take() is None


def test_beside_what_is_offered_or_being_published_or_published_a_message_waits_for_nothing() -> None:
    shortcut = _looked()
    shortcut.offer(_written(_ROW))
    shortcut.offer(_written(_LATER, before=[_ROW]))
    rows = [_ROW, _LATER]
    assert shortcut.take() == rows
    shortcut.publishing(rows)
    last, very_last = (3, *_ROW[1:]), (4, *_ROW[1:])
    shortcut.offer(_written(last, before=rows))
    shortcut.sent(rows)
    shortcut.offer(_written(very_last, before=[*rows, last]))
    assert shortcut.take() == [last, very_last]
    shortcut.publishing([last, very_last])
    shortcut.sent([last, very_last])
    shortcut.offer(_written((5, *_ROW[1:]), before=[*rows, last, very_last]))
    assert shortcut.take() == [(5, *_ROW[1:])]


def test_what_a_look_found_is_known() -> None:
    shortcut = _looked()
    shortcut.publishing([_ROW])
    shortcut.offer(_written(_LATER, before=[_ROW]))
    assert shortcut.take() == [_LATER]


def test_what_is_deleted_is_no_longer_known() -> None:
    """So that what is remembered does not grow."""
    shortcut = _looked()
    shortcut.publishing([_ROW])
    shortcut.sent([_ROW])
    shortcut.deleted({_ROW[0]})
    assert not shortcut.published
    shortcut.offer(_written(_LATER, before=[_ROW]))
    assert shortcut.take() is None


def test_a_look_finds_what_was_offered_as_well() -> None:
    """So it is not published once more, after what may be later."""
    shortcut = _looked()
    shortcut.offer(_written(_ROW))
    shortcut.look()
    assert shortcut.take() is None
    with shortcut.looking():
        pass
    assert shortcut.take() == []


def test_what_was_written_before_a_look_or_during_it_may_have_been_found_by_it() -> None:
    shortcut = _looked()
    before = _written(_ROW)
    with shortcut.looking():
        shortcut.offer(_written(_ROW))
    assert shortcut.take() is None
    with shortcut.looking():
        pass
    shortcut.offer(before)
    assert shortcut.take() is None


async def test_many_at_once_are_not_carried_about_but_left_to_a_look(own_probe: Probe) -> None:
    async with own_probe.database.transaction() as conn:
        written = await outbox.insert(conn, [Row(uuid4(), POKES, "key", "x", b"") for _ in range(1000)])
    assert (written.rows, written.before) == ([], None)
    shortcut = _looked()
    shortcut.offer(written)
    assert shortcut.take() is None


async def _insert(probe: Probe, value: bytes) -> Written:
    async with probe.database.transaction() as conn:
        return await outbox.insert(conn, [Row(uuid4(), POKES, "key", "x", value)])


@asynccontextmanager
async def _waiting(probe: Probe) -> AsyncIterator[Relay]:
    """A leader that has looked, and waits."""
    async with relaying(probe) as relay:
        await _insert(probe, b"first")
        relay.wake()
        await sent(probe, 10)
        await asyncio.sleep(0.1)
        yield relay


def _otherwise(written: Written) -> Written:
    """The same, with other words: where those go out, nobody looked."""
    return Written([(*row[:3], b"offered") for row in written.rows], written.before, written.since)


@pytest.mark.usefixtures("no_polls")
async def test_a_lone_message_goes_out_without_a_look(own_probe: Probe) -> None:
    async with _waiting(own_probe) as relay:
        for _ in range(3):
            relay.wake(_otherwise(await _insert(own_probe, b"stored")))
            await sent(own_probe, 5)
    assert await own_probe.read(POKES) == [b"first", *[b"offered"] * 3]


@pytest.mark.usefixtures("no_polls")
async def test_what_another_wrote_before_goes_first(own_probe: Probe) -> None:
    async with _waiting(own_probe) as relay:
        await _insert(own_probe, b"another's")  # whose notification is under way
        relay.wake(await _insert(own_probe, b"ours"))
        await sent(own_probe, 5)
    assert await own_probe.read(POKES) == [b"first", b"another's", b"ours"]


@pytest.mark.usefixtures("no_polls")
async def test_after_its_lease_lapsed_a_leader_trusts_nothing_that_was_offered(own_probe: Probe) -> None:
    """Another may have led meanwhile, and published it, and more."""
    async with _waiting(own_probe) as relay:
        written = await _insert(own_probe, b"stored")
        relay._lease_until = time.monotonic() - 1
        relay.wake(_otherwise(written))
        await sent(own_probe, 5)
    assert await own_probe.read(POKES) == [b"first", b"stored"]


async def test_the_order_of_a_key_holds_over_two_replicas_that_write(own_probe: Probe) -> None:
    keys, writes = 3, 120
    async with relaying(own_probe) as leader, relaying(own_probe, leading=False) as other:
        await asyncio.sleep(0.5)

        async def write(relay: Relay, database: Database, number: int) -> None:
            key = f"key {number % keys}"
            await asyncio.sleep(number * 0.007)  # now alone, now together
            async with database.transaction() as conn:
                version = await conn.fetchval(
                    """
                    insert into seen as s (name, version) values ($1, 1)
                    on conflict (name) do update set version = s.version + 1 returning version
                    """,
                    key,
                )
                written = await outbox.insert(conn, [Row(uuid4(), POKES, key, "x", str(version).encode())])
            relay.wake(written)

        sides = ((leader, own_probe.database), (other, own_probe.database))
        await asyncio.gather(*(write(*sides[n % 2], n) for n in range(writes)))
        await sent(own_probe, 10)
    for key in range(keys):
        versions = [int(value or 0) for value in await own_probe.read(POKES, key=f"key {key}")]
        assert versions == list(range(1, writes // keys + 1))
