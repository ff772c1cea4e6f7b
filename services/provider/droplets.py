"""Creating a droplet, finding what a lost answer made, waiting until it is up, destroying it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TypeAlias

from contracts.provider import AwaitDroplet, CreateDroplet, DestroyDroplet, OperationStatus, operation_tag
from services.provider import domain, ledger, store
from services.provider.access import Provider, asking, insisting, rows_of
from services.provider.ledger import Effect, Intent
from services.provider.store import Json, Row
from shared.db import Connection
from shared.digitalocean import NotFound, OutcomeUnknown
from shared.digitalocean import Refused as RefusedByProvider
from shared.jobs import JobRun, PutOff
from shared.outcome import Meta, Outcome, Refused
from shared.patience import DENIED
from shared.steps import Said, transact

DROPLETS = "/v2/droplets"
DROPLET = "/v2/droplets/{droplet_id}"

Patient: TypeAlias = Callable[[Provider], AbstractContextManager[None]]


def target_of(droplet_id: int) -> str:
    """What the ledger calls a droplet."""
    return f"droplet:{droplet_id}"


async def create_droplet(cmd: CreateDroplet, run: JobRun[Provider]) -> Outcome:
    """Create a droplet once. Where an earlier attempt may have done so, look for it until that cannot be any more."""
    row = await ledger.take_up(cmd, run)
    if row["status"] == OperationStatus.CANCELLED:
        await _destroy_what_came_of(row, run)
    if answer := ledger.answer_of(row):
        return answer
    if row["status"] == OperationStatus.SENT:
        if found := await _keep_oldest(row, run):
            return await _made(row, run, found, {})
        if row["unsure"]:
            raise PutOff("what the create made, if anything, is looked for", ledger.pause(run, row))
    claim = await ledger.claim(run, row, Intent({"create": cmd.name}))
    try:
        body = await ledger.send(run, claim, "POST", DROPLETS, json=_order(cmd))
    except (*DENIED, NotFound, RefusedByProvider) as error:
        raise await ledger.refuse(run, claim.row, ledger.denied_or_refused(error)) from error
    droplet = ledger.unknown_if_it_lacks(body, "droplet")
    return await _made(claim.row, run, droplet["id"], _action_in(body))


def _order(cmd: CreateDroplet) -> Json:
    order = cmd.model_dump(mode="json", exclude={"operation_id", "deployment_id"}, exclude_none=True)
    return order | {"tags": [*cmd.tags, operation_tag(cmd.operation_id)]}


def _action_in(body: Json) -> Json:
    """The action that makes the droplet: it tells that a droplet could not be placed when that is gone."""
    actions = (body.get("links") or {}).get("actions") or ()
    return {"action_id": actions[0]["id"]} if actions else {}


async def _made(row: Row, run: JobRun[Provider], droplet_id: int, known: Json) -> Outcome:
    """Record the droplet. Where the operation was cancelled meanwhile, destroy it."""
    result = {"droplet_id": droplet_id}
    row = await ledger.finish(run, row, Effect(result, target_of(droplet_id), known=known))
    if row["status"] == OperationStatus.CANCELLED:
        await _destroy_what_came_of(row, run)
    return ledger.answer_of(row) or Outcome(result=result)


async def _destroy_what_came_of(row: Row, run: JobRun[Provider]) -> None:
    """Destroy what a cancelled create made, if that is known. Its undoing does the same; both may try."""
    if row["undone"] or not row["result"]:
        return
    gone = await is_destroyed(run.resources, row["result"]["droplet_id"])
    if not gone or row["unsure"]:
        raise PutOff("the droplet of a cancelled create is being destroyed", ledger.pause(run, row))

    async def mark(conn: Connection, meta: Meta) -> tuple[None, Said]:
        await ledger.lock(conn, row["id"])
        return None, ledger.told(await store.mark_undone(conn, row["id"], meta.now))

    await transact(run, mark)


async def _keep_oldest(row: Row, run: JobRun[Provider]) -> int | None:
    """The droplet that an operation made, if lists show any; of several the others are destroyed."""
    found = await made_by(row, run.resources)
    for surplus in found[1:]:
        if not await is_destroyed(run.resources, surplus):
            raise PutOff(f"droplet {surplus}, made beside {found[0]}, is being destroyed", ledger.pause(run, row))
    return found[0] if found else None


async def made_by(row: Row, provider: Provider) -> list[int]:
    """The droplets that carry an operation's tag, oldest first, as far as lists show them."""
    tag = operation_tag(row["id"])
    params = [{"tag_name": tag}]
    if str(row["request"].get("size", "")).startswith("gpu-"):
        params.append({"type": "gpus"})  # undocumented whether the list by tag has them; the two cannot be combined
    found: set[int] = set()
    for each in params:
        with insisting(provider):
            rows = await rows_of(provider.do.walk(DROPLETS, "droplets", params=each), provider)
        found |= {int(droplet["id"]) for droplet in rows if "tag_name" in each or tag in (droplet.get("tags") or ())}
    return sorted(found)


async def is_destroyed(
    provider: Provider, droplet_id: int, *, until_gone: bool = True, patient: Patient = insisting
) -> bool:
    """Ask for a droplet's destruction; True once it is unknown, or (not `until_gone`) that was agreed to.

    Asking again is harmless, and is what a destruction needs that came to nothing.
    """
    with patient(provider):
        try:
            await provider.do.send("DELETE", DROPLET, droplet_id=droplet_id)
        except NotFound:
            return True
        except OutcomeUnknown as error:
            raise PutOff(str(error), provider.patience.poll) from error
        except RefusedByProvider as error:
            if not domain.is_busy(error.message):
                raise
            return False
    return not until_gone


