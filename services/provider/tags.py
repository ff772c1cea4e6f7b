"""A droplet's tags: made others, or put back as they were.

Reads may lag: what answers to our writes have told counts before what they show, whichever operation's they were. A
write that is repeated does nothing more, but one that comes late could do what was taken back meanwhile: so each is
settled before the next.
"""

from __future__ import annotations

from functools import partial, reduce
from operator import or_
from typing import TypeAlias

from contracts.provider import OperationStatus, RetagDroplet
from services.provider import domain, ledger, store
from services.provider.access import Provider
from services.provider.actions import DropletGone, bring, droplet_id_of
from services.provider.course import Course, Run, follow
from services.provider.droplets import DROPLET
from services.provider.ledger import Claim
from services.provider.store import Json, Row
from shared.db import Connection
from shared.digitalocean import NotFound
from shared.digitalocean import Refused as RefusedByProvider
from shared.jobs import JobRun, PutOff
from shared.outcome import Meta, Outcome
from shared.patience import DENIED
from shared.steps import Said, transact

TAGS = "/v2/tags"
TAGGED = f"{TAGS}/{{tag}}/resources"

Spelled: TypeAlias = dict[str, str | None]
"""How the provider spells the tags that it was asked to make; None: it does not know the tag. For one attempt: the next
one finds out anew, and so the ledger has as known only what was done to the droplet."""


async def retag_droplet(cmd: RetagDroplet, run: JobRun[Provider]) -> Outcome:
    """Make a droplet's tags these, whatever others it has."""
    return await bring(cmd, run, _course(), {"tags": cmd.tags}, was="tags")


async def take_back(undone: Row, own: Row, run: Run) -> list[str]:
    """Give a droplet the tags back that it had before an operation."""
    before = undone["before"]
    try:
        if undone["step"] and undone["unsure"] and own["status"] == OperationStatus.PENDING:
            await _let_show(run, undone, own)
        arrived = await follow(_course(), run, own, lambda _: before)
    except DropletGone:
        return []
    return [undone["target"]] if _next({}, arrived.before, before) else []


async def _let_show(run: Run, undone: Row, own: Row) -> None:
    """Wait until the write that was under way when the operation was cancelled shows, or cannot any more."""
    if not domain.tagging_shows((await _read(run, own))["tags"], undone["step"]):
        raise PutOff("the write that is to be undone may be under way", run.resources.patience.poll)


def _course() -> Course:
    spelled: Spelled = {}
    return Course(_read, _settle, partial(_next, spelled), partial(_send, spelled), restore=lambda before: before)


async def _read(run: Run, row: Row) -> Json:
    """The tags, in an order of ours."""
    told = await _told(run, row)  # first: what is told longer than it is needed does no harm
    with ledger.reading_for(row, run.resources):
        try:
            droplet = await run.resources.do.single("droplet", DROPLET, droplet_id=droplet_id_of(row))
        except NotFound as error:
            raise DropletGone(row["target"]) from error
    shown = {domain.compared(tag): tag for tag in droplet.get("tags") or ()}
    merged = reduce(or_, [shown, *told, row["known"].get("tags", {})])
    return {"tags": sorted(tag for tag in merged.values() if tag is not None)}


async def _told(run: Run, row: Row) -> list[Json]:
    async def list_told(conn: Connection, _: Meta) -> tuple[list[Json], Said]:
        return await store.list_told(conn, row["target"], "tags"), ()

    return await transact(run, list_told)


def _next(spelled: Spelled, now: Json, wanted: Json) -> Json | None:
    return domain.next_tagging(now["tags"], wanted["tags"], spelled)


async def _settle(run: Run, row: Row, now: Json) -> Row:
    """What came of the write under way: it shows, or it came to nothing, or that is not certain yet."""
    if domain.tagging_shows(now["tags"], row["step"]):
        return await ledger.note(run, row, None, _known_after(row))
    if row["unsure"]:
        raise PutOff("the write that was begun, if it was, is looked for", run.resources.patience.poll)
    return await ledger.note(run, row, None, row["known"])


async def _send(spelled: Spelled, run: Run, claim: Claim) -> Row:
    row, step = claim.row, claim.row["step"]
    try:
        await _write(spelled, run, claim)
    except NotFound as error:
        if step["do"] != "remove":  # (there, somebody has deleted the tag)
            return await _let_make(spelled, run, row, error)
    except (*DENIED, RefusedByProvider) as error:
        return await ledger.rejected(run, claim, error)
    return await ledger.note(run, row, None, _known_after(row))


async def _write(spelled: Spelled, run: Run, claim: Claim) -> None:
    step, droplet_id = claim.row["step"], droplet_id_of(claim.row)
    if step["do"] == "make":
        answer = await ledger.send(run, claim, "POST", TAGS, json={"name": step["tag"]})
        spelled[domain.compared(step["tag"])] = (answer.get("tag") or {}).get("name") or step["tag"]
    else:
        method = "POST" if step["do"] == "add" else "DELETE"
        body = {"resources": [{"resource_id": str(droplet_id), "resource_type": "droplet"}]}
        await ledger.send(run, claim, method, TAGGED, json=body, tag=step["tag"])


async def _let_make(spelled: Spelled, run: Run, row: Row, error: NotFound) -> Row:
    """A tag that the provider does not know is made next; put off where that did not help."""
    noted, tag = await ledger.note(run, row, None, row["known"]), domain.compared(row["step"]["tag"])
    if tag in spelled:
        raise PutOff("the provider does not know the tag, or the droplet", run.resources.patience.poll) from error
    spelled[tag] = None
    return noted


def _known_after(row: Row) -> Json:
    """What is known once the write under way is done; to make a tag does nothing to the droplet."""
    known: Json = row["known"]
    if row["step"]["do"] == "make":
        return known
    tag = row["step"]["tag"]
    told = {domain.compared(tag): tag if row["step"]["do"] == "add" else None}
    return known | {"tags": known.get("tags", {}) | told}
