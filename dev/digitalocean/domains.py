"""Domains: each is a zone, which begins with its SOA record and three name servers."""

from __future__ import annotations

import re

from dev.digitalocean.family import Family
from dev.digitalocean.http import Answer, Json, Request, Route, answer, unprocessable
from dev.digitalocean.record_data import APEX, TTL, read_record, written
from dev.digitalocean.records import full_name, put
from dev.digitalocean.state import Record, Thing, World, Zone
from dev.digitalocean.things import Things

NAME_SERVERS = ("ns1.digitalocean.com", "ns2.digitalocean.com", "ns3.digitalocean.com")
FIRST_SERIAL = 1_415_982_609
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,62})(\.[a-z0-9-]{1,63})+", re.IGNORECASE)


def _make_domain(world: World, asked: Json) -> Json:
    """Its zone file follows from its records, unless one is put in their place by hand."""
    name = asked.get("name") or f"zone-{world.new_ordinal():04d}.example"
    return {"name": name, "ttl": TTL, "zone_file": None, **asked}


def _lay_out(world: World, thing: Thing, before: Json) -> None:
    """The records of a new zone; one that was only changed has them."""
    if before:
        return
    zone = world.zones[thing.id] = Zone(thing.id)
    put(world, zone, Record(world.new_record_id(), "SOA", APEX, str(TTL), TTL))
    for server in NAME_SERVERS:
        put(world, zone, Record(world.new_record_id(), "NS", APEX, server, TTL))


def _clear(world: World, thing: Thing) -> None:
    del world.zones[thing.id]


def _show_domain(world: World, body: Json) -> Json:
    return body if body["zone_file"] is not None else {**body, "zone_file": _zone_file(world.zones[body["name"]], body)}


def _zone_file(zone: Zone, body: Json) -> str:
    serial = FIRST_SERIAL + zone.writes
    soa = f"{zone.name}. IN SOA {NAME_SERVERS[0]}. hostmaster.{zone.name}. {serial} 10800 3600 604800 1800"
    lines = [_line(zone, record) for record in zone.records.values() if record.type != "SOA"]
    return "\n".join((f"$ORIGIN {zone.name}.", f"$TTL {body['ttl']}", soa, *lines, ""))


def _line(zone: Zone, record: Record) -> str:
    data = f'"{record.data}"' if record.type == "TXT" else written(record)
    fields = (record.flags, record.tag, record.priority, record.weight, record.port, data)
    words = " ".join(str(word) for word in fields if word is not None)
    return f"{full_name(zone, record)}. {record.ttl} IN {record.type} {words}"


def _create_domain(world: World, request: Request) -> Answer:
    """The answer has no zone file yet. `ip_address` makes an A record for the domain itself."""
    body = request.json()
    name = body.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise unprocessable(f"domain '{name or ''}': name is invalid")
    if name in world.zones:
        raise unprocessable(f"domain '{name}': name already exists")
    address = body.get("ip_address")
    record = read_record(0, {"type": "A", "name": APEX, "data": address}) if address else None
    thing = DOMAINS.add(world, {"name": name})
    if record:
        put(world, world.zones[name], Record(world.new_record_id(), "A", APEX, record.data, TTL))
    return answer({"domain": thing.body}, 201)


DOMAINS = Things(
    "domains", "/v2/domains", "domain", _make_domain, identity="name", urn="domain",
    shown=_show_domain, placed=_lay_out, gone=_clear,
)  # fmt: skip

FAMILY: Family = DOMAINS.family(Route("POST", "/v2/domains", _create_domain))