async def take_back(undone: Row, own: Row, run: JobRun[Provider]) -> list[str]:
    """Destroy whatever a create has made or may yet make, and name it. Put off until nothing is left.

    That a droplet is unknown means that it is gone, unless it is so young that it may not be known yet.
    """
    if own["status"] == OperationStatus.PENDING:
        own = (await ledger.claim(run, own, Intent({"destroy": operation_tag(undone["id"])}))).row
    provider, made = run.resources, {undone["result"]["droplet_id"]} if undone["result"] else set()
    seen = set(own["known"].get("seen", ()))
    found, is_over = sorted(made | seen | set(await made_by(undone, provider))), True
    for droplet_id in found:
        if not await is_destroyed(provider, droplet_id):
            seen.add(droplet_id)
            is_over = False
        elif undone["unsure"] and droplet_id not in seen:
            is_over = False
    if sorted(seen) != own["known"].get("seen", []):
        own = await ledger.note(run, own, own["step"], {"seen": sorted(seen)})
    if not is_over or (undone["step"] and undone["unsure"]):
        raise PutOff("what the create made, if anything, is being destroyed", ledger.pause(run, own))
    return [target_of(droplet_id) for droplet_id in found]


async def destroy_droplet(cmd: DestroyDroplet, run: JobRun[Provider]) -> Outcome:
    """Destroy a droplet, and wait until it is gone."""
    provider, result = run.resources, {"droplet_id": cmd.droplet_id}
    row = await ledger.take_up(cmd, run, target_of(cmd.droplet_id))
    if answer := ledger.answer_of(row):
        return answer
    begun = row["status"] == OperationStatus.SENT  # an answer may have been lost
    if not begun:
        row = (await ledger.claim(run, row, Intent({"destroy": cmd.droplet_id}))).row
    try:
        gone = await is_destroyed(provider, cmd.droplet_id, patient=insisting if begun else asking)
    except Refused as refusal:
        raise await ledger.refuse(run, row, refusal) from refusal
    if gone and (row["known"] or not await may_be_unknown_yet(run, cmd.droplet_id)):
        row = await ledger.finish(run, row, Effect(result))
        return ledger.answer_of(row) or Outcome(result=result)
    if not gone and not row["known"]:
        row = await ledger.note(run, row, row["step"], {"seen": [cmd.droplet_id]})
    raise PutOff("the droplet is being destroyed", ledger.pause(run, row))


async def may_be_unknown_yet(run: JobRun[Provider], droplet_id: int) -> bool:
    """Whether a droplet may be so young that the provider does not know it by its id yet."""
    return bool((creation := await _creation_of(droplet_id, run)) and creation["unsure"])


async def _creation_of(droplet_id: int, run: JobRun[Provider]) -> Row | None:
    async def find(conn: Connection, _: Meta) -> tuple[Row | None, Said]:
        return await store.find_creation(conn, target_of(droplet_id)), ()

    return await transact(run, find)


async def await_droplet(cmd: AwaitDroplet, run: JobRun[Provider]) -> Outcome:
    """Wait until a droplet is active and has its public address."""
    provider, since = run.resources, dict(run.progress or {"began": run.meta.now.isoformat()})
    with asking(provider):
        try:
            droplet = await provider.do.single("droplet", DROPLET, droplet_id=cmd.droplet_id)
        except NotFound:
            droplet = None
    if droplet is None:
        await _check_not_vanished(cmd.droplet_id, run, since)
    else:
        since.pop("missing", None)
        networks = droplet.get("networks") or {}
        ipv4, ipv6 = (domain.public_address(networks, family) for family in ("v4", "v6"))
        if droplet.get("status") == "active" and ipv4:
            return Outcome(result={"droplet_id": cmd.droplet_id, "ipv4": ipv4, "ipv6": ipv6})
    if _too_late(run, since):
        raise Refused("droplet_not_ready", droplet_id=cmd.droplet_id, status=(droplet or {}).get("status"))
    if since != run.progress:
        await keep_progress(run, since)
    raise PutOff("the droplet is not up yet", provider.patience.poll_after(seconds_since(since["began"], run.meta)))


async def _check_not_vanished(droplet_id: int, run: JobRun[Provider], since: Json) -> None:
    """A droplet that is unknown was never placed or is gone; or it is not known yet, or just now, but that ends."""
    missing_s = seconds_since(since.setdefault("missing", run.meta.now.isoformat()), run.meta)
    if missing_s > run.resources.patience.vanished_s or await _was_not_placed(droplet_id, run):
        raise Refused("droplet_vanished", droplet_id=droplet_id)


async def _was_not_placed(droplet_id: int, run: JobRun[Provider]) -> bool:
    """Whether the action that was to make a droplet has failed; actions can be read when their droplet is gone."""
    creation = await _creation_of(droplet_id, run)
    action_id = creation["known"].get("action_id") if creation else None
    if action_id is None:
        return False
    with asking(run.resources):
        try:
            action = await run.resources.do.single("action", "/v2/actions/{action_id}", action_id=action_id)
        except NotFound:
            return False
    return bool(action.get("status") == "errored")


def _too_late(run: JobRun[Provider], since: Json) -> bool:
    if run.meta.expires:
        return ledger.is_late(run.meta)
    return seconds_since(since["began"], run.meta) > run.resources.patience.ready_s


def seconds_since(time: str, meta: Meta) -> float:
    """How long ago a time was that was noted down."""
    return (meta.now - datetime.fromisoformat(time)).total_seconds()


async def keep_progress(run: JobRun[Provider], progress: Json) -> None:
    """Keep what a job's next attempt is to know, and nothing else."""
    await run.apply(_nothing, progress=progress)


async def _nothing(_: Connection, __: Meta) -> None:
    return None
