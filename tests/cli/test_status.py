"""What `arcadia status` makes of what it finds: nothing that needs an operator is passed over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from cli.status import Picture, draw, worries

NOW = datetime(2026, 5, 12, 9, 15, tzinfo=UTC)


def health(*reports: dict[str, Any], **values: Any) -> dict[str, Any]:
    """A row of v1_all_health, all well but for these values."""
    well = {"outbox_depth": 0, "outbox_age_s": None, "jobs_queued": 0, "jobs_running": 0, "held": 0, "dead": 0}
    return {**well, "processes": [{"report": report} for report in reports], **values}


def shown(picture: Picture) -> str:
    """The screen as text, in a small terminal."""
    console = Console(file=StringIO(), width=80)
    for part in draw(picture, NOW):
        console.print(part)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


RUNNING = {"memory_mb": 95, "lag": 3, "stopped": False}


def test_all_is_well_where_nothing_needs_an_operator() -> None:
    picture = Picture(services={"inventory": health(RUNNING, RUNNING, outbox_depth=12, jobs_queued=4, held=1)})

    assert worries(picture) == []
    assert "all is well" in shown(picture)
    assert "inventory  2   95 MB   12      -       4       0        1     0     6" in shown(picture)


def process(pid: int, seen_at: str, *, relay: bool) -> dict[str, Any]:
    return {"host": "pod-7c9f", "pid": pid, "seen_at": seen_at, "report": RUNNING | {"relay": relay}}


def test_it_says_which_process_publishes() -> None:
    """A leader that was killed has said so too, a little earlier."""
    processes = [
        process(1, "2026-05-12T09:14:50+00:00", relay=True),
        process(2, "2026-05-12T09:14:59+00:00", relay=True),
        process(3, "2026-05-12T09:15:00+00:00", relay=False),
    ]
    led = {name: health() | {"processes": processes} for name in ("inventory", "billing")}
    lines = [
        " ".join(line.split())
        for line in shown(Picture(services={**led, "drift": health() | {"processes": processes[2:]}})).splitlines()
    ]
    assert "pod-7c9f:2 inventory, billing" in lines
    assert "nobody drift" in lines


@pytest.mark.parametrize(
    ("picture", "worry"),
    [
        (Picture(broker="Kafka does not answer"), "Kafka: Kafka does not answer"),
        (Picture(without_schema=["drift"]), "drift has no schema in this database: arcadia migrate"),
        (Picture(services={"inventory": health()}), "inventory is not running: arcadia run inventory"),
        (
            Picture(services={"inventory": health(RUNNING | {"stopped": True})}),
            "inventory has stopped, because too many",
        ),
        (Picture(services={"inventory": health(RUNNING, outbox_age_s=300)}), "its oldest message waits for 5 min"),
        (Picture(services={"inventory": health(RUNNING, dead=2)}), "gave up on 2 messages"),
        (Picture(failed_sagas=2), "2 sagas have failed and wait for you: arcadia sagas list --status failed"),
        (
            Picture(held=[{"kind": "droplet", "known": 300, "missing": 150, "status": "open"}]),
            "a sync of droplet is held, 150 of 300 were missing",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_needs_an_operator_is_said(picture: Picture, worry: str) -> None:
    (said,) = worries(picture)

    assert worry in said
    assert f"! {said[:40]}" in shown(picture)
    assert "all is well" not in shown(picture)


def test_a_held_sync_that_was_decided_needs_nobody() -> None:
    assert worries(Picture(held=[{"kind": "droplet", "known": 300, "missing": 150, "status": "approved"}])) == []


def kind(name: str, status: str, ago: timedelta, result: str, complete: datetime | None) -> dict[str, Any]:
    doubts = ["2 of 7 rows were not shown"] if result == "incomplete" else []
    last = {"last_status": result, "last_started_at": NOW - ago, "doubts": doubts}
    return {"kind": name, "resources": 7, "status": status, "complete_at": complete, **last}


def slot(name: str, fired_at: datetime | None, next_at: datetime) -> dict[str, Any]:
    return {"name": name, "cron": "5 0 * * *", "fired_at": fired_at, "next_at": next_at}


def test_it_says_how_fresh_everything_is() -> None:
    picture = Picture(
        coverage=[
            kind("droplet", "fresh", timedelta(minutes=3), "complete", NOW - timedelta(minutes=3)),
            kind("volume", "failing", timedelta(hours=2, minutes=5), "incomplete", None),
        ],
        slots=[
            slot("hourly", NOW - timedelta(hours=28), NOW + timedelta(seconds=40)),
            slot("daily", None, NOW),
        ],
    )
    lines = [" ".join(line.split()) for line in shown(picture).splitlines()]

    assert "droplet 7 fresh 3 min ago 3 min ago complete" in lines
    assert "volume 7 failing never 2 h 5 min ago incomplete" in lines
    assert "! the last walk of volume was incomplete: 2 of 7 rows were not shown" in lines
    assert "hourly 5 0 * * * 1 d 4 h ago in 40 s" in lines
    assert "daily 5 0 * * * never due" in lines
