"""`arcadia sagas`: what takes many steps, how far it is, and an operator's decision about it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli import settings
from cli.asking import ask
from cli.errors import Failed
from cli.lines import printable, said
from cli.operators import sight
from cli.tables import plain_table, print_whole
from contracts.sagas import UNFINISHED, CancelSaga, RetrySaga, SagaStatus, WriteOffSaga

if TYPE_CHECKING:
    from shared.db import Connection

app = typer.Typer(help="What takes many steps, and how far it is.", no_args_is_help=True)
console = Console(highlight=False, soft_wrap=True)

Row = dict[str, Any]

_LOOK_S = 0.3
_ANSWER_S = 30.0
_LOOKS = {
    "completed": "green",
    "skipped": "dim",
    "compensated": "yellow",
    "compensating": "yellow",
    "rolled_back": "yellow",
    "failed": "red",
    "written off": "dim",
    "compensation_failed": "red",
    "running": "cyan",
}

_STATUS = "case when saga #>> '{error,written_off}' is null then status else 'written off' end"
_LIST = f"""
    select id, kind, {_STATUS} as status, plan, (saga ->> 'current_step')::int as current_step,
      saga #>> '{{error,reason}}' as reason, deployment_id, tenant_id, created_at, finished_at
    from sagas.v1_all_sagas
    where ($1::text is null or {_STATUS} = $1) and ($2::text is null or kind = $2)
      and ($3::text is null or tenant_id = $3) and ($4::text is null or starts_with(deployment_id::text, $4))
    order by id desc limit $5 + 1
    """
_FIND = """
    select id, kind, status from sagas.v1_all_sagas
    where starts_with(id::text, $1) order by id desc limit 20
    """
_AGAIN = """
    select *, saga #>> '{error,reason}' as reason, saga #>> '{error,written_off}' as written_off
    from sagas.v1_all_sagas where id = $1
    """
_STEPS = "select * from sagas.v1_all_saga_steps where saga_id = $1 order by step_idx"

Id = Annotated[str, typer.Argument(metavar="ID", help="An id, or its beginning.")]


@dataclass(frozen=True)
class Picture:
    """A run as it is at a moment, with its ledger."""

    run: Row
    steps: Sequence[Row]
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def over(self) -> bool:
        return self.run["status"] not in UNFINISHED


@app.command("list")
def list_(
    *,
    status: Annotated[SagaStatus | None, typer.Option("--status", "-s", help="`failed` ones wait for you.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", "-k", help="Only this flow's.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", "-t")] = None,
    deployment: Annotated[str | None, typer.Option("--deployment", "-d", help="Its id, or the beginning.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1)] = 50,
) -> None:
    """List runs, the newest first."""
    found = asyncio.run(_fetch(_LIST, status, kind, tenant, deployment, limit))
    if not found:
        console.print("none")
        return
    table = plain_table("id", "kind", "status", "step", "tenant", "deployment", "began", "took", "why")
    now = datetime.now(UTC)
    for row in found[:limit]:
        table.add_row(
            str(row["id"]),
            row["kind"],
            _coloured(row["status"]),
            f"{row['current_step']} {row['plan'][row['current_step']]}",
            printable(row["tenant_id"] or "-"),
            str(row["deployment_id"] or "-"),
            f"{row['created_at'].astimezone():%Y-%m-%d %H:%M:%S}",
            _seconds(row["created_at"], row["finished_at"] or now),
            row["reason"] or "-",
        )
    print_whole(table)
    if len(found) > limit:
        console.print(f"... and more: --limit {limit * 5}, or a filter (arcadia sagas list --help)", style="yellow")


@app.command()
def show(
    id: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends. Exit code 1: not done.")] = False,
) -> None:
    """Show a run: each step, how it is, and what is wrong; what the run was begun with and has found out."""
    if not follow:
        picture = asyncio.run(_look(id))
        console.print(_heading(picture))
        print_whole(_steps(picture))
        _say_details(picture)
        return
    try:
        last = asyncio.run(_redraw(id) if console.is_terminal else _tell(id))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(0 if last.run["status"] == SagaStatus.COMPLETED else 1)


@app.command()
def cancel(id: Id) -> None:
    """Stop a run after the step under way, and undo it. Not past its point of no return, nor in its last step."""
    run = asyncio.run(_ask(id, CancelSaga))
    console.print(f"it is undone after the step under way, unless that is its last: arcadia sagas show {run} --follow")


@app.command()
def retry(id: Id) -> None:
    """Let a failed run go on: with what could not be undone, or past the point of no return. Mend the cause first."""
    run = asyncio.run(_ask(id, RetrySaga))
    console.print(f"it goes on: arcadia sagas show {run} --follow")


@app.command()
def write_off(
    id: Id, reason: Annotated[str, typer.Option("--reason", "-r", help="What was done instead, for the record.")]
) -> None:
    """Give a failed run up whose rest you have seen to by hand. Its deployment is let go, in the state it is in."""
    run = asyncio.run(_ask(id, WriteOffSaga, reason=reason))
    console.print(f"nobody waits for it any more: arcadia sagas show {run}")


async def _ask(wanted: str, command: type[CancelSaga | RetrySaga | WriteOffSaga], **more: str) -> UUID:
    """Have the service decide on the run that is meant. Raises `Failed`."""
    run: UUID = (await _look(wanted)).run["id"]
    await ask(
        "sagas", command.model_validate({"saga_id": run, **more}), seconds=_ANSWER_S, see=f"arcadia sagas show {run}"
    )
    return run


async def _fetch(query: str, *arguments: Any) -> list[Row]:
    async with sight(settings.load()) as conn:
        return [dict(row) for row in await conn.fetch(query, *arguments)]


async def _look(wanted: str) -> Picture:
    """The run that is meant. Raises `Failed` where none or several are."""
    async with sight(settings.load()) as conn:
        return await _pictured(conn, wanted)


async def _pictured(conn: Connection, wanted: str) -> Picture:
    run = _only(wanted, [dict(row) for row in await conn.fetch(_FIND, wanted.lower())])
    return await _pictured_again(conn, run["id"])


async def _pictured_again(conn: Connection, id: UUID) -> Picture:
    (run,) = await conn.fetch(_AGAIN, id)
    return Picture(dict(run), [dict(row) for row in await conn.fetch(_STEPS, id)])


def _only(wanted: str, found: Sequence[Row]) -> Row:
    if not found:
        raise Failed(f"no run begins with {wanted!r}\n  See: arcadia sagas list")
    if len(found) > 1:
        which = "\n".join(f"  {row['id']}  {row['kind']} {row['status']}" for row in found)
        raise Failed(f"{wanted!r} is several: name one\n{which}")
    return found[0]


async def _redraw(wanted: str) -> Picture:
    """Draw the run again and again until it has ended."""
    async with sight(settings.load()) as conn:
        picture = await _pictured(conn, wanted)
        with Live(_drawn(picture), console=console, auto_refresh=False) as live:
            while not picture.over:
                await asyncio.sleep(_LOOK_S)
                picture = await _pictured_again(conn, picture.run["id"])
                live.update(_drawn(picture), refresh=True)
    return picture


async def _tell(wanted: str) -> Picture:
    """Print a line for all that is new, until the run has ended: for pipes."""
    told: dict[int, tuple[str, int]] = {}
    async with sight(settings.load()) as conn:
        picture = await _pictured(conn, wanted)
        while True:
            for line in _news(picture, told):
                console.print(line, markup=False)
            if picture.over:
                console.print(_heading(picture))
                return picture
            await asyncio.sleep(_LOOK_S)
            picture = await _pictured_again(conn, picture.run["id"])


def _news(picture: Picture, told: dict[int, tuple[str, int]]) -> Iterator[str]:
    """A line for each step that is another than was told."""
    for step in picture.steps:
        now = (step["status"], step["attempts"] + step["undo_attempts"])
        if told.get(step["step_idx"]) != now:
            told[step["step_idx"]] = now
            yield "  ".join(cell.plain for cell in _cells(step, picture.now)).rstrip()


def _drawn(picture: Picture) -> Group:
    return Group(_heading(picture), _steps(picture))


def _steps(picture: Picture) -> Table:
    """A line per step, those too that have not begun."""
    table = plain_table("", "step", "status", "attempts", "time", "error")
    begun = {step["step_idx"]: step for step in picture.steps}
    for index, name in enumerate(picture.run["plan"]):
        if index in begun:
            table.add_row(*_cells(begun[index], picture.now))
        else:
            table.add_row(Text(str(index)), Text(name, "dim"), Text("-", "dim"))
    return table


def _heading(picture: Picture) -> Text:
    run = picture.run
    heading = Text.assemble((run["kind"], "bold"), " ", str(run["id"]), " ", _coloured(run["status"]))
    heading.append(f" {_seconds(run['created_at'], run['finished_at'] or picture.now)}")
    if run["reason"]:
        heading.append(f" ({run['reason']})")
    if run["cancel_requested"] and not picture.over:
        heading.append(" to be cancelled", "yellow")
    return heading


def _cells(step: Row, now: datetime) -> list[Text]:
    attempts = str(step["attempts"]) + (f" + {step['undo_attempts']} undoing" if step["undo_attempts"] else "")
    until = step["undone_at"] or step["finished_at"] or now
    error = step["error"] or {}
    why = " ".join(filter(None, [error.get("code"), said(error["detail"]) if error.get("detail") else None]))
    return [
        Text(str(step["step_idx"])),
        Text(step["name"], "bold"),
        _coloured(step["status"]),
        Text(attempts),
        Text(_seconds(step["started_at"], until)),
        Text(printable(why), "red"),
    ]


def _say_details(picture: Picture) -> None:
    names = ("deployment_id", "tenant_id", "actor", "created_at", "finished_at", "inputs", "context")
    for name in names:
        if (value := picture.run[name]) is not None:
            console.print(printable(f"{name:<14} {said(value)}"), markup=False)
    if picture.run["status"] != SagaStatus.FAILED:
        return
    if written_off := picture.run["written_off"]:
        console.print(printable(f"{'written off':<14} {written_off}"), markup=False)
        return
    console.print(f"it waits for you: mend the cause, then arcadia sagas retry {picture.run['id']}", style="yellow")
    console.print(f"or see to its rest by hand: arcadia sagas write-off {picture.run['id']}", style="yellow")


def _coloured(status: str) -> Text:
    return Text(status, _LOOKS.get(status, ""))


def _seconds(since: datetime, until: datetime) -> str:
    return f"{max(0.0, (until - since).total_seconds()):.1f} s"
