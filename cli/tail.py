"""`arcadia tail`: what happens on the topics, as it happens, one line per message."""

from __future__ import annotations

import asyncio
import re
import select
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cli import settings
from cli.errors import Failed
from cli.lines import Seen, short_topic, short_type

if TYPE_CHECKING:
    from shared.config import Settings

_FETCH_MS = 250
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Wanted:
    """Which messages to show. A pattern with *, ? or [ is a glob for the whole word; any other is a part of it."""

    topic: str | None = None
    type: str | None = None
    tenant: str | None = None
    subject: str | None = None
    correlation: str | None = None

    def includes(self, seen: Seen) -> bool:
        """Whether a record is wanted. One without an envelope has no tenant and no correlation to go by."""
        envelope = seen.envelope
        tenant = envelope.tenantid if envelope else None
        correlation = str(envelope.correlationid) if envelope and envelope.correlationid else None
        return (
            _fits(self.type, seen.type, short_type(seen.type))
            and _fits(self.subject, seen.key)
            and _fits(self.correlation, correlation)
            and (self.tenant is None or (tenant is not None and fnmatchcase(tenant, self.tenant)))
        )

    def topics(self) -> list[str]:
        """The topics to read. Raises `Failed` where the pattern fits none."""
        from contracts.export import product_topics

        names = [topic.name for topic in product_topics()]
        chosen = [name for name in names if _fits(self.topic, name, short_topic(name))]
        if not chosen:
            raise Failed(f"no topic fits {self.topic!r}\n  There are: {', '.join(map(short_topic, names))}")
        return chosen


def tail(
    *,
    topic: Annotated[str | None, typer.Option("--topic", "-t", help="Part of a topic's name, or a glob.")] = None,
    type: Annotated[str | None, typer.Option(help="Part of a message's type, or a glob.")] = None,
    tenant: Annotated[str | None, typer.Option(help="A tenant, or a glob.")] = None,
    subject: Annotated[str | None, typer.Option(help="Part of the key, or a glob.")] = None,
    correlation: Annotated[str | None, typer.Option(help="Part of the correlation id.")] = None,
    since: Annotated[str | None, typer.Option(help="Begin so long ago (90s, 10m, 2h, 1d), or at an ISO time.")] = None,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Begin with the oldest message.")] = False,
    follow: Annotated[bool, typer.Option(help="Wait for more, or end with what is there.")] = True,
    limit: Annotated[int | None, typer.Option("-n", "--limit", min=1, help="End after so many messages.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One envelope per line, for pipes.")] = False,
) -> None:
    """Show messages as they come: one line each. Ctrl-C ends it."""
    wanted = Wanted(topic, type, tenant, subject, correlation)
    since_ms = milliseconds(since, datetime.now(UTC)) if since else None
    runs = messages(settings.load(), wanted, 0 if from_beginning else since_ms, follow=follow)
    try:
        asyncio.run(_show(runs, limit or sys.maxsize, as_json=as_json))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def milliseconds(since: str, now: datetime) -> int:
    """Unix milliseconds of a time such as 10m (ago), 2026-05-12 or 2026-05-12T09:15 (local where no zone is given)."""
    ago = re.fullmatch(r"(\d+)([smhd])", since)
    try:
        moment = now - timedelta(**{_UNITS[ago[2]]: int(ago[1])}) if ago else datetime.fromisoformat(since)
    except (ValueError, OverflowError):
        raise Failed(f"--since {since!r} is no time\n  Give 90s, 10m, 2h or 1d, or a time: 2026-05-12T09:15") from None
    return max(1, int(moment.timestamp() * 1000))


async def messages(
    chosen: Settings, wanted: Wanted, since_ms: int | None, *, follow: bool = True
) -> AsyncGenerator[Sequence[Seen], None]:
    """What is wanted, in the runs in which it comes. Without `follow` it ends where the topics ended at the start."""
    from shared import bus

    topics = wanted.topics()
    async with bus.tail(chosen, topics, since_ms=since_ms) as consumer:
        _note_missing(
            topics, {partition.topic.removeprefix(chosen.kafka_prefix) for partition in consumer.assignment()}
        )
        ends = None if follow else await consumer.end_offsets(list(consumer.assignment()))
        while True:
            found = await consumer.getmany(timeout_ms=_FETCH_MS)
            seen = [Seen.of(record, chosen.kafka_prefix) for records in found.values() for record in records]
            yield sorted((each for each in seen if wanted.includes(each)), key=lambda each: each.at)
            if ends is not None and await _at(consumer, ends):
                return


async def _show(runs: AsyncGenerator[Sequence[Seen], None], left: int, *, as_json: bool) -> None:
    console = Console(highlight=False, soft_wrap=True)
    async with aclosing(runs):
        async for run in runs:
            for seen in run[:left]:
                if as_json:
                    sys.stdout.write(seen.json().decode() + "\n")
                else:
                    console.print(seen.line())
            sys.stdout.flush()
            left -= len(run)
            if left <= 0 or _abandoned():
                return


def _abandoned() -> bool:
    """Whether nobody reads the output any more, as behind `| head`: a write would tell, but none may ever come."""
    poller = select.poll()
    poller.register(sys.stdout, 0)
    return bool(poller.poll(0))


async def _at(consumer: Any, ends: dict[Any, int]) -> bool:
    """Whether the consumer has read up to these offsets."""
    return all([await consumer.position(partition) >= end for partition, end in ends.items()])


def _note_missing(topics: Sequence[str], there: set[str]) -> None:
    missing = [short_topic(topic) for topic in topics if topic not in there]
    if missing:
        Console(stderr=True).print(f"not there yet: {', '.join(missing)}", style="yellow")


def _fits(pattern: str | None, *words: str | None) -> bool:
    """Whether one of the words fits the pattern; no pattern fits all."""
    if pattern is None:
        return True
    wild = _WILD.search(pattern)
    return any(word and (fnmatchcase(word, pattern) if wild else pattern in word) for word in words)
