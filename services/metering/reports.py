"""What is reported, since no resource shows it: each report counts once, and all of many batches share the SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from contracts.metering import RecordUsage, UsageReport
from contracts.times import previous_month
from services.metering import report_store
from services.metering.report_store import Day, Name, Report, Row
from shared.db import Connection
from shared.outcome import Meta, Outcome, Received

_CLOCKS_DIFFER = timedelta(minutes=5)


@dataclass
class _Answer:
    """What comes of one command."""

    accepted: int = 0
    duplicates: int = 0
    rejected: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class _Given:
    """A report, the command that brought it, and that command's answer."""

    report: Report
    meta: Meta
    answer: _Answer

    def reject(self, code: str, **detail: Any) -> None:
        """Say why nothing of it counts."""
        self.answer.rejected.append({"id": self.report.id, "code": code} | detail)


async def record_usage(received: Sequence[Received[RecordUsage]], conn: Connection) -> list[Outcome]:
    """Count what is reported for the first time; say of all else what it is."""
    now = received[0].meta.now
    answers = [_Answer() for _ in received]
    given = [
        _Given(_kept(each.message.tenant_id, report), each.meta, answer)
        for each, answer in zip(received, answers, strict=True)
        for report in each.message.reports
    ]
    owners = await report_store.list_owners(conn, {each.report.deployment_id for each in given})
    admitted = await _admitted(conn, given, owners, now)
    added: dict[Day, Decimal] = {}
    new = await _take_in(conn, [each for each in admitted if each.report.corrects is None], now)
    for each in new:
        _add(added, each.report, each.report.quantity)
    if corrections := [each for each in admitted if each.report.corrects is not None]:
        originals = await report_store.lock_originals(conn, {_original(each.report) for each in corrections})
        fitting = [each for each in corrections if _fits(each, originals.get(_original(each.report)))]
        await _correct(conn, await _take_in(conn, fitting, now), originals, added)
    if any(qty < 0 for qty in added.values()):
        await report_store.lock_usage(conn, added)
    if more := {day: qty for day, qty in added.items() if qty > 0}:
        await report_store.add_usage(conn, more, now)
    if less := {day: -qty for day, qty in added.items() if qty < 0}:
        await report_store.subtract_usage(conn, less, now)
    return [Outcome(result=vars(answer)) for answer in answers]


def _kept(tenant_id: str, said: UsageReport) -> Report:
    at = said.occurred_at.astimezone(UTC)
    return Report(tenant_id, said.id, said.deployment_id, said.resource_kind, said.quantity, at, said.corrects)


async def _admitted(
    conn: Connection, given: Sequence[_Given], owners: Mapping[UUID, str], now: datetime
) -> list[_Given]:
    """Those that may count; of the others it is said why not, but where they are known and came again."""
    first = previous_month(now)
    refused = [(each, refusal) for each in given if (refusal := _refusal(each.report, owners, first, now))]
    if not refused:
        return list(given)
    known = await report_store.find_reports(conn, {each.report.name for each, _ in refused})
    for each, refusal in refused:
        if known.get(each.report.name) == each.report:
            each.answer.duplicates += 1
        else:
            each.reject(**refusal)
    gone = {id(each) for each, _ in refused}
    return [each for each in given if id(each) not in gone]


def _refusal(report: Report, owners: Mapping[UUID, str], first: datetime, now: datetime) -> dict[str, str] | None:
    """Why a report cannot count: it is about somebody else's, or of a time that is not open, as it is since `first`."""
    if owners.get(report.deployment_id, report.tenant_id) != report.tenant_id:
        return {"code": "forbidden", "deployment_id": str(report.deployment_id)}
    if report.occurred_at < first:
        return {"code": "too_late", "open_since": first.isoformat()}
    if report.occurred_at > now + _CLOCKS_DIFFER:
        return {"code": "in_the_future", "now": now.isoformat()}
    return None


async def _take_in(conn: Connection, given: Sequence[_Given], now: datetime) -> list[_Given]:
    """Keep what is new, and give it back; what is known already is a duplicate, or a conflict."""
    if not given:
        return []
    first: dict[Name, _Given] = {}
    for each in given:
        first.setdefault(each.report.name, each)
    new = await report_store.insert_reports(conn, [each.report for each in first.values()], now)
    taken = [each for name, each in first.items() if name in new]  # in the order in which they came
    ids = {id(each) for each in taken}
    rest = [each for each in given if id(each) not in ids]
    known = await report_store.find_reports(conn, {each.report.name for each in rest}) if rest else {}
    conflicts = []
    for each in rest:
        if known[each.report.name] == each.report:
            each.answer.duplicates += 1
        else:
            each.reject("conflict")
            conflicts.append((each.report.name, _written(each.report), each.meta.actor))
    if conflicts:
        await report_store.insert_conflicts(conn, conflicts, now)
    for each in taken:
        each.answer.accepted += 1
    return taken


def _written(report: Report) -> dict[str, Any]:
    said = report._asdict() | {"quantity": f"{report.quantity:f}", "occurred_at": report.occurred_at.isoformat()}
    return said | {"deployment_id": str(report.deployment_id)}


def _fits(given: _Given, original: Row | None) -> bool:
    """Whether a correction is of a report that is known, and about the same deployment, kind and day."""
    if original is None:
        given.reject("original_unknown", corrects=given.report.corrects)
        return False
    day = Day(original["occurred_at"].astimezone(UTC).date(), original["deployment_id"], original["resource_kind"])
    if _day(given.report) != day:
        given.reject("original_differs", corrects=given.report.corrects)
    return _day(given.report) == day


async def _correct(
    conn: Connection, new: Sequence[_Given], originals: Mapping[Name, Row], added: dict[Day, Decimal]
) -> None:
    """Let the last correction of each report count in its place."""
    last = {_original(each.report): each.report for each in new}
    if not last:
        return
    for name, report in last.items():
        _add(added, report, report.quantity - originals[name]["counted"])
    await report_store.mark_corrected(conn, {name: report.quantity for name, report in last.items()})


def _original(report: Report) -> Name:
    return Name(report.tenant_id, report.corrects or "")


def _day(report: Report) -> Day:
    return Day(report.occurred_at.astimezone(UTC).date(), report.deployment_id, report.resource_kind)


def _add(added: dict[Day, Decimal], report: Report, more: Decimal) -> None:
    day = _day(report)
    added[day] = added.get(day, Decimal(0)) + more
