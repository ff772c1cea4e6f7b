"""A droplet's power, size and name, changed by actions: each is begun, and takes its time at the provider."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from functools import partial

from contracts.provider import (
    DropletCommand,
    OperationStatus,
    PowerOffDroplet,
    PowerOnDroplet,
    RenameDroplet,
    ResizeDroplet,
)
from services.provider import domain, ledger
from services.provider.access import Provider, insisting, rows_of
from services.provider.course import Course, Run, follow
from services.provider.domain import Droplet
from services.provider.droplets import DROPLET, may_be_unknown_yet, seconds_since, target_of
from services.provider.ledger import Claim, Effect
from services.provider.store import Json, Row
from shared.digitalocean import NotFound
from shared.digitalocean import Refused as RefusedByProvider
from shared.jobs import JobRun, PutOff
from shared.outcome import Outcome, Refused
from shared.patience import DENIED

ACTIONS = f"{DROPLET}/actions"

ACTION = "/v2/actions/{action_id}"

_PARTS = {
    "power-off-droplet": "status",
    "power-on-droplet": "status",
    "resize-droplet": "size",
    "rename-droplet": "name",
}
"""What an operation changes of a droplet, by its kind."""


class DropletGone(Exception):
    """The provider does not know the droplet."""


async def power_off_droplet(cmd: PowerOffDroplet, run: JobRun[Provider]) -> Outcome:
    """Switch a droplet off, and wait until it is."""
    return await bring(cmd, run, _course("status"), {"status": "off"}, was="status")


async def power_on_droplet(cmd: PowerOnDroplet, run: JobRun[Provider]) -> Outcome:
    """Switch a droplet on, and wait until it is."""
    return await bring(cmd, run, _course("status"), {"status": "active"}, was="status")


async def resize_droplet(cmd: ResizeDroplet, run: JobRun[Provider]) -> Outcome:
    """Give a droplet another size, and wait until it has it."""
    return await bring(cmd, run, _course("size"), {"size": cmd.size, "disk": cmd.disk}, was="size")


async def rename_droplet(cmd: RenameDroplet, run: JobRun[Provider]) -> Outcome:
    """Give a droplet another name, and wait until it has it."""
    return await bring(cmd, run, _course("name"), {"name": cmd.name}, was="name")


async def bring(cmd: DropletCommand, run: Run, course: Course, wanted: Json, *, was: str) -> Outcome:
    """Bring a droplet where it is wanted. `was`: of what the result tells how it was before."""
    row = await ledger.take_up(cmd, run, target_of(cmd.droplet_id))
    if answer := ledger.answer_of(row):
        return answer
    try:
        arrived = await follow(course, run, row, lambda _: wanted)
    except DropletGone:
        if await may_be_unknown_yet(run, cmd.droplet_id):
            raise PutOff("the droplet is too young to be known for certain", run.resources.patience.poll) from None
        raise await ledger.refuse(run, row, Refused("droplet_not_found", droplet_id=cmd.droplet_id)) from None
    result = {"droplet_id": cmd.droplet_id, "was": arrived.before[was]}
    row = await ledger.finish(run, arrived.row, Effect(result, before=arrived.before))
    return ledger.answer_of(row) or Outcome(result=result)


async def take_back(undone: Row, own: Row, run: Run) -> list[str]:
    """Bring a droplet back to the power, the size or the name that it had before an operation."""
    before, part = undone["before"], _PARTS[undone["kind"]]
    parts = {part, "status"} if part == "size" else {part}  # it is switched off for that, and on again
    if "told" in undone["known"] and "acted" not in undone["known"]:  # it was so already
        return []
    try:
        if undone["step"] and own["status"] == OperationStatus.PENDING:
            await _let_end(run, undone)
        arrived = await follow(_course(*parts), run, own, lambda now: _only(parts, now) | {part: before[part]})
    except DropletGone:
        return []
    return [undone["target"]] if arrived.before[part] != before[part] else []


async def _let_end(run: Run, undone: Row) -> None:
    """Wait until the cancelled operation's own action is over, or certainly never began."""
    action = await _action_of(run, undone)
    if action["status"] == "in-progress" if action else undone["unsure"]:
        raise PutOff("the action that is to be undone may be under way", ledger.pause(run, undone))


def _course(*parts: str) -> Course:
    """How these parts of a droplet are changed. The others are left as they are, whoever changes them meanwhile."""
    return Course(_read, _settle, partial(_next, "status" in parts), _send, restore=partial(_only, parts))


def _only(parts: Collection[str], state: Json) -> Json:
    return {part: state[part] for part in parts}


