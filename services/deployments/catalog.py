"""Messages in, messages out: the catalog."""

from __future__ import annotations

from datetime import UTC, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from contracts.catalog import (
    AddonCreated,
    CreateAddon,
    CreatePlan,
    DraftPlanVersion,
    MigrateSubscriptions,
    Plan,
    PlanCreated,
    PlanVersionDrafted,
    PlanVersionPublished,
    PublishPlanVersion,
    ResourcePriceSet,
    SetResourcePrice,
)
from contracts.subscriptions import PlanChange
from services.deployments import catalog_store, periods
from services.deployments.domain import plan_change, written
from services.deployments.subscriptions import bind
from shared.db import Connection
from shared.jobs import JobRun, PutOff
from shared.outcome import Meta, Outcome, Refused
from shared.steps import Said, transact

MOVED_AT_ONCE = 500

_SOON = timedelta(seconds=1)


async def create_plan(cmd: CreatePlan, conn: Connection, meta: Meta) -> Outcome:
    """Name a plan."""
    id = await catalog_store.insert_plan(conn, cmd.code, cmd.name, meta.now)
    if id is None:
        raise Refused("plan_exists", plan_code=cmd.code)
    plan = await _plan(conn, id)
    return Outcome(result={"plan": plan.model_dump(mode="json")}, events=[PlanCreated(plan=plan)])


async def draft_plan_version(cmd: DraftPlanVersion, conn: Connection, meta: Meta) -> Outcome:
    """Write down terms for a plan, as its next version."""
    row = await catalog_store.lock_plan(conn, code=cmd.plan_code)
    if row is None:
        raise Refused("plan_not_found", plan_code=cmd.plan_code)
    id = await catalog_store.insert_version(conn, row["id"], cmd, meta.now)
    plan = await _plan(conn, row["id"])
    return Outcome(result=_version(plan, id), events=[PlanVersionDrafted(plan=plan, plan_version_id=id)])


async def publish_plan_version(cmd: PublishPlanVersion, conn: Connection, meta: Meta) -> Outcome:
    """Put a draft on sale. The plan's row is locked, so that of two published at once the later is the active one."""
    row = await catalog_store.lock_plan(conn, version_id=cmd.plan_version_id)
    version = await catalog_store.find_version(conn, cmd.plan_version_id)
    if row is None or version is None:
        raise Refused("version_not_found", plan_version_id=str(cmd.plan_version_id))
    if version["status"] == "retired":
        raise Refused("version_retired", plan_version_id=str(cmd.plan_version_id), remedy="draft the same terms again")
    if version["status"] == "active":
        return Outcome(result=_version(await _plan(conn, row["id"]), cmd.plan_version_id))
    retired = await catalog_store.mark_published(conn, row["id"], cmd.plan_version_id, meta.now)
    plan = await _plan(conn, row["id"])
    event = PlanVersionPublished(plan=plan, plan_version_id=cmd.plan_version_id, retired_version_id=retired)
    return Outcome(result=_version(plan, cmd.plan_version_id), events=[event])


async def _plan(conn: Connection, id: UUID) -> Plan:
    (plan,) = await catalog_store.list_plans(conn, [id])
    return plan


def _version(plan: Plan, id: UUID) -> dict[str, Any]:
    (version,) = [version for version in plan.versions if version.id == id]
    return {"version": {"plan_code": plan.code, **version.model_dump(mode="json")}}


async def create_addon(cmd: CreateAddon, conn: Connection, meta: Meta) -> Outcome:
    """Put an addon on sale."""
    addon = await catalog_store.insert_addon(conn, cmd, meta.now)
    if addon is None:
        raise Refused("addon_exists", addon_code=cmd.code)
    return Outcome(result={"addon": addon.model_dump(mode="json")}, events=[AddonCreated(addon=addon)])


async def set_resource_price(cmd: SetResourcePrice, conn: Connection, meta: Meta) -> Outcome:
    """Say what a unit of a kind costs from a time on."""
    await catalog_store.lock_prices(conn, cmd.resource_kind)
    since = (cmd.effective_from or meta.now).astimezone(UTC)
    if not await catalog_store.insert_resource_price(conn, cmd, since, meta.actor, meta.now):
        raise Refused("price_exists", resource_kind=cmd.resource_kind, effective_from=written(since))
    (prices,) = await catalog_store.list_resource_prices(conn, [cmd.resource_kind])
    result = {"resource_prices": prices.model_dump(mode="json")}
    return Outcome(result=result, events=[ResourcePriceSet(resource_prices=prices)])


async def migrate_subscriptions(cmd: MigrateSubscriptions, run: JobRun[None]) -> Outcome:
    """Move those who are on retired versions of a plan to its active one, some at a go; a dry run only tells of it.

    It is drawn up once, and a later attempt goes on with it. Told by version: for all who are on one it is the same.
    """
    drawn = run.progress
    if drawn is None:
        drawn = await transact(run, partial(_draw_up, cmd))
    changes = [PlanChange.model_validate(each["change"]) for each in drawn["changes"]]
    if not cmd.dry_run:
        await _step_all_due(run, drawn)
        for change in changes:
            while await transact(run, partial(_move_some, change), progress=drawn):
                pass
    return Outcome(result={"plan_code": cmd.plan_code, "dry_run": cmd.dry_run, **drawn})


async def _draw_up(cmd: MigrateSubscriptions, conn: Connection, _: Meta) -> tuple[dict[str, Any], Said]:
    plan = await catalog_store.lock_plan(conn, code=cmd.plan_code)
    if plan is None:
        raise Refused("plan_not_found", plan_code=cmd.plan_code)
    target = await catalog_store.find_active_terms(conn, cmd.plan_code)
    if target is None:
        raise Refused("no_active_version", plan_code=cmd.plan_code)
    if cmd.to_version_id not in {None, target.version_id}:
        raise Refused("version_not_active", plan_version_id=str(cmd.to_version_id), active=str(target.version_id))
    subscribers = await catalog_store.list_retired_in_use(conn, plan["id"], cmd.from_version_id)
    changes = []
    for retired in await catalog_store.list_terms(conn, list(subscribers)):
        if retired.currency != target.currency:
            raise Refused("currency_mismatch", plan_version_id=str(retired.version_id), currency=retired.currency)
        change = plan_change(retired, target, None).model_dump(mode="json")
        changes.append({"subscriptions": subscribers[retired.version_id], "change": change})
    return {"to_version_id": str(target.version_id), "subscriptions": sum(subscribers.values()), "changes": changes}, ()


async def _step_all_due(run: JobRun[None], drawn: dict[str, Any]) -> None:
    """Open all periods that have begun: a change counts for the current one, and must not reach back to one before."""

    async def some(conn: Connection, meta: Meta) -> tuple[int, Said]:
        stepped = await periods.step_due(conn, meta.now, meta.now, limit=MOVED_AT_ONCE)
        return stepped.count, stepped.events

    while await transact(run, some, progress=drawn):
        pass


async def _move_some(change: PlanChange, conn: Connection, meta: Meta) -> tuple[int, Said]:
    """Move some of those who are on a version. Raises `PutOff` where the last of them are in other hands."""
    left = await catalog_store.count_subscribers(conn, change.from_version_id)
    found = await catalog_store.lock_subscribers(conn, change.from_version_id, meta.now, MOVED_AT_ONCE)
    if left and not found:
        raise PutOff(f"{left} subscriptions are in other hands", after=_SOON)
    if not found:
        return 0, ()
    changes = [change.model_copy(update={"effective_from": since}) for since in found.values()]
    return len(found), await bind(conn, list(found), changes, meta)
