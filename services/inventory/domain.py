"""The inventory's rules: what counts as a change, when an absence is believed, and whose a resource was when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from contracts.inventory import Change, LinkInterval, Parent

STRIKES = 3
"""From so many complete walks must a resource be missing before it is held to be gone."""

IMPLAUSIBLE_SHARE = 0.2
IMPLAUSIBLE_COUNT = 5
"""More than this share of a kind, and at least so many, are not missing at once without somebody knowing."""


class Happening(StrEnum):
    """What can happen to a resource. The values are those of `cloud_resource_events.event_type`."""

    DISCOVERED = "discovered"
    UPDATED = "updated"
    TAGGED = "tagged"
    RESTORED = "restored"
    DELETED = "deleted"
    LINKED = "linked"
    UNLINKED = "unlinked"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A resource as the provider shows it. `tags` in order of the alphabet, `attrs` without secrets."""

    provider_id: str
    name: str
    attrs: Mapping[str, Any]
    region: str | None = None
    state: str | None = None
    size_slug: str | None = None
    tags: Sequence[str] = ()
    parent: Parent | None = None

    def content(self) -> dict[str, Any]:
        """What is kept of it, by column."""
        return {
            "name": self.name,
            "region": self.region,
            "state": self.state,
            "size_slug": self.size_slug,
            "tags": self.tags,
            "attrs": self.attrs,
        }


@dataclass(frozen=True)
class Known:
    """A resource as the inventory has it."""

    seen: Seen
    deleted: bool = False


@dataclass(frozen=True)
class Verdict:
    """What a sighting means. `happening` None: something is to be stored, but it is nobody's business."""

    happening: Happening | None
    changes: Mapping[str, Change] = field(default_factory=dict)


def judge(known: Known | None, seen: Seen, meaningless: AbstractSet[str]) -> Verdict:
    """What it means that a resource is seen so. `meaningless`: the parts of attrs whose change is no event."""
    if known is None:
        return Verdict(Happening.DISCOVERED)
    changes = differences(known.seen, seen, meaningless)
    if known.deleted:
        return Verdict(Happening.RESTORED, changes)
    if changes.keys() == {"tags"}:
        return Verdict(Happening.TAGGED, changes)
    return Verdict(Happening.UPDATED if changes else None, changes)


