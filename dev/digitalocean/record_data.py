"""What a DNS record may be: for each type what its data is, and which of the other fields it has.

The texts about dots, blanks, ttl and CNAME are recorded (api-v2#130, dnscontrol#536); the rest is in their style.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any

from dev.digitalocean.http import Json, unprocessable
from dev.digitalocean.state import Record

TTL = 1800
SHORTEST_TTL = 30
LONGEST_TTL = 2**31 - 1
APEX = "@"

_NAME = re.compile(r"@|(?:\*|[\w-]{1,63})(?:\.[\w-]{1,63})*", re.ASCII)
_RANGES = {"priority": (0, 65_535), "port": (1, 65_535), "weight": (0, 65_535), "flags": (0, 255)}
_CAA_TAGS = ("issue", "issuewild", "iodef")


def _ipv4(data: str) -> str:
    try:
        return str(IPv4Address(data))
    except AddressValueError:
        raise unprocessable("IP address did not match IPv4 format (e.g. 127.0.0.1).") from None


def _ipv6(data: str) -> str:
    try:
        return str(IPv6Address(data))
    except AddressValueError:
        raise unprocessable("IP address did not match IPv6 format (e.g. 2001:db8::ff00:42:8329).") from None


def _host(data: str) -> str:
    """A name is written with a dot at its end, and is given back without it."""
    if data == APEX:
        return data
    if not data.endswith("."):
        raise unprocessable("Data needs to end with a dot (.)")
    return data[:-1]


def _text(data: str) -> str:
    return data


@dataclass(frozen=True)
class Type:
    """What a type's data is, which other fields it needs (it has no others), and whether it needs a name."""

    data: Callable[[str], str]
    fields: tuple[str, ...] = ()
    needs_name: bool = True


TYPES = {
    "A": Type(_ipv4),
    "AAAA": Type(_ipv6),
    "CAA": Type(_host, ("flags", "tag")),
    "CNAME": Type(_host),
    "MX": Type(_host, ("priority",), needs_name=False),
    "NS": Type(_host, needs_name=False),
    "SRV": Type(_host, ("priority", "port", "weight")),
    "TXT": Type(_text),
}


def read_record(id: int, asked: Json) -> Record:
    """The record that is asked for, or the first thing that is wrong with it."""
    kind = TYPES.get(str(asked.get("type")))
    if kind is None:
        raise unprocessable("Type is not included in the list")
    return Record(
        id=id,
        type=asked["type"],
        name=_name(asked.get("name"), kind),
        data=kind.data(_filled(asked, "data")),
        ttl=_ttl(asked.get("ttl")),
        **{field: _field(asked, field) for field in kind.fields},
    )


def changed(before: Record, asked: Json) -> Record:
    """The record with the values of `asked` that are not null; what it becomes is checked as a new one would be.

    So one whose data is a name has to say it again, with its dot, whatever else is changed (doctl#919).
    """
    given = {name: value for name, value in asked.items() if value is not None}
    if given.get("type", before.type) != before.type:
        raise unprocessable("Type can not be changed")
    merged = asdict(before) | given
    return _changed_soa(before, merged) if before.type == "SOA" else read_record(before.id, merged)


def written(record: Record) -> str:
    """A record's data as it has to be written."""
    return f"{record.data}." if TYPES[record.type].data is _host and record.data != APEX else record.data


def _changed_soa(before: Record, merged: Json) -> Record:
    if (merged["name"], merged["data"]) != (before.name, before.data):
        raise unprocessable("Only the ttl of a SOA record can be changed")
    return Record(before.id, before.type, before.name, before.data, _ttl(merged["ttl"]))


def _name(asked: object, kind: Type) -> str:
    """Relative to the zone, whatever it looks like: in a.example, `www.a.example` is www.a.example.a.example."""
    if asked in (None, "") and not kind.needs_name:
        return APEX
    if asked in (None, ""):
        raise unprocessable("Name can't be blank")
    if not isinstance(asked, str) or not _NAME.fullmatch(asked):
        raise unprocessable("Name is invalid")
    return asked


def _filled(asked: Json, field: str) -> str:
    value = asked.get(field)
    if value in (None, ""):
        raise unprocessable(f"{field.capitalize()} can't be blank")
    if not isinstance(value, str):
        raise unprocessable(f"{field.capitalize()} is invalid")
    return value


def _ttl(asked: object) -> int:
    if asked is None:
        return TTL
    # A JSON `true` is an int to Python.
    if not isinstance(asked, int) or isinstance(asked, bool) or asked > LONGEST_TTL:
        raise unprocessable("record ttl is invalid")
    if asked < SHORTEST_TTL:
        raise unprocessable(f"record ttl must be greater than {SHORTEST_TTL}")
    return asked


def _field(asked: Json, field: str) -> Any:
    if field == "tag":
        tag = _filled(asked, field)
        if tag not in _CAA_TAGS:
            raise unprocessable("Tag is not included in the list")
        return tag
    value = asked.get(field)
    if value is None:
        raise unprocessable(f"{field.capitalize()} can't be blank")
    least, most = _RANGES[field]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise unprocessable(f"{field.capitalize()} must be between {least} and {most}")
    return value
