"""The DNS records of one name and type: made one, removed, or put back as they were.

Lists may lag: what answers to our writes have told counts before what they show, whichever operation's they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial, reduce
from operator import or_

from contracts.provider import DnsCommand, OperationStatus, RemoveDnsRecord, UpsertDnsRecord
from services.provider import domain, ledger, store
from services.provider.access import Provider, rows_of
from services.provider.course import Arrived, Course, Run, follow
from services.provider.domain import Record
from services.provider.ledger import Claim, Effect
from services.provider.store import Json, Row
from shared.db import Connection
from shared.digitalocean import NotFound
from shared.digitalocean import Refused as RefusedByProvider
from shared.jobs import JobRun, PutOff
from shared.outcome import Meta, Outcome, Refused
from shared.patience import DENIED
from shared.steps import Said, transact

RECORDS = "/v2/domains/{domain}/records"
RECORD = f"{RECORDS}/{{record_id}}"


class DomainGone(Exception):
    """The provider does not know the domain."""


@dataclass(frozen=True)
class Place:
    """Whose records: a name and a type in a domain."""

    domain: str
    name: str
    type: str

    def __str__(self) -> str:
        return f"records:{self.domain}/{self.name}/{self.type}"

    @classmethod
    def of(cls, request: Json) -> Place:
        """The place that a command's request names."""
        return cls(request["domain"], request["name"], request["record_type"])


async def upsert_dns_record(cmd: UpsertDnsRecord, run: JobRun[Provider]) -> Outcome:
    """Make one record of a name and type, with this content, whatever was there."""
    row, arrived = await _bring(cmd, run, [[cmd.data, cmd.ttl]])
    if arrived is not None:
        (record_id,) = arrived.now
        full_name = domain.fqdn(cmd.name, cmd.domain)
        result = {"record_id": int(record_id), "fqdn": full_name}
        row = await ledger.finish(run, arrived.row, Effect(result, before=arrived.before))
    return ledger.answer_of(row) or Outcome(result=row["result"])


async def remove_dns_record(cmd: RemoveDnsRecord, run: JobRun[Provider]) -> Outcome:
    """Remove all records of a name and type."""
    row, arrived = await _bring(cmd, run, [])
    if arrived is not None:
        result = {"removed": len(arrived.before)}
        row = await ledger.finish(run, arrived.row, Effect(result, before=arrived.before))
    return ledger.answer_of(row) or Outcome(result=row["result"])


async def _bring(cmd: DnsCommand, run: Run, wanted: list[list[object]]) -> tuple[Row, Arrived | None]:
    """Bring the records where they are wanted; None where that was done, or decided, before."""
    place = Place(cmd.domain, cmd.name, cmd.record_type)
    row = await ledger.take_up(cmd, run, str(place))
    if ledger.answer_of(row):
        return row, None
    try:
        arrived = await follow(_course(place), run, row, lambda _: {"records": wanted})
    except DomainGone:
        raise await ledger.refuse(run, row, Refused("domain_not_found", domain=cmd.domain)) from None
    return arrived.row, arrived


async def take_back(undone: Row, own: Row, run: Run) -> list[str]:
    """Put the records back as they were before an operation."""
    place = Place.of(undone["request"])
    try:
        if undone["step"] and undone["unsure"] and own["status"] == OperationStatus.PENDING:
            await _let_show(place, run, undone, own)
        arrived = await follow(_course(place), run, own, lambda _: _restore(undone["before"]))
    except DomainGone:
        return []
    return [str(place)] if own["known"] or arrived.row["known"] else []


async def _let_show(place: Place, run: Run, undone: Row, own: Row) -> None:
    """Wait until the write that was under way when the operation was cancelled shows, or cannot any more."""
    state = await _read(place, run, own)
    if not domain.change_shows(_records(state), undone["step"], place.type):
        raise PutOff("the write that is to be undone may be under way", run.resources.patience.poll)


def _course(place: Place) -> Course:
    return Course(
        partial(_read, place), partial(_settle, place), partial(_next, place), partial(_send, place), _restore
    )


def _restore(before: Json) -> Json:
    return {"records": list(before.values())}


async def _read(place: Place, run: Run, row: Row) -> Json:
    """The records by id, each its data and ttl."""
    provider, told = run.resources, await _told(place, run)  # first: what is told longer than it is needed does no harm
    params = {"type": place.type, "name": domain.fqdn(place.name, place.domain)}
    walk = provider.do.walk(RECORDS, "domain_records", params=params, domain=place.domain)
    with ledger.reading_for(row, provider):
        try:
            rows = await rows_of(walk, provider)
        except NotFound as error:
            raise DomainGone(place.domain) from error
    shown = {
        str(each["id"]): [each["data"], each["ttl"]]
        for each in rows
        if (each["type"], each["name"].lower()) == (place.type, place.name)
    }
    merged = reduce(or_, [shown, *told, row["known"].get("records", {})])
    return {id: record for id, record in merged.items() if record is not None}


async def _told(place: Place, run: Run) -> list[Json]:
    async def list_told(conn: Connection, _: Meta) -> tuple[list[Json], Said]:
        return await store.list_told(conn, str(place), "records"), ()

    return await transact(run, list_told)


def _next(place: Place, now: Json, wanted: Json) -> Json | None:
    change = domain.next_change(_records(now), [Record(*each) for each in wanted["records"]], place.type)
    return change and {**change, "there": sorted(now)}


async def _settle(place: Place, run: Run, row: Row, now: Json) -> Row:
    """What came of the write under way: it shows, or it came to nothing, or that is not certain yet."""
    known = row["known"]
    if domain.change_shows(_records(now), row["step"], place.type):
        return await ledger.note(run, row, None, known | {"begun": True})
    if row["unsure"]:
        raise PutOff("the write that was begun, if it was, is looked for", run.resources.patience.poll)
    return await ledger.note(run, row, None, known)


async def _send(place: Place, run: Run, claim: Claim) -> Row:
    row, step = claim.row, claim.row["step"]
    try:
        record_id, record = await _write(place, run, claim)
    except NotFound as error:
        if step["do"] == "create":
            raise DomainGone(place.domain) from error
        record_id, record = step["id"], None  # somebody has removed it
    except (*DENIED, RefusedByProvider) as error:
        return await ledger.rejected(run, claim, error)
    records = row["known"].get("records", {}) | {record_id: record}
    return await ledger.note(run, row, None, row["known"] | {"records": records})


async def _write(place: Place, run: Run, claim: Claim) -> tuple[str, list[object] | None]:
    """Send a write. Gives the record's id, and what it is now."""
    step = claim.row["step"]
    if step["do"] == "delete":
        await ledger.send(run, claim, "DELETE", RECORD, domain=place.domain, record_id=step["id"])
        return step["id"], None
    data = domain.written(step["data"], place.type)
    content = {"type": place.type, "name": place.name, "data": data, "ttl": step["ttl"]}
    record: list[object] = [step["data"], step["ttl"]]
    if step["do"] == "update":
        await ledger.send(run, claim, "PATCH", RECORD, json=content, domain=place.domain, record_id=step["id"])
        return step["id"], record
    answer = await ledger.send(run, claim, "POST", RECORDS, json=content, domain=place.domain)
    made = ledger.unknown_if_it_lacks(answer, "domain_record")
    return str(made["id"]), record


def _records(state: Json) -> dict[str, Record]:
    return {id: Record(*record) for id, record in state.items()}