def differences(old: Seen, new: Seen, meaningless: AbstractSet[str]) -> dict[str, Change]:
    """The meaningful differences, by field; `attrs.<name>` for parts of attrs."""
    before, after = _fields(old, meaningless), _fields(new, meaningless)
    return {
        name: Change(old=before.get(name), new=after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }


def _fields(seen: Seen, meaningless: AbstractSet[str]) -> dict[str, Any]:
    content = seen.content()
    attrs = content.pop("attrs")
    content["tags"] = sorted(content["tags"])
    return content | {f"attrs.{name}": value for name, value in attrs.items() if name not in meaningless}


def is_implausible(missing: int, known: int) -> bool:
    """Whether so many of a kind can hardly be gone: then an operator decides. Those count too that were missing before.

    A handful is believed, but not that all of several are gone: a token without the scope is answered with empty lists.
    """
    if missing == known > 1:
        return True
    return missing >= IMPLAUSIBLE_COUNT and missing > known * IMPLAUSIBLE_SHARE


@dataclass(frozen=True)
class Link:
    """From `since` on a resource belongs to a deployment, or to nobody. It holds until the next link begins."""

    since: datetime
    deployment_id: UUID | None
    tenant_id: str | None = None

    @property
    def owner(self) -> tuple[UUID | None, str | None]:
        """Whom it gives the resource to."""
        return self.deployment_id, self.tenant_id


def link_at(links: Sequence[Link], time: datetime) -> Link | None:
    """The link that holds at a time, among links in the order of their beginning."""
    return next((link for link in reversed(links) if link.since <= time), None)


def with_link(links: Sequence[Link], new: Link) -> list[Link]:
    """The links with one more, which takes the place of one that begins at the same time.

    A link that only goes on with what the one before it says is left out.
    """
    found: list[Link] = []
    for link in sorted([*(link for link in links if link.since != new.since), new], key=lambda link: link.since):
        if not found or found[-1].owner != link.owner:
            found.append(link)
    return found


@dataclass(frozen=True)
class PartTime:
    """From `since` until `until` (None: still) a resource was part of something that had these links, in order."""

    since: datetime
    until: datetime | None
    links: list[Link]

    def holds_at(self, time: datetime) -> bool:
        """Whether it was a part at that time."""
        return self.since <= time and (self.until is None or time < self.until)


def with_inherited(own: Sequence[Link], part_times: Sequence[PartTime]) -> list[Link]:
    """A resource's links: its own while one names a deployment, else those of what it was part of at the time."""
    if not part_times:
        return list(own)
    times = {link.since for link in own}
    for part in part_times:
        times |= {part.since, *(link.since for link in part.links if part.holds_at(link.since))}
        times |= {part.until} if part.until else set()
    found: list[Link] = []
    for time in sorted(times):
        link = replace(_holding(own, part_times, time), since=time)
        if not found or found[-1].owner != link.owner:
            found.append(link)
    return found


def _holding(own: Sequence[Link], part_times: Sequence[PartTime], time: datetime) -> Link:
    link = link_at(own, time)
    if link is None or link.deployment_id is None:
        inherited = (link_at(part.links, time) for part in part_times if part.holds_at(time))
        link = next(filter(None, inherited), link)
    return link or Link(time, None)


def intervals(links: Sequence[Link], since: datetime) -> list[LinkInterval]:
    """The times of attribution that end after `since`, oldest first; what is continuous is one."""
    found: list[LinkInterval] = []
    for link, until in zip(links, [*(link.since for link in links[1:]), None], strict=False):
        if link.deployment_id is None or (until is not None and until <= since):
            continue
        last = found[-1] if found else None
        if last is not None and last.deployment_id == link.deployment_id and last.until == link.since:
            found[-1] = last.model_copy(update={"until": until})
        else:
            found.append(LinkInterval(deployment_id=link.deployment_id, since=link.since, until=until))
    return found


@dataclass(frozen=True)
class Moment:
    """Something in a resource's history: what happened, and what the fields that changed by it were before."""

    at: datetime
    happening: str
    old: Mapping[str, Any]


@dataclass(frozen=True)
class Period:
    """A time during which a field of a resource had a value."""

    value: Any
    since: datetime
    until: datetime | None


def periods(past: Sequence[Moment], field: str, value: Any, exists: bool, since: datetime) -> list[Period]:
    """Which values a field had from a time on, oldest first; none while the resource was gone.

    `past`: what happened from that time on, in order; `value` and `exists`: how it is after that.
    """
    found: list[Period] = []
    until = None
    for moment in reversed(past):
        if field in moment.old or moment.happening in _EXISTED_BEFORE:
            if exists and (until is None or moment.at < until):
                found.append(Period(value, moment.at, until))
            until = moment.at
        exists = _EXISTED_BEFORE.get(moment.happening, exists)
        value = moment.old.get(field, value)
    if exists and (until is None or since < until):
        found.append(Period(value, since, until))
    return found[::-1]


_EXISTED_BEFORE: Mapping[str, bool] = {Happening.DELETED: True, Happening.RESTORED: False}


@dataclass(frozen=True)
class Measured:
    """What is in a bucket: the bytes of all objects together, and how many they are."""

    region: str
    size_bytes: int
    objects: int


class SpacesAway(Exception):
    """Spaces did not answer, or asked for patience: worth another try."""


class SpacesRefused(Exception):
    """Spaces said no, and will again."""


def urn_parts(urn: str) -> tuple[str, str] | None:
    """The type and the id in a provider's URN, such as `do:droplet:123`; None where it is none."""
    parts = urn.split(":", 2)
    return (parts[1], parts[2]) if len(parts) == 3 and parts[0] == "do" and parts[2] else None
