"""Messages in, messages out: the subscriptions of deployments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from contracts.catalog import Addon, VersionStatus
from contracts.deployments import Authority, DeploymentCommand, DeploymentState
from contracts.money import Currency
from contracts.subscriptions import (
    AttachAddon,
    CancelSubscription,
    ChangePlanVersion,
    DetachAddon,
    PlanChange,
    Subscribe,
    Subscription,
    SubscriptionAddonAttached,
    SubscriptionAddonDetached,
    SubscriptionCancellationRequested,
    SubscriptionCancellationWithdrawn,
    SubscriptionEvent,
    SubscriptionPlanChanged,
    SubscriptionStarted,
    SubscriptionSummary,
    UncancelSubscription,
)
from services.deployments import catalog_store, lifecycle, subscription_store
from services.deployments.domain import ENDED, Terms, month_of, plan_change, takes_over, written
from services.deployments.history import record
from services.deployments.lifecycle import Locked, Wish
from services.deployments.store import Row
from shared.db import Connection
from shared.outcome import Meta, Outcome, Refused


def summary_of(subscription: Subscription) -> dict[str, Any]:
    """A subscription as callers of the API get it: with the addons that are attached."""
    state = subscription.model_dump(mode="json")
    attached = [addon for addon in state["addons"] if addon["detached_at"] is None]
    return SubscriptionSummary.model_validate(state | {"addons": attached}).model_dump(mode="json")


async def subscribe(cmd: Subscribe, conn: Connection, meta: Meta) -> Outcome:
    """Subscribe a deployment to the active version of a plan, for this calendar month and those that follow.

    A deployment in trial is active by it, unless it is said when the trial ends.
    """
    locked = await lifecycle.lock(conn, cmd, meta)
    if locked.subscription is not None:
        raise Refused("subscription_exists", subscription_id=str(locked.subscription["id"]))
    if locked.state in ENDED:
        raise Refused("deployment_ended", state=locked.state)
    _check_trial(cmd, meta)
    terms = await catalog_store.find_active_terms(conn, cmd.plan_code)
    if terms is None:
        raise Refused("plan_or_version_not_found", plan_code=cmd.plan_code)
    addons = await _addons(conn, cmd.addons, terms.currency)
    if locked.state is DeploymentState.TRIAL and cmd.trial_ends_at is None:
        # Nothing would ever end it: whoever subscribes on a plan's terms has tried enough.
        subscribed = Wish(DeploymentState.ACTIVE, Authority.BILLING, meta.actor, "subscribed")
        await lifecycle.move(conn, locked, subscribed, meta.now)
    id = await subscription_store.insert_subscription(
        conn, locked.row, terms.version_id, month_of(meta.now), trial_ends_at=cmd.trial_ends_at, now=meta.now
    )
    await subscription_store.insert_addons(conn, id, [addon.id for addon in addons], meta.now)
    return _told(locked, await record(conn, SubscriptionStarted, [id], meta.now, actors=[meta.actor]))


def _check_trial(cmd: Subscribe, meta: Meta) -> None:
    if cmd.trial_ends_at is None:
        return
    if cmd.authority is not Authority.OPERATOR:
        raise Refused("forbidden", message="trial_ends_at is for operators to set.")
    if cmd.trial_ends_at <= meta.now:
        raise Refused("trial_ends_in_past", trial_ends_at=written(cmd.trial_ends_at), now=written(meta.now))


async def _addons(conn: Connection, codes: Sequence[str], currency: Currency) -> list[Addon]:
    """The addons of these codes, each given once.

    Raises `Refused` with all codes that there are not, or with the first addon that is in another currency.
    """
    if len(set(codes)) < len(codes):
        raise Refused("addon_repeated", addons=list(codes))
    known = await catalog_store.list_addons(conn, codes) if codes else {}
    if unknown := [code for code in codes if code not in known]:
        raise Refused("addon_not_found", addons=unknown)
    for addon in known.values():
        _check_currency(addon.currency, currency, addon=addon.code)
    return list(known.values())


def _check_currency(theirs: str, ours: str, **what: str) -> None:
    """All that one subscriber pays is in one currency."""
    if theirs != ours:
        raise Refused("currency_mismatch", currency=theirs, subscription_currency=ours, **what)


def _told(locked: Locked, events: Sequence[Any], **more: Any) -> Outcome:
    """The outcome of something that changed a subscription once; `events`: the newest state last."""
    result = {"subscription": summary_of(events[-1].subscription), **more}
    return Outcome(result=result, events=[*locked.events, *events])


async def _lock_subscribed(conn: Connection, cmd: DeploymentCommand, meta: Meta) -> tuple[Locked, Row]:
    """A deployment and its subscription, which goes on. Raises `Refused`."""
    locked = await lifecycle.lock(conn, cmd, meta)
    subscription = locked.subscription
    if subscription is None:
        raise Refused("subscription_not_found", deployment_id=str(cmd.deployment_id))
    if subscription["status"] == "cancelled":
        raise Refused("subscription_cancelled", ended_at=written(subscription["ended_at"]))
    return locked, subscription


async def attach_addon(cmd: AttachAddon, conn: Connection, meta: Meta) -> Outcome:
    """Attach an addon, with quantity and price as the catalog has them now."""
    locked, subscription = await _lock_subscribed(conn, cmd, meta)
    (terms,) = await catalog_store.list_terms(conn, [subscription["plan_version_id"]])
    (addon,) = await _addons(conn, [cmd.code], terms.currency)
    if await subscription_store.is_attached(conn, subscription["id"], addon.id):
        raise Refused("addon_attached", addon_id=str(addon.id), addon_code=addon.code)
    await subscription_store.insert_addons(conn, subscription["id"], [addon.id], meta.now)
    await subscription_store.mark_changed(conn, [subscription["id"]])
    said = [{"addon_id": addon.id}]
    ids, who = [subscription["id"]], [meta.actor]
    return _told(locked, await record(conn, SubscriptionAddonAttached, ids, meta.now, actors=who, said=said))


async def detach_addon(cmd: DetachAddon, conn: Connection, meta: Meta) -> Outcome:
    """Detach an addon."""
    locked, subscription = await _lock_subscribed(conn, cmd, meta)
    if not await subscription_store.mark_detached(conn, subscription["id"], cmd.addon_id, meta.now):
        raise Refused("addon_not_attached", addon_id=str(cmd.addon_id))
    await subscription_store.mark_changed(conn, [subscription["id"]])
    said = [{"addon_id": cmd.addon_id}]
    ids, who = [subscription["id"]], [meta.actor]
    return _told(locked, await record(conn, SubscriptionAddonDetached, ids, meta.now, actors=who, said=said))


async def change_plan_version(cmd: ChangePlanVersion, conn: Connection, meta: Meta) -> Outcome:
    """Bind a subscription to other terms for the whole of its current period; a dry run only tells what that means."""
    locked, subscription = await _lock_subscribed(conn, cmd, meta)
    (old,) = await catalog_store.list_terms(conn, [subscription["plan_version_id"]])
    new = await _wanted_terms(conn, cmd)
    _check_currency(new.currency, old.currency, plan_code=new.plan_code)
    change = plan_change(old, new, subscription["current_period_start"])
    events = []
    if not cmd.dry_run and new.version_id != old.version_id:
        events = await bind(conn, [subscription["id"]], [change], meta)
    (state,) = [e.subscription for e in events] or await subscription_store.list_states(conn, [subscription["id"]])
    result = {"subscription": summary_of(state), "change": change.model_dump(mode="json"), "dry_run": cmd.dry_run}
    return Outcome(result=result, events=[*locked.events, *events])


async def bind(conn: Connection, ids: Sequence[UUID], changes: Sequence[PlanChange], meta: Meta) -> list[Any]:
    """Bind subscriptions to the version to which these changes lead, one and the same for all."""
    await subscription_store.mark_bound(conn, ids, changes[0].to_version_id)
    said = [{"change": change} for change in changes]
    return await record(conn, SubscriptionPlanChanged, ids, meta.now, actors=[meta.actor] * len(ids), said=said)


async def _wanted_terms(conn: Connection, cmd: ChangePlanVersion) -> Terms:
    if cmd.plan_version_id is None:
        terms = await catalog_store.find_active_terms(conn, cmd.plan_code or "")
        if terms is None:
            raise Refused("plan_or_version_not_found", plan_code=cmd.plan_code)
        return terms
    found = await catalog_store.find_terms(conn, cmd.plan_version_id)
    if found is None:
        raise Refused("plan_or_version_not_found", plan_version_id=str(cmd.plan_version_id))
    terms, status = found
    if status == VersionStatus.DRAFT or (status != VersionStatus.ACTIVE and cmd.authority is not Authority.OPERATOR):
        raise Refused("version_not_active", plan_version_id=str(cmd.plan_version_id), status=status)
    return terms


async def cancel_subscription(cmd: CancelSubscription, conn: Connection, meta: Meta) -> Outcome:
    """Cancel a subscription, and the deployment with it, now or with the end of the period.

    What is to be cancelled already becomes the wish of whoever has more right: no tenant withdraws it then.
    """
    locked, subscription = await _lock_subscribed(conn, cmd, meta)
    wish = Wish(DeploymentState.CANCELLED, cmd.authority, meta.actor, cmd.reason)
    if cmd.at == "now":
        await lifecycle.move(conn, locked, wish, meta.now)
        return await _end_told(conn, locked, subscription)
    lifecycle.require_allowed(locked, wish)
    if subscription["cancel_at"] is None or takes_over(cmd.authority, Authority(subscription["cancel_authority"])):
        id, at = subscription["id"], subscription["current_period_end"]
        await subscription_store.mark_cancel_at(conn, id, at, meta.actor, cmd.authority)
        locked.events += await record(
            conn, SubscriptionCancellationRequested, [id], meta.now, actors=[meta.actor], reasons=[cmd.reason]
        )
    return await _end_told(conn, locked, subscription)


async def uncancel_subscription(cmd: UncancelSubscription, conn: Connection, meta: Meta) -> Outcome:
    """Let a subscription go on that was to be cancelled."""
    locked, subscription = await _lock_subscribed(conn, cmd, meta)
    id = subscription["id"]
    if subscription["cancel_at"] is None:
        raise Refused("not_to_be_cancelled", subscription_id=str(id))
    if cmd.authority is Authority.TENANT and subscription["cancel_authority"] != Authority.TENANT:
        raise Refused("forbidden", message="It was not the tenant who asked for the cancellation.")
    locked.events += await withdraw(conn, id, meta)
    return await _end_told(conn, locked, subscription)


async def withdraw(conn: Connection, id: UUID, meta: Meta, reason: str | None = None) -> list[SubscriptionEvent]:
    """Let a subscription go on that was to be cancelled; gives what is to be told of it."""
    await subscription_store.mark_cancel_at(conn, id, None, None, None)
    who, why = [meta.actor], [reason]
    return await record(conn, SubscriptionCancellationWithdrawn, [id], meta.now, actors=who, reasons=why)


async def _end_told(conn: Connection, locked: Locked, subscription: Row) -> Outcome:
    """The outcome of something that was done about a subscription's end: how it stands with it and its deployment."""
    (state,) = await subscription_store.list_states(conn, [subscription["id"]])
    cancel_at = written(state.cancel_at) if state.cancel_at else None
    result = {"subscription": summary_of(state), "deployment": locked.summary(), "cancel_at": cancel_at}
    return Outcome(result=result, events=locked.events)
