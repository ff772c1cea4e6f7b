"""Who held resources, and since when: pure rules of attribution. (The sums are views: see the migrations.)"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from contracts.inventory import LinkInterval


class Told(NamedTuple):
    """Who held a resource, where all of the time from `begin` on is told."""

    begin: datetime
    links: Sequence[LinkInterval]


def told_from(links: Sequence[LinkInterval], begin: datetime) -> Told:
    """What a state tells that tells of the time from `begin` on: a link that reaches over that, it tells whole."""
    return Told(min([begin, *(link.since for link in links)]), links)


def with_told(known: Told | None, news: Told) -> Told:
    """What is told, where an older state of it told of a time before as well."""
    if known is None or known.begin >= news.begin:
        return news
    before = [
        link.model_copy(update={"until": link.until if link.until and link.until < news.begin else news.begin})
        for link in known.links
        if link.since < news.begin
    ]
    return Told(known.begin, [*before, *news.links])
