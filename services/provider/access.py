"""The jobs' access to the provider, and how long they wait for what."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Final, Self

from shared.config import Settings
from shared.digitalocean import DigitalOcean, TokenResolver, Walk
from shared.jobs import PutOff
from shared.outcome import Refused
from shared.patience import patience

PURPOSE: Final = "provisioning"

SHORTEST_CALL_S = 2.0
"""However much time is scaled, an answer may take so long."""


@dataclass(frozen=True)
class Patience:
    """Waits, in seconds."""

    start_s: float = 5.0
    """A write must be under way so soon after it was noted down as sent, or it is not sent."""
    slot_s: float = 10.0
    """The longest wait for a turn in the rate budget."""
    call_s: float = 45.0
    """The longest that a call may take."""
    lookup_s: float = 60.0
    """How long past its time-out a write's effect may come to light: lists and tags lag."""
    poll_s: float = 2.0
    """Between two looks at something that takes its time at the provider: at first, and the least."""
    slow_poll_s: float = 15.0
    """The same, at something that has taken long already."""
    away_s: float = 5.0
    """Until the provider is asked again that was away."""
    denied_s: float = 30.0
    """The same, where it does not let us in and we cannot leave it at that."""
    limited_s: float = 60.0
    """The longest until it is asked again that has asked for patience, however much it asked for."""
    hold_s: float = 150.0
    """How long an operation has its target to itself after its last attempt began or its last write was noted down:
    longer than it rests between two attempts, and two leases of its job, so that one which is taken over keeps it."""
    ready_s: float = 900.0
    """How long a droplet may take to come up, where the command does not say."""
    vanished_s: float = 60.0
    """How long a droplet may be unknown by its id that is not gone."""
    orphan_s: float = 3600.0
    """How long nothing must have happened to an operation before what it left is nobody's."""

    def scaled(self, by: float) -> Self:
        """The same, shortened."""
        waits = {field.name: getattr(self, field.name) * by for field in fields(self)}
        return type(self)(**waits | {"call_s": max(waits["call_s"], SHORTEST_CALL_S)})

    @property
    def unsure(self) -> timedelta:
        """How long after a write was noted down as sent its effect may come to light."""
        return timedelta(seconds=self.start_s + self.slot_s + self.call_s + self.lookup_s)

    @property
    def poll(self) -> timedelta:
        return timedelta(seconds=self.poll_s)

    def poll_after(self, waited_s: float) -> timedelta:
        """The pause before the next look at something that has taken so long already."""
        return timedelta(seconds=max(self.poll_s, min(waited_s / 4, self.slow_poll_s)))

    @property
    def away(self) -> timedelta:
        return timedelta(seconds=self.away_s)

    @property
    def denied(self) -> timedelta:
        return timedelta(seconds=self.denied_s)

    @property
    def limited(self) -> timedelta:
        return timedelta(seconds=self.limited_s)

    @property
    def hold(self) -> timedelta:
        return timedelta(seconds=self.hold_s)


@dataclass(frozen=True)
class Provider:
    """What the jobs get. `do` tries each call once: a job that is put off is what tries again."""

    do: DigitalOcean
    patience: Patience


def leased(settings: Settings, lease: timedelta) -> timedelta:
    """A job's lease, as much shorter as the calls that it must outlast, but longer than those at their shortest."""
    return max(lease * settings.provider_time_scale, timedelta(seconds=2 * SHORTEST_CALL_S))


@asynccontextmanager
async def access(settings: Settings) -> AsyncIterator[Provider]:
    """The provider, with the token for provisioning, for as long as the process lives."""
    async with provider(settings, Patience().scaled(settings.provider_time_scale)) as opened:
        yield opened


@asynccontextmanager
async def provider(settings: Settings, waits: Patience) -> AsyncIterator[Provider]:
    """The provider, with these waits."""
    async with DigitalOcean(
        TokenResolver(os.environ, settings.do_rate_limit),
        PURPOSE,
        base_url=settings.do_api_url,
        attempt_timeout=waits.call_s,
        attempts=1,
        longest_wait=waits.slot_s,
    ) as do:
        yield Provider(do, waits)


@contextmanager
def asking(provider: Provider) -> Iterator[None]:
    """For reads before anything was sent: put off while the provider is away, refused where it does not let us in."""
    with patience(PURPOSE, provider.patience.away, longest=provider.patience.limited):
        yield


@contextmanager
def insisting(provider: Provider) -> Iterator[None]:
    """For reads once something was sent: all is waited out, for no refusal may leave an effect behind."""
    try:
        with asking(provider):
            yield
    except Refused as refusal:
        reason = f"{refusal.code}: {refusal.detail.get('reason')}"
        raise PutOff(reason, provider.patience.denied) from refusal


async def rows_of(walk: Walk, provider: Provider) -> list[dict[str, Any]]:
    """All rows of a list. Put off where some may have been missed: they must not be taken for gone."""
    rows = [row async for page in walk for row in page]
    if not walk.complete:
        raise PutOff("; ".join(walk.doubts), provider.patience.away)
    return rows
