"""A sync is a round of walks: in which order they go, several at once, and what becomes of those that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import Any, TypeAlias

from contracts.kinds import ResourceKind
from services.inventory import projects, walks
from services.inventory.kinds import KINDS, Cadence, Told, in_order_of_cost
from services.inventory.provider import Provider, is_away
from services.inventory.steps import Superseded
from shared.digitalocean import ProviderError
from shared.jobs import JobRun

Walk: TypeAlias = Callable[[JobRun[Provider], dict[str, Any]], Awaitable[dict[str, Any]]]
"""Gives its numbers. It adds to the job's progress, which has those of the walks done before."""

WALKS_AT_ONCE = 3
"""So many kinds are read while others are stored; the fast ones, which make others, are walked alone before those."""


class Round:
    """The walks of one attempt at a sync. `done`: the numbers of those that ended, now or in an earlier attempt."""

    def __init__(self, run: JobRun[Provider]) -> None:
        self.done: dict[str, Any] = dict(run.progress or {})
        self.failures: dict[str, ProviderError] = {}
        self._run = run
        self._away: ProviderError | None = None
        self._walking: dict[str, asyncio.Future[None]] = {}

    async def walk_all(self, wanted: Iterable[tuple[str, Walk]]) -> None:
        """Walk what is not done yet. Where one walk fails, the others are done all the same.

        Unless the provider is away altogether: then they fail with it. Raises what concerns our token.
        """
        left = [(name, walk) for name, walk in wanted if name not in self.done]
        for several, group in groupby(left, key=lambda walk: _goes_with_others(walk[0])):
            slots = asyncio.Semaphore(WALKS_AT_ONCE if several else 1)
            self._walking = {name: asyncio.ensure_future(self._in_turn(slots, name, walk)) for name, walk in group}
            try:
                await asyncio.gather(*self._walking.values())
            finally:
                for task in self._walking.values():
                    task.cancel()
                await asyncio.gather(*self._walking.values(), return_exceptions=True)

    async def _in_turn(self, slots: asyncio.Semaphore, name: str, walk: Walk) -> None:
        if earlier := [self._walking[each] for each in _taken_of(name) if each in self._walking]:
            await asyncio.wait(earlier)
        async with slots:
            if self.done.get(told_by(name), {}).get("superseded"):
                self.done[name] = {"complete": False, "superseded": True}  # nobody told of it: a later sync's matter
                return
            cause = self._away or self.failures.get(told_by(name))
            if cause is None:
                try:
                    self.done[name] = await walk(self._run, self.done)
                    return
                except Superseded:
                    self.done[name] = {"complete": False, "superseded": True}
                    return
                except ProviderError as error:
                    cause = error
                    self._away = error if await is_away(self._run.resources.do, error) else self._away
            self.failures[name] = cause


def walks_of(kind: ResourceKind | None) -> Sequence[tuple[str, Walk]]:
    """The walks that a sync of a kind, or of all, consists of.

    Projects come first, so that what is discovered is discovered in its project; before a kind that another walk tells
    of comes that one.
    """
    every: dict[str, Walk] = {projects.KIND: projects.walk_projects}
    every |= {each.name: partial(walks.walk_kind, each) for each in in_order_of_cost()}
    if kind is None:
        return list(every.items())
    return [(name, every[name]) for name in (told_by(kind), kind) if name]


def told_by(name: str) -> str:
    """The walk that tells of a kind; empty for what the provider lists."""
    source = None if name == projects.KIND else KINDS[ResourceKind(name)].source
    return source.after if isinstance(source, Told) else ""


def _taken_of(name: str) -> Sequence[ResourceKind]:
    return () if name == projects.KIND else KINDS[ResourceKind(name)].taken_of


def _goes_with_others(name: str) -> bool:
    return name != projects.KIND and KINDS[ResourceKind(name)].cadence is not Cadence.FAST
