"""The rules: what is to be done next to bring a target where it should be, and what is nobody's. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from contracts.provider import OPERATION_TAG, OperationStatus

Json: TypeAlias = Mapping[str, Any]

UNKNOWN_OPERATION = "unknown_operation"

_WITHOUT_EFFECT = frozenset({OperationStatus.CANCELLED, OperationStatus.REFUSED, OperationStatus.PENDING})

IRREVOCABLE = frozenset({"destroy-droplet", "undo-operation"})


def operation_of(tags: Iterable[str]) -> UUID | None:
    """The operation that made what has these tags; None where none did."""
    for tag in tags:
        if tag.startswith(OPERATION_TAG):
            try:
                return UUID(tag.removeprefix(OPERATION_TAG))
            except ValueError:
                continue  # somebody else's tag
    return None


def may_be_undone(kind: str, request: Json) -> bool:
    """Whether an operation that was begun can be taken back."""
    return kind not in IRREVOCABLE and not (kind == "resize-droplet" and request.get("disk"))


def is_busy(message: str) -> bool:
    """Whether a refusal says that another event is running on the droplet, so that it is worth asking again."""
    return "pending event" in message.lower() or "blocking event" in message.lower()


def is_so_already(message: str) -> bool:
    """Whether a refusal says that the droplet is switched as was asked."""
    return "already powered o" in message.lower()


def public_address(networks: Json, family: str) -> str | None:
    """The public address in `v4` or `v6`. Not simply the first: a private one often comes before it."""
    for network in networks.get(family) or ():
        address = network.get("ip_address")
        if network.get("type") == "public" and address not in (None, "", "<nil>"):
            return str(address)
    return None


class Droplet(NamedTuple):
    """What actions change of a droplet."""

    status: str
    size: str
    name: str


def next_action(now: Droplet, wanted: Droplet, *, disk: bool = False, switches: bool = True) -> dict[str, Any] | None:
    """The next action that brings a droplet where it should be; None where it is there.

    A resize needs it to be off: with `switches` it is switched off for that, and afterwards as is wanted.
    """
    if now.name != wanted.name:
        return {"type": "rename", "name": wanted.name}
    if now.size != wanted.size:
        if switches and now.status != "off":
            return {"type": "power_off"}
        return {"type": "resize", "size": wanted.size, "disk": disk}
    if now.status != wanted.status:
        return {"type": "power_off" if wanted.status == "off" else "power_on"}
    return None


def shows(now: Droplet, action: Json) -> bool:
    """Whether a droplet is as an action should have left it."""
    match action["type"]:
        case "power_off":
            return now.status == "off"
        case "power_on":
            return now.status == "active"
        case "rename":
            return now.name == str(action["name"])
        case _:
            return now.size == str(action["size"])


def ours(actions: Iterable[Json], step: Json) -> Json | None:
    """The action that came of a step: of its type, and younger than the youngest that was there when it was sent.

    By ids, which grow: the provider's clock is not ours.
    """
    found = [each for each in actions if each["type"] == step["type"] and each["id"] > step["after"]]
    return min(found, key=lambda each: int(each["id"]), default=None)


def next_tagging(
    there: Sequence[str], wanted: Sequence[str], spelled: Mapping[str, str | None]
) -> dict[str, Any] | None:
    """The next write that makes the tags that are `there` those that are `wanted`; None where they are.

    Adds come before removals. Tags of operations are neither put on nor taken off: by them the ledger finds what it
    made. `spelled`: how the provider spells a tag, by its form in which it is compared; None where it does not know it:
    then it is made first.
    """
    there, wanted = [[tag for tag in tags if not tag.startswith(OPERATION_TAG)] for tags in (there, wanted)]
    present, asked = {compared(tag) for tag in there}, {compared(tag) for tag in wanted}
    missing = next((tag for tag in wanted if compared(tag) not in present), None)
    if missing is not None:
        spelling = spelled.get(compared(missing), missing)
        return {"do": "add", "tag": spelling} if spelling else {"do": "make", "tag": missing}
    surplus = next((tag for tag in there if compared(tag) not in asked), None)
    return {"do": "remove", "tag": surplus} if surplus is not None else None


def tagging_shows(there: Iterable[str], step: Json) -> bool:
    """Whether the tags that are `there` are as a write should have left them. To make a tag leaves them as they are."""
    if step["do"] == "make":
        return True
    is_there = compared(step["tag"]) in {compared(tag) for tag in there}
    return is_there if step["do"] == "add" else not is_there


def compared(tag: str) -> str:
    """A tag in the one form in which two that the provider takes for the same are equal (doctl#333)."""
    return tag.lower()


class Record(NamedTuple):
    """What operations change of a DNS record. `ttl` in seconds."""

    data: str
    ttl: int


def next_change(there: Mapping[str, Record], wanted: Sequence[Record], record_type: str) -> dict[str, Any] | None:
    """The next write that makes the records that are `there`, by id, those that are `wanted`; None where they are.

    A record is changed rather than replaced, and what is too many goes last: the name is never without one in between.
    """
    lacking = Counter(plain(record, record_type) for record in wanted)
    surplus = []
    for id, record in sorted(there.items(), key=lambda each: int(each[0])):
        seen = plain(record, record_type)
        if lacking[seen]:
            lacking[seen] -= 1
        else:
            surplus.append(id)
    missing = next((record for record in wanted if lacking[plain(record, record_type)]), None)
    if missing and surplus:
        return {"do": "update", "id": surplus[0], "data": missing.data, "ttl": missing.ttl}
    if missing:
        return {"do": "create", "data": missing.data, "ttl": missing.ttl}
    return {"do": "delete", "id": surplus[0]} if surplus else None


def change_shows(there: Mapping[str, Record], change: Json, record_type: str) -> bool:
    """Whether a write shows in the records that are `there`; a new one is none of those that were there before it."""
    if change["do"] == "delete":
        return change["id"] not in there
    made = plain(Record(change["data"], change["ttl"]), record_type)
    ids = [change["id"]] if change["do"] == "update" else set(there) - set(change["there"])
    return any(id in there and plain(there[id], record_type) == made for id in ids)


def plain(record: Record, record_type: str) -> Record:
    """A record in the one form in which two that mean the same are equal."""
    data = record.data
    if record_type == "CNAME":
        data = data.removesuffix(".").lower()
    elif record_type in {"A", "AAAA"}:
        with suppress(ValueError):  # then it is the provider's to refuse
            data = str(ip_address(data))
    return record._replace(data=data)


def written(data: str, record_type: str) -> str:
    """A record's data as the provider takes it: a name ends with a dot, which it does not give back."""
    return f"{data.removesuffix('.')}." if record_type == "CNAME" and data != "@" else data


def fqdn(name: str, domain: str) -> str:
    """A record's full name."""
    return domain if name == "@" else f"{name}.{domain}"


@dataclass(frozen=True)
class Known:
    """What the ledger has of an operation, as far as its orphans are concerned."""

    status: str
    undone: bool
    droplet_id: int | None
    updated_at: datetime


def why_orphan(droplet_id: int, born: datetime, operation: Known | None, before: datetime) -> str | None:
    """Why nobody has a droplet that is tagged with an operation; None where somebody may: it is not `before` long.

    The operation is as it was after the droplet was seen: one that was pending then had long given up what made it.
    """
    if operation is None:
        return UNKNOWN_OPERATION if born < before else None
    if operation.updated_at >= before:
        return None
    if operation.undone or operation.status in _WITHOUT_EFFECT:
        return "undone" if operation.undone else operation.status
    if operation.status == OperationStatus.DONE and operation.droplet_id not in (None, droplet_id):
        return "made_twice"
    return None