async def _read(run: Run, row: Row) -> Json:
    """A droplet as it is while no event runs on it; put off until then."""
    provider, droplet_id = run.resources, droplet_id_of(row)
    if row["step"] and (action := await _action_by_id(run, row["step"])) and action["status"] == "in-progress":
        raise PutOff("the action is under way", ledger.pause(run, row))
    with ledger.reading_for(row, provider):
        try:
            actions = await rows_of(provider.do.walk(ACTIONS, "actions", droplet_id=droplet_id), provider)
            droplet = await provider.do.single("droplet", DROPLET, droplet_id=droplet_id)
        except NotFound as error:
            raise DropletGone(str(droplet_id)) from error
    if any(action["status"] == "in-progress" for action in actions):
        raise PutOff("an event is running on the droplet", provider.patience.poll)
    seen = {
        "status": droplet["status"],
        "size": droplet["size_slug"],
        "name": droplet["name"],
        "last_action": max((int(str(action["id"])) for action in actions), default=0),
    }
    told: Json = row["known"].get("told", {})
    return seen | told


def _next(switches: bool, now: Json, wanted: Json) -> Json | None:
    goal, disk = _droplet(now | wanted), wanted.get("disk", False)
    action = domain.next_action(_droplet(now), goal, disk=disk, switches=switches)
    return action and {**action, "after": now["last_action"]}


async def _settle(run: Run, row: Row, now: Json) -> Row:
    """What came of the action under way, while no event runs on the droplet any more."""
    action, waits = await _action_of(run, row), run.resources.patience
    if action is None:
        if row["unsure"]:
            raise PutOff("the action that was begun, if it was, is looked for", waits.poll)
        return await ledger.note(run, row, None, row["known"])
    step = row["step"] | {"action_id": action["id"]}
    what = {"action_id": action["id"], "action": step["type"]}
    if action["status"] == "errored":
        return await ledger.fail(run, row, Refused("action_errored", **what))
    if action["status"] == "completed":
        if domain.shows(_droplet(now), step):
            return await ledger.note(run, row, None, {"acted": True})
        step = {"completed_at": run.meta.now.isoformat()} | step
        if seconds_since(step["completed_at"], run.meta) > waits.lookup_s:
            return await ledger.fail(run, row, Refused("action_errored", **what, reason="it completed without effect"))
    await ledger.note(run, row, step, row["known"])
    raise PutOff("the action's effect does not show yet", waits.poll)


async def _action_of(run: Run, row: Row) -> Json | None:
    """The action that came of a step: by its id, or where that tells nothing, looked for; None where none shows."""
    provider, step, droplet_id = run.resources, row["step"], droplet_id_of(row)
    if action := await _action_by_id(run, step):
        return action
    with insisting(provider):
        try:
            actions = await rows_of(provider.do.walk(ACTIONS, "actions", droplet_id=droplet_id), provider)
        except NotFound as error:
            raise DropletGone(str(droplet_id)) from error
    found = domain.ours(actions, step)
    return dict(found) if found else None


async def _action_by_id(run: Run, step: Json) -> Json | None:
    """The action that came of a step; None where no answer has told its id, or the provider does not know it."""
    if "action_id" not in step:
        return None
    with insisting(run.resources), suppress(NotFound):
        return await run.resources.do.single("action", ACTION, action_id=step["action_id"])
    return None


async def _send(run: Run, claim: Claim) -> Row:
    """Begin an action; then the job is put off until it is over."""
    row, step = claim.row, claim.row["step"]
    body = {name: step[name] for name in ("type", "size", "disk", "name") if name in step}
    try:
        answer = await ledger.send(run, claim, "POST", ACTIONS, json=body, droplet_id=droplet_id_of(row))
    except NotFound as error:
        raise DropletGone(row["target"]) from error
    except (*DENIED, RefusedByProvider) as error:
        if domain.is_busy(error.message):
            raise await ledger.put_back(run, claim, str(error), run.resources.patience.poll) from error
        if domain.is_so_already(error.message):
            told = {"status": "off" if step["type"] == "power_off" else "active"}
            return await ledger.note(run, row, None, row["known"] | {"told": told})
        return await ledger.rejected(run, claim, error)
    action = ledger.unknown_if_it_lacks(answer, "action")
    await ledger.note(run, row, step | {"action_id": action["id"]}, row["known"])
    raise PutOff("the action is under way", run.resources.patience.poll)


def droplet_id_of(row: Row) -> int:
    """The droplet that an operation changes."""
    return int(row["target"].partition(":")[2])


def _droplet(state: Json) -> Droplet:
    return Droplet(state["status"], state["size"], state["name"])
