"""DNS records: written at once, and seen in lists after a lag. Nothing recognizes a record that is written twice."""

from __future__ import annotations

from dataclasses import asdict, replace

from dev.digitalocean.family import ByHand, Family
from dev.digitalocean.http import Answer, Json, Request, Route, answer, no_content, not_found, unprocessable
from dev.digitalocean.paging import page
from dev.digitalocean.record_data import APEX, changed, read_record
from dev.digitalocean.state import Record, World, Zone


def put(world: World, zone: Zone, record: Record, *, lag: float = 0) -> Record:
    """Write a record down, a new one or in the place of the one with its id."""
    zone.records[record.id] = record
    _show(world, zone, record.id, lag)
    return record


def take(world: World, zone: Zone, record: Record, *, lag: float = 0) -> None:
    """Take a record out."""
    del zone.records[record.id]
    _show(world, zone, record.id, lag)


def _show(world: World, zone: Zone, id: int, lag: float) -> None:
    """Let the list show a record as it is now, so many seconds from now."""
    zone.writes += 1
    write, record = zone.writes, zone.records.get(id)

    def show() -> None:
        # The lag may have become shorter meanwhile: an older write is not shown over a newer one.
        if write < zone.shown.get(id, 0):
            return
        zone.shown[id] = write
        if record:
            zone.listed[id] = record
        else:
            zone.listed.pop(id, None)

    if lag:
        world.later(lag, show)
    else:
        show()


def _checked(zone: Zone, record: Record) -> Record:
    """A CNAME is alone under its name; all else may be there any number of times."""
    others = [one for one in zone.records.values() if one.id != record.id and one.name.lower() == record.name.lower()]
    if others and "CNAME" in (record.type, *(one.type for one in others)):
        raise unprocessable("CNAME records cannot share a name with other records")
    return record


def full_name(zone: Zone, record: Record) -> str:
    """What a record is called outside its zone."""
    return zone.name if record.name == APEX else f"{record.name}.{zone.name}"


def _list_records(world: World, request: Request) -> Answer:
    """`type` and `name` choose; the name is the full one, other than in the records themselves."""
    zone, query = _zone(world, request), request.query
    type, name = query.get("type"), query.get("name", "").lower()
    rows = [
        record
        for record in zone.listed.values()
        if type in (None, "", record.type) and name in ("", full_name(zone, record).lower())
    ]
    return page(request, "domain_records", rows, asdict)


def _get_record(world: World, request: Request) -> Answer:
    return _answer(_record(_zone(world, request), request))


def _create_record(world: World, request: Request) -> Answer:
    zone = _zone(world, request)
    record = _checked(zone, read_record(0, request.json()))
    made = put(world, zone, replace(record, id=world.new_record_id()), lag=world.settings.records_lag)
    return _answer(made, 201)


def _change_record(world: World, request: Request) -> Answer:
    """PUT and PATCH alike: what is not named stays."""
    zone = _zone(world, request)
    record = _checked(zone, changed(_record(zone, request), request.json()))
    return _answer(put(world, zone, record, lag=world.settings.records_lag))


def _delete_record(world: World, request: Request) -> Answer:
    zone = _zone(world, request)
    record = _record(zone, request)
    if record.type == "SOA":
        raise unprocessable("SOA records can not be deleted")
    take(world, zone, record, lag=world.settings.records_lag)
    return no_content()


def _answer(record: Record, status: int = 200) -> Answer:
    return answer({"domain_record": asdict(record)}, status)


def _zone(world: World, request: Request) -> Zone:
    return _zone_named(world, request.params["domain"])


def _zone_named(world: World, name: str) -> Zone:
    if name not in world.zones:
        raise not_found()
    return world.zones[name]


def _record(zone: Zone, request: Request) -> Record:
    id = request.params["id"]
    record = zone.records.get(int(id)) if id.isdecimal() else None
    if record is None:
        raise not_found()
    return record


def truth(world: World) -> list[Json]:
    """Every record of every zone, whatever lists show of it."""
    return [_truth_of(zone, record) for zone in world.zones.values() for record in zone.records.values()]


def _truth_of(zone: Zone, record: Record) -> Json:
    return {"zone": zone.name, **asdict(record)}


def _create_by_hand(world: World, _id: str, body: Json) -> Json:
    """A record in `zone`, from what the API would take."""
    zone = _zone_named(world, str(body.get("zone")))
    record = _checked(zone, read_record(world.new_record_id(), body))
    return _truth_of(zone, put(world, zone, record))


def _change_by_hand(world: World, id: str, body: Json) -> Json:
    zone, record = _by_id(world, id)
    return _truth_of(zone, put(world, zone, _checked(zone, changed(record, body))))


def _delete_by_hand(world: World, id: str, _body: Json) -> Json:
    take(world, *_by_id(world, id))
    return {"id": int(id)}


def _by_id(world: World, id: str) -> tuple[Zone, Record]:
    for zone in world.zones.values():
        if int(id) in zone.records:
            return zone, zone.records[int(id)]
    raise not_found()


def _insert(world: World, count: int) -> None:
    """In each zone: whichever is walked has them at the end of its list."""
    for zone in world.zones.values():
        for _ in range(count):
            put(world, zone, Record(world.new_record_id(), "A", "inserted", "192.0.2.1", 1800))


def _remove(world: World, count: int) -> None:
    """In each zone: the first records after the SOA are gone, so that the rows behind them move up."""
    for zone in world.zones.values():
        for record in [record for record in zone.records.values() if record.type != "SOA"][:count]:
            take(world, zone, record)


_ONE = "/v2/domains/{domain}/records/{id}"

FAMILY = Family(
    name="domain_records",
    routes=(
        Route("GET", "/v2/domains/{domain}/records", _list_records),
        Route("POST", "/v2/domains/{domain}/records", _create_record),
        Route("GET", _ONE, _get_record),
        Route("PATCH", _ONE, _change_record),
        Route("PUT", _ONE, _change_record),
        Route("DELETE", _ONE, _delete_record),
    ),
    by_hand=ByHand(truth, _create_by_hand, _change_by_hand, _delete_by_hand, _insert, _remove),
)
